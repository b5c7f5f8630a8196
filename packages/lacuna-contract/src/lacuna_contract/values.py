"""The two value spaces of expression, and the way from one to the other.

``counts`` are expected counts. ``lognorm`` is log1p(10,000 * counts / the cell's visible total): a
total over the entries that were not hidden, so that a model and the scorer both know it.
"""

import numpy as np

SPACES = ("counts", "lognorm")
TARGET = 10_000.0


def scale(visible_total: np.ndarray) -> np.ndarray:
    """TARGET / total per cell. A cell of which nothing is visible counts as a total of 1."""
    return TARGET / np.maximum(np.asarray(visible_total, dtype=np.float64), 1.0)


def to_lognorm(counts: np.ndarray, visible_total: np.ndarray) -> np.ndarray:
    """Counts to lognorm. `visible_total` broadcasts against `counts`, e.g. (cells, 1)."""
    return np.log1p(counts * scale(visible_total))


def to_counts(lognorm: np.ndarray, visible_total: np.ndarray) -> np.ndarray:
    """Lognorm back to expected counts, the inverse of `to_lognorm`."""
    return np.expm1(lognorm) / scale(visible_total)
