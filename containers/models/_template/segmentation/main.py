import numpy as np

from lacuna_contract import model
from lacuna_contract.sequences import Segmentation, one_hot


@model("segmentation")
def predict(data, *, window=101, seed=0):
    """A class for each position of each test sequence: put your method here.

    data.sequences  uint8 (n, T); base codes A C G T N = 0..4
    data.labels     int8 (n, T); the class of each position, -1 in the test sequences
    data.train, data.val, data.test  positions of the sequences of each split
    data.classes    names of the classes 0, 1, ...
    """
    means = np.stack([smooth(one_hot(data.sequences[i]), window) for i in range(len(data.split))])
    x = np.concatenate([means, np.ones_like(means[..., :1])], axis=2)
    seen, classes = x[data.train], np.eye(len(data.classes))[data.labels[data.train]]
    width = x.shape[2]
    square = seen.reshape(-1, width).T @ seen.reshape(-1, width)
    moments = seen.reshape(-1, width).T @ classes.reshape(-1, len(data.classes))
    weights = np.linalg.solve(square + 1e-3 * np.eye(width), moments)
    return Segmentation(labels=(x[data.test] @ weights).argmax(axis=2))


def smooth(x, window):
    """The mean of each column of x (T, columns) over a window around each position."""
    total = np.concatenate([np.zeros_like(x[:1]), x.cumsum(axis=0)])
    at = np.arange(len(x))
    low, high = np.maximum(at - window // 2, 0), np.minimum(at + window // 2 + 1, len(x))
    return (total[high] - total[low]) / (high - low)[:, None]
