import numpy as np

from lacuna_contract import model


@model("reconstruction", value_space="counts")
class GeneMean:
    """The mean of a gene over the cells in which it is visible."""

    def __init__(self, *, kind="hidden"):
        self.kind = kind

    def fit(self, chunks):
        total = visible = 0
        for chunk in chunks:
            total = total + chunk.counts.sum(axis=0, dtype=np.float64).A1
            visible = visible + chunk.counts.shape[0] - chunk.hidden.sum(axis=0).A1
        # A gene that is visible nowhere gets the mean over all genes.
        overall = total.sum() / max(1, visible.sum())
        self.mean = np.divide(total, visible, out=np.full(len(total), overall), where=visible > 0)

    def predict(self, chunk):
        if self.kind == "thinned":
            return np.tile(self.mean, (chunk.counts.shape[0], 1))
        return self.mean[chunk.hidden.indices]
