import numpy as np
from scipy import sparse

from lacuna_contract import model


def scales(counts, hidden, passes=3):
    """Depth of each cell and rate of each gene, of visible entries only; about 1 where nothing is
    visible. Their product is the expected count of an entry were all cells alike."""
    depth = np.ones(counts.shape[0])
    for _ in range(passes):
        seen = np.maximum(depth.sum() - hidden.T @ depth, 1e-6)
        rate = (counts.sum(axis=0, dtype=float).A1 + 1e-3) / (seen + 1)
        seen = np.maximum(rate.sum() - hidden @ rate, 0)
        depth = (counts.sum(axis=1, dtype=float).A1 + 1) / (seen + 1)
    return depth, rate


class Residuals:
    """Pearson residuals, (count - expected) / sqrt(expected), as a dense matrix (cells, genes).

    A hidden entry's residual is 0 at first. Rare genes are scaled as if less rare: one count of
    theirs must not weigh more than all else.
    """

    def __init__(self, counts, hidden):
        self.depth, self.rate = scales(counts, hidden)
        self.down, self.across = np.sqrt(self.depth), np.sqrt(np.maximum(self.rate, 0.02))
        self.rows = np.repeat(np.arange(len(self.depth)), np.diff(hidden.indptr))
        self.at = self.rows, hidden.indices
        self.values = counts.toarray() / np.outer(self.down, self.across)
        self.values -= np.outer(self.down, self.rate / self.across)
        self.values[self.at] = 0

    def counts(self, residuals):
        """Expected counts for these residuals, which are those of the hidden entries or of all; at
        least 2 % of the usual."""
        usual, scale = np.outer(self.depth, self.rate), np.outer(self.down, self.across)
        if residuals.ndim == 1:
            usual, scale = usual[self.at], scale[self.at]
        return np.maximum(usual + residuals * scale, 0.02 * usual)


def regress(values, sources, penalty):
    """Weights (sources, genes) of the ridge regression of each gene on the source genes, itself
    left out.

    Without itself by a closed form: where P is the inverse of the penalised Gram matrix, leaving a
    source out of its own regression is B_ij = -P_ij / P_jj (Steck 2019). Only genes that are no
    sources are regressed on all of them.
    """
    x = values[:, sources]
    inverse = np.linalg.inv(x.T @ x + penalty * len(x) * np.eye(len(sources)))
    weights = inverse @ (x.T @ values)
    own = -inverse / np.diag(inverse)
    np.fill_diagonal(own, 0)
    weights[:, sources] = own
    return weights


def complete(counts, hidden, penalty, sources, sweeps, everywhere=False):
    """Expected counts of the hidden entries: regress, fill them in as sources, regress again.
    `everywhere`, those of all entries, as a matrix."""
    residuals = Residuals(counts, hidden)
    values = residuals.values
    chosen = np.sort(np.argsort(-values.var(axis=0), kind="stable")[:sources])
    for _ in range(sweeps):
        weights = regress(values, chosen, penalty)
        if everywhere:  # nothing is hidden
            return residuals.counts(values[:, chosen] @ weights)
        # A block of cells at a time; each is read before it is written.
        for rows in np.array_split(np.arange(len(values)), 1 + values.size // 20_000_000):
            part = slice(*np.searchsorted(residuals.rows, [rows[0], rows[-1] + 1]))
            at = residuals.rows[part] - rows[0], residuals.at[1][part]
            values[rows[0] + at[0], at[1]] = (values[np.ix_(rows, chosen)] @ weights)[at]
    return residuals.counts(values[residuals.at])


def hold_out(hidden, fraction, rng):
    """A random set of visible entries, as a bool matrix."""
    draw = rng.integers(hidden.shape, size=(max(100, round(fraction * np.prod(hidden.shape))), 2))
    held = sparse.csr_matrix((np.ones(len(draw), bool), draw.T), shape=hidden.shape)
    return (held > hidden).tocsr()


@model("reconstruction", value_space="counts")
def predict(
    counts, hidden, *, penalties=(0.3, 1, 3, 10, 30), sources=3000, sweeps=4, kind="hidden", seed=0
):
    """Each gene's residual as a linear function of those of the other genes of the cell, with the
    penalty whose predictions of visible entries are best when those are hidden too (by Poisson
    likelihood)."""
    held = hold_out(hidden, 0.05, np.random.default_rng(seed))
    rest = (counts - counts.multiply(held)).tocsr()
    true = (counts.multiply(held) + held.astype(np.float32)).tocsr().data - 1
    both = (hidden + held).tocsr()
    inside = (held.astype(int) + both.astype(int)).tocsr().data == 2
    errors = {}
    for penalty in penalties:
        guess = complete(rest, both, penalty, sources, sweeps)[inside]
        errors[penalty] = float(np.mean(guess - true * np.log(guess)))
    best = min(errors, key=errors.get)
    found = complete(counts, hidden, best, sources, sweeps, everywhere=kind == "thinned")
    return found, {"penalty": best, "held_out": errors}
