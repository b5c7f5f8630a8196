"""Spearman's correlation and AUROC: exact up to a number of entries, from a histogram above it.

Up to `LIMIT` entries the values are kept and ranked, ties sharing their mean rank. Above it they
are counted in a two-dimensional histogram whose bins are the leading bits of a float32: a
prediction's bin is 2**-9 (0.2 %) of its value wide, a true count has a bin of its own up to 63 and
one 3 % wide above. Values of one bin are ties. `Spearman` carries a bound of the error that this
can make, from the sizes of the bins.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lacuna.metrics.pieces import Piece, dot
from lacuna.metrics.registry import Undefined

LIMIT = 1 << 22
#: A correlation whose bound is larger than this is not reported.
TOLERANCE = 0.01
SMALLEST = np.float32(2.0**-24)  # what is smaller shares a bin, apart from 0
MANTISSA = 9
FIRST = int(SMALLEST.view(np.uint32)) >> (23 - MANTISSA)
LAST = int(np.float32(2.0**40).view(np.uint32)) >> (23 - MANTISSA)
PREDICTION_BINS = LAST - FIRST + 3
EXACT_COUNTS = 64


def prediction_bin(values: np.ndarray) -> np.ndarray:
    """Bin of each prediction (not negative), monotone: 0 is bin 0."""
    bits = values.astype(np.float32).view(np.uint32) >> np.uint32(23 - MANTISSA)
    bins = np.clip(bits.astype(np.int32), FIRST - 1, LAST) - (FIRST - 2)
    bins[values == 0] = 0
    return bins


def truth_bin(values: np.ndarray) -> np.ndarray:
    """Bin of each true count, monotone: the count itself below 64."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.int32) >> 18
    start = int(np.float32(EXACT_COUNTS).view(np.uint32)) >> 18
    return np.where(values < EXACT_COUNTS, values.astype(np.int32), bits - start + EXACT_COUNTS)


def midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    firsts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.concatenate([firsts, [len(values)]]))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(firsts + (sizes + 1) / 2, sizes)
    return ranks


@dataclass(frozen=True)
class Spearman:
    """A rank correlation, and how far it can be from the exact one at most."""

    value: float
    bound: float


class Table:
    """Counts of entries by bin of truth (rows) and of prediction (columns)."""

    def __init__(self) -> None:
        self._counts = np.zeros((EXACT_COUNTS, PREDICTION_BINS), dtype=np.int64)

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count some entries."""
        columns = prediction_bin(prediction)
        at = np.flatnonzero(truth)
        rows = truth_bin(truth[at])
        highest = int(rows.max(initial=0))
        if highest >= len(self._counts):
            more = np.zeros((highest + 1 - len(self._counts), PREDICTION_BINS), dtype=np.int64)
            self._counts = np.concatenate([self._counts, more])
        every = np.bincount(columns, minlength=PREDICTION_BINS)
        self._counts[0] += every - np.bincount(columns[at], minlength=PREDICTION_BINS)
        np.add.at(self._counts.reshape(-1), rows * PREDICTION_BINS + columns[at], 1)

    def rows(self, stratum: str) -> np.ndarray:
        """The counts of a stratum."""
        return {
            "all": self._counts, "zero": self._counts[:1], "nonzero": self._counts[1:]
        }[stratum]  # fmt: skip


def _bin_ranks(sizes: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Centred midranks of bins, their variance over entries, and the largest variance that the
    ranks inside the bins can have: that of all values of a bin being different."""
    n = sizes.sum()
    ranks = np.cumsum(sizes) - sizes / 2 - n / 2
    spread = float((sizes * ranks**2).sum() / n)
    inside = float((sizes * (sizes.astype(float) ** 2 - 1)).sum() / 12 / n)
    return ranks, spread, inside


def binned_spearman(table: np.ndarray, exact_rows: int) -> Spearman:
    """Spearman's correlation from a table of counts, of which the first `exact_rows` rows hold one
    value each.

    With R = r + d, where r are the bins' midranks and d the deviations inside them, the covariance
    of the true ranks differs from that of the midranks by at most the products of standard
    deviations (Cauchy-Schwarz), and each standard deviation by that of d; hence the bound.
    """
    by_truth, by_prediction = table.sum(axis=1), table.sum(axis=0)
    x, var_x, _ = _bin_ranks(by_truth)
    y, var_y, in_y = _bin_ranks(by_prediction)
    wide = np.where(np.arange(len(by_truth)) < exact_rows, 0, by_truth)
    in_x = _bin_ranks(wide)[2] * wide.sum() / by_truth.sum() if wide.any() else 0.0
    # Values that are equal on purpose, zeros, are no error.
    in_y -= by_prediction[0] * (float(by_prediction[0]) ** 2 - 1) / 12 / by_prediction.sum()
    in_y = max(in_y, 0.0)
    for name, variance in (("truth", var_x), ("prediction", var_y)):
        if variance == 0:
            raise Undefined(f"the {name} is constant, or nearly, over {by_truth.sum()} entries")
    sx, sy = np.sqrt(var_x), np.sqrt(var_y)
    dx, dy = np.sqrt(in_x), np.sqrt(in_y)
    value = dot(x, np.einsum("ij,j->i", table, y)) / by_truth.sum() / (sx * sy)
    top = np.hypot(sx, dx) * np.hypot(sy, dy)
    bound = abs(value) * (1 - sx * sy / top) + (sx * dy + dx * sy + dx * dy) / top
    return Spearman(value, float(bound))


@dataclass
class Ranking:
    """What was seen of the entries: all of them, or their table."""

    truth: np.ndarray | None
    prediction: np.ndarray | None
    table: Table | None
    stratum: str = "all"

    @property
    def bound(self) -> float | None:
        """How far `spearman` can be off: 0 where it is exact, None where it is not reported."""
        try:
            return 0.0 if self.table is None else self.spearman().bound
        except Undefined:
            return None

    @cached_property
    def _prediction_ranks(self) -> np.ndarray:
        return midranks(self.prediction)

    def spearman(self) -> Spearman:
        """Rank correlation of truth and prediction, ties sharing their mean rank."""
        if self.table is not None:
            rows = self.table.rows(self.stratum)
            if not rows.any():
                raise Undefined("there are no such entries")
            found = binned_spearman(rows, EXACT_COUNTS - (self.stratum == "nonzero"))
            if found.bound > TOLERANCE:
                raise Undefined(
                    f"too many predictions are nearly equal for its histogram: {found.value:.3f}, "
                    f"but the error may be {found.bound:.3f}"
                )
            return found
        keep = {"all": slice(None), "zero": self.truth == 0, "nonzero": self.truth != 0}[
            self.stratum
        ]
        truth, prediction = self.truth[keep], self.prediction[keep]
        if not len(truth):
            raise Undefined("there are no such entries")
        for name, values in (("truth", truth), ("prediction", prediction)):
            if values.min() == values.max():
                raise Undefined(f"the {name} is constant over these {len(values)} entries")
        centre = (len(truth) + 1) / 2
        x = midranks(truth) - centre
        y = (self._prediction_ranks if self.stratum == "all" else midranks(prediction)) - centre
        return Spearman(dot(x, y) / np.sqrt(dot(x, x) * dot(y, y)), 0.0)

    def auroc(self) -> float:
        """Probability that an entry that is truly not zero is predicted higher than one that is
        zero, ties counting one half."""
        if self.table is not None:
            zero = self.table.rows("zero")[0]
            nonzero = self.table.rows("nonzero").sum(axis=0)
            below = np.cumsum(zero) - zero / 2
            n0, n1 = int(zero.sum()), int(nonzero.sum())
            wins = dot(below, nonzero)
        else:
            positive = self.truth != 0
            n1 = int(np.count_nonzero(positive))
            n0 = len(positive) - n1
            wins = float(self._prediction_ranks[positive].sum()) - n1 * (n1 + 1) / 2
        if n0 == 0 or n1 == 0:
            raise Undefined(f"all entries are truly {'zero' if n1 == 0 else 'nonzero'}")
        return wins / (n0 * n1)


@dataclass(frozen=True)
class Ranks:
    """Needs the `Ranking` of the hidden entries, or of a stratum of them, by their counts."""

    stratum: str = "all"
    limit: int = LIMIT

    def narrow(self, stratum: str) -> "Ranks":
        """The same of a stratum: "zero" or "nonzero" by the truth."""
        return Ranks(stratum, self.limit)

    @property
    def shared(self) -> "Ranks":
        """The strata are accumulated together."""
        return Ranks("all", self.limit)

    def accumulator(self) -> "_Ranks":
        """See `lacuna.metrics.registry.Need`."""
        return _Ranks(self.limit)

    def view(self, result: Ranking) -> Ranking:
        """The stratum's part of what was accumulated."""
        if self.stratum == "all":
            return result
        return Ranking(result.truth, result.prediction, result.table, self.stratum)


class _Ranks:
    def __init__(self, limit: int):
        self._limit, self._n = limit, 0
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self._table: Table | None = None

    def update(self, piece: Piece) -> None:
        # As float32: what is one value in a prediction's file must be one value here, too.
        pair = tuple(side().astype(np.float32) for side in (piece.truth, piece.prediction))
        self._n += len(pair[0])
        self._kept.append(pair)
        if self._n > self._limit:
            self._table = self._table or Table()
            for truth, prediction in self._kept:
                self._table.add(truth, prediction)
            self._kept.clear()

    def result(self) -> Ranking:
        if self._table is not None:
            return Ranking(None, None, self._table)
        truth, prediction = (np.concatenate(side) for side in zip(*self._kept, strict=True))
        return Ranking(truth, prediction, None)
