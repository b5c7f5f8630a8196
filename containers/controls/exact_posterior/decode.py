"""From the posteriors of all test windows to the predictions that each metric is highest for.

F1 over a whole set is 2 E[hits] / (predicted + E[true]) but for fluctuations that vanish with the
size of the set. It is maximised by Dinkelbach's method: with the best value F so far, predict what
adds more to 2 hits than F, which is every item of probability above F / 2.
"""

import bisect
from dataclasses import dataclass

import numpy as np

#: Of the tolerant boundary F1; as in lacuna.metrics.comparison.
TOLERANCE = 10
ROUNDS = 50


@dataclass(frozen=True)
class Made:
    """labels int8 (m, T), the decodings of a `Segmentation`, and the scores that are expected."""

    labels: np.ndarray
    decodings: dict[str, np.ndarray]
    expected: dict[str, float]


def decode(found) -> Made:
    """Decode the `Summary` of each test window."""
    expected = {}
    true = float(sum(one.boundaries.sum() for one in found))
    labels, expected["position_f1"] = positions([one.positions for one in found])
    exact, expected["boundary_f1"] = items([one.boundaries for one in found], true)
    near, expected["boundary_f1_near"] = spaced([one.boundaries for one in found], true)
    chosen, expected["segment_f1"] = items([one.segments[1] for one in found], true + len(found))
    table = [
        np.concatenate([np.full((len(at), 1), row), found[row].segments[0][at]], axis=1)
        for row, at in enumerate(chosen)
    ]
    decodings = {
        "boundaries": _table(exact),
        "boundaries_tolerant": _table(near),
        "segments": np.concatenate(table).astype(np.int64),
        "durations": np.stack([one.sample for one in found]),
    }
    return Made(labels, decodings, expected)


def _table(chosen: list[np.ndarray]) -> np.ndarray:
    rows = np.repeat(np.arange(len(chosen)), [len(at) for at in chosen])
    return np.stack([rows, np.concatenate(chosen).astype(np.int64)], axis=1)


def items(chances: list[np.ndarray], true: float) -> tuple[list[np.ndarray], float]:
    """Which items to predict, each right with its chance, `true` being expected in all; and the F1
    that is expected."""
    pooled = np.sort(np.concatenate(chances))[::-1]
    scores = 2 * pooled.cumsum() / (np.arange(1, len(pooled) + 1) + true)
    if not len(pooled):
        return [np.empty(0, dtype=np.int64) for _ in chances], 0.0
    # The k likeliest for the best k, which is where a chance falls below half of the score.
    best = int(scores.argmax())
    return [np.flatnonzero(one >= pooled[best]) for one in chances], float(scores[best])


def spaced(
    chances: list[np.ndarray], true: float, tolerance: int = TOLERANCE
) -> tuple[list[np.ndarray], float]:
    """The same where a prediction may be off by `tolerance`: positions whose surroundings do not
    overlap, since no segment is shorter than that; found by dynamic programming."""
    masses = []
    for one in chances:
        sums = np.append(0.0, one.cumsum())
        at = np.arange(len(one))
        high = np.minimum(at + tolerance + 1, len(one))
        masses.append(np.minimum(sums[high] - sums[np.maximum(at - tolerance, 0)], 1))
    score = items(chances, true)[1]
    for _ in range(ROUNDS):
        chosen = [_schedule(one, score / 2, 2 * tolerance + 1) for one in masses]
        hits = sum(float(one[at].sum()) for one, at in zip(masses, chosen, strict=True))
        now = 2 * hits / (sum(map(len, chosen)) + true)
        if now <= score * (1 + 1e-9):
            break
        score = now
    return chosen, score


def _schedule(gains: np.ndarray, price: float, apart: int) -> np.ndarray:
    """Positions, at least `apart` from each other, of the largest sum of gains less price."""
    places = np.flatnonzero((gains > price) & (np.arange(len(gains)) > 0)).tolist()
    best, before, taken = [0.0], [], []
    for i, place in enumerate(places):
        j = bisect.bisect_right(places, place - apart)
        value = best[j] + float(gains[place]) - price
        before.append(j)
        taken.append(value > best[i])
        best.append(max(value, best[i]))
    found, i = [], len(places)
    while i:
        if taken[i - 1]:
            found.append(places[i - 1])
            i = before[i - 1]
        else:
            i -= 1
    return np.array(found[::-1], dtype=np.int64)


def positions(chances: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Classes (m, T) of the highest expected mean over classes of F1: that of the class which adds
    most, (2 chance - F) / (predicted + true), with what was predicted the round before."""
    stacked = np.stack(chances)
    true = stacked.sum(axis=(0, 1), dtype=np.float64)
    labels = stacked.argmax(axis=2)
    best, score = labels, -1.0
    for _ in range(ROUNDS):
        predicted = np.bincount(labels.ravel(), minlength=len(true))
        chosen = np.take_along_axis(stacked, labels[..., None], 2)[..., 0]
        hits = np.bincount(labels.ravel(), chosen.ravel(), len(true))
        each = 2 * hits / np.maximum(predicted + true, 1e-9)
        if each.mean() <= score * (1 + 1e-7):
            break
        best, score = labels, float(each.mean())
        weights = 1 / np.maximum(predicted + true, 1e-9)
        labels = ((2 * stacked - each) * weights).argmax(axis=2)
    return best.astype(np.int8), score
