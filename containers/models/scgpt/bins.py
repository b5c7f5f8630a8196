"""From counts to scGPT's bins, and back.

Forth is scGPT's own way (its function `binning`): of a cell's visible counts, 0 is bin 0, and the
others are cut at their quantiles into bins 1 to n - 1; equal counts that span several bins are
spread over them at random. What is here is the way back.

A network's output is a *mean* of bins, as its loss is the squared error. Reading it off at a
cell's bin edges would make of a mean of 3, which may be nine zeros and a bin of 30, a count of 1.
So the distribution behind the mean has to be said. It is the one that the gene has in all cells,
tilted: bin b has the weight share_b x exp(t b), with the t that gives it the network's mean. The
expected count is that distribution's mean of what each bin stands for in the cell. Hence

* a prediction of the gene's own mean bin gives the counts which that distribution has in the cell,
* the expected count rises with the predicted bin, from 0 at bin 0,
* and where the distribution is known, the inverse is exact: nothing is fitted to what is hidden.
"""

import numpy as np

TILTS = np.linspace(-4, 4, 401)
PRIOR = 5.0  # entries, spread over all bins as those of all genes, that each gene is given besides


def stands_for(counts, bins, seen, n_bins):
    """(cells, n_bins): the mean visible count in each bin of each cell; bins that hold none are
    interpolated. All 0 for a cell without counts."""
    cells = len(counts)
    key = (np.arange(cells)[:, None] * n_bins + bins)[seen]
    size = (cells, n_bins)
    share = np.bincount(key, minlength=cells * n_bins).reshape(size)
    total = np.bincount(key, counts[seen], minlength=cells * n_bins).reshape(size)
    found = np.zeros(size)
    for cell in range(cells):
        # Bin 0 is a count of 0 whether or not the cell has one.
        there = np.union1d([0], np.flatnonzero(share[cell]))
        mean = total[cell, there] / np.maximum(share[cell, there], 1)
        found[cell] = np.interp(np.arange(n_bins), there, mean)
    return found


class Spread:
    """The distribution of each gene over the bins, of the visible entries of some cells."""

    def __init__(self, genes, n_bins):
        self.n_bins, self.counts = n_bins, np.zeros((genes, n_bins))

    def add(self, bins, seen):
        """Count some cells' visible entries."""
        key = (np.arange(bins.shape[1]) * self.n_bins + bins)[seen]
        self.counts += np.bincount(key, minlength=self.counts.size).reshape(self.counts.shape)

    def shares(self):
        """(genes, n_bins), each row with sum 1."""
        # Every bin must be possible, so that every mean can be reached.
        pool = self.counts.sum(axis=0) + 1
        shares = self.counts + PRIOR * pool / pool.sum()
        return shares / shares.sum(axis=1, keepdims=True)


def tilted(shares, tilts):
    """(n, n_bins): a distribution over bins for each of n pairs of a distribution and a tilt."""
    log = np.asarray(tilts)[:, None] * np.arange(shares.shape[-1]) + np.log(shares)
    weights = np.exp(log - log.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


class Inverse:
    """From predicted bins to expected counts, for genes with these distributions over bins.

    shares
        (genes, n_bins), each row with sum 1 and no zero.
    """

    def __init__(self, shares):
        self.shares = shares
        every = np.arange(shares.shape[1])
        self.reached = np.stack([tilted(share[None], TILTS) @ every for share in shares])

    def __call__(self, means, genes, values):
        """Expected counts of n entries.

        means
            (n,) predicted mean bins; below 0 counts as 0, above the last bin as that.
        genes
            (n,) the entries' genes.
        values
            (n, n_bins) what each bin stands for in the entries' cells.
        """
        order = np.argsort(genes, kind="stable")
        bounds = np.searchsorted(genes[order], np.arange(len(self.shares) + 1))
        tilts = np.empty(len(means))
        for gene in np.unique(genes):
            part = order[bounds[gene] : bounds[gene + 1]]
            tilts[part] = np.interp(means[part], self.reached[gene], TILTS)
        found = (tilted(self.shares[genes], tilts) * values).sum(axis=1)
        # Beyond the largest tilts lie the two ends themselves.
        low, high = self.reached[genes, 0], self.reached[genes, -1]
        found = np.where(means < low, found * np.maximum(means, 0) / low, found)
        return np.where(means > high, values[:, -1], found)
