"""Problems in which one rule of the CPU kernel decides: what it leaves out is all there is.

Most have one label, or labels that never meet, so that nothing else can stand in for what a wrong
bound, threshold or certificate would lose.
"""

import math

import pytest
import torch
from problems import make
from test_backends import both, check_derived, check_gradient_of_entropy, check_partition

import semicrf
from semicrf import cpu
from semicrf._inputs import check


def only(allowed, **options):
    """One label whose durations have these scores, all others forbidden; no other scores."""
    problem = make(1, classes=1, longest=max(allowed), ragged=False, extras=(), **options)
    problem["transitions"].zero_()
    problem["durations"].fill_(-math.inf)
    for d, score in allowed.items():
        problem["durations"][d - 1] = score
    return problem


def chains(length, longest, start, dtype, seed=1):
    """Labels 0 and 1, and a label 2 that neither ever meets and that starts at this score."""
    problem = make(seed, length=length, classes=3, longest=longest, dtype=dtype, ragged=False)
    problem["transitions"][2, :2] = problem["transitions"][:2, 2] = -math.inf
    problem["start"][2] = start
    return problem


@pytest.mark.parametrize("dtype", both)
@pytest.mark.parametrize(
    ("near", "far"),
    [([60], 150), ([70], 600), (range(4, 129, 4), 150)],
    ids=["within a superblock", "across superblocks", "every fourth position"],
)
def test_what_only_a_faint_block_reaches(near, far, dtype):
    """A block of sources 100 nats under the best one is left out, and the position that nothing
    else leads to is not certified."""
    problem = only({**dict.fromkeys(near, 0.0), far: -100.0}, length=far, dtype=dtype)
    check_partition(problem)
    assert semicrf.viterbi(**problem).segments == [[(0, far, 0)]]


@pytest.mark.parametrize("dtype", both)
def test_products_that_underflow(dtype):
    """Seven steps of 10 are the one way to 70, beside a step of 100 in the same table."""
    step = -60.0 if dtype == torch.float32 else -150.0
    problem = only({10: step, 100: 0.0}, batch=2, length=100, dtype=dtype)
    problem["lengths"] = torch.tensor([70, 100])
    check_partition(problem)
    check_derived(problem)


@pytest.mark.parametrize("dtype", both)
def test_products_that_underflow_ahead_of_their_turn(dtype):
    depth = -100.0 if dtype == torch.float32 else -800.0
    problem = only({590: depth, 600: 0.0}, batch=2, length=600, dtype=dtype)
    problem["lengths"] = torch.tensor([590, 600])
    check_partition(problem)


@pytest.mark.parametrize("dtype", both)
def test_durations_that_underflow_within_a_block(dtype):
    problem = only({50: -300.0, 100: 0.0}, batch=2, length=100, dtype=dtype)
    problem["lengths"] = torch.tensor([50, 100])
    check_partition(problem)
    check_derived(problem)


@pytest.mark.parametrize("dtype", both)
def test_a_transition_that_underflows_and_must_be(dtype):
    problem = make(2, length=90, longest=20, dtype=dtype, ragged=False)
    problem["transitions"][0, 1] = -300.0
    problem["start"][1] = problem["end"][0] = -math.inf
    check_partition(problem)
    check_derived(problem)
    check_gradient_of_entropy(problem)


@pytest.mark.parametrize("dtype", both)
@pytest.mark.parametrize(("start", "longest"), [(-200.0, 3), (-700.0, 1)])
def test_a_faint_label_that_wins_in_the_end(start, longest, dtype):
    """Carried along out of reach of the others' scale: 200 nats, or a product below 1e-308."""
    problem = chains(200, longest, start, dtype)
    problem["emissions"][:, 0, 2] -= 60.0
    problem["emissions"][:, 130:, 2] += 20.0
    check_partition(problem)
    check_derived(problem)
    assert semicrf.marginals(**problem).positions[0, 0, 2] > 0.99


@pytest.mark.parametrize("dtype", both)
def test_log_space_agrees_on_ordinary_scores(dtype):
    """Two labels with many terms of all sizes; a third, too faint to matter, forces log space."""
    problem = chains(400, 300, -700.0, dtype)
    problem["durations"] -= 0.2 * torch.arange(300, dtype=dtype)[:, None]
    redone = cpu.log_partition_and_redone(check(**problem))[1]
    assert redone.item() == 400 // 64 + 1
    check_partition(problem)
    check_derived(problem)
    check_gradient_of_entropy(problem)


@pytest.mark.parametrize("dtype", both)
@pytest.mark.parametrize("excess", [30.0, 95.0, 700.0, 1500.0])
def test_a_likely_begin_that_leads_nowhere(excess, dtype):
    """It sets the scale of its block; the segments that count are far below it."""
    problem = only({1: 0.0, 59: 0.3, 60: 0.0, 61: -0.2}, length=120, dtype=dtype)
    begin = torch.full_like(problem["emissions"], -math.inf)
    begin[0, [0, 59, 60, 61]] = 0.0
    begin[0, 1] = excess
    problem["begin"] = begin
    check_partition(problem)
    check_derived(problem)
    check_gradient_of_entropy(problem)


def test_every_begin_has_a_transition_before_it():
    """Over several chunks of positions, posteriors and their change along a direction."""
    problem = make(3, batch=2, length=9000, classes=2, longest=4, ragged=False)
    problem["lengths"] = torch.tensor([9000, 8193])
    m = semicrf.marginals(**problem)
    torch.testing.assert_close(m.transitions.sum(1), m.begins[:, 1:].sum(1))
    g = torch.Generator().manual_seed(1)
    direction = {"emissions": torch.randn(2, 9000, 2, generator=g, dtype=torch.float64)}
    change = cpu.curvature(check(**problem), direction)
    torch.testing.assert_close(change["transitions"].sum(1), change["begins"][:, 1:].sum(1))
