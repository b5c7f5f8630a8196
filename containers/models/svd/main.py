import numpy as np
from scipy import sparse

from lacuna_contract import model
from lacuna_contract.values import TARGET


def complete(values, hidden, rank, shrink, sweeps, rng):
    """Low-rank values of the entries of `hidden`: fill them, fit, fill them again.

    What is filled is sparse, and so is all that is computed with: visible values, hidden ones.
    """
    cells, genes = values.shape
    rows, cols = np.repeat(np.arange(cells), np.diff(hidden.indptr)), hidden.indices
    mean = values.sum(axis=0).A1 / np.maximum(1, cells - hidden.sum(axis=0).A1)
    filled = hidden.astype(float)
    filled.data = mean[cols]
    right = rng.normal(size=(genes, rank))
    for _ in range(sweeps):
        # One warm-started step towards the leading singular vectors of (values + filled - mean).
        left = np.linalg.qr(values @ right + filled @ right - mean @ right)[0]
        weights = values.T @ left + filled.T @ left - np.outer(mean, left.sum(axis=0))
        right, s, rotation = np.linalg.svd(weights, full_matrices=False)
        left = left @ rotation.T * (s - shrink * s[-1])
        for part in np.array_split(np.arange(len(rows)), 1 + len(rows) // 1_000_000):
            fit = np.einsum("ij,ij->i", left[rows[part]], right[cols[part]])
            filled.data[part] = np.maximum(0, mean[cols[part]] + fit)
    return filled.data


def hold_out(hidden, fraction, rng):
    """A random set of visible entries, as a bool matrix."""
    draw = rng.integers(hidden.shape, size=(round(fraction * np.prod(hidden.shape)), 2))
    held = sparse.csr_matrix((np.ones(len(draw), bool), draw.T), shape=hidden.shape)
    return (held > hidden).tocsr()


@model("reconstruction", value_space="lognorm")
def predict(counts, hidden, *, ranks=(2, 5, 10, 20), shrink=0.25, sweeps=20, seed=0):
    """Iterative singular value decomposition of log-normalised values (as softImpute does it),
    with the rank that predicts visible entries best when those are hidden too."""
    rng = np.random.default_rng(seed)
    total = np.maximum(1, counts.sum(axis=1, dtype=float).A1)
    values = counts.multiply(TARGET / total[:, None]).tocsr().log1p()
    held = hold_out(hidden, 0.05, rng)
    rest = values - values.multiply(held)
    true = (values.multiply(held) + held.astype(float)).tocsr().data - 1
    both = (hidden + held).tocsr()
    inside = (held.astype(int) + both.astype(int)).tocsr().data == 2
    limit = min(counts.shape) - 1
    ranks = sorted({max(1, min(rank, limit)) for rank in ranks})
    errors = {}
    for rank in ranks:
        guess = complete(rest, both, rank, shrink, sweeps, rng)[inside]
        errors[rank] = float(np.mean((guess - true) ** 2))
    best = min(errors, key=errors.get)
    return complete(values, hidden, best, shrink, sweeps, rng), {"rank": best, "errors": errors}
