"""Duration scores (K, C) from learned parameters: one nn.Module for every parametrisation."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Each entry: unnormalised log weights (K, C) from (K, 1) durations d and raw (C,) values, initial
# raw values of one label for a mean duration m, as plain numbers so that a layer can be built on
# torch's meta device, and the parameters' names. softplus keeps a parameter positive, sigmoid in
# (0, 1).


def _inverse_softplus(x: float) -> float:
    return x + math.log(-math.expm1(-x))


def _beyond_one(m: float) -> float:
    """The mean of d - 1, above 0."""
    return max(m - 1, 1e-3)


def _geometric(d: Tensor, logit: Tensor) -> Tensor:
    """Success probability p = sigmoid(logit): p (1 - p)^(d - 1)."""
    return F.logsigmoid(logit) + (d - 1) * F.logsigmoid(-logit)


def _poisson(d: Tensor, raw: Tensor) -> Tensor:
    """Rate r = softplus(raw) of d - 1: exp(-r) r^(d - 1) / (d - 1)!."""
    rate = F.softplus(raw)
    return (d - 1) * rate.log() - rate - torch.lgamma(d)


def _negative_binomial(d: Tensor, raw: Tensor, logit: Tensor) -> Tensor:
    """d - 1 failures before r = softplus(raw) successes of probability sigmoid(logit)."""
    r = F.softplus(raw)
    ways = torch.lgamma(d - 1 + r) - torch.lgamma(r) - torch.lgamma(d)
    return ways + r * F.logsigmoid(logit) + (d - 1) * F.logsigmoid(-logit)


def _lognormal(d: Tensor, mean: Tensor, raw: Tensor) -> Tensor:
    """Density at d of exp of a normal with this mean and deviation softplus(raw)."""
    deviation = F.softplus(raw)
    x = d.log()
    return -0.5 * ((x - mean) / deviation) ** 2 - deviation.log() - x - 0.5 * math.log(2 * math.pi)


_PARAMETRIC: dict[str, tuple[Callable, Callable, tuple[str, ...]]] = {
    "geometric": (_geometric, lambda m: (-math.log(_beyond_one(m)),), ("logit",)),
    "poisson": (_poisson, lambda m: (_inverse_softplus(_beyond_one(m)),), ("rate",)),
    "negative_binomial": (
        _negative_binomial,
        # Two successes: a mode away from 1. The mean of d - 1 is r (1 - p) / p.
        lambda m: (_inverse_softplus(2.0), math.log(2 / _beyond_one(m))),
        ("successes", "logit"),
    ),
    "lognormal": (
        _lognormal,
        # The mean of exp of a normal of deviation 1 is exp(1/2) times its median.
        lambda m: (math.log(m) - 0.5, _inverse_softplus(1.0)),
        ("mean", "deviation"),
    ),
}

NAMES = ("learned", "uniform", *_PARAMETRIC)


def _means(mean: float | list[float] | None, num_labels: int, max_duration: int) -> list[float]:
    """One initial mean per label, each in 1..K."""
    if mean is None:
        mean = max(1.0, max_duration / 4)
    mean = mean.tolist() if hasattr(mean, "tolist") else mean
    means = list(mean) if isinstance(mean, list | tuple) else [mean] * num_labels
    if not all(isinstance(m, numbers.Real) for m in means):
        raise TypeError(f"mean duration {mean!r} must be a number, or one per label")
    if len(means) != num_labels:
        raise ValueError(f"{len(means)} mean durations {mean} for {num_labels} labels")
    if not all(1 <= m <= max_duration for m in means):
        raise ValueError(
            f"mean duration {mean}: durations are at least 1 and at most K = {max_duration}"
        )
    return [float(m) for m in means]


class Durations(nn.Module):
    """Log probabilities of durations 1..K for each of C labels, from learned parameters.

    Args:
        kind: "learned": a free score for each duration and label, K x C parameters, uniform to
            begin with and not renormalised; "uniform": no parameters; "geometric", "poisson" and
            "negative_binomial": of d - 1; "lognormal": the density at d. The parametric ones have
            one or two parameters per label and are cut off at K and normalised over 1..K.
        num_labels: C.
        max_duration: K.
        mean: initial mean duration of the parametric kinds before the cut, a number or one per
            label, in 1..K; a quarter of K where None. The other kinds take none.

    Called without arguments it returns (K, C), row d - 1 for duration d.
    """

    def __init__(
        self,
        kind: str,
        num_labels: int,
        max_duration: int,
        mean: float | list[float] | None = None,
    ) -> None:
        super().__init__()
        if kind not in NAMES:
            raise ValueError(f"durations={kind!r}; there are: {', '.join(NAMES)}")
        if not all(isinstance(n, numbers.Integral) for n in (max_duration, num_labels)):
            raise TypeError(f"max_duration={max_duration!r}, num_labels={num_labels!r}: integers")
        if max_duration < 1 or num_labels < 1:
            raise ValueError(f"max_duration={max_duration}, num_labels={num_labels}: at least 1")
        self.kind, self.num_labels, self.max_duration = kind, num_labels, max_duration
        if kind not in _PARAMETRIC and mean is not None:
            raise ValueError(
                f"mean duration {mean} for durations={kind!r}, which begin uniform; "
                f"those with a mean: {', '.join(_PARAMETRIC)}"
            )
        if kind == "learned":
            uniform = torch.full((max_duration, num_labels), -math.log(max_duration))
            self.scores = nn.Parameter(uniform)
        elif kind == "uniform":
            # Knows the module's device and dtype; holds no values that could be lost on the way.
            self.register_buffer("like", torch.empty(0), persistent=False)
        else:
            means = _means(mean, num_labels, max_duration)
            _, initial, names = _PARAMETRIC[kind]
            columns = zip(*map(initial, means), strict=True)
            for name, values in zip(names, columns, strict=True):
                setattr(self, name, nn.Parameter(torch.tensor(values)))

    def forward(self) -> Tensor:
        if self.kind == "learned":
            return self.scores
        if self.kind == "uniform":
            shape = self.max_duration, self.num_labels
            return self.like.new_full(shape, -math.log(self.max_duration))
        function, _, names = _PARAMETRIC[self.kind]
        parameters = [getattr(self, name) for name in names]
        d = torch.arange(1, self.max_duration + 1, device=parameters[0].device)
        d = d[:, None].to(parameters[0].dtype)
        return F.log_softmax(function(d, *parameters), 0)

    def expected(self) -> Tensor:
        """(C,) mean duration of each label under these scores, without any emissions."""
        d = torch.arange(1, self.max_duration + 1, device=self().device)
        return (F.softmax(self(), 0) * d[:, None]).sum(0)

    def extra_repr(self) -> str:
        return f"{self.kind!r}, num_labels={self.num_labels}, max_duration={self.max_duration}"
