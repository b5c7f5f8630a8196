# MAGIC's package is under the GPL-2, and with it what this file makes of it: see LICENSE.
import logging
import warnings

import magic
import numpy as np
from scipy import sparse

from lacuna_contract import NotApplicable, model, need_memory
from lacuna_contract.held_out import hold_out

# While the graph is made: of each cell and gene, in a dense matrix and two copies; of each entry
# that is stored, visible or hidden, in several sparse ones.
ENTRY_BYTES, STORED_BYTES = 24, 24


def depths(counts, hidden, passes=3):
    """Sequencing depth per cell (about 1 on average) and rate per gene, of visible entries only."""
    depth = np.ones(counts.shape[0])
    for _ in range(passes):
        rate = counts.sum(axis=0, dtype=float).A1 / np.maximum(depth.sum() - hidden.T @ depth, 1e-6)
        share = rate.sum() - hidden @ rate
        known = share > 1e-6 * rate.sum()  # else nothing of the cell is visible: depth 1
        total = np.maximum(counts.sum(axis=1, dtype=float).A1, 0.5)
        depth = np.divide(total, share, out=np.ones(len(total)), where=known)
    return depth, rate


def operator(counts, hidden, depth, rate, knn, seed):
    """MAGIC's diffusion operator (cells, cells): each row sums to 1.

    Its graph is of square roots of counts over depth, as the paper has them; a hidden entry is its
    gene's rate there.
    """
    filled = (counts / depth[:, None]).tocsr() + hidden.multiply(rate).tocsr()
    others = counts.shape[0] - 1
    knn = min(knn, others - 1)
    dims = min(100, *(n - 1 for n in counts.shape))
    graph = magic.MAGIC(
        knn=knn,
        knn_max=min(3 * knn, others),
        n_pca=dims,
        solver="exact",
        random_state=seed,
        verbose=False,
    )
    graph.fit(filled.sqrt().toarray())
    return sparse.csr_matrix(graph.diff_op)


def diffuse(counts, hidden, wanted, depth, rate, steps, prior):
    """Expected counts of the entries of `wanted`, or of all (None): what `steps`, a list of
    operators that are applied one after the other, bring to a cell of counts, over what they bring
    of the depths of cells in which those were visible.

    `prior` is the weight of the gene's rate, in cells: all that reach a cell may have it hidden.
    """
    reached = depth
    for step in steps:
        reached = step @ reached
    if wanted is None:  # and nothing is hidden
        pooled = counts.toarray()
        for step in steps:
            pooled = step @ pooled
        # In place: in between, four matrices of this size would be one too many.
        pooled += prior * rate
        pooled *= (depth / (reached + prior))[:, None]
        return pooled
    rows = np.repeat(np.arange(len(depth)), np.diff(wanted.indptr))
    order = np.argsort(wanted.indices, kind="stable")
    bounds = np.searchsorted(wanted.indices[order], np.arange(counts.shape[1] + 1))
    dark = hidden.multiply(depth[:, None]).tocsc()
    columns = counts.tocsc()
    found = np.empty(wanted.nnz)
    # The diffused matrix is dense: some genes at a time.
    for genes in np.array_split(np.arange(counts.shape[1]), 1 + counts.shape[1] // 500):
        pooled, unseen = (m[:, genes].toarray() for m in (columns, dark))
        for step in steps:
            pooled, unseen = step @ pooled, step @ unseen
        part = order[bounds[genes[0]] : bounds[genes[-1] + 1]]
        at = rows[part], wanted.indices[part] - genes[0]
        weight = np.maximum(reached[at[0]] - unseen[at], 0)
        usual = rate[wanted.indices[part]]
        found[part] = depth[at[0]] * (pooled[at] + prior * usual) / (weight + prior)
    return found


@model("reconstruction", value_space="counts")
def predict(
    counts, hidden, *, neighbours=(5, 10, 20), times=(1, 2, 3), prior=0.05, kind="hidden", seed=0
):
    """MAGIC with the number of neighbours and of steps whose predictions of visible entries are
    best when those are hidden too (by Poisson likelihood)."""
    if min(counts.shape) < 3:
        raise NotApplicable(
            f"a graph of neighbours needs 3 cells and genes; there are {counts.shape}"
        )
    cells, genes = counts.shape
    need_memory(
        ENTRY_BYTES * cells * genes + STORED_BYTES * (counts.nnz + hidden.nnz),
        f"a dense matrix of {cells} cells x {genes} genes",
    )
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    choices = [(k, t) for k in neighbours for t in times]
    errors = {}
    if len(choices) > 1:
        held = hold_out(hidden, 0.05, np.random.default_rng(seed))
        rest = (counts - counts.multiply(held)).tocsr()
        true = (counts.multiply(held) + held.astype(np.float32)).tocsr().data - 1
        both = (hidden + held).tocsr()
        depth, rate = depths(rest, both)
        for k in neighbours:
            step = operator(rest, both, depth, rate, k, seed)
            for t in times:
                guess = diffuse(rest, both, held, depth, rate, [step] * t, prior).clip(1e-6)
                errors[f"knn {k}, t {t}"] = float(np.mean(guess - true * np.log(guess)))
        choices = [choices[int(np.argmin(list(errors.values())))]]
    ((k, t),) = choices
    depth, rate = depths(counts, hidden)
    step = operator(counts, hidden, depth, rate, k, seed)
    wanted = None if kind == "thinned" else hidden
    found = diffuse(counts, hidden, wanted, depth, rate, [step] * t, prior)
    return found, {"knn": k, "t": t, "held_out": errors}
