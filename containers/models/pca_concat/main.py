import numpy as np
from scipy.sparse.linalg import svds

from lacuna_contract import model

#: Expected counts of RNA, probabilities of open peaks, log1p of ADT: the values that can be.
BOUNDS = {"rna": (0.01, np.inf), "atac": (1e-3, 1 - 1e-3), "adt": (0.0, np.inf)}
PENALTIES = 10.0 ** np.arange(-1, 5)


def logged(name, x):
    """A modality as (cells, features), RNA at one depth and in logarithms, ADT in logarithms."""
    if name == "rna":
        depth = np.maximum(x.sum(axis=1).A1, 1)
        x = x.multiply(np.median(depth[depth > 1]) / depth[:, None])
    return np.log1p(x.toarray()) if name != "atac" else x.toarray()


def ridge(x, y, asked, penalties):
    """Predictions of `asked` by ridge regression of y on x, with the penalty by which cells are
    predicted best, each left out of the regression once."""
    middle, mean = x.mean(axis=0), y.mean(axis=0)
    u, s, v = np.linalg.svd(x - middle, full_matrices=False)
    along, errors = u.T @ (y - mean), []
    for penalty in penalties:
        kept = s**2 / (s**2 + penalty)
        rest = y - mean - u @ (kept[:, None] * along)
        leverage = 1 / len(x) + u**2 @ kept
        errors.append(((rest / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2).sum())
    penalty = penalties[int(np.argmin(errors))]
    return mean + (asked - middle) @ v.T @ ((s / (s**2 + penalty))[:, None] * along)


@model("multimodal")
def predict(data, *, rank=10, penalty=None, seed=0):
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
        found = ridge(points[has], y, points[asked.cells], [penalty] if penalty else PENALTIES)
        imputed[name] = np.clip(found, *BOUNDS[name])
    return embedding, imputed
