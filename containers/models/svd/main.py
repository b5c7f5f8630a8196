import numpy as np
from scipy import sparse

from lacuna_contract import model
from lacuna_contract.held_out import hold_out


def scales(counts, hidden, passes=3):
    """Depth of each cell and rate of each gene, whose product is the expected count of an entry
    were all cells alike. Of visible entries only; about 1 where nothing is visible."""
    depth = np.ones(counts.shape[0])
    for _ in range(passes):
        seen = np.maximum(depth.sum() - hidden.T @ depth, 1e-6)
        rate = (counts.sum(axis=0, dtype=float).A1 + 1e-3) / (seen + 1)
        seen = np.maximum(rate.sum() - hidden @ rate, 0)
        depth = (counts.sum(axis=1, dtype=float).A1 + 1) / (seen + 1)
    return depth, rate


def complete(counts, hidden, rank, shrink, sweeps, rng, everywhere=False):
    """Expected counts of the entries of `hidden`: fill them, fit a low rank, fill them again.
    `everywhere`, those of all entries, as a matrix.

    What has the low rank are Pearson residuals, (count - expected) / sqrt(expected). Divided by
    sqrt(expected) alone, counts stay sparse, and the -sqrt(expected) is of rank one by itself.
    """
    depth, rate = scales(counts, hidden)
    # Rare genes are scaled as if less rare: one count of theirs must not become a component.
    down, across = np.sqrt(depth), np.sqrt(np.maximum(rate, 0.02))
    usual_gene = rate / across
    scaled = sparse.diags_array(1 / down) @ counts @ sparse.diags_array(1 / across)
    rows, cols = np.repeat(np.arange(len(depth)), np.diff(hidden.indptr)), hidden.indices
    scale = down[rows] * across[cols]
    usual = down[rows] * usual_gene[cols]
    filled = sparse.csr_array((usual.copy(), cols, hidden.indptr), shape=hidden.shape)
    right = rng.normal(size=(len(rate), rank))
    for _ in range(sweeps):
        # One warm-started step towards the leading singular vectors of the residuals.
        left = scaled @ right + filled @ right - np.outer(down, usual_gene @ right)
        left = np.linalg.qr(left)[0]
        weights = scaled.T @ left + filled.T @ left - np.outer(usual_gene, down @ left)
        right, s, rotation = np.linalg.svd(weights, full_matrices=False)
        left = left @ rotation.T * (s - shrink * s[-1])
        for part in np.array_split(np.arange(len(rows)), 1 + len(rows) // 1_000_000):
            fit = np.einsum("ij,ij->i", left[rows[part]], right[cols[part]])
            filled.data[part] = np.maximum(usual[part] + fit, 0.02 * usual[part])
    if everywhere:
        usual = np.outer(down, usual_gene)
        return np.outer(down, across) * np.maximum(usual + left @ right.T, 0.02 * usual)
    return scale * filled.data


@model("reconstruction", value_space="counts")
def predict(counts, hidden, *, ranks=(2, 5, 10, 20), shrink=0.25, sweeps=20, kind="hidden", seed=0):
    """Iterative singular value decomposition, with the rank whose predictions of visible entries
    are best when those are hidden too (by Poisson likelihood)."""
    rng = np.random.default_rng(seed)
    held = hold_out(hidden, 0.05, rng)
    rest = (counts - counts.multiply(held)).tocsr()
    true = (counts.multiply(held) + held.astype(np.float32)).tocsr().data - 1
    both = (hidden + held).tocsr()
    inside = (held.astype(int) + both.astype(int)).tocsr().data == 2
    limit = min(counts.shape) - 1
    errors = {}
    for rank in sorted({max(1, min(rank, limit)) for rank in ranks}):
        guess = complete(rest, both, rank, shrink, sweeps, rng)[inside]
        errors[rank] = float(np.mean(guess - true * np.log(guess)))
    best = min(errors, key=errors.get)
    found = complete(counts, hidden, best, shrink, sweeps, rng, everywhere=kind == "thinned")
    return found, {"rank": best, "errors": errors}
