"""A small dataset of one's own, in a sheet."""

import numpy as np

from lacuna_contract.h5ad import H5adWriter


def own_dataset(folder, name="mine"):
    """A sheet with one small dataset."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 2, (1, 20)), (60, 20)).astype(np.float32)
    cells, genes = [f"c{i}" for i in range(60)], [f"g{i}" for i in range(20)]
    with H5adWriter(folder / "mine.h5ad", cells, genes) as out:
        out.dense("X", np.float32).append(counts)
    (folder / "datasets.csv").write_text(f"dataset,path\n{name},mine.h5ad\n")
    return "datasets.csv"
