"""The kernels against the reference: values, gradients and everything derived."""

import math

import pytest
import torch
from hypothesis import given, settings
from problems import assert_close, make, problems, with_gradients

import semicrf

both = (torch.float32, torch.float64)
tiny = problems(lengths=(1, 9), longest=(1, 12), dtypes=both)
blocks = problems(lengths=(60, 200), longest=(1, 300), classes=(1, 6), batch=(1, 2), dtypes=both)


def double(problem):
    return {
        k: x.double() if torch.is_tensor(x) and x.is_floating_point() else x
        for k, x in problem.items()
    }


def precision(problem, narrow):
    """Tolerance: float32's promise, or what float64 can hold.

    Log weights reach the size of a whole score, T times an emission, and carry its rounding; a
    position's posterior is a sum over up to T boundaries, each the exponential of a few of them.
    """
    if problem["emissions"].dtype == torch.float32:
        return narrow
    length = problem["emissions"].shape[1]
    whole = length * max(1.0, problem["emissions"].abs().max().item())
    return 8 * torch.finfo(torch.float64).eps * whole * length


def check_partition(problem, backend="cpu"):
    weights = torch.arange(1, len(problem["emissions"]) + 1)
    value, gradients = with_gradients(
        lambda **p: semicrf.partition(**p, backend=backend), problem, weights
    )
    expected, expected_gradients = with_gradients(
        lambda **p: semicrf.partition(**p, backend="reference"), double(problem), weights
    )
    assert value.dtype == problem["emissions"].dtype
    relative = (value.double() - expected).abs() / expected.abs().clamp(min=1)
    assert relative.max() <= precision(problem, 1e-6)
    for name, gradient in expected_gradients.items():
        assert gradients[name].dtype == value.dtype
        assert_close(gradients[name], gradient, precision(problem, 1e-5), name)
    without_graph = semicrf.partition(**problem, backend=backend)
    assert torch.equal(without_graph, value)


def check_derived(problem, backend="cpu"):
    exact = double(problem)
    tolerance = precision(problem, 1e-5)
    actual = semicrf.marginals(**problem, backend=backend)
    expected = semicrf.marginals(**exact, backend="reference")
    for name in ("positions", "begins", "ends", "transitions", "durations"):
        assert_close(getattr(actual, name), getattr(expected, name), tolerance, name)
    decoded = semicrf.viterbi(**problem, backend=backend)
    best = semicrf.viterbi(**exact, backend="reference")
    assert_close(decoded.score, best.score, precision(problem, 1e-7))
    assert_close(semicrf.score(decoded.segments, **exact), best.score, precision(exact, 0.0))
    segments = [x[:3] + x[-1:] for x in decoded.segments]
    for a, e in zip(actual.segments(segments), expected.segments(segments), strict=True):
        assert_close(a, e, tolerance, "segments")
    # The difference of two numbers of the size of a whole score, from posteriors.
    entropy = semicrf.entropy(**problem, backend=backend)
    reference = semicrf.entropy(**exact, backend="reference")
    assert_close(entropy, reference, of_entropy(problem))


def of_entropy(problem):
    scale = max(1.0, problem["emissions"].abs().max().item())
    rounding = 1e-6 if problem["emissions"].dtype == torch.float32 else 0.0
    return scale * precision(double(problem), 0.0) + rounding


def check_gradient_of_entropy(problem, backend="cpu"):
    """A covariance of scores: second derivatives of log Z."""
    _, gradients = with_gradients(lambda **p: semicrf.entropy(**p, backend=backend), problem)
    _, expected = with_gradients(
        lambda **p: semicrf.entropy(**p, backend="reference"), double(problem)
    )
    for name, gradient in expected.items():
        assert_close(gradients[name], gradient, of_entropy(problem), name)


@given(tiny)
def test_gradient_of_entropy_tiny(problem):
    check_gradient_of_entropy(problem)


@pytest.mark.parametrize("options", [{}, {"scale": 1e3}, {"forbid": 0.3, "scale": 10.0}])
def test_gradient_of_entropy_across_blocks(options):
    check_gradient_of_entropy(make(3, batch=2, length=150, longest=90, classes=3, **options))


@given(tiny)
def test_partition_tiny(problem):
    check_partition(problem)


@given(tiny)
def test_derived_tiny(problem):
    check_derived(problem)


@given(blocks)
@settings(max_examples=25)
def test_partition_across_blocks(problem):
    check_partition(problem)


@given(blocks)
@settings(max_examples=25)
def test_derived_across_blocks(problem):
    check_derived(problem)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("dtype", both)
def test_superblocks(scale, dtype):
    """T and K so long that sources are summed ahead of their turn, by other threads."""
    problem = make(5, length=800, classes=3, longest=330, scale=scale, dtype=dtype)
    check_partition(problem)
    check_derived(problem)


@pytest.mark.parametrize("dtype", both)
@pytest.mark.parametrize("mask", [-math.inf, -1e9, -1e4, -300.0])
def test_masks_of_any_depth(dtype, mask):
    """Minimum durations and forbidden transitions, as -inf or as people write it."""
    problem = make(2, batch=2, length=400, classes=3, longest=200, dtype=dtype, ragged=False)
    problem["durations"][:70, 1:] = mask
    problem["durations"][130:140] = mask
    problem["transitions"].fill_diagonal_(mask)
    problem["transitions"][0, 1] = mask
    check_partition(problem)
    check_derived(problem)


@pytest.mark.parametrize("dtype", both)
def test_a_class_that_fades_and_returns(dtype):
    """Emissions that bury one class by hundreds of nats, where linear space alone would lose it."""
    problem = make(4, batch=1, length=600, classes=3, longest=150, dtype=dtype, ragged=False)
    problem["emissions"][:, 100:300, 0] -= 5
    problem["emissions"][:, 300:500, 1] += 8
    problem["durations"][:90, 0] = -math.inf
    problem["durations"][:, 2] -= 500
    check_partition(problem)
    check_derived(problem)


@pytest.mark.parametrize("dtype", both)
@pytest.mark.parametrize("steep", [0.1, 2.0, 40.0])
def test_steep_durations(dtype, steep):
    problem = make(6, length=300, classes=2, longest=300, dtype=dtype)
    problem["durations"] -= steep * torch.arange(300, dtype=dtype)[:, None]
    problem["durations"][:, 0] = problem["durations"][:, 0].flip(0)
    check_partition(problem)
    check_derived(problem)


@pytest.mark.parametrize("isa", [0, 1])
def test_every_instruction_set(isa):
    """The generic code is what other processors run; this one runs it here."""
    from semicrf import cpu
    from semicrf._inputs import check

    if isa > cpu.instruction_set():
        pytest.skip("this processor has no AVX2")
    for dtype in both:
        p = check(**make(8, length=350, classes=5, longest=330, dtype=dtype))
        out = cpu.posteriors(p, isa=isa)
        expected = semicrf.marginals(**vars(p.map(torch.Tensor.double)), backend="reference")
        assert_close(out["total"], expected.log_partition, 1e-6 if dtype == both[0] else 1e-12)
        tolerance = precision({"emissions": p.emissions}, 1e-6)
        for name in ("positions", "begins", "ends", "transitions", "durations"):
            assert_close(out[name], getattr(expected, name), tolerance, name)


def test_the_certificate_is_used_and_needed():
    """Ordinary scores stay in linear space; extreme ones leave it, and are exact all the same."""
    from semicrf import cpu
    from semicrf._inputs import check

    ordinary = make(1, length=500, classes=3, longest=100, ragged=False)
    assert cpu.log_partition_and_redone(check(**ordinary))[1].item() == 0
    extreme = make(1, length=500, classes=3, longest=100, scale=1e4, ragged=False)
    assert cpu.log_partition_and_redone(check(**extreme))[1].item() > 0
    check_partition(extreme)


@pytest.mark.parametrize("scale", [0.0, pytest.param(1.0, marks=pytest.mark.only_all)])
def test_float32_over_20_000_positions(scale):
    """Both dtypes against the float64 definition, value and every gradient, where errors add up."""
    size = {"length": 20_000, "longest": 1_000, "classes": 2, "ragged": False}
    problem = make(9, **size, scale=scale, dtype=torch.float32)
    expected, expected_gradients = with_gradients(
        lambda **p: semicrf.partition(**p, backend="reference"), double(problem)
    )
    limits = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-12, 1e-9)}
    for p in (problem, double(problem)):
        of_value, of_gradients = limits[p["emissions"].dtype]
        value, gradients = with_gradients(semicrf.partition, p)
        assert abs(value.double() / expected - 1) < of_value
        for name, gradient in expected_gradients.items():
            difference = (gradients[name] - gradient).abs().max()
            assert difference < of_gradients * gradient.abs().max(), name


@given(problems(lengths=(1, 90), longest=(1, 90)))
@settings(max_examples=20)
def test_samples_do_not_depend_on_the_backend(problem):
    draws = [
        semicrf.sample(**problem, count=3, generator=torch.Generator().manual_seed(5), backend=name)
        for name in ("cpu", "reference")
    ]
    assert draws[0] == draws[1]
