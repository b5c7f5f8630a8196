"""What metrics can be computed from, accumulated piece by piece.

An accumulator's memory does not depend on the number of cells, but for `PerCell` (8 bytes a cell)
and `Entries` (which has a limit). Ranks have a module of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lacuna.metrics.pieces import Pair, Piece, correlations, row_sums
from lacuna.metrics.registry import Undefined

STRATA = ("zero", "nonzero")


@dataclass(frozen=True)
class Moments:
    """Needs the `Pair` of all hidden entries, or of a stratum, in a value space."""

    space: str = "counts"
    stratum: str = "all"

    def narrow(self, stratum: str) -> "Moments":
        """The same of a stratum: "zero" or "nonzero" by the truth."""
        return Moments(self.space, stratum)

    @property
    def shared(self) -> "Moments":
        """The strata are accumulated together."""
        return Moments(self.space)

    def accumulator(self) -> "_Moments":
        """See `lacuna.metrics.registry.Need`."""
        return _Moments(self.space)

    def view(self, result: dict[str, Pair]) -> Pair:
        """The stratum's part of what was accumulated."""
        return result[self.stratum]


class _Moments:
    def __init__(self, space: str):
        self._space = space
        self._strata = {name: Pair() for name in STRATA}

    def update(self, piece: Piece) -> None:
        truth, prediction = piece.truth(self._space), piece.prediction(self._space)
        parts = {
            "zero": Pair.of_zeros(piece.predicted_at_zeros(self._space)),
            "nonzero": Pair.of(truth[piece.nonzero], prediction[piece.nonzero]),
        }
        for name, part in parts.items():
            self._strata[name] = self._strata[name].merge(part)

    def result(self) -> dict[str, Pair]:
        return {**self._strata, "all": self._strata["zero"].merge(self._strata["nonzero"])}


class _Plain:
    """What needs without strata have in common."""

    @property
    def shared(self) -> Any:
        """What metrics share an accumulator by."""
        return self

    def view(self, result: Any) -> Any:
        """What the metric's function gets."""
        return result


@dataclass(frozen=True)
class Mean(_Plain):
    """Needs the mean over hidden entries of ``loss(truth, prediction)``, a function of two vectors
    that returns a vector."""

    loss: Callable[[np.ndarray, np.ndarray], np.ndarray]
    space: str = "counts"

    def accumulator(self) -> "_Mean":
        """See `lacuna.metrics.registry.Need`."""
        return _Mean(self)


class _Mean:
    def __init__(self, need: Mean):
        self._need, self._sum, self._n = need, 0.0, 0

    def update(self, piece: Piece) -> None:
        need = self._need
        losses = need.loss(piece.truth(need.space), piece.prediction(need.space))
        self._sum, self._n = self._sum + float(losses.sum()), self._n + len(losses)

    def result(self) -> float:
        return self._sum / self._n


@dataclass(frozen=True)
class PerGene(_Plain):
    """Needs the correlations of truth and prediction within each gene: a vector."""

    def accumulator(self) -> "_PerGene":
        """See `lacuna.metrics.registry.Need`."""
        return _PerGene()


class _PerGene:
    def __init__(self) -> None:
        self._sums: np.ndarray | None = None

    def update(self, piece: Piece) -> None:
        genes, at = piece.gene, piece.nonzero
        if self._sums is None:
            self._sums = np.zeros((6, piece.n_genes))
            self._shift = np.full(piece.n_genes, np.nan)
        n = np.bincount(genes, minlength=piece.n_genes)
        prediction = piece.prediction()
        new = np.isnan(self._shift) & (n > 0)
        if new.any():
            # Sums of squares about a nearby value, not about 0, keep their digits.
            means = np.bincount(genes, prediction, piece.n_genes)[new] / n[new]
            self._shift[new] = means
        p = prediction - self._shift[genes]
        t, some = piece.truth()[at], genes[at]
        for row, (index, weights) in enumerate(
            ((some, t), (genes, p), (some, t * t), (genes, p * p), (some, t * p[at]))
        ):
            self._sums[row] += np.bincount(index, weights, piece.n_genes)
        self._sums[5] += n

    def result(self) -> np.ndarray:
        found = self.by_gene()[3]
        return found[~np.isnan(found)]

    def by_gene(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each gene: entries, sum of the truth, sum of squared errors, and the correlation (NaN
        where there is none)."""
        t, p, tt, pp, tp, n = self._sums
        count, shift = np.maximum(n, 1), np.nan_to_num(self._shift)
        m2_p = np.maximum(pp - p * p / count, 0)
        size = (shift + p / count) ** 2 + m2_p / count
        # The truth's sums are of whole numbers: exact, so that constant is 0 exactly.
        found = correlations(n, (tt * count - t * t) / count, m2_p, tp - t * p / count, size)
        squared = pp + 2 * shift * p + n * shift**2 - 2 * (tp + shift * t) + tt
        return n, t, np.maximum(squared, 0), found


@dataclass(frozen=True)
class PerCell(_Plain):
    """Needs the correlations of truth and prediction within each cell: a vector."""

    def accumulator(self) -> "_PerCell":
        """See `lacuna.metrics.registry.Need`."""
        return _PerCell()


class _PerCell:
    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def update(self, piece: Piece) -> None:
        cells, at, k = piece.cell, piece.nonzero, piece.n_cells
        n = np.diff(piece.indptr)
        count = np.maximum(n, 1)
        mean = row_sums(piece.prediction(), piece.indptr) / count
        p = piece.prediction() - np.repeat(mean, n)
        t, some = piece.truth()[at], cells[at]
        sum_t = np.bincount(some, t, k)
        m2_t = (np.bincount(some, t * t, k) * count - sum_t**2) / count
        m2_p = row_sums(p * p, piece.indptr)
        cross = np.bincount(some, t * p[at], k)  # the p are centred, so t need not be
        found = correlations(n, m2_t, m2_p, cross, mean**2 + m2_p / count)
        self._parts.append(found[~np.isnan(found)])

    def result(self) -> np.ndarray:
        return np.concatenate(self._parts)


@dataclass(frozen=True)
class Bins:
    """Entries grouped by what was predicted: for each group its lowest prediction (0 for the first,
    then factors of 2), the number of entries, and the sums of predicted and of true counts."""

    low: np.ndarray
    n: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Calibration(_Plain):
    """Needs the `Bins` of entries by predicted count."""

    def accumulator(self) -> "_Calibration":
        """See `lacuna.metrics.registry.Need`."""
        return _Calibration()


class _Calibration:
    LEAST, MOST = -10, 10  # powers of 2
    #: Keeps round numbers, which many predictions are, away from the ends of ranges.
    SHIFT = 2**0.5

    def __init__(self) -> None:
        self._sums = np.zeros((3, self.MOST - self.LEAST + 1))

    def update(self, piece: Piece) -> None:
        prediction, at = piece.prediction(), piece.nonzero
        exponent = np.frexp(np.maximum(prediction, 0) * self.SHIFT)[1] - 1
        bins = np.clip(exponent, self.LEAST, self.MOST) - self.LEAST
        bins[prediction <= 0] = 0
        size = self._sums.shape[1]
        self._sums[0] += np.bincount(bins, minlength=size)
        self._sums[1] += np.bincount(bins, prediction, size)
        self._sums[2] += np.bincount(bins[at], piece.truth()[at], size)

    def result(self) -> Bins:
        low = 2.0 ** np.arange(self.LEAST, self.MOST + 1) / self.SHIFT
        low[0] = 0
        return Bins(low, *self._sums)


@dataclass(frozen=True)
class Values:
    """Vectors over all hidden entries."""

    truth: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class Entries(_Plain):
    """Needs the hidden entries themselves, as `Values` in a value space: for a metric that nothing
    here serves. Above `limit` entries, 16 bytes each, the metric is undefined."""

    space: str = "counts"
    limit: int = 20_000_000

    def accumulator(self) -> "_Entries":
        """See `lacuna.metrics.registry.Need`."""
        return _Entries(self)


class _Entries:
    def __init__(self, need: Entries):
        self._need, self._n = need, 0
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, piece: Piece) -> None:
        self._n += len(piece.gene)
        if self._n > self._need.limit:
            self._parts.clear()
        else:
            space = self._need.space
            self._parts.append((piece.truth(space), piece.prediction(space)))

    def result(self) -> Values:
        if self._n > self._need.limit:
            raise Undefined(f"{self._n} entries are more than its limit of {self._need.limit}")
        return Values(*(np.concatenate(side) for side in zip(*self._parts, strict=True)))
