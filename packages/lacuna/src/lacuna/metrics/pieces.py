"""The hidden entries of some cells, and moments of truth and prediction over them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lacuna.metrics.registry import Undefined
from lacuna_contract.values import scale, to_counts

#: Spread below this share of a value's size is rounding of float32, not variation.
ROUNDING = float(np.finfo(np.float32).eps) ** 2


class Piece:
    """Hidden entries of consecutive cells, in CSR order.

    Parameters
    ----------
    indptr
        (cells + 1,): where each cell's entries begin.
    gene
        (entries,): column of each entry.
    truth, prediction
        (entries,): true counts; what was predicted, in `value_space`.
    visible_total
        (cells,): sum of the visible counts of each cell.
    n_genes
        Columns of the whole matrix.
    ratio
        How deep the truth is, compared with what the prediction is for. Predictions are multiplied
        by it; lognorm is at the prediction's depth.
    """

    def __init__(
        self,
        indptr: np.ndarray,
        gene: np.ndarray,
        truth: np.ndarray,
        prediction: np.ndarray,
        visible_total: np.ndarray,
        n_genes: int,
        value_space: str = "counts",
        ratio: float = 1.0,
    ):
        self.indptr, self.gene, self.n_genes = indptr, gene, n_genes
        self.n_cells = len(indptr) - 1
        self._visible, self._space, self._ratio = visible_total, value_space, ratio
        self._truth = np.asarray(truth, dtype=np.float64)
        self._given = np.asarray(prediction, dtype=np.float64)
        if value_space == "counts" and ratio != 1:
            self._given = self._given * ratio
        self._at_zeros: dict[str, np.ndarray] = {}

    def truth(self, space: str = "counts") -> np.ndarray:
        """True values in a value space."""
        return self._truth if space == "counts" else self._truth_lognorm

    def prediction(self, space: str = "counts") -> np.ndarray:
        """Predicted values in a value space; negative counts, which only the conversion from
        lognorm can give, become 0."""
        if space == self._space:
            return self._given
        return self._counts if space == "counts" else self._prediction_lognorm

    @cached_property
    def cell(self) -> np.ndarray:
        """Number of each entry's cell within the piece."""
        return np.repeat(np.arange(self.n_cells), np.diff(self.indptr))

    @cached_property
    def _not_zero(self) -> np.ndarray:
        return self._truth != 0

    @cached_property
    def nonzero(self) -> np.ndarray:
        """Positions of the entries whose true count is not zero."""
        return np.flatnonzero(self._not_zero)

    @cached_property
    def _zero(self) -> np.ndarray:
        return np.flatnonzero(~self._not_zero)

    def predicted_at_zeros(self, space: str = "counts") -> np.ndarray:
        """Predictions of the entries whose true count is zero."""
        if space not in self._at_zeros:
            self._at_zeros[space] = self.prediction(space)[self._zero]
        return self._at_zeros[space]

    @cached_property
    def _scale(self) -> np.ndarray:
        return np.repeat(scale(self._visible) / self._ratio, np.diff(self.indptr))

    @cached_property
    def _truth_lognorm(self) -> np.ndarray:
        # log(1 + x) is three times faster than log1p, and as exact in absolute terms.
        values = np.zeros(len(self._truth))
        at = self.nonzero
        values[at] = np.log(1.0 + self._truth[at] * self._scale[at])
        return values

    @cached_property
    def _counts(self) -> np.ndarray:
        visible = np.repeat(self._visible, np.diff(self.indptr))
        return np.maximum(to_counts(self._given, visible) * self._ratio, 0.0)

    @cached_property
    def _prediction_lognorm(self) -> np.ndarray:
        return np.log(1.0 + self._given * self._scale)


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of products. Not by BLAS, whose result depends on its number of threads."""
    return float(np.einsum("i,i->", a, b))


@dataclass
class Pair:
    """Moments of truth and prediction over some entries: means, centred second moments, and the
    sums of squared and absolute errors."""

    n: int = 0
    mean_truth: float = 0.0
    mean_prediction: float = 0.0
    m2_truth: float = 0.0
    m2_prediction: float = 0.0
    cross: float = 0.0
    squared: float = 0.0
    absolute: float = 0.0

    @classmethod
    def of(cls, truth: np.ndarray, prediction: np.ndarray) -> "Pair":
        """Moments of two vectors."""
        if not len(truth):
            return cls()
        error = prediction - truth
        mean_t, mean_p = float(truth.mean()), float(prediction.mean())
        t, p = truth - mean_t, prediction - mean_p
        return cls(
            len(truth), mean_t, mean_p, dot(t, t), dot(p, p), dot(t, p),
            dot(error, error), float(np.abs(error).sum()),
        )  # fmt: skip

    @classmethod
    def of_zeros(cls, prediction: np.ndarray) -> "Pair":
        """Moments of a truth that is 0 throughout, and a prediction."""
        if not len(prediction):
            return cls()
        mean = float(prediction.mean())
        p = prediction - mean
        squared, absolute = dot(prediction, prediction), float(np.abs(prediction).sum())
        return cls(len(p), 0.0, mean, 0.0, dot(p, p), 0.0, squared, absolute)

    def merge(self, other: "Pair") -> "Pair":
        """Moments of both sets of entries (Chan, Golub, LeVeque 1983)."""
        n = self.n + other.n
        if n == 0:
            return self
        dt, dp = other.mean_truth - self.mean_truth, other.mean_prediction - self.mean_prediction
        w = self.n * other.n / n
        return Pair(
            n,
            self.mean_truth + dt * other.n / n,
            self.mean_prediction + dp * other.n / n,
            self.m2_truth + other.m2_truth + dt * dt * w,
            self.m2_prediction + other.m2_prediction + dp * dp * w,
            self.cross + other.cross + dt * dp * w,
            self.squared + other.squared,
            self.absolute + other.absolute,
        )

    def _some(self) -> None:
        if self.n == 0:
            raise Undefined("there are no such entries")

    @property
    def mean_squared_error(self) -> float:
        """Mean of (prediction - truth)²."""
        self._some()
        return self.squared / self.n

    @property
    def mean_absolute_error(self) -> float:
        """Mean of |prediction - truth|."""
        self._some()
        return self.absolute / self.n

    @property
    def correlation(self) -> float:
        """Pearson's correlation of truth and prediction."""
        self._some()
        for name in ("truth", "prediction"):
            mean, m2 = getattr(self, f"mean_{name}"), getattr(self, f"m2_{name}")
            if m2 <= ROUNDING * (m2 + self.n * mean * mean):
                raise Undefined(f"the {name} is constant over these {self.n} entries")
        # One root of each, because the product can overflow.
        value = self.cross / (np.sqrt(self.m2_truth) * np.sqrt(self.m2_prediction))
        return float(np.clip(value, -1, 1))


def correlations(
    n: np.ndarray, m2_truth: np.ndarray, m2_prediction: np.ndarray, cross: np.ndarray,
    size: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Pearson's correlation of each group, NaN for one that has none: with fewer than two entries,
    or a constant truth.

    Where only the prediction is constant it counts as 0: leaving it out would reward a model for
    not committing itself. `size` is the mean of the prediction's squares.
    """
    defined = (n >= 2) & (m2_truth > 0)
    flat = m2_prediction <= ROUNDING * n * size
    root = np.sqrt(np.where(defined, m2_truth, 1)) * np.sqrt(np.where(flat, 1, m2_prediction))
    return np.where(defined, np.clip(np.where(flat, 0.0, cross / root), -1, 1), np.nan)


def row_sums(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Sum of each row's entries."""
    sums = np.zeros(len(indptr) - 1)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(values, indptr[filled])
    return sums
