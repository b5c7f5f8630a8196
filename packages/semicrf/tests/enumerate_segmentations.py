"""Every segmentation, one by one: the only implementation too simple to be wrong."""

import itertools
import math

import torch


def segmentations(length, classes, longest):
    """All lists of (start, end, label) that tile 0..length-1 with durations up to `longest`."""

    def tilings(at):
        if at == length:
            yield []
        for end in range(at + 1, min(length, at + longest) + 1):
            for label in range(classes):
                for rest in tilings(end):
                    yield [(at, end, label), *rest]

    return list(tilings(0))


def score(segments, b, *, emissions, transitions, durations, start, end, begin, finish):
    total = start[segments[0][2]] + end[segments[-1][2]]
    for s, e, c in segments:
        total = total + emissions[b, s:e, c].sum() + durations[e - s - 1, c]
        total = total + begin[b, s, c] + finish[b, e - 1, c]
    for (_, _, left), (_, _, right) in itertools.pairwise(segments):
        total = total + transitions[left, right]
    return total


def enumerate_all(problem):
    """For each sequence its segmentations and their log probabilities, and log Z (B,)."""
    emissions = problem["emissions"]
    batch, longest, classes = emissions.shape
    scores = {
        "start": torch.zeros(classes, dtype=emissions.dtype),
        "end": torch.zeros(classes, dtype=emissions.dtype),
        "begin": torch.zeros_like(emissions),
        "finish": torch.zeros_like(emissions),
        **{name: x for name, x in problem.items() if name != "lengths" and x is not None},
    }
    lengths = problem.get("lengths")
    lengths = [longest] * batch if lengths is None else lengths.tolist()
    every, weights = [], []
    for b, length in enumerate(lengths):
        every.append(segmentations(length, classes, scores["durations"].shape[0]))
        weights.append(torch.stack([score(s, b, **scores) for s in every[-1]]))
    log_partition = torch.stack([torch.logsumexp(w, 0) for w in weights])
    return every, [w - z for w, z in zip(weights, log_partition, strict=True)], log_partition


def positions(every, log_probs, problem):
    """(B, T, C) posterior of each position's label, and (B, T, C) of begins, of ends."""
    shape = problem["emissions"].shape
    at, begins, ends = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for b, (segmentations, weights) in enumerate(zip(every, log_probs, strict=True)):
        for segments, weight in zip(segmentations, weights.tolist(), strict=True):
            for s, e, c in segments:
                at[b, s:e, c] += math.exp(weight)
                begins[b, s, c] += math.exp(weight)
                ends[b, e - 1, c] += math.exp(weight)
    return at, begins, ends
