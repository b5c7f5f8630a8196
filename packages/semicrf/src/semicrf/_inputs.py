"""One place where every public function's arguments are checked and brought into one form."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Potentials:
    """The scores of one batch, checked: shapes agree, one dtype, one device, nothing NaN.

    `start`, `end` (C,) and `begin`, `finish` (B, T, C) are None where the caller gave none,
    so that no memory is spent on zeros. `lengths` is always there, (B,) int64.
    """

    emissions: Tensor
    transitions: Tensor
    durations: Tensor
    lengths: Tensor
    start: Tensor | None = None
    end: Tensor | None = None
    begin: Tensor | None = None
    finish: Tensor | None = None

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """(B, T, C, K)."""
        return *self.emissions.shape, self.durations.shape[0]

    def scores(self) -> dict[str, Tensor]:
        """The score tensors that were given, by name: everything but the lengths."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: x for name, x in named.items() if name != "lengths" and x is not None}

    def map(self, function) -> Potentials:
        """The same potentials with `function` applied to each score tensor."""
        return replace(self, **{name: function(x) for name, x in self.scores().items()})


Scores = tuple[Tensor | None, ...]  # the fields of Potentials, lengths None for T

# Emissions are summed along a sequence in float64, which adds each to a sum of at most this size:
# rounding then moves none by more than 1e-5 nats. Emissions of 1e4 reach it after 10,000,000
# positions.
MOST_SUMMED = 1e11


def check(*arguments: Tensor | None, **named: Tensor | None) -> Potentials:
    """Potentials from a caller's arguments, or ValueError / TypeError that names the culprit."""
    return check_values(*check_form(*arguments, **named))


def check_form(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
) -> Scores:
    """A caller's arguments, checked as far as that needs no values: torch.compile can trace it."""
    given = {
        "emissions": emissions,
        "transitions": transitions,
        "durations": durations,
        "start": start,
        "end": end,
        "begin": begin,
        "finish": finish,
    }
    needed = ("emissions", "transitions", "durations")
    given = {name: x for name, x in given.items() if x is not None or name in needed}
    for name, x in given.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, not {type(x).__name__}")
    _check_shapes(given)
    for name, x in given.items():
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{name} is {x.dtype}; scores must be torch.float32 or torch.float64: "
                f"{name}.float() makes them so"
            )
        if x.dtype != emissions.dtype:
            raise TypeError(f"{name} is {x.dtype} but emissions are {emissions.dtype}")
        if x.device != emissions.device:
            raise ValueError(f"{name} is on {x.device} but emissions are on {emissions.device}")
    lengths = _check_lengths_form(lengths, emissions)
    return emissions, transitions, durations, lengths, start, end, begin, finish


def check_values(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None,
    *rest: Tensor | None,
) -> Potentials:
    """Potentials from what `check_form` gave: nothing NaN or +inf, lengths within 1..T.

    What is NaN, infinite or huge past the lengths is replaced by 0.
    """
    given = lengths
    lengths = _check_lengths(lengths, emissions)
    p = Potentials(emissions, transitions, durations, lengths, *rest)
    blanked = {}
    for name, x in p.scores().items():
        if _plainly_fine(name, x.detach()):
            continue
        if name in ("emissions", "begin", "finish") and given is not None:
            x = blanked[name] = blank_padding(x, lengths)
        _check_values(name, x.detach())
    return replace(p, **blanked)


def blank_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, C) scores with 0 past the lengths (B,)."""
    inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return torch.where(inside[:, :, None], x, 0.0)


def _check_shapes(given: dict[str, Tensor]) -> None:
    emissions, durations = given["emissions"], given["durations"]
    if emissions.dim() != 3 or 0 in emissions.shape:
        raise ValueError(
            f"emissions have shape {tuple(emissions.shape)} but must be (B, T, C), none of them 0"
        )
    classes = emissions.shape[2]
    if durations.dim() != 2 or durations.shape[0] == 0 or durations.shape[1] != classes:
        raise ValueError(
            f"durations have shape {tuple(durations.shape)} but must be (K, C) = "
            f"(at least 1, {classes}), row d - 1 for duration d"
        )
    expected = {
        "transitions": (classes, classes),
        "start": (classes,),
        "end": (classes,),
        "begin": tuple(emissions.shape),
        "finish": tuple(emissions.shape),
    }
    for name, shape in expected.items():
        if name in given and tuple(given[name].shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(given[name].shape)} but must be {shape} "
                f"for emissions of shape {tuple(emissions.shape)}"
            )


def _plainly_fine(name: str, x: Tensor) -> bool:
    """One pass over the values that decides the usual case; False leads to the slower look."""
    if name == "emissions":
        low, high = x.aminmax()
        return bool(torch.maximum(-low, high).double() * x.shape[1] <= MOST_SUMMED)  # not if NaN
    # A sum is finite only where every summand is.
    return bool(torch.isfinite(x.sum()))


def _check_values(name: str, x: Tensor) -> None:
    """Finite emissions of sums that float64 holds; all else may also be -inf, which forbids."""
    if torch.isnan(x).any():
        raise ValueError(f"{name} of shape {tuple(x.shape)} contains NaN, first at {_first(x)}")
    if (x == torch.inf).any():
        raise ValueError(f"{name} of shape {tuple(x.shape)} contains +inf")
    if name != "emissions":
        return
    if torch.isneginf(x).any():
        raise ValueError(
            f"emissions of shape {tuple(x.shape)} contain -inf; forbid labels with -inf in "
            "transitions, durations, start, end, begin or finish, or at a position with an "
            "emission of -1e4"
        )
    summed = x.abs().amax(2).sum(1, dtype=torch.float64)
    b = int(summed.argmax())
    if summed[b] > MOST_SUMMED:
        raise ValueError(
            f"emissions of sequence {b} reach {x[b].abs().max():.3g} and add up, by the largest "
            f"magnitude at each position, to {summed[b]:.3g}; above {MOST_SUMMED:.0e} float64 sums "
            "lose the small ones; -1e4 is enough to forbid a label at a position"
        )


def _first(x: Tensor) -> tuple[int, ...]:
    return tuple(torch.isnan(x).nonzero()[0].tolist())


def _check_lengths_form(lengths: Tensor | None, emissions: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    batch = emissions.shape[0]
    if not isinstance(lengths, Tensor):
        try:
            lengths = torch.as_tensor(lengths)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"lengths must be (B,) integers, not {lengths!r}") from error
    lengths = lengths.to(emissions.device)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise TypeError(f"lengths are {lengths.dtype}; they must be integers")
    if tuple(lengths.shape) != (batch,):
        raise ValueError(f"lengths have shape {tuple(lengths.shape)} but must be (B,) = ({batch},)")
    return lengths.to(torch.int64).contiguous()


def _check_lengths(lengths: Tensor | None, emissions: Tensor) -> Tensor:
    batch, longest, _ = emissions.shape
    if lengths is None:
        return torch.full((batch,), longest, dtype=torch.int64, device=emissions.device)
    if lengths.min() < 1 or lengths.max() > longest:
        raise ValueError(f"lengths must lie in 1..T = 1..{longest}, got {lengths.tolist()}")
    return lengths


def check_possible(log_partition: Tensor) -> None:
    """ValueError where no segmentation of a sequence has a score above -inf."""
    impossible = torch.isneginf(log_partition.detach()).nonzero().flatten().tolist()
    if impossible:
        raise ValueError(
            f"every segmentation of sequence(s) {impossible} of the batch is forbidden: "
            "-inf in transitions, durations, start, end, begin or finish leaves none possible"
        )
