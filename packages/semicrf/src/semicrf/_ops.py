"""The kernels as torch operators: what autograd and torch.compile know about them.

Each operator takes the scores as `check` gives them, `lengths` that may be None for T, and the name
of a backend. Shapes and dtypes were checked before; values are, here, since only an operator's own
code sees them when a model is compiled. Derivatives come from two facts: the gradient of log Z is
the expected counts, which `posteriors` returns along with it; and the second derivatives of log Z
times a direction are the change of those counts along it, which `curvature` returns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import _segments, backends
from ._inputs import Scores, check_values

SCORES = (
    "Tensor emissions, Tensor transitions, Tensor durations, Tensor? lengths, "
    "Tensor? start, Tensor? end, Tensor? begin, Tensor? finish"
)

# What `posteriors` returns: its name, its shape, and whether it is float64 whatever the scores are.
OUTPUTS = (
    ("total", "B", True),
    ("positions", "BTC", False),
    ("begins", "BTC", False),
    ("ends", "BTC", False),
    ("transitions", "BCC", True),
    ("durations", "BKC", False),
    ("before", "BTC", True),
    ("after", "BTC", True),
)
DIRECTION = ("emissions", "begin", "finish", "transitions", "durations")


def _sizes(scores: Scores) -> dict[str, int]:
    return dict(zip("BTCK", (*scores[0].shape, scores[2].shape[0]), strict=True))


def _empty(scores: Scores, shape: str, dtype: torch.dtype) -> Tensor:
    sizes = _sizes(scores)
    return scores[0].new_empty([sizes[axis] for axis in shape], dtype=dtype)


@torch.library.custom_op(
    "semicrf::log_partition", mutates_args=(), schema=f"({SCORES}, str backend) -> Tensor"
)
def log_partition(*arguments) -> Tensor:
    """log Z, (B,) float64, without a gradient."""
    *scores, backend = arguments
    p = check_values(*scores)
    return backends.choose(backend, p).log_partition(p)


@log_partition.register_fake
def _(*arguments):
    return _empty(arguments[:-1], "B", torch.float64)


@torch.library.custom_op(
    "semicrf::posteriors",
    mutates_args=(),
    schema=f"({SCORES}, bool logs, str backend) -> ({', '.join(['Tensor'] * len(OUTPUTS))})",
)
def posteriors(*arguments) -> tuple[Tensor, ...]:
    """log Z and expected counts, as OUTPUTS; `before` and `after` are empty without `logs`.

    Differentiable, but for before and after, in all scores; twice where the backend is "cpu" or
    "triton".
    """
    *scores, logs, backend = arguments
    p = check_values(*scores)
    out = backends.choose(backend, p).posteriors(p, logs=logs)
    found = (out[name] for name, _, _ in OUTPUTS)
    return tuple(p.emissions.new_empty(0, dtype=torch.float64) if x is None else x for x in found)


@posteriors.register_fake
def _(*arguments):
    *scores, logs, _ = arguments
    return tuple(
        scores[0].new_empty(0, dtype=torch.float64)
        if name in ("before", "after") and not logs
        else _empty(scores, shape, torch.float64 if double else scores[0].dtype)
        for name, shape, double in OUTPUTS
    )


def _remember_posteriors(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)
    *scores, _, ctx.backend = inputs
    ctx.save_for_backward(*scores, *output[1:6])


def _posteriors_backward(ctx, total: Tensor | None, *counts: Tensor | None):
    """From gradients of `posteriors`' outputs to gradients of its scores."""
    saved = ctx.saved_tensors
    scores, expected = saved[:8], dict(zip(_COUNTS, saved[8:], strict=True))
    upstream = {name: g for name, g in zip(_COUNTS, counts, strict=False) if g is not None}
    needed = ctx.needs_input_grad[:8]
    gradients: list[Tensor | None] = [None] * 8
    if total is not None:
        gradients = _gradients(expected, scores, needed, total)
    if upstream:
        direction = [upstream.get(_COUNT_OF[name]) for name in DIRECTION]
        direction = [x if x is None else x.double() for x in direction]
        moved = curvature(*scores, *direction, ctx.backend)
        change = dict(zip(_COUNTS, moved, strict=True))
        for i, g in enumerate(_gradients(change, scores, needed, None)):
            if g is not None:
                gradients[i] = g if gradients[i] is None else gradients[i] + g
    return (*gradients, None, None)


_COUNTS = ("positions", "begins", "ends", "transitions", "durations")
_COUNT_OF = {
    "emissions": "positions",
    "begin": "begins",
    "finish": "ends",
    "transitions": "transitions",
    "durations": "durations",
}


def _gradients(
    counts: dict[str, Tensor],
    scores: Scores,
    needed: tuple[bool, ...],
    weights: Tensor | None,
) -> list[Tensor | None]:
    """Counts (B, ...) as gradients of the scores, rows weighted by `weights` (B,), 1 where None.

    Sums over the batch are in float64 and of one order, whatever the number of threads.
    """
    lengths, dtype = scores[3], scores[0].dtype

    def weighted(x: Tensor) -> Tensor:
        if weights is None:
            return x.to(dtype)
        return (x * weights.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))).to(dtype)

    def summed(x: Tensor) -> Tensor:
        return weighted(x).sum(0, dtype=torch.float64).to(dtype)

    def last(x: Tensor) -> Tensor:
        if lengths is None:
            return x[:, -1]
        at = (lengths - 1)[:, None, None].expand(-1, 1, x.shape[2])
        return x.gather(1, at)[:, 0]

    each = (
        lambda: weighted(counts["positions"]),
        lambda: summed(counts["transitions"]),
        lambda: summed(counts["durations"]),
        lambda: None,
        lambda: summed(counts["begins"][:, 0]),
        lambda: summed(last(counts["ends"])),
        lambda: weighted(counts["begins"]),
        lambda: weighted(counts["ends"]),
    )
    return [gradient() if need else None for gradient, need in zip(each, needed, strict=True)]


posteriors.register_autograd(_posteriors_backward, setup_context=_remember_posteriors)


@torch.library.custom_op(
    "semicrf::curvature",
    mutates_args=(),
    schema=f"({SCORES}, {', '.join(f'Tensor? v_{name}' for name in DIRECTION)}, str backend)"
    f" -> ({', '.join(['Tensor'] * 5)})",
)
def curvature(*arguments) -> tuple[Tensor, ...]:
    """Change of the expected counts (OUTPUTS 1 to 5) along a direction of the scores, float64.

    The direction's entries are (B, T, C), transitions (B, C, C) and durations (B, K, C), or None
    where nothing moves.
    """
    scores, direction, backend = arguments[:8], arguments[8:-1], arguments[-1]
    p = check_values(*scores)
    named = zip(DIRECTION, direction, strict=True)
    out = backends.choose(backend, p).curvature(p, {k: v for k, v in named if v is not None})
    return tuple(out[name] for name in _COUNTS)


@curvature.register_fake
def _(*arguments):
    return tuple(_empty(arguments[:8], shape, torch.float64) for _, shape, _ in OUTPUTS[1:6])


def _no_third_derivative(ctx, *upstream):
    raise RuntimeError(
        "the kernels give second derivatives of log Z and no more; "
        'for third ones use backend="reference"'
    )


curvature.register_autograd(_no_third_derivative)


@torch.library.custom_op(
    "semicrf::tiling",
    mutates_args=(),
    schema=f"(Tensor segments, {SCORES}, str too_long) -> (Tensor, Tensor)",
)
def tiling(segments: Tensor, *arguments) -> tuple[Tensor, Tensor]:
    """Labels (B, T), -1 past a length, and durations (B, T) where a segment begins, else 0.

    Of the scores only sizes and lengths count, but all are checked: `score` has no other operator.
    """
    *scores, too_long = arguments
    p = check_values(*scores)
    return _segments.tiling(segments, p.lengths, p.sizes, too_long=too_long)


@tiling.register_fake
def _(segments, emissions, *arguments):
    return tuple(segments.new_empty(emissions.shape[:2]) for _ in range(2))


@torch.library.custom_op(
    "semicrf::tiling_of_labels",
    mutates_args=(),
    schema="(Tensor labels, Tensor? lengths, int C) -> (Tensor, Tensor)",
)
def tiling_of_labels(labels: Tensor, lengths: Tensor | None, C: int) -> tuple[Tensor, Tensor]:
    """`tiling` of segments of one position each."""
    return _segments.tiling_of_labels(labels, lengths, C)


@tiling_of_labels.register_fake
def _(labels, lengths, C):
    return tuple(labels.new_empty(labels.shape, dtype=torch.int64) for _ in range(2))


@torch.library.custom_op(
    "semicrf::check_allowed",
    mutates_args=(),
    schema=f"(Tensor log_prob, Tensor labels, Tensor spans, {SCORES}) -> Tensor",
)
def check_allowed(log_prob: Tensor, labels: Tensor, spans: Tensor, *scores) -> Tensor:
    """`log_prob` (B,) as it is, or ValueError where it is -inf; for torch.compile."""
    _segments.check_allowed(log_prob, labels, spans, scores)
    return log_prob.clone()


@check_allowed.register_fake
def _(log_prob, *arguments):
    return torch.empty_like(log_prob)


def _as_it_is(ctx, upstream: Tensor):
    return (upstream, *[None] * 10)


check_allowed.register_autograd(_as_it_is)
