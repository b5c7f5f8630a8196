import numpy as np

from lacuna_contract import NotApplicable, model
from lacuna_contract.h5ad import open_h5ad, read_column, read_uns


@model("reconstruction", value_space="counts")
class Oracle:
    """What the generator of simulated counts expects: no prediction has a lower expected error.

    expected count of an entry = depth of the cell x share of the gene in the cell's type
    """

    def __init__(self, *, truth, kind="hidden"):
        self.kind = kind
        with open_h5ad(truth) as file:
            if "varm/share" not in file:
                raise NotApplicable("the law of these counts is not known: they are not simulated")
            self.share = file["varm/share"][:].T
            self.depth, self.component = (
                read_column(file, "obs", name) for name in ("depth", "component")
            )
            self.dispersion = read_column(file, "var", "dispersion")
            self.held_out = read_uns(file)["arguments"].get("percentage")

    def fit(self, chunks):
        pass

    def predict(self, chunk):
        cells = np.arange(chunk.cells.start, chunk.cells.stop)
        if self.kind == "thinned":
            return self.given_counts(cells, chunk.counts.toarray())
        cells = np.repeat(cells, np.diff(chunk.hidden.indptr))
        return self.depth[cells] * self.share[self.component[cells], chunk.hidden.indices]

    def given_counts(self, cells, counts):
        """Of a gamma-distributed rate, what is expected given the part of its counts that is seen:
        the excess over the expected counts, in the rate's share of their variance."""
        share = self.share[self.component[cells]]
        seen = (1 - self.held_out) * self.depth[cells][:, None] * share
        return seen * (1 + self.dispersion * counts) / (1 + self.dispersion * seen)
