"""Sequences and their segmentations, as a model of the task `segmentation` gets and returns them.

Bases are coded A C G T N = 0..4. Pure functions on arrays; numpy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lacuna_contract.errors import ContractError

BASES = "ACGTN"
UNKNOWN = 4
HIDDEN = -1
SPLITS = ("train", "val", "test")
#: What a class may be called, and in this order; the first three are always there.
CLASSES = ("intergenic", "exon", "intron", "utr5", "utr3")


@dataclass(frozen=True)
class Sequences:
    """An input.

    sequences
        uint8 (n, T): base codes A C G T N = 0..4.
    labels
        int8 (n, T): classes, -1 where hidden (in every sequence of the split "test").
    split
        (n,) of str: "train", "val" or "test".
    classes
        Names of the classes 0, 1, ...
    """

    sequences: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]

    def rows(self, split: str) -> np.ndarray:
        """The positions of the sequences of a split."""
        return np.flatnonzero(self.split == split)

    @property
    def train(self) -> np.ndarray:
        """Positions of the sequences to learn from."""
        return self.rows("train")

    @property
    def val(self) -> np.ndarray:
        """Positions of the sequences to choose by: their labels are visible, too."""
        return self.rows("val")

    @property
    def test(self) -> np.ndarray:
        """Positions of the sequences whose labels are asked for, in the order of the answer."""
        return self.rows("test")


@dataclass
class Segmentation:
    """What a model returns for the m sequences ``data.test``, in that order.

    labels
        Integers (m, T): a class for each position.
    boundaries
        None, or floats (m, T): the probability that a segment begins at a position. Column 0, where
        every sequence begins, is not looked at.
    durations
        None, or floats (K, classes): learned log-probabilities of the durations 1..K, each class
        normalised (-inf where a duration is impossible).
    decodings
        Other decodings of the same posterior, each the best for one metric (`DECODINGS`); where one
        is missing, `labels` is scored. Models that are compared with each other leave it empty.
    details
        Anything worth keeping, as JSON.
    """

    labels: np.ndarray
    boundaries: np.ndarray | None = None
    durations: np.ndarray | None = None
    decodings: Mapping[str, np.ndarray] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


#: Decoding by name: its columns, or None for classes of the shape of the labels. A "sequence" is a
#: row of the answer, "end" is exclusive, and a boundary is where a segment begins, never 0.
DECODINGS: dict[str, tuple[str, ...] | None] = {
    "positions": None,  # scored by the metrics of positions
    "durations": None,  # scored by the metrics of durations
    "boundaries": ("sequence", "position"),
    "boundaries_tolerant": ("sequence", "position"),
    "segments": ("sequence", "start", "end", "label"),
}


def boundaries(labels: np.ndarray) -> np.ndarray:
    """bool (n, T): True where a segment begins, which is where the class differs from the one
    before. The first position of a sequence is no boundary.

    >>> boundaries(np.array([[0, 0, 1, 1, 2]])).nonzero()[1]
    array([2, 4])
    """
    found = np.zeros(labels.shape, dtype=bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=found[:, 1:])
    return found


def segments(labels: np.ndarray) -> np.ndarray:
    """int64 (segments, 4): sequence, start, end (exclusive), class of every segment, in order.

    >>> segments(np.array([[0, 0, 1], [2, 2, 2]])).tolist()
    [[0, 0, 2, 0], [0, 2, 3, 1], [1, 0, 3, 2]]
    """
    n, length = labels.shape
    begins = boundaries(labels)
    begins[:, 0] = True
    row, start = np.nonzero(begins)
    last = np.append(row[1:] != row[:-1], True)
    end = np.where(last, length, np.append(start[1:], length))
    return np.stack([row, start, end, labels[row, start]], axis=1).astype(np.int64)


def complete(found: np.ndarray, length: int) -> np.ndarray:
    """Which segments (of `segments`) the window does not cut: those that touch neither of its ends.
    Only their durations are durations."""
    return (found[:, 1] > 0) & (found[:, 2] < length)


def one_hot(codes: np.ndarray) -> np.ndarray:
    """float32 (..., 5): base codes as indicators of A, C, G, T, N."""
    return np.eye(len(BASES), dtype=np.float32)[codes]


def kmer_codes(codes: np.ndarray, k: int = 4) -> np.ndarray:
    """int64 (..., T): the number, below 4**k, of the k-mer that begins at each position; -1 where
    it holds an N or runs over the end."""
    length = codes.shape[-1]
    found = np.full(codes.shape, -1, dtype=np.int64)
    if length < k:
        return found
    value = np.zeros((*codes.shape[:-1], length - k + 1), dtype=np.int64)
    known = np.ones(value.shape, dtype=bool)
    for i in range(k):
        base = codes[..., i : length - k + 1 + i]
        value = 4 * value + base
        known &= base < UNKNOWN
    found[..., : length - k + 1] = np.where(known, value, -1)
    return found


def kmer_frequencies(codes: np.ndarray, k: int = 4, window: int = 101) -> np.ndarray:
    """float32 (T, 4**k): of one sequence, the share of each k-mer among those that begin within a
    window of `window` positions centred on each position. Rows sum to 1, or to 0 where the window
    holds no k-mer without N. 256 columns for 4-mers."""
    if codes.ndim != 1:
        raise ContractError(f"k-mer frequencies are of one sequence; found shape {codes.shape}")
    if window < 1 or window % 2 == 0:
        raise ContractError(f"window={window}; expected an odd number of positions")
    found, length = kmer_codes(codes, k), len(codes)
    counts = np.zeros((length + 1, 4**k), dtype=np.float32)
    at = np.flatnonzero(found >= 0)
    counts[at + 1, found[at]] = 1
    # Counts below 2**24 are exact in float32.
    np.cumsum(counts, axis=0, out=counts)
    middle, half = np.arange(length), window // 2
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half + 1, length)
    within = counts[high] - counts[low]
    return within / np.maximum(within.sum(axis=1, keepdims=True), 1)
