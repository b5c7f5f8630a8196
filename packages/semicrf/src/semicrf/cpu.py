"""The compiled kernel on CPU tensors, called through ctypes, which releases the GIL."""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._inputs import Potentials, check_possible
from ._segments import Segmentation
from .results import Marginals

SAMPLE_BUFFER = 2**26  # bytes of segments drawn in one call


class _Problem(ctypes.Structure):
    """struct Problem of csrc/problem.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("emissions", "transitions", "durations")),
        *((name, ctypes.c_void_p) for name in ("lengths", "start", "end", "begin", "finish")),
        *((name, ctypes.c_int64) for name in "BTCK"),
        ("is_double", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    )


@functools.cache
def _library() -> ctypes.CDLL | None:
    folder = Path(__file__).parent
    found = [f for s in EXTENSION_SUFFIXES if (f := folder / f"_kernel{s}").exists()]
    return ctypes.CDLL(str(found[0])) if found else None


def why_not(device: str) -> str | None:
    """Why this backend cannot run on tensors of a device type; None where it can."""
    if device != "cpu":
        return f"it takes CPU tensors, these are on {device}"
    if _library() is None:
        return (
            "its kernel was not built when semicrf was installed, for which a C++17 compiler is "
            'needed; install one and reinstall, or use backend="reference"'
        )
    return None


@functools.cache
def instruction_set() -> int:
    """The best this processor has: 0 generic, 1 AVX2 with FMA."""
    return _library().semicrf_isa()


def _call(function: str, p: Potentials, *arguments, isa: int | None = None) -> None:
    """Run one of the kernel's functions; tensors are passed by address, None as null."""
    scores = {name: x.detach().contiguous() for name, x in p.scores().items()}
    lengths = p.lengths.contiguous()
    problem = _Problem(
        **{name: x.data_ptr() for name, x in scores.items()},
        lengths=lengths.data_ptr(),
        **dict(zip("BTCK", p.sizes, strict=True)),
        is_double=p.emissions.dtype == torch.float64,
        threads=torch.get_num_threads(),
    )
    addresses = [ctypes.c_void_p(x.data_ptr()) if isinstance(x, Tensor) else x for x in arguments]
    isa = instruction_set() if isa is None else isa
    status = getattr(_library(), f"semicrf_{function}")(ctypes.byref(problem), isa, *addresses)
    if status == 1:
        raise MemoryError(f"semicrf_{function} ran out of memory for (B, T, C, K) = {p.sizes}")
    if status != 0:
        raise RuntimeError(f"semicrf_{function} could not start {torch.get_num_threads()} threads")


def log_partition(p: Potentials, *, wide: bool = False, isa: int | None = None):
    """log Z (B,) float64, and (B,) how many blocks needed log space.

    `wide` computes the bulk products of float32 scores in float64.
    """
    total = torch.empty(len(p.lengths), dtype=torch.float64)
    redone = torch.zeros(len(p.lengths), dtype=torch.int64)
    _call("partition", p, int(wide), total, redone, isa=isa)
    check_possible(total)
    return total, redone


def posteriors(
    p: Potentials, *, wide: bool = False, logs: bool = False, isa: int | None = None
) -> dict[str, Tensor]:
    """Everything the forward and backward recurrences give, by name.

    `logs` adds `before` and `after` (B, T, C) float64.
    """
    batch, longest, classes, durations = p.sizes
    dtype, area = p.emissions.dtype, (batch, longest, classes)
    out = {
        "total": torch.empty(batch, dtype=torch.float64),
        "positions": torch.zeros(area, dtype=dtype),
        "begins": torch.zeros(area, dtype=dtype),
        "ends": torch.zeros(area, dtype=dtype),
        "transitions": torch.zeros(batch, classes, classes, dtype=torch.float64),
        "durations": torch.zeros(batch, durations, classes, dtype=dtype),
        "before": torch.full(area, -torch.inf, dtype=torch.float64) if logs else None,
        "after": torch.full(area, -torch.inf, dtype=torch.float64) if logs else None,
        "redone": torch.zeros(batch, dtype=torch.int64),
    }
    _call("marginals", p, int(wide), *out.values(), isa=isa)
    check_possible(out["total"])
    return out


class _Partition(torch.autograd.Function):
    """log Z whose gradient, the posteriors, is computed along with it."""

    @staticmethod
    def forward(ctx, lengths, *scores):
        p = Potentials(*scores[:3], lengths, *scores[3:])
        out = posteriors(p)
        rows = torch.arange(len(lengths))
        gradients = (
            out["positions"],
            out["transitions"],
            out["durations"],
            out["begins"][:, 0].clone(),
            out["ends"][rows, lengths - 1],
            out["begins"],
            out["ends"],
        )
        needed = ctx.needs_input_grad[1:]
        ctx.save_for_backward(*(g if n else None for g, n in zip(gradients, needed, strict=True)))
        ctx.dtype = p.emissions.dtype
        return out["total"].to(ctx.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        per_position = (0, 5, 6)
        result = []
        for i, g in enumerate(ctx.saved_tensors):
            if g is None:
                result.append(None)
            elif i in per_position:
                result.append(g * upstream[:, None, None])
            else:
                result.append(_weighted_sum(upstream, g).to(ctx.dtype))
        return None, *result


def _weighted_sum(weights: Tensor, x: Tensor) -> Tensor:
    """Sum over the batch in one order, whatever the number of threads."""
    total = torch.zeros(x.shape[1:], dtype=torch.float64)
    for weight, row in zip(weights.double(), x.double(), strict=True):
        total += weight * row
    return total


def partition(p: Potentials) -> Tensor:
    """log Z of each sequence, (B,)."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in p.scores().values()):
        scores = (p.emissions, p.transitions, p.durations, p.start, p.end, p.begin, p.finish)
        return _Partition.apply(p.lengths, *scores)
    return log_partition(p)[0].to(p.emissions.dtype)


def marginals(p: Potentials) -> Marginals:
    """Posteriors of the batch."""
    out = posteriors(p, logs=True)
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
        duration_scores=p.durations.detach().double(),
    )


def entropy(p: Potentials) -> Tensor:
    """log Z - E[score], (B,), in float64 throughout: the difference of two large numbers."""
    dtype = p.emissions.dtype
    p = p.map(lambda x: x.detach().double())
    # Out of every segmentation's score, and so out of both numbers.
    p = Potentials(**{**p.__dict__, "emissions": p.emissions - p.emissions.amax(2, keepdim=True)})
    out = posteriors(p)
    rows = torch.arange(len(p.lengths))
    expected = {
        "emissions": out["positions"],
        "transitions": out["transitions"],
        "durations": out["durations"],
        "start": out["begins"][:, 0],
        "end": out["ends"][rows, p.lengths - 1],
        "begin": out["begins"],
        "finish": out["ends"],
    }
    value = out["total"].clone()
    for name, x in p.scores().items():
        # -inf times 0 expected occurrences is 0.
        value -= (expected[name] * x.clamp(min=torch.finfo(x.dtype).min)).flatten(1).sum(1)
    return value.to(dtype)


def viterbi(p: Potentials) -> tuple[list[Segmentation], Tensor]:
    """Best segmentations and their scores, (B,) float64."""
    batch, longest, _, _ = p.sizes
    total = torch.empty(batch, dtype=torch.float64)
    counts = torch.zeros(batch, dtype=torch.int64)
    pairs = torch.empty(batch, longest, 2, dtype=torch.int32)
    _call("viterbi", p, total, pairs, counts)
    check_possible(total)
    return [_segmentation(row[:n]) for row, n in zip(pairs, counts.tolist(), strict=True)], total


def sample(p: Potentials, seeds: Tensor) -> list[list[Segmentation]]:
    """One exact draw per entry of `seeds` (B, count) int64."""
    batch, longest, _, _ = p.sizes
    draws: list[list[Segmentation]] = [[] for _ in range(batch)]
    for part in seeds.split(max(1, SAMPLE_BUFFER // (batch * longest * 8)), 1):
        part = part.contiguous()
        total = torch.empty(batch, dtype=torch.float64)
        counts = torch.zeros(part.shape, dtype=torch.int64)
        pairs = torch.empty(*part.shape, longest, 2, dtype=torch.int32)
        _call("sample", p, part, ctypes.c_int64(part.shape[1]), total, pairs, counts)
        check_possible(total)
        for b in range(batch):
            rows = zip(pairs[b], counts[b].tolist(), strict=True)
            draws[b] += [_segmentation(row[:n]) for row, n in rows]
    return draws


def _segmentation(pairs: Tensor) -> Segmentation:
    """From (end, label) back to front to (start, end, label) front to back."""
    ends, labels = pairs.flip(0).T.tolist()
    return list(zip([0, *ends[:-1]], ends, labels, strict=True))
