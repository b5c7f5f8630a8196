import numpy as np

from lacuna_contract import model


@model("reconstruction", value_space="counts")
class DepthScaledMean:
    """A gene's rate times a cell's depth: the maximum of a Poisson likelihood over visible entries.

    rate of a gene = its visible counts / the depths of the cells in which it is visible
    depth of a cell = its visible counts / the rates of the genes that are visible in it
    """

    def __init__(self, *, passes=3, kind="hidden"):
        self.passes, self.kind = passes, kind

    def fit(self, chunks):
        self.rate = None
        for _ in range(self.passes):
            total = exposure = 0
            for chunk in chunks:
                depth = self.depth(chunk)
                total = total + chunk.counts.sum(axis=0, dtype=np.float64).A1
                exposure = exposure + depth.sum() - chunk.hidden.T @ depth
            # A gene that is visible nowhere gets the rate of all genes together.
            overall = np.full(len(total), total.sum() / max(1, exposure.sum()))
            self.rate = np.divide(total, exposure, out=overall, where=exposure > 1e-6)

    def depth(self, chunk):
        depth = np.ones(chunk.counts.shape[0])  # also of a cell of which nothing is visible
        if self.rate is None:
            return depth
        total = chunk.counts.sum(axis=1, dtype=np.float64).A1
        share = self.rate.sum() - chunk.hidden @ self.rate
        return np.divide(total, share, out=depth, where=share > 1e-6 * self.rate.sum())

    def predict(self, chunk):
        if self.kind == "thinned":
            return np.outer(self.depth(chunk), self.rate)
        depth = np.repeat(self.depth(chunk), np.diff(chunk.hidden.indptr))
        return depth * self.rate[chunk.hidden.indices]
