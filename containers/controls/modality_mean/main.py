import numpy as np

from lacuna_contract import model


@model("multimodal")
def predict(data, *, dimensions=8, seed=0):
    """The mean of each feature over the cells that have it; an embedding of nothing but noise."""
    imputed = {}
    for name, asked in data.asked.items():
        seen = data.counts[name][data.has[name]][:, asked.features]
        values = seen.log1p() if name == "adt" else seen
        mean = np.asarray(values.mean(axis=0)).ravel()
        imputed[name] = np.tile(mean, (len(asked.cells), 1))
    noise = np.random.default_rng(seed).standard_normal((data.n_cells, dimensions))
    return noise, imputed
