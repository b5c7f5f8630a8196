"""What plots of a reconstruction are drawn from: a few kilobytes for each run.

``details`` of metrics.json:

histogram
    ``{"width": 0.2, "counts": [[...]]}``: entries by true (rows) and predicted (columns) value in
    lognorm, in bins of that width from 0; the last of 50 takes what is above. Rows and columns
    after the last that has an entry are left out.
by_count
    One row for each range of true counts: ``{"low", "high", "n", "mean_prediction", "mse"}``.
gene_pearson, cell_pearson
    ``{"n", "quantiles": [0, 0.05, ...], "values": [...]}`` of the correlations within genes, cells.
spearman_bound
    How far a Spearman correlation from the streamed histogram can be off; 0 where it is exact.
"""

from typing import Any

import numpy as np

from lacuna.metrics.pieces import Piece, dot

WIDTH = 0.2
BINS = 50
#: Lower ends of the ranges of true counts.
COUNTS = np.array([0, 1, 2, 3, 5, 9, 17, 33, 65, 129, 257])
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


class Summary:
    """Accumulates the histogram and the errors by true count."""

    def __init__(self) -> None:
        self._histogram = np.zeros(BINS * BINS, dtype=np.int64)
        self._sums = np.zeros((3, len(COUNTS)))

    def update(self, piece: Piece) -> None:
        """Add some cells."""
        at = piece.nonzero
        truth, prediction = piece.truth()[at], piece.prediction()[at]
        columns = _bin(piece.prediction("lognorm"))
        self._histogram[:BINS] += np.bincount(columns, minlength=BINS)
        self._histogram[:BINS] -= np.bincount(columns[at], minlength=BINS)
        rows = _bin(piece.truth("lognorm")[at])
        cells = rows * BINS + columns[at]
        self._histogram += np.bincount(cells, minlength=BINS * BINS)

        groups = np.searchsorted(COUNTS, truth, side="right") - 1
        error = (prediction - truth) ** 2
        n, total, squared = (
            np.bincount(groups, weights, len(COUNTS)) for weights in (None, prediction, error)
        )
        zeros = piece.predicted_at_zeros()
        n[0], total[0], squared[0] = len(zeros), zeros.sum(), dot(zeros, zeros)
        self._sums += [n, total, squared]

    def result(self) -> dict[str, Any]:
        """The JSON; see the module's text."""
        highs = [*(COUNTS[1:] - 1).tolist(), None]
        counts = self._histogram.reshape(BINS, BINS)
        used = np.argwhere(counts).max(axis=0, initial=0) + 1
        return {
            "histogram": {"width": WIDTH, "counts": counts[: used[0], : used[1]].tolist()},
            "by_count": [
                {
                    "low": int(low),
                    "high": high,
                    "n": int(n),
                    "mean_prediction": _short(total / n),
                    "mse": _short(squared / n),
                }
                for low, high, n, total, squared in zip(COUNTS, highs, *self._sums, strict=True)
                if n
            ],
        }


def quantiles(correlations: np.ndarray) -> dict[str, Any]:
    """Quantiles of correlations; no values where there are none."""
    values = np.quantile(correlations, QUANTILES) if len(correlations) else []
    return {
        "n": len(correlations),
        "quantiles": list(QUANTILES),
        "values": [_short(value) for value in values],
    }


def _bin(values: np.ndarray) -> np.ndarray:
    # Negative values, which lognorm predictions may have, belong to the first bin.
    return np.clip(values * (1 / WIDTH), 0, BINS - 1).astype(np.int32)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
