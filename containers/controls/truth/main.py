import numpy as np

from lacuna_contract import ContractError, model
from lacuna_contract.h5ad import Matrix, open_h5ad


@model("reconstruction", value_space="counts")
class Truth:
    """What was hidden, handed back: the best score that there is."""

    def __init__(self, *, truth):
        self.file = open_h5ad(truth)

    def fit(self, chunks):
        self.matrix = Matrix(self.file["X"])

    def predict(self, chunk):
        rows = self.matrix.rows(chunk.cells.start, chunk.cells.stop)
        if not np.array_equal(rows.indices, chunk.hidden.indices):
            raise ContractError("the truth holds other entries than those hidden in the input")
        return rows.data
