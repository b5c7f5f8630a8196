import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, svds
from scipy.spatial import cKDTree

from lacuna_contract import model
from lacuna_contract.held_out import hold_out


def depths(counts, hidden, passes=3):
    """Sequencing depth per cell (about 1 on average) and rate per gene, of visible entries only."""
    depth = np.ones(counts.shape[0])
    for _ in range(passes):
        rate = counts.sum(axis=0, dtype=float).A1 / np.maximum(depth.sum() - hidden.T @ depth, 1e-6)
        share = rate.sum() - hidden @ rate
        known = share > 1e-6 * rate.sum()  # else nothing of the cell is visible: depth 1
        total = np.maximum(counts.sum(axis=1, dtype=float).A1, 0.5)
        depth = np.divide(total, share, out=np.ones(len(total)), where=known)
    return depth, rate


def principal_components(values, hidden, dims, seed):
    """Coordinates of the cells, (cells, dims). A hidden entry counts as its gene's mean."""
    cells, genes = values.shape
    mean = values.sum(axis=0).A1 / np.maximum(1, cells - hidden.sum(axis=0).A1)
    centred = LinearOperator(
        values.shape,
        matvec=lambda v: values @ v.ravel() + hidden @ (mean * v.ravel()) - mean @ v.ravel(),
        rmatvec=lambda u: values.T @ u.ravel() + mean * (hidden.T @ u.ravel() - u.sum()),
        dtype=float,
    )
    dims = max(1, min(dims, cells - 1, genes - 1))
    u, s, _ = svds(centred, dims, rng=np.random.default_rng(seed))
    return u * s


def smooth(counts, hidden, k, dims, prior, everywhere, seed):
    """Expected counts of the hidden entries, in CSR order; `everywhere`, of all, as a matrix: those
    of a cell and its k - 1 nearest others over their depths, where they are visible."""
    depth, rate = depths(counts, hidden)
    values = counts.multiply(1 / depth[:, None]).tocsr().log1p()
    points = principal_components(values, hidden, dims, seed)
    k = min(k, len(points))
    near = cKDTree(points).query(points, k)[1].reshape(-1, k)
    dark = hidden.multiply(depth[:, None]).tocsr()
    parts = []
    for rows in np.array_split(np.arange(len(points)), 1 + counts.shape[0] // 1000):
        pool = sparse.csr_matrix(
            (np.ones(near[rows].size), near[rows].ravel(), np.arange(0, near[rows].size + 1, k)),
            shape=(len(rows), len(points)),
        )
        if everywhere:
            seen = (pool @ depth)[:, None] + prior
            parts.append(depth[rows][:, None] * ((pool @ counts).toarray() + prior * rate) / seen)
            continue
        at = np.repeat(np.arange(len(rows)), np.diff(hidden.indptr)[rows]), hidden[rows].indices
        seen = (pool @ depth)[at[0]] - (pool @ dark).toarray()[at]
        found = (pool @ counts).toarray()[at]
        parts.append(depth[rows][at[0]] * (found + prior * rate[at[1]]) / (seen + prior))
    return np.concatenate(parts)


@model("reconstruction", value_space="counts")
def predict(counts, hidden, *, k=24, dims=15, prior=0.5, kind="hidden", seed=0):
    """kNN smoothing with `k` cells, or, of several numbers, with the one whose predictions of
    visible entries are best when those are hidden too (by Poisson likelihood).

    `prior` is the weight of the gene's overall rate, in cells: neighbours may all have it hidden.
    """
    details = {}
    if not isinstance(k, int):
        held = hold_out(hidden, 0.05, np.random.default_rng(seed))
        rest = (counts - counts.multiply(held)).tocsr()
        true = (counts.multiply(held) + held.astype(np.float32)).tocsr().data - 1
        both = (hidden + held).tocsr()
        inside = (held.astype(int) + both.astype(int)).tocsr().data == 2
        errors = {}
        for many in k:
            guess = smooth(rest, both, many, dims, prior, False, seed)[inside].clip(1e-6)
            errors[many] = float(np.mean(guess - true * np.log(guess)))
        k = min(errors, key=errors.get)
        details = {"k": k, "held_out": errors}
    return smooth(counts, hidden, k, dims, prior, kind == "thinned", seed), details
