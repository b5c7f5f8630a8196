"""The exact posterior of a window under its law."""

from dataclasses import dataclass

import numpy as np
import semicrf
import torch
from machine import Machine


@dataclass(frozen=True)
class Summary:
    """What decoding needs of the posterior of one window.

    positions
        float32 (T, classes): probability of each class.
    boundaries
        float64 (T,): probability that a segment begins at a position; 0 at position 0.
    segments
        int64 (n, 3) and float64 (n,): start, end and class of segments that are not improbable, and
        their probabilities.
    sample
        int8 (T,): classes, drawn from the posterior.
    log_likelihood
        log P(bases).
    """

    positions: np.ndarray
    boundaries: np.ndarray
    segments: tuple[np.ndarray, np.ndarray]
    sample: np.ndarray
    log_likelihood: float


#: A start or end less probable than this is of no segment that could be worth predicting.
IMPROBABLE = 2e-3
MOST_ENDS = 300
#: Labels that contribute less than this to a start or end are passed over.
FAINT = 1e-7


def summarise(machine: Machine, codes: np.ndarray, generator: torch.Generator) -> Summary:
    """The posterior of a window."""
    scores = machine.scores(codes)
    found = semicrf.marginals(**scores)
    window = slice(machine.pad, machine.pad + machine.length)
    classes = np.eye(len(machine.law.classes))[machine.classes]
    positions = found.positions[0].numpy() @ classes
    begins = found.begins[0].numpy()
    boundaries = begins.sum(axis=1)[window].copy()
    boundaries[0] = 0
    sample = np.empty(machine.padded, dtype=np.int8)
    for start, end, label in draw(found, scores, generator):
        sample[start:end] = machine.classes[label]
    return Summary(
        positions[window].astype(np.float32),
        np.clip(boundaries, 0, 1),
        _segments(machine, found),
        sample[window],
        float(found.log_partition[0]),
    )


def draw(
    found: semicrf.Marginals, scores: dict[str, torch.Tensor], generator: torch.Generator
) -> list[tuple[int, int, int]]:
    """One segmentation from the posterior that `found` describes, as (start, end, label).

    `semicrf.sample` would go through the recurrence, the dear part, a second time. With what is
    right of each segment known, a segment's end needs its durations alone, and the label of the
    next one what begins there: all that lies right of that, over all of its ends.
    """
    after, durations = found.after[0], found.duration_scores
    longest, (size, _) = len(durations), after.shape
    # `after` leaves out the emissions up to where a segment ends.
    emitted = torch.nn.functional.pad(scores["emissions"][0].cumsum(0), (0, 0, 1, 0))
    start, segments = 0, []
    chances = found.begins[0, 0].log()
    while True:
        label = _choose(chances, generator)
        reach = min(longest, size - start)
        ends = durations[:reach, label] + after[start : start + reach, label]
        end = start + 1 + _choose(ends, generator)
        segments.append((start, end, label))
        if end == size:
            return segments
        start, reach = end, min(longest, size - end)
        right = (durations[:reach] + after[start : start + reach]).logsumexp(0)
        chances = scores["transitions"][label] + scores["begin"][0, start] + right - emitted[start]


def _choose(logs: torch.Tensor, generator: torch.Generator) -> int:
    """An index, drawn with the weights whose logarithms are given."""
    sums = (logs - logs.max()).exp().cumsum(0)
    at = torch.rand(1, dtype=sums.dtype, generator=generator) * sums[-1]
    return int(torch.searchsorted(sums, at, right=True).clamp(max=len(logs) - 1))


def _segments(machine: Machine, found: semicrf.Marginals) -> tuple[np.ndarray, np.ndarray]:
    """See `Summary.segments`. A segment that the window cuts may begin or end anywhere in the
    padding."""
    pad, length, padded = machine.pad, machine.length, machine.padded
    begins, ends = found.begins[0].numpy(), found.ends[0].numpy()
    before, after = found.before[0].numpy(), found.after[0].numpy()
    scores = found.duration_scores.numpy()
    rows, chances = [], []
    for label in range(len(machine.law.classes)):
        own = np.flatnonzero(machine.classes == label)
        opens = begins[pad + 1 : pad + length][:, own].sum(axis=1)
        closes = ends[pad : pad + length - 1][:, own].sum(axis=1)
        s = np.concatenate([np.arange(pad + 1), pad + 1 + _likely(opens)])
        e = np.concatenate([pad + 1 + _likely(closes), np.arange(pad + length, padded + 1)])
        size = e[None] - s[:, None]
        fits = (size >= 1) & (size <= len(scores))
        table = np.zeros(size.shape)
        for one in own:
            i, j = begins[s, one] > FAINT, ends[e - 1, one] > FAINT
            if not (i.any() and j.any()):
                continue
            at = np.ix_(i, j)
            logs = scores[np.clip(size[at], 1, len(scores)) - 1, one]
            logs = logs + before[s[i], one][:, None] + after[e[j] - 1, one][None]
            table[at] += np.where(fits[at], np.exp(np.minimum(logs, 0)), 0)
        # All starts in the padding are one, at 0; all ends, at the window's.
        table = np.concatenate([table[: pad + 1].sum(axis=0, keepdims=True), table[pad + 1 :]])
        inner = len(e) - (pad + 1)
        table = np.concatenate([table[:, :inner], table[:, inner:].sum(axis=1, keepdims=True)], 1)
        s = np.append(0, s[pad + 1 :] - pad)
        e = np.append(e[:inner] - pad, length)
        i, j = np.nonzero(table > IMPROBABLE)
        rows.append(np.stack([s[i], e[j], np.full(len(i), label)], axis=1))
        chances.append(table[i, j])
    return np.concatenate(rows), np.concatenate(chances)


def _likely(chances: np.ndarray) -> np.ndarray:
    """Where a start or end is not improbable, in order; the likeliest where there are very many."""
    found = np.flatnonzero(chances > IMPROBABLE)
    if len(found) > MOST_ENDS:
        found = np.sort(found[np.argsort(-chances[found], kind="stable")[:MOST_ENDS]])
    return found
