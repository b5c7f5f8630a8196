import numpy as np
from scipy.sparse.linalg import LinearOperator, svds
from scipy.spatial import cKDTree

from lacuna_contract import NotApplicable, model


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


def average(points, has, target, values, rows, k, prior):
    """Mean of `values` of the target, (cells with it, columns), over the k nearest cells that have
    it, found by the modality that most of these share with a row; `prior` cells of the overall mean
    are added."""
    place, mean = np.cumsum(has[target]) - 1, values.mean(axis=0)
    found = np.empty((len(rows), values.shape[1]))
    done = np.zeros(len(rows), dtype=bool)
    shared = {name: has[target] & has[name] for name in points if name != target}
    for name in sorted(shared, key=lambda name: -shared[name].sum()):
        here = ~done & has[name][rows]
        pool = np.flatnonzero(shared[name])
        if not here.any() or not len(pool):
            continue
        # Of a few cells, not all are near.
        few = max(1, min(k, len(pool) // 6))
        near = cKDTree(points[name][pool]).query(points[name][rows[here]], few)[1]
        near = near.reshape(here.sum(), -1)
        total = sum(values[place[pool[column]]] for column in near.T)
        found[here] = (total + prior * mean) / (near.shape[1] + prior)
        done |= here
    if not done.all():
        raise NotApplicable(
            f"{int((~done).sum())} cells share no modality with a cell that has {target}; "
            "neighbours are found by a modality that both have"
        )
    return found


@model("multimodal")
def predict(data, *, k=20, dims=10, prior=1.0, seed=0):
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
        embedding[missing] = average(points, has, anchor, values, missing, 5, 0.0)
    return embedding, imputed
