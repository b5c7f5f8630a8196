"""A predicted segmentation beside the true one: what the metrics of segmentation are computed from.

Everything is counted over all test sequences together. A boundary is a position at which a segment
begins, other than 0; the ends of a window are none.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lacuna.genome.law import Law
from lacuna.metrics.durations import (
    FEWEST,
    bin_ends,
    divergence,
    shares,
    wasserstein,
)
from lacuna.metrics.registry import Undefined
from lacuna_contract.sequences import boundaries, complete, segments

#: Positions by which a boundary may be off and still count: under half of the shortest segment.
TOLERANCE = 10
#: Probabilities are taken to be at least this, and at most 1 minus it.
SMALLEST = 1e-7
#: Lower ends of the bins of a boundary's probability.
BINS = np.array([0, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


@dataclass(frozen=True)
class F1:
    """Counts, and the score that they make."""

    hits: int
    predicted: int
    true: int

    @property
    def score(self) -> float:
        """2 hits / (predicted + true); `Undefined` where there is neither."""
        if not self.predicted + self.true:
            raise Undefined("there is none, neither in the truth nor in the prediction")
        return 2 * self.hits / (self.predicted + self.true)


def matches(true: np.ndarray, predicted: np.ndarray, tolerance: int) -> int:
    """The largest number of pairs, each true and each predicted position in at most one, that are
    at most `tolerance` apart. Both are sorted. (Taking them from the left is optimal on a line.)"""
    found = i = j = 0
    a, b = true.tolist(), predicted.tolist()
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tolerance:
            found, i, j = found + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return found


@dataclass(frozen=True)
class Comparison:
    """The truth and a prediction of m sequences of T positions.

    truth, labels
        int8 (m, T): classes.
    probabilities
        float32 (m, T) or None: that a segment begins at a position.
    learned
        float64 (K, classes) or None: probabilities of the durations 1..K.
    decodings
        As in `lacuna_contract.sequences.DECODINGS`; what is missing is taken from `labels`.
    """

    law: Law
    truth: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray | None = None
    learned: np.ndarray | None = None
    decodings: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def classes(self) -> Sequence[str]:
        """Their names."""
        return self.law.classes

    @property
    def length(self) -> int:
        """Positions of each sequence."""
        return self.truth.shape[1]

    def number(self, name: str) -> int:
        """The number of a class; `Undefined` where the sequences have none of that name."""
        if name not in self.classes:
            raise Undefined(f"these sequences have no class '{name}'")
        return self.classes.index(name)

    @functools.cached_property
    def true_segments(self) -> np.ndarray:
        """int64 (segments, 4): sequence, start, end, class."""
        return segments(self.truth)

    @functools.cached_property
    def predicted_segments(self) -> np.ndarray:
        """The same of the prediction, as scored by segment_f1."""
        found = self.decodings.get("segments")
        return segments(self.labels) if found is None else found.astype(np.int64)

    @functools.cached_property
    def true_boundaries(self) -> list[np.ndarray]:
        """Sorted positions, by sequence."""
        return [np.flatnonzero(row) for row in boundaries(self.truth)]

    def boundary_f1(self, tolerance: int = 0) -> F1:
        """Boundaries matched one to one by position."""
        name = "boundaries" if tolerance < TOLERANCE else "boundaries_tolerant"
        table = self.decodings.get(name)
        if table is None:
            predicted = [np.flatnonzero(row) for row in boundaries(self.labels)]
        else:
            rows = range(len(self.truth))
            predicted = [np.sort(table[table[:, 0] == row, 1]) for row in rows]
        pairs = list(zip(self.true_boundaries, predicted, strict=True))
        hits = sum(matches(a, b, tolerance) for a, b in pairs)
        return F1(hits, sum(len(b) for _, b in pairs), sum(len(a) for a, _ in pairs))

    def segment_f1(self) -> F1:
        """Segments whose start, end and class are all right."""
        true, predicted = (
            set(map(tuple, found.tolist()))
            for found in (self.true_segments, self.predicted_segments)
        )
        return F1(len(true & predicted), len(predicted), len(true))

    @functools.cached_property
    def confusion(self) -> np.ndarray:
        """int64 (true classes, predicted classes): positions."""
        size = len(self.classes)
        labels = self.decodings.get("positions", self.labels)
        pairs = self.truth.astype(np.int64).ravel() * size + labels.ravel()
        return np.bincount(pairs, minlength=size * size).reshape(size, size)

    def position_f1(self, name: str) -> F1:
        """Positions of a class."""
        at, table = self.number(name), self.confusion
        return F1(int(table[at, at]), int(table[:, at].sum()), int(table[at].sum()))

    def true_durations(self, name: str) -> np.ndarray:
        """The lengths of a class's segments that the window does not cut."""
        return _durations(self.true_segments, self.number(name), self.length)

    @functools.cached_property
    def _decoded(self) -> np.ndarray:
        return segments(self.decodings.get("durations", self.labels))

    def durations(self, name: str) -> np.ndarray:
        """The same of the prediction."""
        return _durations(self._decoded, self.number(name), self.length)

    def reference(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The law of the durations 1, 2, ... of complete segments in a window, and the last
        duration of each bin. `Undefined` where the truth has too few of them."""
        self.number(name)
        law = self.law.durations[name].in_window(self.length)
        there = len(self.true_durations(name))
        if there < FEWEST:
            raise Undefined(
                f"the truth has {there} complete segments of class '{name}'; fewer than {FEWEST}"
            )
        return law, bin_ends(law, there)

    def duration_kl(self, name: str) -> float:
        """See `lacuna.metrics.durations`."""
        law, ends = self.reference(name)
        return divergence(law, shares(self.durations(name)), ends)

    def duration_floor(self, name: str) -> float:
        """What perfect predictions get."""
        law, ends = self.reference(name)
        return divergence(law, shares(self.true_durations(name)), ends)

    def duration_wasserstein(self, name: str) -> float:
        """In positions."""
        law, _ = self.reference(name)
        found = self.durations(name)
        if not len(found):
            raise Undefined(f"no complete segment of class '{name}' is predicted")
        return wasserstein(law, shares(found))

    def learned_kl(self, name: str) -> float:
        """Of the learned durations against the law itself, in 20 bins of equal mass."""
        at = self.number(name)
        if self.learned is None:
            raise Undefined("the model has no durations of its own")
        law = self.law.durations[name].probabilities
        return divergence(law, self.learned[:, at], bin_ends(law, 10**6))

    @functools.cached_property
    def calibration(self) -> list[dict[str, Any]]:
        """By bin of the predicted probability of a boundary: positions, mean probability and share
        of true boundaries. `Undefined` where the model gives none."""
        p, y = self._pairs
        at = np.searchsorted(BINS, p, side="right") - 1
        counts, expected, true = (
            np.bincount(at, weights, len(BINS)) for weights in (None, p, y.astype(float))
        )
        return [
            {"low": float(low), "n": int(n), "expected": float(e), "true": float(t)}
            for low, n, e, t in zip(BINS, counts, expected, true, strict=True)
            if n
        ]

    @functools.cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        if self.probabilities is None:
            raise Undefined("the model gives no probabilities of boundaries")
        p = self.probabilities[:, 1:].astype(np.float64).ravel()
        return p, boundaries(self.truth)[:, 1:].ravel()

    def boundary_log_loss(self) -> float:
        """-log P(boundary or not) of a position, mean, in nats."""
        p, y = self._pairs
        p = np.clip(p, SMALLEST, 1 - SMALLEST)
        return float(-np.where(y, np.log(p), np.log1p(-p)).mean())

    def boundary_calibration(self) -> float:
        """The share of boundaries that are expected at another probability than they are found."""
        rows = self.calibration
        total = sum(row["true"] for row in rows)
        if not total:
            raise Undefined("the truth has no boundary")
        return sum(abs(row["expected"] - row["true"]) for row in rows) / total


def _durations(found: np.ndarray, label: int, length: int) -> np.ndarray:
    chosen = found[complete(found, length) & (found[:, 3] == label)]
    return chosen[:, 2] - chosen[:, 1]
