"""What plots of a reconstruction are drawn from: a few kilobytes for each run.

``details`` of metrics.json:

histogram
    ``{"width": 0.2, "counts": [[...]]}``: entries by true (rows) and predicted (columns) value in
    lognorm, in bins of that width from 0; the last of 50 takes what is above. Rows and columns
    after the last that has an entry are left out.
by_count
    One row for each range of true counts: ``{"low", "high", "n", "mean_prediction", "mse"}``.
by_expression
    One row for each range of genes' mean true counts (over their hidden entries): ``{"low", "high",
    "genes", "n", "mean", "mse", "pearson"}``, the last the quartiles of the correlations within
    genes (null where no gene has one).
calibration
    One row for each range of predicted counts: ``{"low", "n", "prediction", "truth"}``, means.
by_cell_type
    One row for each cell type, the largest first, 30 at most: ``{"cell_type", "cells", "n", "mse",
    "poisson_nll", "pearson"}``; absent where cell types are not known.
cells
    Some cells, evenly spread: ``{"cell", "truth": [...], "prediction": [...]}`` in lognorm, the 40
    hidden entries with the highest true values, highest first.
gene_pearson, cell_pearson
    ``{"n", "quantiles": [0, 0.05, ...], "values": [...]}`` of the correlations within genes, cells.
spearman_bound
    How far a Spearman correlation from the streamed histogram can be off; 0 where it is exact.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lacuna.metrics.needs import Bins
from lacuna.metrics.pieces import Piece, dot
from lacuna.metrics.reconstruction import poisson_loss

WIDTH = 0.2
BINS = 50
#: Lower ends of the ranges of true counts.
COUNTS = np.array([0, 1, 2, 3, 5, 9, 17, 33, 65, 129, 257])
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
#: Lower ends of the ranges of genes' mean true counts.
EXPRESSION = np.array([0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30])
MOST_TYPES = 30
SHOWN_CELLS = 8
SHOWN_ENTRIES = 40


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


class Cells:
    """Accumulates the entries of a few cells of `names`, evenly spread."""

    def __init__(self, names: Sequence[str]):
        self._names, self._seen = names, 0
        self._wanted = set(np.linspace(0, len(names) - 1, SHOWN_CELLS).round().astype(int).tolist())
        self._rows: list[dict[str, Any]] = []

    def update(self, piece: Piece) -> None:
        """Add some cells, in order."""
        for cell in range(piece.n_cells):
            if self._seen + cell in self._wanted:
                here = slice(piece.indptr[cell], piece.indptr[cell + 1])
                truth, prediction = (x("lognorm")[here] for x in (piece.truth, piece.prediction))
                order = np.argsort(-truth, kind="stable")[:SHOWN_ENTRIES]
                row = {"cell": self._names[self._seen + cell]}
                row["truth"], row["prediction"] = (
                    np.round(values[order], 2).tolist() for values in (truth, prediction)
                )
                self._rows.append(row)
        self._seen += piece.n_cells

    def result(self) -> dict[str, Any]:
        """The JSON; see the module's text."""
        return {"cells": self._rows}


class CellTypes:
    """Accumulates errors by the type of each cell, given in the order of the cells."""

    def __init__(self, types: Sequence[str]):
        self._names, self._codes = np.unique(types, return_inverse=True)
        self._seen = 0
        self._sums = np.zeros((7, len(self._names)))

    def update(self, piece: Piece) -> None:
        """Add some cells, in order."""
        codes = self._codes[self._seen : self._seen + piece.n_cells]
        self._seen += piece.n_cells
        entries, size = codes[piece.cell], len(self._names)
        truth, prediction = piece.truth(), piece.prediction()
        parts = (
            None, truth, prediction, truth**2, prediction**2, truth * prediction,
            poisson_loss(truth, prediction),
        )  # fmt: skip
        self._sums += [np.bincount(entries, values, size) for values in parts]

    def result(self) -> dict[str, Any]:
        """The JSON; see the module's text."""
        n, t, p, tt, pp, tp, loss = self._sums
        count = np.maximum(n, 1)
        spread = np.sqrt(np.maximum(tt - t * t / count, 0) * np.maximum(pp - p * p / count, 0))
        cross = tp - t * p / count
        cells = np.bincount(self._codes, minlength=len(self._names))
        order = [i for i in np.argsort(-cells, kind="stable") if n[i]][:MOST_TYPES]
        rows = [
            {
                "cell_type": str(self._names[i]),
                "cells": int(cells[i]),
                "n": int(n[i]),
                "mse": _short((tt[i] - 2 * tp[i] + pp[i]) / n[i]),
                "poisson_nll": _short(loss[i] / n[i]),
                "pearson": _short(cross[i] / spread[i]) if spread[i] > 0 else None,
            }
            for i in order
        ]
        return {"by_cell_type": rows}


def by_expression(
    n: np.ndarray, truth: np.ndarray, squared: np.ndarray, correlation: np.ndarray
) -> list[dict[str, Any]]:
    """The genes' entries, true sums, squared errors and correlations, by mean true count."""
    mean = truth / np.maximum(n, 1)
    group = np.where(n > 0, np.searchsorted(EXPRESSION, mean, side="right") - 1, -1)
    rows = []
    for i, low in enumerate(EXPRESSION):
        here = group == i
        if not here.any():
            continue
        known = correlation[here][~np.isnan(correlation[here])]
        rows.append(
            {
                "low": float(low),
                "high": float(EXPRESSION[i + 1]) if i + 1 < len(EXPRESSION) else None,
                "genes": int(here.sum()),
                "n": int(n[here].sum()),
                "mean": _short(truth[here].sum() / n[here].sum()),
                "mse": _short(squared[here].sum() / n[here].sum()),
                "pearson": [_short(v) for v in np.quantile(known, (0.25, 0.5, 0.75))]
                if len(known)
                else None,
            }
        )
    return rows


def calibration(bins: Bins) -> list[dict[str, Any]]:
    """Means of predicted and of true counts in each range of predicted ones."""
    rows = zip(bins.low, bins.n, bins.prediction, bins.truth, strict=True)
    return [
        {"low": float(low), "n": int(n), "prediction": _short(p / n), "truth": _short(t / n)}
        for low, n, p, t in rows
        if n
    ]


def quantiles(correlations: np.ndarray) -> dict[str, Any]:
    """Quantiles of correlations; no values where there are none."""
    values = np.quantile(correlations, QUANTILES) if len(correlations) else []
    return {
        "n": len(correlations),
        "quantiles": list(QUANTILES),
        "values": [_short(value) for value in values],
    }


def strata(kept: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of `kept`, these details, as rows of a metric in a stratum (see `Scores`)."""
    rows = []
    for by, table in (("true_count", "by_count"), ("gene_mean", "by_expression")):
        for row in kept.get(table, ()):
            found = {"mse": row["mse"]}
            if row.get("pearson"):
                found["pearson_gene"] = row["pearson"][1]  # of the quartiles, the median
            stratum = _interval(row["low"], row["high"])
            rows += _stratum(by, stratum, row["n"], found)
    for row in kept.get("by_cell_type", ()):
        found = {name: row[name] for name in ("mse", "poisson_nll", "pearson")}
        rows += _stratum("cell_type", row["cell_type"], row["n"], found)
    return rows


def _interval(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:g} and more"
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _stratum(by: str, stratum: str, n: int, found: dict[str, float | None]) -> list[dict[str, Any]]:
    return [
        {"by": by, "stratum": stratum, "n": n, "metric": metric, "value": value}
        for metric, value in found.items()
    ]


def _bin(values: np.ndarray) -> np.ndarray:
    # Negative values, which lognorm predictions may have, belong to the first bin.
    return np.clip(values * (1 / WIDTH), 0, BINS - 1).astype(np.int32)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
