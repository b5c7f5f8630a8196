import numpy as np
from halra import (
    apply_scaling,
    choose_matrix_rank,
    clip_negative_values,
    create_scaling_factors,
    threshold_reconstruction,
)
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from lacuna_contract import NotApplicable, model, need_memory
from lacuna_contract.held_out import hold_out

BLOCK = 20_000_000  # entries of a dense matrix at a time
ENTRY_BYTES = 80  # of an entry, visible or hidden: in several sparse matrices, and in order


def depths(counts, hidden, passes=3):
    """Sequencing depth per cell, about 1 on average, of visible entries only."""
    depth = np.ones(counts.shape[0])
    for _ in range(passes):
        seen = np.maximum(depth.sum() - hidden.T @ depth, 1e-6)
        rate = (counts.sum(axis=0, dtype=float).A1 + 1e-3) / (seen + 1)
        seen = np.maximum(rate.sum() - hidden @ rate, 0)
        depth = (counts.sum(axis=1, dtype=float).A1 + 1) / (seen + 1)
    return depth


def normalise(counts, depth):
    """log1p(counts / depth). With counts per 10,000 instead, a panel of some hundred genes would
    have nothing between 0 and 4, and what is left of a zero would be a count."""
    return counts.multiply(1 / depth[:, None]).tocsr().log1p()


def fill(values, hidden, means):
    """Values with the hidden entries set to `means`, one for each of them in CSR order."""
    return values + sparse.csr_matrix((means, hidden.indices, hidden.indptr), shape=hidden.shape)


def own_rank(values, seed):
    """ALRA's own choice: the last gap between singular values that stands out of the noise."""
    limit = min(values.shape) - 1
    comps = min(100, limit)
    with np.errstate(invalid="ignore", divide="ignore"):
        try:
            return int(choose_matrix_rank(
                values, 12, seed, n_comps=comps, noise_start=min(80, comps - 10), verbose=False
            ))  # fmt: skip
        except ValueError:  # no gap stands out
            return 1


def low_rank(matrix, rank, n_iter, seed):
    """Two factors, (cells, rank) and (rank, genes), by the same decomposition as the package's
    create_reconstruction; multiplied for all entries at once, they would be a dense matrix."""
    u, s, vh = randomized_svd(matrix, n_components=rank, n_iter=n_iter, random_state=seed)
    return u * s, vh


def finish(low, values):
    """What the package does with some genes' low-rank values (cells, genes): thresholds, scaling to
    the visible values, clipping; all of it gene by gene."""
    kept = threshold_reconstruction(low, 0.001)
    scaling = create_scaling_factors(kept, values, verbose=False)
    return clip_negative_values(apply_scaling(kept, *scaling, verbose=False), verbose=False)


def impute(counts, hidden, wanted, rank, passes, seed):
    """ALRA's counts at the entries of `wanted`, in CSR order, or all of them (None); `hidden` is
    what it may not see.

    ALRA takes a zero for what may be missing, and every zero alike. Here it is known what is
    missing: those entries start as their gene's mean and are replaced by the low-rank matrix
    `passes` times. Then thresholds, scaling to the visible values and clipping follow as published.
    """
    depth = depths(counts, hidden)
    values = normalise(counts, depth)
    seen = np.maximum(1, hidden.shape[0] - hidden.sum(axis=0).A1)
    means = (values.sum(axis=0).A1 / seen)[hidden.indices]
    rows = np.repeat(np.arange(hidden.shape[0]), np.diff(hidden.indptr))
    for _ in range(passes):
        left, right = low_rank(fill(values, hidden, means), rank, 4, seed)
        for part in np.array_split(np.arange(len(rows)), 1 + len(rows) * rank // BLOCK):
            genes = right[:, hidden.indices[part]].T
            means[part] = np.einsum("ij,ij->i", left[rows[part]], genes).clip(0)
    left, right = low_rank(fill(values, hidden, means), rank, 12, seed)
    values = values.tocsc()
    cells, genes = counts.shape
    if wanted is None:
        return depth[:, None] * np.expm1(finish(left @ right, values).toarray())
    rows = np.repeat(np.arange(cells), np.diff(wanted.indptr))
    order = np.argsort(wanted.indices, kind="stable")
    bounds = np.searchsorted(wanted.indices[order], np.arange(genes + 1))
    found = np.empty(wanted.nnz)
    for block in np.array_split(np.arange(genes), min(genes, 1 + cells * genes // BLOCK)):
        first, last = block[0], block[-1] + 1
        done = finish(left @ right[:, first:last], values[:, first:last]).tocsr()
        part = order[bounds[first] : bounds[last]]
        here = done[rows[part], wanted.indices[part] - first]
        found[part] = depth[rows[part]] * np.expm1(np.asarray(here).ravel())
    return found


@model("reconstruction", value_space="counts")
def predict(counts, hidden, *, ranks=(5, 10, 20, 40, 80), passes=3, kind="hidden", seed=0):
    """ALRA with the rank whose predictions of visible entries are best when those are hidden too
    (by squared error of counts), or, where `ranks` is "own", with the rank of its rule."""
    limit = min(counts.shape) - 1
    if limit < 15:
        raise NotApplicable(f"ALRA needs at least 16 cells and genes; there are {counts.shape}")
    cells, genes = counts.shape
    dense = cells * genes if kind == "thinned" else min(cells * genes, max(BLOCK, cells))
    need_memory(
        ENTRY_BYTES * (counts.nnz + hidden.nnz) + 40 * dense,
        f"ALRA takes all {cells} cells x {genes} genes at once",
    )
    errors = {}
    if ranks == "own":
        rank = own_rank(normalise(counts, depths(counts, hidden)), seed)
    else:
        held = hold_out(hidden, 0.05, np.random.default_rng(seed))
        rest = (counts - counts.multiply(held)).tocsr()
        both = (hidden + held).tocsr()
        true = (counts.multiply(held) + held.astype(np.float32)).tocsr().data - 1
        for rank in sorted({min(rank, limit) for rank in ranks}):
            guess = impute(rest, both, held, rank, passes, seed)
            errors[rank] = float(np.mean((guess - true) ** 2))
        rank = min(errors, key=errors.get)
    wanted = None if kind == "thinned" else hidden
    values = impute(counts, hidden, wanted, rank, passes, seed)
    return values, {"rank": rank, "held_out": errors}
