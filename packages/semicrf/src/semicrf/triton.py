"""The recurrences on a GPU, in Triton.

One program per sequence and direction walks over blocks of positions: sources of earlier blocks
tile by tile with a running maximum, which keeps every sum exact without a certificate, then the
block itself one position at a time. Log weights are float64, the exponentials of their differences
are of the scores' dtype. No atomics: every number has one writer and one order of summation.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from . import reference, tangents
from ._inputs import Potentials, check_possible
from ._segments import Segmentation
from .reference import Recurrence

try:
    import triton

    from . import _triton_kernels as kernels
except ImportError as error:
    _missing = f"triton cannot be imported ({error})"
else:
    _missing = None

TARGETS = 16  # positions per block
TILE = 128  # sources per tile times padded labels
CHUNK = 2**22  # entries of (positions, from, to) held at once for expected transitions


def why_not(device: str) -> str | None:
    """Why this backend cannot run on tensors of a device type; None where it can."""
    if _missing:
        return _missing
    if device != "cuda" and not (device == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return f"it takes CUDA tensors (or, with TRITON_INTERPRET=1, CPU tensors), not {device}"
    return None


def _recur(p: Potentials, *, both: bool = False, maximum: bool = False) -> list[Recurrence]:
    """The recurrence of a batch, and where `both` that of the mirrored batch, in one launch."""
    sides = [p, reference.mirrored(p)[0]] if both else [p]
    batch, longest, classes, durations = p.sizes
    device = p.emissions.device

    def stacked(name: str) -> Tensor | None:
        xs = [getattr(side, name) for side in sides]
        if all(x is None for x in xs):
            return None
        zero = torch.zeros((), dtype=p.emissions.dtype, device=device)
        shape = next(x.shape for x in xs if x is not None)
        return torch.stack([zero.expand(shape) if x is None else x for x in xs]).contiguous()

    scores = {name: stacked(name) for name in ("emissions", "transitions", "begin", "finish")}
    start = stacked("start")
    if start is None:
        start = torch.zeros(len(sides), classes, dtype=p.emissions.dtype, device=device)
    shape = (len(sides), batch, longest, classes)
    before, inside, alpha = (
        torch.full(shape, -torch.inf, dtype=torch.float64, device=device) for _ in range(3)
    )
    with torch.cuda.device_of(p.emissions):
        kernels.recurrence[(len(sides) * batch,)](
            scores["emissions"],
            scores["transitions"],
            p.durations.contiguous(),
            p.lengths,
            start,
            scores["begin"] if scores["begin"] is not None else before,
            scores["finish"] if scores["finish"] is not None else before,
            before,
            inside,
            alpha,
            batch,
            longest,
            classes,
            durations,
            HAS_BEGIN=scores["begin"] is not None,
            HAS_FINISH=scores["finish"] is not None,
            MAXIMUM=maximum,
            SINGLE=p.emissions.dtype == torch.float32 and not maximum,
            TARGETS=TARGETS,
            SOURCES=max(4, TILE // triton.next_power_of_2(classes)),
            CLASSES=triton.next_power_of_2(classes),
            num_warps=4 if classes <= 32 else 8,
        )
    results = []
    rows = torch.arange(batch, device=device)
    for i, side in enumerate(sides):
        last = alpha[i][rows, p.lengths - 1]
        last = last if side.end is None else last + side.end.double()
        total = last.amax(1) if maximum else torch.logsumexp(last, 1)
        results.append(Recurrence(total, before[i], inside[i], alpha[i]))
    check_possible(results[0].total)
    return results


def log_partition(p: Potentials) -> Tensor:
    """log Z, (B,) float64."""
    return _recur(p)[0].total


def posteriors(p: Potentials, *, logs: bool = False) -> dict[str, Tensor]:
    """Everything the forward and backward recurrences give, by name."""
    p = p.map(Tensor.detach)
    batch, longest, classes, durations = p.sizes
    dtype, device = p.emissions.dtype, p.emissions.device
    left, right = _recur(p, both=True)
    _, flip, whole = reference.mirrored(p)
    within = (torch.arange(longest, device=device) < p.lengths[:, None])[:, :, None]
    total = left.total[:, None, None]

    after = torch.where(within, (right.before + whole).gather(1, flip), -torch.inf)
    before = torch.where(within, left.before, -torch.inf)
    begins = (before + (right.inside + whole).gather(1, flip) - total).exp()
    ends = (left.inside + after - total).exp()
    positions = torch.zeros_like(begins)
    padded = triton.next_power_of_2(classes)
    counts = torch.zeros(batch, durations, classes, dtype=dtype, device=device)
    after_over_z = after - total
    with torch.cuda.device_of(p.emissions):
        kernels.positions[(batch,)](
            begins, ends, positions, p.lengths, longest, classes, TARGETS=64, CLASSES=padded
        )
        kernels.durations[(triton.cdiv(durations, 32), classes, batch)](
            before,
            after_over_z,
            p.durations.contiguous(),
            counts,
            p.lengths,
            longest,
            classes,
            durations,
            SINGLE=dtype == torch.float32,
            LAGS=32,
            SOURCES=64,
        )
    return {
        "total": left.total,
        "positions": positions.clamp(0, 1).to(dtype),
        "begins": begins.to(dtype),
        "ends": ends.to(dtype),
        "transitions": _transitions(p, left.alpha, begins),
        "durations": counts,
        "before": before if logs else None,
        "after": after if logs else None,
    }


def _transitions(p: Potentials, alpha: Tensor, begins: Tensor) -> Tensor:
    """(B, C, C): each begin shared out over the labels that can come before it."""
    batch, longest, classes, _ = p.sizes
    a = p.transitions.double()
    sums = torch.zeros(batch, classes, classes, dtype=torch.float64, device=a.device)
    step = max(1, CHUNK // (batch * classes * classes))
    for t in range(1, longest, step):
        from_ = alpha[:, t - 1 : min(t - 1 + step, longest - 1)]
        weights = from_[:, :, :, None] + a
        top = weights.amax(2, keepdim=True)
        weights = (weights - torch.where(top.isneginf(), 0.0, top)).exp()
        share = weights / weights.sum(2, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
        sums += (share * begins[:, t : t + from_.shape[1], None]).sum(1)
    return sums


def curvature(p: Potentials, direction: dict[str, Tensor]) -> dict[str, Tensor]:
    """Derivatives of the posteriors along a direction, by a loop over positions in torch."""
    return tangents.curvature(p, direction)


def viterbi(p: Potentials) -> tuple[list[Segmentation], Tensor]:
    """Best segmentations and their scores, (B,); the walk back is on the CPU."""
    best = _recur(p, maximum=True)[0]
    p, on_cpu = _on_cpu(p, best)

    def choose(weights: Tensor) -> int:
        return int(weights.argmax())

    return [reference.trace(p, on_cpu, b, choose) for b in range(len(p.lengths))], best.total


def sample(p: Potentials, seeds: Tensor) -> list[list[Segmentation]]:
    """One exact draw per entry of `seeds` (B, count) int64; the walk back is on the CPU."""
    p, sums = _on_cpu(p, _recur(p.map(Tensor.double))[0])
    return [
        [reference.trace(p, sums, b, reference.inverse_cdf(reference.uniforms(s))) for s in row]
        for b, row in enumerate(seeds.tolist())
    ]


def _on_cpu(p: Potentials, r: Recurrence) -> tuple[Potentials, Recurrence]:
    scores = {name: x.detach().double().cpu() for name, x in p.scores().items()}
    return Potentials(**scores, lengths=p.lengths.cpu()), Recurrence(*(x.cpu() for x in r))
