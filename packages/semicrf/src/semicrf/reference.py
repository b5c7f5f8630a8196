"""The definition: every quantity in plain torch, float64 throughout, differentiable, slow.

A segmentation tiles positions 0..L-1 with segments [s, e) of label c and duration d = e - s in
1..K. With cumulative emissions S[t, c] = sum of emissions[0..t-1, c] its score is

    start[first label] + end[last label]
    + sum over segments of S[e, c] - S[s, c] + durations[d - 1, c] + begin[s, c] + finish[e - 1, c]
    + sum over neighbouring segments of transitions[c_left, c_right]

Factoring the edge, as Sarawagi & Cohen (NIPS 2004) leave implicit, gives O(T (K C + C^2)):

    before[s, c] = logsumexp_c' (alpha[s, c'] + transitions[c', c]) + begin[s, c] - S[s, c]
    inside[t, c] = logsumexp_d (before[t - d, c] + durations[d - 1, c])
    alpha[t, c]  = inside[t, c] + S[t, c] + finish[t - 1, c]

with start[c] in place of the transition at s = 0. The mirrored recurrence gives `after`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ._inputs import Potentials, check_possible
from ._segments import Segmentation
from .results import Marginals

NEG_INF = -math.inf
STRETCH = 512  # positions


def why_not(device: str) -> str | None:
    """Why this backend cannot run on tensors of a device type: it always can."""
    return None


class Recurrence(NamedTuple):
    """Log sums (or maxima) of a batch; `total` (B,), the others (B, T, C)."""

    total: Tensor
    before: Tensor  # before[:, s]: all that precedes a segment beginning at s
    inside: Tensor  # inside[:, e - 1]: the same, summed over the begins of segments ending at e
    alpha: Tensor  # alpha[:, e - 1]: all that covers 0..e-1 and has a segment ending at e


def logsumexp(x: Tensor, dim: int) -> Tensor:
    """log sum exp whose gradient is 0, not NaN, where every term is -inf."""
    top = x.detach().amax(dim, keepdim=True)
    top = torch.where(torch.isneginf(top), 0.0, top)
    sums = (x - top).exp().sum(dim)
    empty = sums == 0
    return torch.where(empty, NEG_INF, torch.where(empty, 1.0, sums).log() + top.squeeze(dim))


def maximum(x: Tensor, dim: int) -> Tensor:
    return x.amax(dim)


def recur(p: Potentials, plus: Callable[[Tensor, int], Tensor] = logsumexp) -> Recurrence:
    """The recurrence above, one position at a time, over (B, K, C) tensors.

    `transitions` may also be (B, C, C) and `durations` (B, K, C): one set per sequence. Long
    sequences go in stretches, of which autograd keeps the ends and computes the rest again.
    """
    p = p.map(lambda x: x.double())
    batch, longest, classes = p.emissions.shape
    zeros = torch.zeros_like(p.emissions)
    begin = zeros if p.begin is None else p.begin
    finish = zeros if p.finish is None else p.finish
    transitions = p.transitions.expand(batch, classes, classes)
    durations = p.durations.expand(batch, *p.durations.shape[-2:])[:, :longest]

    window = torch.full_like(durations, NEG_INF)
    reach = zeros[:, 0] if p.start is None else p.start.expand(batch, classes)
    state = window, reach, zeros[:, 0]
    again = torch.is_grad_enabled() and longest > STRETCH
    stretches = []
    for scores in zip(*(x.split(STRETCH, 1) for x in (p.emissions, begin, finish)), strict=True):
        arguments = (plus, transitions, durations, *scores, *state)
        *rows, state = (
            checkpoint(stretch, *arguments, use_reentrant=False, preserve_rng_state=False)
            if again
            else stretch(*arguments)
        )
        stretches.append(rows)

    before, inside, alpha = (torch.cat(rows, 1) for rows in zip(*stretches, strict=True))
    last = alpha[torch.arange(batch, device=alpha.device), p.lengths - 1]
    total = plus(last if p.end is None else last + p.end, 1)
    return Recurrence(total, before, inside, alpha)


def stretch(plus, transitions, durations, emissions, begin, finish, window, reach, passed):
    """The recurrence over a few positions: its rows, and the state it leaves.

    The state: the last K rows of `before`, newest first, (B, K, C); what reaches the next position
    by a transition, (B, C); the sum of the emissions so far, (B, C).
    """
    before, inside, alpha = [], [], []
    for t in range(emissions.shape[1]):
        before.append(reach + begin[:, t] - passed)
        window = torch.cat([before[t][:, None], window[:, :-1]], 1)
        inside.append(plus(window + durations, 1))
        passed = passed + emissions[:, t]
        alpha.append(inside[t] + passed + finish[:, t])
        reach = plus(alpha[t][:, :, None] + transitions, 1)
    rows = (torch.stack(x, 1) for x in (before, inside, alpha))
    return *rows, (window, reach, passed)


def partition(p: Potentials) -> Tensor:
    """log Z of each sequence, (B,) float64."""
    total = recur(p).total
    check_possible(total)
    return total


def marginals(p: Potentials) -> Marginals:
    """Posteriors as gradients of log Z, differentiable again where the scores require it."""
    p, keep, total, gradients = _log_partition_and_gradients(p)
    dtype = p.emissions.dtype
    return Marginals(
        log_partition=total.to(dtype),
        positions=gradients["emissions"].to(dtype),
        begins=gradients["begin"].to(dtype),
        ends=gradients["finish"].to(dtype),
        transitions=gradients["transitions"].to(dtype),
        durations=gradients["durations"].to(dtype),
        lengths=p.lengths,
        before=keep.before,
        after=_after(p) - total[:, None, None],
        duration_scores=p.durations[0].double(),
    )


def entropy(p: Potentials) -> Tensor:
    """log Z - E[score], (B,), differentiable where the scores require it."""
    dtype = p.emissions.dtype
    p, _, total, gradients = _log_partition_and_gradients(p)
    expected = torch.zeros_like(total)
    for name, x in p.scores().items():
        x = torch.where(torch.isneginf(x), 0.0, x.double())
        expected = expected + (x * gradients[name]).flatten(1).sum(1)
    return (total - expected).to(dtype)


def _log_partition_and_gradients(p: Potentials):
    """Per-sequence copies of the scores, the recurrence, log Z and its gradient by name."""
    differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in p.scores().values())
    batch, _, classes = p.emissions.shape
    zeros = torch.zeros_like(p.emissions)
    p = Potentials(
        emissions=p.emissions,
        transitions=p.transitions.expand(batch, *p.transitions.shape),
        durations=p.durations.expand(batch, *p.durations.shape),
        lengths=p.lengths,
        start=zeros[:, 0] if p.start is None else p.start.expand(batch, classes),
        end=zeros[:, 0] if p.end is None else p.end.expand(batch, classes),
        begin=zeros if p.begin is None else p.begin,
        finish=zeros if p.finish is None else p.finish,
    )
    with torch.enable_grad():
        if differentiable:  # a fresh non-leaf per score keeps the caller's graph below it
            p = p.map(lambda x: x + 0 if x.requires_grad else x.clone().requires_grad_())
        else:
            p = p.map(lambda x: x.detach().clone().requires_grad_())
        keep = recur(p)
        check_possible(keep.total)
        scores = p.scores()
        gradients = torch.autograd.grad(
            keep.total.sum(), list(scores.values()), create_graph=differentiable, allow_unused=True
        )
    gradients = {
        name: torch.zeros_like(x, dtype=torch.float64) if g is None else g.double()
        for (name, x), g in zip(scores.items(), gradients, strict=True)
    }
    if not differentiable:
        keep = Recurrence(*(x.detach() for x in keep))
        p = p.map(Tensor.detach)
    return p, keep, keep.total, gradients


def mirrored(p: Potentials) -> tuple[Potentials, Tensor, Tensor]:
    """The batch read from its ends, the (B, T, C) indices that flip it, and S at its lengths.

    Flipping twice is the identity within the lengths; past them indices are 0, for no use.
    """
    positions = torch.arange(p.emissions.shape[1], device=p.emissions.device)
    flip = p.lengths[:, None] - 1 - positions
    inside = (flip >= 0)[:, :, None]
    flip = flip.clamp(min=0)[:, :, None].expand_as(p.emissions)
    whole = torch.where(inside, p.emissions.double(), 0.0).sum(1, keepdim=True)
    other = Potentials(
        emissions=p.emissions.gather(1, flip),
        transitions=p.transitions.transpose(-1, -2),
        durations=p.durations,
        lengths=p.lengths,
        start=p.end,
        end=p.start,
        begin=None if p.finish is None else p.finish.gather(1, flip),
        finish=None if p.begin is None else p.begin.gather(1, flip),
    )
    return other, flip, whole


def _after(p: Potentials) -> Tensor:
    """`before` of the mirrored problem, brought back: after[:, e - 1] for a segment ending at e.

    There cumulative emissions count from the right: S[L] - S[e].
    """
    other, flip, whole = mirrored(p)
    return (recur(other).before + whole).gather(1, flip)


def viterbi(p: Potentials) -> tuple[list[Segmentation], Tensor]:
    """Best segmentation and its score; among equals the shortest last segment, lowest label."""
    with torch.no_grad():
        p = p.map(lambda x: x.double())
        best = recur(p, maximum)
        check_possible(best.total)

        def choose(weights: Tensor) -> int:
            return int(weights.argmax())  # the first of equal maxima

        return [trace(p, best, b, choose) for b in range(len(p.lengths))], best.total


def sample(p: Potentials, seeds: Tensor) -> list[list[Segmentation]]:
    """One exact draw per entry of `seeds` (B, count) int64, backwards through the recurrence."""
    with torch.no_grad():
        p = p.map(lambda x: x.double())
        sums = recur(p)
        check_possible(sums.total)
        draws = []
        for b, row in enumerate(seeds.tolist()):
            draws.append([trace(p, sums, b, inverse_cdf(uniforms(seed))) for seed in row])
        return draws


def trace(p: Potentials, r: Recurrence, b: int, choose: Callable[[Tensor], int]) -> Segmentation:
    """Walk back from the end of sequence b; `choose` picks an index from log weights."""
    segments: Segmentation = []
    e = int(p.lengths[b])
    weights = r.alpha[b, e - 1] if p.end is None else r.alpha[b, e - 1] + p.end
    label = choose(weights)
    while True:
        longest = min(e, p.durations.shape[0])
        weights = r.before[b, e - longest : e, label].flip(0) + p.durations[:longest, label]
        s = e - 1 - choose(weights)
        segments.append((s, e, label))
        if s == 0:
            return segments[::-1]
        label = choose(r.alpha[b, s - 1] + p.transitions[:, label])
        e = s


def uniforms(seed: int):
    """Doubles in [0, 1) from SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195).

    A generator of our own so that every backend draws the same segmentations from one seed.
    """
    mask = 2**64 - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield ((z ^ (z >> 31)) >> 11) * 2.0**-53


def inverse_cdf(stream) -> Callable[[Tensor], int]:
    def choose(weights: Tensor) -> int:
        cumulative = (weights - torch.logsumexp(weights, 0)).exp().cumsum(0)
        index = int(torch.searchsorted(cumulative, next(stream), right=True))
        # Rounding may leave the last sum a hair below the draw: then the last possible index.
        possible = weights.isfinite().nonzero().flatten()
        return min(index, int(possible[-1]))

    return choose
