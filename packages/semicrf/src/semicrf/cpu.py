"""The compiled kernel on CPU tensors, called through ctypes, which releases the GIL."""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

from ._inputs import Potentials, check_possible
from ._segments import Segmentation

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


class _Direction(ctypes.Structure):
    """struct Direction of csrc/problem.h, field by field."""

    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in ("emissions", "begin", "finish", "transitions", "durations")
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


def log_partition(p: Potentials) -> Tensor:
    """log Z, (B,) float64."""
    return log_partition_and_redone(p)[0]


def log_partition_and_redone(p: Potentials, *, isa: int | None = None) -> tuple[Tensor, Tensor]:
    """log Z, (B,) float64, and how many blocks of each sequence needed log space, (B,)."""
    total = torch.empty(len(p.lengths), dtype=torch.float64)
    redone = torch.zeros(len(p.lengths), dtype=torch.int64)
    _call("partition", p, total, redone, isa=isa)
    check_possible(total)
    return total, redone


def posteriors(p: Potentials, *, logs: bool = False, isa: int | None = None) -> dict[str, Tensor]:
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
    _call("marginals", p, *out.values(), isa=isa)
    check_possible(out["total"])
    return out


def curvature(p: Potentials, direction: dict[str, Tensor]) -> dict[str, Tensor]:
    """Derivatives of what `posteriors` gives along a direction of the scores, float64, by name.

    Args:
        direction: finite float64 tensors by the name of a score: emissions, begin, finish
            (B, T, C), transitions (B, C, C), durations (B, K, C). What is missing stays.
    """
    batch, longest, classes, durations = p.sizes
    area = (batch, longest, classes)
    direction = {name: x.contiguous() for name, x in direction.items()}
    v = _Direction(**{name: x.data_ptr() for name, x in direction.items()})
    out = {
        "total": torch.empty(batch, dtype=torch.float64),
        "positions": torch.zeros(area, dtype=torch.float64),
        "begins": torch.zeros(area, dtype=torch.float64),
        "ends": torch.zeros(area, dtype=torch.float64),
        "transitions": torch.zeros(batch, classes, classes, dtype=torch.float64),
        "durations": torch.zeros(batch, durations, classes, dtype=torch.float64),
    }
    _call("curvature", p.map(Tensor.double), ctypes.byref(v), *out.values())
    check_possible(out["total"])
    return out


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
