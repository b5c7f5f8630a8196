"""What the kernel backends share: autograd, marginals and entropy around their two calls.

A backend is a module with
    log_partition(p) -> (B,) float64, and
    posteriors(p, logs) -> dict of total (B,) float64, positions, begins, ends (B, T, C),
        transitions (B, C, C), durations (B, K, C) and, where `logs`, before and after (B, T, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from . import reference
from ._inputs import Potentials
from .results import Marginals

Scores = tuple[Tensor | None, ...]


def _in_order(p: Potentials) -> Scores:
    return p.emissions, p.transitions, p.durations, p.start, p.end, p.begin, p.finish


def _potentials(lengths: Tensor, scores: Scores) -> Potentials:
    return Potentials(*scores[:3], lengths, *scores[3:])


def differentiable(p: Potentials) -> bool:
    """Whether autograd is to know about what is computed from p."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in p.scores().values())


class _Partition(torch.autograd.Function):
    """log Z whose gradient, the posteriors, is computed along with it."""

    @staticmethod
    def forward(ctx, backend: ModuleType, lengths: Tensor, *scores: Tensor | None):
        out = backend.posteriors(_potentials(lengths, scores))
        expected = _expected_counts(out, lengths)
        needed = ctx.needs_input_grad[2:]
        kept = [g if n else None for g, n in zip(expected.values(), needed, strict=True)]
        ctx.save_for_backward(lengths, *scores, *kept)
        return out["total"]

    @staticmethod
    def backward(ctx, upstream: Tensor):
        lengths, *rest = ctx.saved_tensors
        scores, gradients = rest[:7], rest[7:]
        if torch.is_grad_enabled():  # create_graph=True: the gradient is to be differentiable
            needed = ctx.needs_input_grad[2:]
            return (
                None,
                None,
                *_by_reference(reference.partition, lengths, scores, needed, upstream),
            )
        result = []
        for i, g in enumerate(gradients):
            if g is None:
                result.append(None)
            elif i in (0, 5, 6):  # emissions, begin, finish: a row per sequence
                result.append(g * upstream[:, None, None].to(g.dtype))
            else:
                result.append(_weighted_sum(upstream, g).to(scores[i].dtype))
        return None, None, *result


class _Entropy(torch.autograd.Function):
    """Entropy by a kernel; its gradient, a second derivative of log Z, by the reference."""

    @staticmethod
    def forward(ctx, backend: ModuleType, lengths: Tensor, *scores: Tensor | None):
        ctx.save_for_backward(lengths, *scores)
        return _entropy(backend, _potentials(lengths, scores))

    @staticmethod
    def backward(ctx, upstream: Tensor):
        lengths, *scores = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        return None, None, *_by_reference(reference.entropy, lengths, scores, needed, upstream)


def _by_reference(
    function: Callable[[Potentials], Tensor],
    lengths: Tensor,
    scores: list[Tensor | None],
    needed: tuple[bool, ...],
    upstream: Tensor,
) -> list[Tensor | None]:
    """Gradient of a reference function, itself differentiable where autograd asks for that."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        if not again:
            scores = [x if x is None else x.detach() for x in scores]
            scores = [x.requires_grad_() if n else x for x, n in zip(scores, needed, strict=True)]
        leaves = [x for x, n in zip(scores, needed, strict=True) if n]
        value = function(_potentials(lengths, scores))
        found = iter(
            torch.autograd.grad(value, leaves, upstream, create_graph=again, allow_unused=True)
        )
    return [next(found) if n else None for n in needed]


def _expected_counts(out: dict[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
    """The gradient of log Z by the name of the score, a row per sequence."""
    rows = torch.arange(len(lengths), device=lengths.device)
    return {
        "emissions": out["positions"],
        "transitions": out["transitions"],
        "durations": out["durations"],
        "start": out["begins"][:, 0].clone(),
        "end": out["ends"][rows, lengths - 1],
        "begin": out["begins"],
        "finish": out["ends"],
    }


def _weighted_sum(weights: Tensor, x: Tensor) -> Tensor:
    """Sum over the batch in one order, whatever the number of threads."""
    total = torch.zeros(x.shape[1:], dtype=torch.float64, device=x.device)
    for weight, row in zip(weights.double(), x.double(), strict=True):
        total += weight * row
    return total


def partition(backend: ModuleType, p: Potentials) -> Tensor:
    """log Z of each sequence, (B,) float64."""
    if differentiable(p):
        return _Partition.apply(backend, p.lengths, *_in_order(p))
    return backend.log_partition(p)


def marginals(backend: ModuleType, p: Potentials) -> Marginals:
    """Posteriors of the batch, detached."""
    p = p.map(Tensor.detach)
    out = backend.posteriors(p, logs=True)
    dtype = p.emissions.dtype
    return Marginals(
        log_partition=out["total"].to(dtype),
        positions=out["positions"],
        begins=out["begins"],
        ends=out["ends"],
        transitions=out["transitions"].to(dtype),
        durations=out["durations"],
        lengths=p.lengths,
        before=out["before"],
        after=out["after"] - out["total"][:, None, None],
        duration_scores=p.durations.double(),
    )


def entropy(backend: ModuleType, p: Potentials) -> Tensor:
    """log Z - E[score], (B,). Differentiable, at the reference's cost in time and memory."""
    if differentiable(p):
        return _Entropy.apply(backend, p.lengths, *_in_order(p))
    return _entropy(backend, p)


def _entropy(backend: ModuleType, p: Potentials) -> Tensor:
    dtype = p.emissions.dtype
    # Float64 throughout, as the difference of two large numbers; smaller ones once the largest
    # emission of a position is taken out of every segmentation's score, and so out of both.
    p = p.map(lambda x: x.detach().double())
    p = replace(p, emissions=p.emissions - p.emissions.amax(2, keepdim=True))
    out = backend.posteriors(p)
    expected = _expected_counts(out, p.lengths)
    value = out["total"].clone()
    for name, x in p.scores().items():
        # -inf times 0 expected occurrences is 0.
        value -= (expected[name] * x.clamp(min=torch.finfo(x.dtype).min)).flatten(1).sum(1)
    return value.to(dtype)
