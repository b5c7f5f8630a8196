import numpy as np

from lacuna_contract import model
from lacuna_contract.sequences import Segmentation, boundaries


@model("segmentation")
def predict(data):
    """The most frequent class everywhere, and the rate of boundaries as their probability."""
    seen = data.labels[data.train]
    shape = (len(data.test), seen.shape[1])
    most = np.bincount(seen.ravel(), minlength=len(data.classes)).argmax()
    rate = boundaries(seen)[:, 1:].mean()
    return Segmentation(np.full(shape, most), np.full(shape, rate, dtype=np.float32))
