"""What visible counts say of cells' depths and of genes, before any network."""

import numpy as np
from scipy.sparse.linalg import LinearOperator, svds

SAMPLE = 2000  # cells from which genes' distributions over bins and components are taken


def scales(counts, hidden, passes=3):
    """Depth of each cell and rate of each gene, of visible entries only: the floor."""
    depth = np.ones(counts.shape[0])
    for _ in range(passes):
        seen = np.maximum(depth.sum() - hidden.T @ depth, 1e-6)
        rate = counts.sum(axis=0, dtype=float).A1 / seen
        seen = np.maximum(rate.sum() - hidden @ rate, 0)
        depth = (counts.sum(axis=1, dtype=float).A1 + 1) / (seen + 1)
    return depth, rate


def components(counts, hidden, most, rng):
    """(genes, 1 + at most `most`) what distinguishes genes in a sample of cells: the mean of their
    log-normalised visible counts, and their loadings on the principal components of these, where a
    hidden entry is its gene's mean. The mean has variance 1, the loadings together, too."""
    rows = np.sort(rng.permutation(counts.shape[0])[:SAMPLE])
    counts, hidden = counts[rows], hidden[rows]
    depth, _ = scales(counts, hidden)
    values = counts.multiply(1 / np.maximum(depth, 1e-6)[:, None]).tocsr().log1p()
    mean = values.sum(axis=0).A1 / np.maximum(1, len(rows) - hidden.sum(axis=0).A1)
    filled = (values + hidden.multiply(mean)).tocsr()
    centred = LinearOperator(
        filled.shape,
        matvec=lambda v: filled @ v.ravel() - mean @ v.ravel(),
        rmatvec=lambda u: filled.T @ u.ravel() - mean * u.sum(),
        dtype=float,
    )
    parts = [(mean - mean.mean())[:, None]]
    if values.nnz and (many := min(most, *(n - 1 for n in filled.shape))) > 0:
        _, s, right = svds(centred, many, rng=rng)
        parts.append((right.T * s)[:, ::-1])  # the largest first
    return np.hstack([part / max(part.std(), 1e-6) for part in parts])
