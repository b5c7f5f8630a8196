"""Log-probabilities of a window's bases as those of exons, and of splice sites."""

import itertools

import numpy as np

from lacuna.genome.law import Law, Motif
from lacuna_contract.sequences import UNKNOWN

IMPOSSIBLE = np.exp(-50.0)


class Exons:
    """The log-probabilities of a padded window's bases as those of exons.

    mean
        float64 (T,): mean over frames of that of each base. It is taken out of all of the rest, so
        that sums along a sequence stay small.
    """

    def __init__(self, law: Law, x: np.ndarray, frames: int):
        self.law, self.x, self.frames = law, x, frames
        self.size = len(x)
        self.places = np.arange(self.size + 1)
        self.each = np.stack([self._bases(frame) for frame in range(frames)])
        self.mean = self.each.mean(axis=0)
        self.sums = np.pad((self.each - self.mean).cumsum(axis=1), ((0, 0), (1, 0)))

    def _bases(self, frame: int) -> np.ndarray:
        """Of each base, codons beginning at positions equal to `frame` modulo 3."""
        coding = self.law.coding
        if coding is None:
            return logs(self.law.composition["exon"])[self.x]
        x = self.x
        one, two = (np.concatenate([np.full(n, UNKNOWN), x[: len(x) - n]]) for n in (1, 2))
        first, second, third = (logs(t) for t in (coding.first, coding.second, coding.third))
        tables = (first[x], second[one, x], third[two, one, x])
        at = (np.arange(self.size) - frame) % 3
        return np.choose(at, tables)

    def frame(self, position: int) -> np.ndarray:
        """The frame of an exon whose base at each place 0..T has that codon position."""
        return (self.places - position) % self.frames

    def at_start(self, p: int) -> np.ndarray:
        """float64 (T + 1,): the sum before a place, in the frame of an exon that begins there."""
        return self.sums[self.frame(p), self.places]

    def at_end(self, q: int) -> np.ndarray:
        """The same, of an exon that ends there."""
        return self.sums[self.frame(q), self.places]

    def to_the_end(self, p: int) -> np.ndarray:
        """The sum of the whole window, of an exon that begins at each place."""
        return self.sums[self.frame(p), self.size]

    def before_donor(self, q: int) -> np.ndarray:
        """float64 (T + 1,): what a donor's exonic bases change for an exon that ends at a place."""
        motif, frame = self.law.donor, self.frame(q)
        found = np.zeros(self.size + 1)
        for j in range(1, motif.exonic + 1):
            there = self.places >= j
            at = self.places[there] - j
            column = logs(motif.probabilities[motif.exonic - j])
            found[there] += column[self.x[at]] - self.each[frame[there], at]
        return found

    def after_acceptor(self, p: int) -> np.ndarray:
        """float64 (T + 1,): what an acceptor's exonic bases, and a codon whose first bases are in
        another exon, change for an exon that begins at a place."""
        frame = self.frame(p)
        exonic = self.law.acceptor.probabilities[self.law.acceptor.intronic :]
        # As far as a base can depend on one of the motif that is not known.
        reach = max(len(exonic), (3 - p) % 3) if self.law.coding is not None else len(exonic)
        reach += 2 if self.law.coding is not None and len(exonic) else 0
        if not reach:
            return np.zeros(self.size + 1)
        padded = np.append(self.x, np.full(reach, UNKNOWN))
        windows = np.stack([padded[j : j + self.size + 1] for j in range(reach)], axis=1)
        found = self._opening(windows, p, exonic)
        # Bases are summed over where they are not known and others depend on them.
        for row in np.flatnonzero(
            (windows == UNKNOWN).any(axis=1) & (windows < UNKNOWN).any(axis=1)
        ):
            free = np.flatnonzero(windows[row] == UNKNOWN)
            fills = np.array(list(itertools.product(range(4), repeat=len(free)))).reshape(
                -1, len(free)
            )
            filled = np.repeat(windows[row][None], len(fills), axis=0)
            filled[:, free] = fills
            found[row] = np.logaddexp.reduce(self._opening(filled, p, exonic))
        for j in range(reach):
            there = self.places + j < self.size
            at = self.places[there] + j
            found[there] -= self.each[frame[there], at]
        return found

    def _opening(self, bases: np.ndarray, p: int, exonic: np.ndarray) -> np.ndarray:
        """The log-probability of each row of `bases`, the first ones of an exon."""
        found = np.zeros(len(bases))
        coding = self.law.coding
        unknown = np.full(len(bases), UNKNOWN)
        for j in range(bases.shape[1]):
            here = bases[:, j]
            if j < len(exonic):
                found += logs(exonic[j])[here]
            elif coding is None:
                found += logs(self.law.composition["exon"])[here]
            else:
                one, two = (bases[:, j - n] if j >= n else unknown for n in (1, 2))
                position = (p + j) % 3
                found += (
                    logs(coding.first)[here] if position == 0
                    else logs(coding.second)[one, here] if position == 1
                    else logs(coding.third)[two, one, here]
                )  # fmt: skip
        return found


def logs(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, with a last column for an unknown base, which is certain. What is impossible has
    a probability of exp(-50): its logarithm is subtracted, too, and sums of it along a sequence are
    to stay in a range in which the recurrences are fast."""
    found = np.log(np.maximum(probabilities, IMPOSSIBLE))
    return np.concatenate([found, np.zeros((*found.shape[:-1], 1))], axis=-1)


def site(
    motif: Motif, x: np.ndarray, columns: slice, first: int, instead: np.ndarray
) -> np.ndarray:
    """float64 (T + 1,): what the columns of a motif change where its site is at each place, the
    first column `first` positions from it; `instead` is what the bases count for otherwise."""
    found = np.zeros(len(x) + 1)
    for j, row in enumerate(motif.probabilities[columns], first):
        places = np.arange(len(x) + 1)
        there = (places + j >= 0) & (places + j < len(x))
        at = places[there] + j
        found[there] += logs(row)[x[at]] - instead[at]
    return found
