import numpy as np
from scipy import sparse

from lacuna.mock.files import read_plan
from lacuna_contract import model
from lacuna_contract.h5ad import Matrix, open_h5ad, read_column, read_uns
from lacuna_contract.tasks.multimodal import SLOTS


@model("multimodal")
def predict(data, *, truth):
    """E[y | z] under the generator's law, and the true z. Of measured cells, whose law nobody
    knows, the hidden values themselves and the cell types."""
    with open_h5ad(truth) as file:
        if read_uns(file)["kind"] == "measured":
            return measured(data, file)
    plan = read_plan(truth)
    imputed = {}
    for name, asked in data.asked.items():
        # Cells are asked for in any order; rates come for a range of them.
        found = [expected(plan, name, cell)[asked.features] for cell in asked.cells]
        imputed[name] = np.array(found)
    return plan.cells.z, imputed


def expected(plan, name, cell):
    """The expectation of one cell, (features,)."""
    if name != "adt":
        return plan.expected(name, cell, cell + 1)[0]
    # Of the logarithm, as the score is of it; intensities are so far above 1 that log1p hardly
    # differs from log(1 + exp(expected log)).
    return np.logaddexp(0, plan.expected_log_adt(cell, cell + 1)[0])


def measured(data, file):
    """What was hidden, and each cell's type as a direction of its own."""
    imputed = {}
    for name, asked in data.asked.items():
        rows = sparse.csr_matrix(Matrix(file[SLOTS[name]]).take(asked.cells))
        values = rows[:, asked.features].toarray()
        imputed[name] = np.log1p(values) if name == "adt" else values
    if "cluster" not in file["obs"]:
        return np.ones((data.n_cells, 1)), imputed
    code = np.unique(read_column(file, "obs", "cluster"), return_inverse=True)[1]
    return np.eye(code.max() + 1)[code], imputed
