"""Random problems, small enough to enumerate or large enough to cross the kernels' blocks."""

import math

import torch
from hypothesis import assume
from hypothesis import strategies as st

import semicrf


def make(
    seed,
    batch=1,
    length=5,
    classes=2,
    longest=3,
    scale=1.0,
    forbid=0.0,
    forbid_borders=0.0,
    dtype=torch.float64,
    ragged=True,
    extras=("start", "end", "begin", "finish"),
    self_transitions=True,
):
    """Arguments of `semicrf.partition` as a dict.

    `forbid` is the share of -inf in transitions, durations, start and end, `forbid_borders` that
    in begin and finish.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def forbidding(x, share):
        return x.masked_fill(torch.rand(x.shape, generator=g) < share, -math.inf)

    problem = {
        "emissions": normal(batch, length, classes) * scale,
        "transitions": forbidding(normal(classes, classes), forbid),
        "durations": forbidding(normal(longest, classes), forbid),
        "lengths": torch.randint(1, length + 1, (batch,), generator=g) if ragged else None,
    }
    if not self_transitions:
        problem["transitions"].fill_diagonal_(-math.inf)
    shapes = {"start": (classes,), "end": (classes,)}
    for name in extras:
        x = normal(*shapes.get(name, (batch, length, classes)))
        problem[name] = forbidding(x, forbid if name in shapes else forbid_borders)
    return {
        name: x.to(dtype) if x is not None and x.is_floating_point() else x
        for name, x in problem.items()
    }


def possible(problem):
    """Whether every sequence has a segmentation; decided by the reference."""
    try:
        semicrf.partition(**problem, backend="reference")
    except ValueError as error:
        if "forbidden" not in str(error):
            raise
        return False
    return True


@st.composite
def problems(draw, lengths, longest, classes=(1, 3), batch=(1, 3), dtypes=(torch.float64,)):
    extras = draw(st.lists(st.sampled_from(["start", "end", "begin", "finish"]), unique=True))
    problem = make(
        draw(st.integers(0, 2**32)),
        batch=draw(st.integers(*batch)),
        length=draw(st.integers(*lengths)),
        classes=draw(st.integers(*classes)),
        longest=draw(st.integers(*longest)),
        scale=draw(st.sampled_from([0.0, 1.0, 10.0, 1e4])),
        forbid=draw(st.sampled_from([0.0, 0.0, 0.2, 0.5])),
        forbid_borders=draw(st.sampled_from([0.0, 0.0, 0.2])),
        dtype=draw(st.sampled_from(dtypes)),
        ragged=draw(st.booleans()),
        extras=extras,
        self_transitions=draw(st.booleans()),
    )
    assume(possible(problem))
    return problem


def with_gradients(function, problem, weights=None):
    """function(**problem) and the gradient of its weighted sum to each score, by name."""
    leaves = {
        name: x.detach().clone().requires_grad_()
        for name, x in problem.items()
        if x is not None and name != "lengths"
    }
    value = function(**{**problem, **leaves})
    weights = torch.ones_like(value) if weights is None else weights.to(value.dtype)
    (value * weights).sum().backward()
    return value.detach(), {
        name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in leaves.items()
    }


def assert_close(actual, expected, tolerance, what=""):
    """Largest difference within `tolerance` of the largest finite magnitude expected, or 1."""
    assert actual.shape == expected.shape, what
    expected = expected.double()
    same = actual.double() == expected  # equal infinities have no difference to take
    finite = expected[expected.isfinite()].abs()
    bound = tolerance * max(1.0, finite.max().item() if len(finite) else 1.0)
    difference = torch.where(same, 0.0, (actual.double() - expected).abs())
    assert difference.max() <= bound, f"{what}: off by {difference.max():.3g}, bound {bound:.3g}"
