import numpy as np
from scipy.sparse.linalg import LinearOperator, svds

from lacuna_contract import NotApplicable, model

#: Expected counts of RNA, probabilities of open peaks, log1p of ADT: the values that can be.
BOUNDS = {"rna": (0.01, np.inf), "atac": (1e-3, 1 - 1e-3), "adt": (0.0, np.inf)}
PENALTIES = 10.0 ** np.arange(-1, 5)
FOLDS = 4


def components(name, x, has, rank, seed):
    """Principal components of a modality, (cells, rank), the first of unit variance; 0 without
    the modality."""
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
    # Largest first; in units of the first, so that a penalty weighs on the small ones.
    found[has] = (u * s)[:, ::-1] / (s.max() + 1e-9) * np.sqrt(len(u))
    return found


def ridge(x, y, asked, seed):
    """Predictions of `asked` by ridge regression of y on x; held-out folds choose its penalty."""
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    errors = np.zeros(len(PENALTIES))
    for held in range(FOLDS):
        found = fits(x[fold != held], y[fold != held], x[fold == held], PENALTIES)
        errors += [np.sum((values - y[fold == held]) ** 2) for values in found]
    return next(fits(x, y, asked, [PENALTIES[errors.argmin()]]))


def fits(x, y, asked, penalties):
    """Predictions for one penalty after another."""
    middle, mean = x.mean(axis=0), y.mean(axis=0)
    x = x - middle
    gram, right = x.T @ x, x.T @ (y - mean)
    for penalty in penalties:
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), right)
        yield mean + (asked - middle) @ weights


def impute(points, has, target, values, rows, seed):
    """`values` of a modality, (cells with it, columns), predicted for `rows` from the components of
    the modalities that each of them has."""
    place = np.cumsum(has[target]) - 1
    found = np.empty((len(rows), values.shape[1]))
    others = [name for name in points if name != target]
    pattern = np.array([[has[name][row] for name in others] for row in rows])
    for flags in np.unique(pattern, axis=0):
        here = (pattern == flags).all(axis=1)
        own = [name for name, flag in zip(others, flags, strict=True) if flag]
        # All that the cells have, or the one of them that most cells have beside the target.
        choices = [own, *([name] for name in own)]
        paired = [has[target] & np.all([has[n] for n in some], axis=0) for some in choices]
        enough = [i for i, cells in enumerate(paired) if cells.sum() >= 2 * FOLDS]
        if not enough:
            raise NotApplicable(
                f"no {2 * FOLDS} cells have {target} beside {' or '.join(own)}; a regression "
                "learns from cells that have both"
            )
        best = 0 if paired[0].sum() >= 0.5 * max(c.sum() for c in paired) else None
        best = max(enough, key=lambda i: paired[i].sum()) if best is None else best
        x = np.hstack([points[name] for name in choices[best]])
        train = np.flatnonzero(paired[best])
        found[here] = ridge(x[train], values[place[train]], x[rows[here]], seed)
    return found


@model("multimodal")
def predict(data, *, rank=10, dimensions=10, seed=0):
    """Ridge regression of the principal components of a hidden modality on those of the modalities
    that a cell has, and of its values on its components. The embedding: components of the modality
    that most cells have, regressed where it is hidden."""
    has = data.has
    points = {name: components(name, x, has[name], rank, seed) for name, x in data.counts.items()}
    imputed = {}
    for name, asked in data.asked.items():
        values = data.counts[name][has[name]][:, asked.features].toarray()
        values = np.log1p(values) if name == "adt" else values
        # By way of its own components, learned from all cells that have it, paired or not.
        own = points[name][has[name]]
        middle = impute(points, has, name, own, asked.cells, seed)
        found = ridge(own, values, middle, seed)
        imputed[name] = np.clip(found, *BOUNDS[name])
    anchor = max(data.counts, key=lambda name: has[name].sum())
    embedding = points[anchor][:, :dimensions].copy()
    missing = np.flatnonzero(~has[anchor])
    if len(missing):
        values = embedding[has[anchor]]
        embedding[missing] = impute(points, has, anchor, values, missing, seed)
    return embedding, imputed
