"""Second derivatives of log Z along a direction in plain torch, which is what GPUs use.

Where all scores move along a direction, `before`, `inside` and `alpha` of the recurrence (see
reference.py) change by the mean, under the recurrence's own probabilities, of what changes before
them; and a posterior changes by itself times the change of its log. One position after another
over (B, K, C) tensors: O(T K C) time, O(T C + K C) memory, no graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._inputs import Potentials
from .reference import NEG_INF, Recurrence, mirrored, recur

Direction = dict[str, Tensor]


def curvature(p: Potentials, direction: Direction) -> dict[str, Tensor]:
    """Derivatives of the expected counts along a direction of the scores, float64, by name.

    Args:
        direction: emissions, begin and finish (B, T, C), transitions (B, C, C), durations
            (B, K, C); what is missing stays.
    """
    with torch.no_grad():
        return _curvature(p.map(lambda x: x.detach().double()), direction)


def _curvature(p: Potentials, direction: Direction) -> dict[str, Tensor]:
    batch, longest, classes, most = p.sizes
    area = torch.zeros_like(p.emissions)
    v = Potentials(
        emissions=direction.get("emissions", area),
        transitions=direction.get("transitions", area.new_zeros(batch, classes, classes)),
        durations=direction.get("durations", area.new_zeros(batch, most, classes)),
        lengths=p.lengths,
        begin=direction.get("begin", area),
        finish=direction.get("finish", area),
    )
    p_right, flip, whole = mirrored(p)
    v_right, _, v_whole = mirrored(v)
    left, right = recur(p), recur(p_right)
    moved_left, moved_right = tangents(p, left, v), tangents(p_right, right, v_right)
    # What is right of a segment, brought to the time of the left side and taken over Z.
    total = left.total[:, None, None]
    moved_total = moved_left.total[:, None, None]
    inside = torch.arange(longest, device=area.device) < p.lengths[:, None]
    after = (right.before + whole).gather(1, flip) - total
    after = torch.where(inside[:, :, None], after, NEG_INF)
    moved_after = (moved_right.before + v_whole).gather(1, flip) - moved_total
    from_here = (right.inside + whole).gather(1, flip) - total
    moved_from_here = (moved_right.inside + v_whole).gather(1, flip) - moved_total

    begins = torch.where(inside[:, :, None], (left.before + from_here).exp(), 0.0)
    begins_moved = begins * (moved_left.before + moved_from_here)
    ends_moved = (left.inside + after).exp() * (moved_left.inside + moved_after)
    running = begins_moved.cumsum(1) - (ends_moved.cumsum(1) - ends_moved)
    return {
        "positions": torch.where(inside[:, :, None], running, 0.0),
        "begins": begins_moved,
        "ends": ends_moved,
        "transitions": _transitions(p, v, left, moved_left, begins, moved_from_here),
        "durations": _durations(p, v, left, moved_left, after, moved_after),
    }


def tangents(p: Potentials, r: Recurrence, v: Potentials) -> Recurrence:
    """How the recurrence r of p moves along v; 0 where r is -inf."""
    batch, longest, classes = p.emissions.shape
    most = min(p.durations.shape[0], longest)
    logs = torch.full_like(v.durations[:, :most], NEG_INF)
    moved = torch.zeros_like(logs)
    reach, passed = p.emissions.new_zeros(2, batch, classes)
    before, inside, alpha = [], [], []
    for t in range(longest):
        before.append(reach + v.begin[:, t] - passed)
        logs = torch.cat([r.before[:, t, None], logs[:, :-1]], 1)
        moved = torch.cat([before[t][:, None], moved[:, :-1]], 1)
        inside.append(_mean(logs + p.durations[:most], moved + v.durations[:, :most]))
        passed = passed + v.emissions[:, t]
        alpha.append(inside[t] + passed + v.finish[:, t])
        weights = r.alpha[:, t, :, None] + p.transitions
        reach = _mean(weights, alpha[t][:, :, None] + v.transitions)
    before, inside, alpha = (torch.stack(x, 1) for x in (before, inside, alpha))
    rows = torch.arange(batch, device=alpha.device)
    last = r.alpha[rows, p.lengths - 1]
    last = last if p.end is None else last + p.end
    return Recurrence(_mean(last, alpha[rows, p.lengths - 1]), before, inside, alpha)


def _mean(logs: Tensor, values: Tensor) -> Tensor:
    """Mean of `values` over dim 1 with weights exp(logs); 0 where all of them are 0."""
    top = logs.amax(1, keepdim=True)
    weights = (logs - torch.where(top.isneginf(), 0.0, top)).exp()
    return (weights * values).sum(1) / weights.sum(1).clamp(min=torch.finfo(logs.dtype).tiny)


def _transitions(
    p: Potentials,
    v: Potentials,
    left: Recurrence,
    moved: Recurrence,
    begins: Tensor,
    moved_from_here: Tensor,
) -> Tensor:
    """(B, C, C): each begin shared out over the labels before it, times its change in log."""
    passed = v.emissions.cumsum(1) - v.emissions
    right = moved_from_here - passed + v.begin
    total = torch.zeros_like(v.transitions)
    for t in range(1, begins.shape[1]):
        weights = left.alpha[:, t - 1, :, None] + p.transitions
        top = weights.amax(1, keepdim=True)
        weights = (weights - torch.where(top.isneginf(), 0.0, top)).exp()
        share = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(top.dtype).tiny)
        change = moved.alpha[:, t - 1, :, None] + v.transitions + right[:, t, None]
        total += share * begins[:, t, None] * change
    return total


def _durations(
    p: Potentials,
    v: Potentials,
    left: Recurrence,
    moved: Recurrence,
    after: Tensor,
    moved_after: Tensor,
) -> Tensor:
    """(B, K, C): segments by the position they end at, times their change in log."""
    longest = after.shape[1]
    total = torch.zeros_like(v.durations)
    for t in range(longest):
        n = min(t + 1, total.shape[1])
        rows = slice(t + 1 - n, t + 1)
        logs = left.before[:, rows].flip(1) + p.durations[:n] + after[:, t, None]
        change = moved.before[:, rows].flip(1) + v.durations[:, :n] + moved_after[:, t, None]
        total[:, :n] += logs.exp() * change
    return total
