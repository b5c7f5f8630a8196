"""What plots of the task are drawn from: some ten kilobytes for each run.

``details`` of metrics.json:

picture
    ``{"x", "y", "cluster", "pattern"}``: UMAP of the embedding, coordinates from 0 to 999, of at
    most 500 cells, with their true cluster (a place in `clusters`, the names; -1 where it is not
    known) and their pattern, a number of which bit 0 is RNA, bit 1 ATAC, bit 2 ADT. Not there where
    umap-learn is not installed.
cohorts
    ``{"batch", "split", "pattern", "cells"}`` rows: which cells have what.
twins
    How many cells are there twice, and so have two rows.
imputed
    By modality, ``{"low", "width", "counts"}``: entries by true (rows) and predicted (columns)
    value, in bins that reach as far as the truth does; for ATAC instead ``{"predicted", "open",
    "n"}``: bins of predicted probabilities with the share of entries that were open.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from lacuna.metrics.multimodal import lognorm
from lacuna.tasks.multimodal.compiled import keep
from lacuna.tasks.multimodal.embedding import Known

MOST_CELLS = 500
BINS = 24
#: Share of the true values that are drawn in full; what lies above is in the last bin.
DRAWN = 0.999
EDGES = np.array([0, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.45, 0.65, 1.0])


def summary(
    known: Known, pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], split: np.ndarray
) -> dict[str, Any]:
    """The JSON without the picture, which takes longer to make; see the module's text."""
    patterns = _patterns(known)
    rows = Counter(zip(known.batch.tolist(), split.tolist(), patterns.tolist(), strict=True))
    return {
        "cohorts": [
            {"batch": str(batch), "split": str(part), "pattern": int(pattern), "cells": n}
            for (batch, part, pattern), n in sorted(rows.items())
        ],
        "twins": int((known.twin >= 0).sum()) // 2,
        "imputed": {
            m: _calibration(*p) if m == "atac" else _table(m, *p) for m, p in pairs.items()
        },
    }


def _table(modality: str, truth: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
    if modality == "rna":
        truth, prediction = lognorm(truth), lognorm(prediction)
    else:
        truth = np.log1p(truth)
    # Whole numbers, so that axes have round ends.
    width = max(1.0, float(np.ceil(np.quantile(truth, DRAWN)))) / BINS
    x, y = (np.clip(v / width, 0, BINS - 1).astype(int).ravel() for v in (truth, prediction))
    counts = np.bincount(x * BINS + y, minlength=BINS * BINS).reshape(BINS, BINS)
    return {"low": 0.0, "width": width, "counts": counts.tolist()}


def _calibration(truth: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
    p, y = prediction.ravel(), truth.ravel() > 0
    bins = np.clip(np.searchsorted(EDGES, p, side="right") - 1, 0, len(EDGES) - 2)
    n, total, opened = (np.bincount(bins, w, len(EDGES) - 1) for w in (None, p, y))
    some = n > 0
    return {
        "predicted": [_short(v) for v in total[some] / n[some]],
        "open": [_short(v) for v in opened[some] / n[some]],
        "n": n[some].tolist(),
    }


def picture(embedding: np.ndarray, known: Known) -> dict[str, Any] | None:
    """The JSON of the picture; None where umap-learn is not installed."""
    keep()
    try:
        from umap import UMAP
    except ModuleNotFoundError:
        return None
    rows = np.arange(len(embedding))
    if len(rows) > MOST_CELLS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_CELLS, replace=False))
    places = UMAP(random_state=0, n_jobs=1, n_neighbors=min(15, len(rows) - 1)).fit_transform(
        embedding[rows]
    )
    low, high = places.min(axis=0), places.max(axis=0)
    places = np.rint((places - low) / np.maximum(high - low, 1e-9) * 999).astype(int)
    cluster, names = np.full(len(rows), -1), []
    if known.cluster is not None:
        names, numbers = np.unique(known.cluster, return_inverse=True)
        cluster = numbers[rows]
    return {
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "cluster": cluster.tolist(),
        "clusters": [str(name) for name in names],
        "pattern": _patterns(known)[rows].tolist(),
    }


def _patterns(known: Known) -> np.ndarray:
    return known.has @ np.array([1, 2, 4])


def _short(value: float) -> float:
    return float(f"{value:.4g}")
