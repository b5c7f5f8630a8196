"""Lengths of segments against a law: a divergence over bins of equal mass, and a distance without
bins.

Bins. The reference law is cut into B bins of about equal mass, B a tenth of the number of true
segments, at least 4 and at most 20: so the bins depend on the truth only, and even perfect
predictions have some segments in each. Durations outside of the law's range lie in no bin.

Direction and smoothing. KL(reference || q) with q = 0.99 h + 0.01 reference, h being the share of
the segments in each bin. It is 0 for the reference itself and at most log 100 = 4.6, which is what
a class gets that is never predicted. The floor, what the true segments get, is about (B - 1) / 2n.
"""

import numpy as np

SMOOTHING = 0.01
FEWEST_BINS, MOST_BINS, PER_BIN = 4, 20, 10
#: Fewer true segments than this say nothing about a law.
FEWEST = 20


def bin_ends(reference: np.ndarray, segments: int) -> np.ndarray:
    """int64 (bins,): the last duration of each bin. `reference` is of the durations 1, 2, ...;
    `segments` the number of true ones. The first bin begins where the law does."""
    bins = int(np.clip(segments // PER_BIN, FEWEST_BINS, MOST_BINS))
    cumulative = reference.cumsum()
    inner = np.searchsorted(cumulative, np.arange(1, bins) / bins * cumulative[-1]) + 1
    return np.unique(np.append(inner, np.flatnonzero(reference)[-1] + 1))


def masses(probabilities: np.ndarray, ends: np.ndarray, first: int) -> np.ndarray:
    """float64 (bins,): the mass of the durations 1, 2, ... in each bin. The first bin begins at
    the duration `first`."""
    cumulative = np.append(0.0, probabilities.cumsum())
    edges = np.minimum(np.append(first - 1, ends), len(probabilities))
    return np.diff(cumulative[edges])


def divergence(reference: np.ndarray, found: np.ndarray, ends: np.ndarray) -> float:
    """KL(reference || found), smoothed, in nats. Both are masses of the durations 1, 2, ...; what
    `found` has outside of the reference's range is lost to it."""
    first = int(np.flatnonzero(reference)[0]) + 1
    p, h = (masses(values, ends, first) for values in (reference, found))
    q = (1 - SMOOTHING) * h + SMOOTHING * p
    return float(np.sum(p * np.log(p / q)))


def shares(durations: np.ndarray) -> np.ndarray:
    """float64: the share of each duration 1, 2, ... among some; empty where there are none."""
    if not len(durations):
        return np.zeros(0)
    return np.bincount(durations)[1:] / len(durations)


def wasserstein(reference: np.ndarray, found: np.ndarray) -> float:
    """The first Wasserstein distance of two laws of the durations 1, 2, ..., in positions: how far
    mass has to be moved, on average."""
    size = max(len(reference), len(found))
    both = [np.pad(values, (0, size - len(values))).cumsum() for values in (reference, found)]
    return float(np.abs(both[0] - both[1]).sum())
