import numpy as np
from scipy.sparse.linalg import LinearOperator, svds
from scipy.spatial import cKDTree

from lacuna_contract import NotApplicable, model

NEIGHBOURS = (1, 2, 5, 10, 20, 40, 80)


def components(name, x, has, rank, seed):
    """Principal components of a modality, (cells, rank); 0 where a cell lacks it."""
    x = x[has]
    depth = np.maximum(x.sum(axis=1).A1, 1)
    x = x if name == "adt" else x.multiply(np.median(depth) / depth[:, None]).tocsr()
    x = x if name == "atac" else x.log1p()
    mean = x.mean(axis=0).A1
    centred = LinearOperator(
        x.shape,
        matvec=lambda v: x @ v.ravel() - mean @ v.ravel(),
        rmatvec=lambda u: x.T @ u.ravel() - mean * u.sum(),
        dtype=float,
    )
    rank = max(1, min(rank, min(x.shape) - 1))
    u, s, _ = svds(centred, rank, rng=np.random.default_rng(seed))
    found = np.zeros((len(has), rank))
    found[has] = (u * s)[:, ::-1]
    return found


def means(pool, values, rows, counts, prior, own=False):
    """Means of `values` over the cells of the pool that are nearest to rows, `prior` cells of the
    overall mean added, for one number of them after another; with `own`, the rows are the pool, and
    none is its own neighbour."""
    mean = values.mean(axis=0)
    near = cKDTree(pool).query(rows, max(counts) + own)[1].reshape(len(rows), -1)
    if own:
        # Cells in one place may come before the cell itself.
        later = np.argsort(near == np.arange(len(rows))[:, None], axis=1, kind="stable")
        near = np.take_along_axis(near, later, axis=1)
    total = np.zeros((len(rows), values.shape[1]))
    for place in range(max(counts)):
        total += values[near[:, place]]
        if place + 1 in counts:
            yield (total + prior * mean) / (place + 1 + prior)


def average(points, has, target, values, rows, k, prior):
    """Mean of `values` of the target, (cells with it, columns), over the nearest cells that have
    it, found by the modality that most of these share with a row. Without `k`, there are as many of
    them as predict the cells of the pool best, each by the others."""
    place = np.cumsum(has[target]) - 1
    found = np.empty((len(rows), values.shape[1]))
    done = np.zeros(len(rows), dtype=bool)
    shared = {name: has[target] & has[name] for name in points if name != target}
    for name in sorted(shared, key=lambda name: -shared[name].sum()):
        here = ~done & has[name][rows]
        pool = np.flatnonzero(shared[name])
        if not here.any() or not len(pool):
            continue
        own, where = values[place[pool]], points[name][pool]
        # Of a few cells, not all are near.
        most = max(1, len(pool) // 6)
        counts = sorted({min(n, most) for n in ([k] if k else NEIGHBOURS)})
        if len(counts) > 1:
            errors = [
                ((some - own) ** 2).sum() for some in means(where, own, where, counts, prior, True)
            ]
            counts = [counts[int(np.argmin(errors))]]
        found[here] = next(means(where, own, points[name][rows[here]], counts, prior))
        done |= here
    if not done.all():
        raise NotApplicable(
            f"{int((~done).sum())} cells share no modality with a cell that has {target}; "
            "neighbours are found by a modality that both have"
        )
    return found


@model("multimodal")
def predict(data, *, k=None, dims=10, prior=1.0, seed=0):
    """What the nearest cells with the hidden modality have, by principal components of a modality
    that both have. The embedding: components of the most frequent modality, averaged likewise."""
    has = data.has
    points = {name: components(name, x, has[name], dims, seed) for name, x in data.counts.items()}
    imputed = {}
    for name, asked in data.asked.items():
        values = data.counts[name][has[name]][:, asked.features].toarray()
        values = np.log1p(values) if name == "adt" else values
        imputed[name] = average(points, has, name, values, asked.cells, k, prior)
    anchor = max(data.counts, key=lambda name: has[name].sum())
    embedding = points[anchor].copy()
    missing = np.flatnonzero(~has[anchor])
    if len(missing):
        values = embedding[has[anchor]]
        embedding[missing] = average(points, has, anchor, values, missing, k, 0.0)
    return embedding, imputed
