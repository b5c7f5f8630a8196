import numpy as np
from scipy.sparse.linalg import svds

from lacuna_contract import model

#: Expected counts of RNA, probabilities of open peaks, log1p of ADT: the values that can be.
BOUNDS = {"rna": (0.01, np.inf), "atac": (1e-3, 1 - 1e-3), "adt": (0.0, np.inf)}


def logged(name, x):
    """A modality as (cells, features), RNA at one depth and in logarithms, ADT in logarithms."""
    if name == "rna":
        depth = np.maximum(x.sum(axis=1).A1, 1)
        x = x.multiply(np.median(depth[depth > 1]) / depth[:, None])
    return np.log1p(x.toarray()) if name != "atac" else x.toarray()


@model("multimodal")
def predict(data, *, rank=10, penalty=10.0, seed=0):
    """Principal components of all modalities side by side, each of one weight, what is hidden taken
    for the mean; and a ridge regression of each modality on them."""
    blocks = []
    for name, x in data.counts.items():
        has, values = data.has[name], logged(name, x)
        centred = np.where(has[:, None], values - values[has].mean(axis=0), 0)
        # Of one weight for each cell that has it.
        blocks.append(centred / (np.linalg.norm(centred) / np.sqrt(has.sum()) + 1e-9))
    whole = np.hstack(blocks)
    rank = min(rank, min(whole.shape) - 1)
    u, s, _ = svds(whole, rank, rng=np.random.default_rng(seed))
    embedding = (u * s)[:, ::-1]
    points = embedding / (embedding.std(axis=0) + 1e-9)
    imputed = {}
    for name, asked in data.asked.items():
        has = data.has[name]
        y = data.counts[name][has][:, asked.features].toarray()
        y = np.log1p(y) if name == "adt" else y
        x, mean = points[has], y.mean(axis=0)
        middle = x.mean(axis=0)
        x = x - middle
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(rank), x.T @ (y - mean))
        found = mean + (points[asked.cells] - middle) @ weights
        imputed[name] = np.clip(found, *BOUNDS[name])
    return embedding, imputed
