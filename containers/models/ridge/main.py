import numpy as np
from scipy import sparse

from lacuna_contract import model, need_memory
from lacuna_contract.held_out import hold_out

BLOCK = 5_000_000  # entries of a dense matrix at a time
ENTRY_BYTES = 40  # of a sampled cell's entry, visible or hidden: in several sparse matrices


def scales(counts, hidden, passes=3):
    """Depth of each cell and rate of each gene, of visible entries only; about 1 where nothing is
    visible. Their product is the expected count of an entry were all cells alike."""
    depth = np.ones(counts.shape[0])
    for _ in range(passes):
        seen = np.maximum(depth.sum() - hidden.T @ depth, 1e-6)
        rate = (counts.sum(axis=0, dtype=float).A1 + 1e-3) / (seen + 1)
        depth = depths(counts, hidden, rate)
    return depth, rate


def depths(counts, hidden, rate):
    """Depth of each cell where the genes have these rates."""
    seen = np.maximum(rate.sum() - hidden @ rate, 0)
    return (counts.sum(axis=1, dtype=float).A1 + 1) / (seen + 1)


class Block:
    """Some cells' Pearson residuals, (count - expected) / sqrt(expected), as a dense matrix.

    A hidden entry's residual is 0 at first. Rare genes are scaled as if less rare: one count of
    theirs must not weigh more than all else.
    """

    def __init__(self, counts, hidden, rate):
        self.depth, self.rate = depths(counts, hidden, rate), rate
        self.down, self.across = np.sqrt(self.depth), np.sqrt(np.maximum(rate, 0.02))
        self.at = np.repeat(np.arange(len(self.depth)), np.diff(hidden.indptr)), hidden.indices
        self.values = counts.toarray() / np.outer(self.down, self.across)
        self.values -= np.outer(self.down, rate / self.across)
        self.values[self.at] = 0

    def counts(self, residuals):
        """Expected counts for these residuals, which are those of the hidden entries or of all; at
        least 2 % of the usual."""
        if residuals.ndim == 1:
            cells, genes = self.at
            usual, scale = (
                self.depth[cells] * self.rate[genes],
                self.down[cells] * self.across[genes],
            )
        else:
            usual, scale = np.outer(self.depth, self.rate), np.outer(self.down, self.across)
        return np.maximum(usual + residuals * scale, 0.02 * usual)


def blocks(counts, hidden, rate):
    """`Block`s of consecutive cells, and for each the part of the hidden entries that is in it."""
    size = max(1, BLOCK // counts.shape[1])
    for first in range(0, counts.shape[0], size):
        rows = slice(first, first + size)
        part = slice(hidden.indptr[first], hidden.indptr[min(first + size, counts.shape[0])])
        yield Block(counts[rows], hidden[rows], rate), part


def regress(gram, cross, sources, penalty):
    """Weights (sources, genes) of the ridge regression of each gene on the source genes, itself
    left out.

    Without itself by a closed form: where P is the inverse of the penalised Gram matrix, leaving a
    source out of its own regression is B_ij = -P_ij / P_jj (Steck 2019). Only genes that are no
    sources are regressed on all of them.

    gram, cross
        (sources, sources) and (sources, genes): X'X and X'Y of the residuals of the source genes,
        X (cells, sources), and of all genes, Y (cells, genes).
    """
    inverse = np.linalg.inv(gram + penalty * np.eye(len(sources)))
    weights = inverse @ cross
    own = -inverse / np.diag(inverse)
    np.fill_diagonal(own, 0)
    weights[:, sources] = own
    return weights


class Regression:
    """Ridge regressions that were fitted to some cells: regress, fill hidden entries in as sources,
    regress again. One dense block of cells is in memory at a time.

    guess
        (hidden entries,) the expected counts of those that were hidden in these cells.
    """

    def __init__(self, counts, hidden, penalty, sources, sweeps):
        _, self.rate = scales(counts, hidden)
        self.chosen, self.sweeps = self._choose(counts, hidden, sources), []
        cells, genes = counts.shape
        filled = np.zeros(hidden.nnz, np.float32)
        for _ in range(sweeps):
            cross = np.zeros((len(self.chosen), genes))
            for block, part in blocks(counts, hidden, self.rate):
                block.values[block.at] = filled[part]
                cross += block.values[:, self.chosen].T @ block.values
            gram = cross[:, self.chosen]
            # Not given a name: in double precision it is not needed any longer.
            self.sweeps.append(
                regress(gram, cross, self.chosen, penalty * cells).astype(np.float32)
            )
            for block, part in blocks(counts, hidden, self.rate):
                block.values[block.at] = filled[part]
                filled[part] = self._next(block, self.sweeps[-1])[block.at]
        self.guess = np.empty(hidden.nnz)
        for block, part in blocks(counts, hidden, self.rate):
            self.guess[part] = block.counts(filled[part])

    def _choose(self, counts, hidden, sources):
        """The genes of the largest variance, in their order."""
        genes = counts.shape[1]
        if genes <= sources:
            return np.arange(genes)
        sums, squares = np.zeros(genes), np.zeros(genes)
        for block, _ in blocks(counts, hidden, self.rate):
            sums += block.values.sum(axis=0)
            squares += (block.values**2).sum(axis=0)
        variance = squares / counts.shape[0] - (sums / counts.shape[0]) ** 2
        return np.sort(np.argsort(-variance, kind="stable")[:sources])

    def _next(self, block, weights):
        # In the weights' precision: else they would be copied to double for each block.
        return block.values[:, self.chosen].astype(np.float32) @ weights

    def __call__(self, counts, hidden, everywhere=False):
        """Expected counts of the hidden entries of any cells, as they are filled in sweep by sweep;
        `everywhere`, those of all entries, as a matrix."""
        found = []
        for block, _ in blocks(counts, hidden, self.rate):
            for weights in self.sweeps:
                residuals = self._next(block, weights)
                block.values[block.at] = residuals[block.at]
            found.append(block.counts(residuals if everywhere else residuals[block.at]))
        return np.concatenate(found)


def needed(cells, genes, stored, sources, sweeps):
    """Bytes that a fit takes: two matrices of sources by genes and the weights of each sweep; the
    sampled cells and a dense block of them; what makes a block, or what an inverse takes."""
    sources, block = min(sources, genes), min(BLOCK, cells * genes)
    weights = sources * genes * (12 + 4 * sweeps)
    return weights + ENTRY_BYTES * stored + 8 * block + max(32 * block, 40 * sources**2)


def sample(chunks, cells, most, rng):
    """Counts and hidden entries of at most `most` cells of all chunks, drawn at random."""
    chosen = np.sort(rng.permutation(cells)[:most])
    counts, hidden = [], []
    for chunk in chunks:
        first, last = np.searchsorted(chosen, [chunk.cells.start, chunk.cells.stop])
        rows = chosen[first:last] - chunk.cells.start
        counts.append(chunk.counts[rows])
        hidden.append(chunk.hidden[rows])
    return sparse.vstack(counts, format="csr"), sparse.vstack(hidden, format="csr")


@model("reconstruction", value_space="counts")
class Ridge:
    """Each gene's residual as a linear function of those of the other genes of the cell, with the
    penalty whose predictions of visible entries are best when those are hidden too (by Poisson
    likelihood). Fitted to at most `fitted` cells, drawn at random; predicts any number."""

    def __init__(
        self, *, penalties=(0.3, 1, 3, 10, 30), sources=3000, sweeps=4, fitted=20_000,
        kind="hidden", seed=0,
    ):  # fmt: skip
        self.penalties, self.sources, self.sweeps = penalties, sources, sweeps
        self.most, self.kind, self.rng = fitted, kind, np.random.default_rng(seed)

    def fit(self, chunks):
        cells = stored = genes = 0
        for chunk in chunks:
            cells, genes = cells + len(chunk.cells), chunk.counts.shape[1]
            stored += chunk.counts.nnz + chunk.hidden.nnz
        some = min(1, self.most / cells)
        need_memory(
            needed(some * cells, genes, some * stored, self.sources, self.sweeps),
            f"a regression of {genes} genes in {some * cells:.0f} cells",
        )
        counts, hidden = sample(chunks, cells, self.most, self.rng)
        held = hold_out(hidden, 0.05, self.rng)
        rest = (counts - counts.multiply(held)).tocsr()
        true = (counts.multiply(held) + held.astype(np.float32)).tocsr().data - 1
        both = (hidden + held).tocsr()
        inside = (held.astype(int) + both.astype(int)).tocsr().data == 2
        errors = {}
        for penalty in self.penalties:
            guess = Regression(rest, both, penalty, self.sources, self.sweeps).guess[inside]
            errors[penalty] = float(np.mean(guess - true * np.log(guess)))
        best = min(errors, key=errors.get)
        self.details = {"penalty": best, "held_out": errors, "cells": counts.shape[0]}
        # Of thinned counts nothing is hidden, and there is nothing to fill in.
        sweeps = 1 if self.kind == "thinned" else self.sweeps
        self.regression = Regression(counts, hidden, best, self.sources, sweeps)

    def predict(self, chunk):
        return self.regression(chunk.counts, chunk.hidden, everywhere=self.kind == "thinned")
