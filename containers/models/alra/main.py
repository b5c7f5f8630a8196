import numpy as np
from halra import (
    apply_scaling,
    choose_matrix_rank,
    clip_negative_values,
    create_reconstruction,
    create_scaling_factors,
    threshold_reconstruction,
)
from scipy import sparse

from lacuna_contract import NotApplicable, model


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
        low = create_reconstruction(fill(values, hidden, means), rank, 4, seed, verbose=False)
        means = low[rows, hidden.indices].clip(0)
    low = create_reconstruction(fill(values, hidden, means), rank, 12, seed, verbose=False)
    kept = threshold_reconstruction(low, 0.001)
    scaling = create_scaling_factors(kept, values, verbose=False)
    found = clip_negative_values(apply_scaling(kept, *scaling, verbose=False), verbose=False)
    if wanted is None:
        return depth[:, None] * np.expm1(found.toarray())
    rows = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
    return depth[rows] * np.expm1(np.asarray(found.tocsr()[rows, wanted.indices]).ravel())


def hold_out(hidden, fraction, rng):
    """A random set of visible entries, as a bool matrix."""
    draw = rng.integers(hidden.shape, size=(max(100, round(fraction * np.prod(hidden.shape))), 2))
    held = sparse.csr_matrix((np.ones(len(draw), bool), draw.T), shape=hidden.shape)
    return (held > hidden).tocsr()


@model("reconstruction", value_space="counts")
def predict(counts, hidden, *, ranks=(5, 10, 20, 40, 80), passes=3, kind="hidden", seed=0):
    """ALRA with the rank whose predictions of visible entries are best when those are hidden too
    (by squared error of counts), or, where `ranks` is "own", with the rank of its rule."""
    limit = min(counts.shape) - 1
    if limit < 15:
        raise NotApplicable(f"ALRA needs at least 16 cells and genes; there are {counts.shape}")
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
