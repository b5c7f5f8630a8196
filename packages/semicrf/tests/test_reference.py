"""The reference against enumeration: value, every gradient, every derived quantity."""

import itertools
import math
from collections import Counter

import pytest
import torch
from enumerate_segmentations import enumerate_all, positions
from hypothesis import given, settings
from problems import assert_close, make, possible, problems, with_gradients

import semicrf

small = problems(lengths=(1, 5), longest=(1, 7))


def reference(function):
    return lambda **problem: function(**problem, backend="reference")


@given(small)
def test_partition_and_gradients(problem):
    weights = torch.arange(1, len(problem["emissions"]) + 1)
    value, gradients = with_gradients(reference(semicrf.partition), problem, weights)
    expected, expected_gradients = with_gradients(lambda **p: enumerate_all(p)[2], problem, weights)
    assert_close(value, expected, 1e-12)
    for name, gradient in expected_gradients.items():
        assert_close(gradients[name], gradient, 1e-9, name)


@pytest.mark.parametrize("longest", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("self_transitions", [True, False])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_probabilities_sum_to_one(longest, self_transitions, backend):
    """The likelihood is one: a peer's sums to 0.39, 17.96, 2.50 and 0.002 for K = 1..4."""
    problem = make(7, length=6, classes=2, longest=longest, self_transitions=self_transitions)
    every = enumerate_all(problem)[0][0]
    probabilities = [semicrf.log_prob([s], **problem, backend=backend).exp() for s in every]
    assert abs(sum(probabilities).item() - 1) < 1e-12


@given(small)
def test_score(problem):
    """Scores of the first, a middle and the last enumerated segmentation, with gradients."""
    every, log_probs, log_partition = enumerate_all(problem)
    for pick in (0, 0.5, 1):
        index = [int(pick * (len(s) - 1)) for s in every]
        segments = [s[i] for s, i in zip(every, index, strict=True)]
        expected = torch.stack([w[i] for w, i in zip(log_probs, index, strict=True)])
        actual = semicrf.score(segments, **problem, backend="reference")
        assert_close(actual, expected + log_partition, 1e-12)

    _, gradients = with_gradients(
        lambda **p: semicrf.score(segments, **p, backend="reference"), problem
    )
    occurrences = torch.zeros_like(problem["durations"])
    for s, e, c in (x for segmentation in segments for x in segmentation):
        occurrences[e - s - 1, c] += 1
    assert torch.equal(gradients["durations"], occurrences)


@given(small)
def test_marginals(problem):
    every, log_probs, log_partition = enumerate_all(problem)
    m = semicrf.marginals(**problem, backend="reference")
    assert_close(m.log_partition, log_partition, 1e-12)
    expected = positions(every, log_probs, problem)
    for name, x in zip(("positions", "begins", "ends"), expected, strict=True):
        assert_close(getattr(m, name), x, 1e-9, name)
    durations, transitions = torch.zeros_like(m.durations), torch.zeros_like(m.transitions)
    for b, (segmentations, weights) in enumerate(zip(every, log_probs, strict=True)):
        counts = Counter()
        for segments, weight in zip(segmentations, weights.exp().tolist(), strict=True):
            counts.update(dict.fromkeys(segments, weight))
            for s, e, c in segments:
                durations[b, e - s - 1, c] += weight
            for (_, _, left), (_, _, right) in itertools.pairwise(segments):
                transitions[b, left, right] += weight
        only = [list(counts) if i == b else [] for i in range(len(every))]
        assert_close(
            m.segments(only)[b], torch.tensor(list(counts.values()), dtype=torch.float64), 1e-9
        )
    assert_close(m.durations, durations, 1e-9)
    assert_close(m.transitions, transitions, 1e-9)


@given(small)
def test_entropy(problem):
    def entropy(**p):
        terms = [torch.where(w.isneginf(), 0.0, w) for w in enumerate_all(p)[1]]
        return torch.stack([-(w.exp() * w).sum() for w in terms])

    scale = max(1.0, problem["emissions"].abs().max().item())
    value, gradients = with_gradients(reference(semicrf.entropy), problem)
    expected, expected_gradients = with_gradients(entropy, problem)
    # log Z and E[score] are of the size of the emissions: their difference keeps 16 digits of it.
    assert_close(value, expected, 1e-13 * scale)
    for name, gradient in expected_gradients.items():
        assert_close(gradients[name], gradient, 1e-10 * scale, name)


@given(small)
def test_viterbi(problem):
    _, log_probs, log_partition = enumerate_all(problem)
    decoded = semicrf.viterbi(**problem, backend="reference")
    best = torch.stack([w.max() for w in log_probs]) + log_partition
    assert_close(decoded.score, best, 1e-12)
    assert_close(semicrf.score(decoded.segments, **problem, backend="reference"), best, 1e-12)


def test_viterbi_ties_go_to_the_lowest_last_label_and_the_shortest_last_segment():
    problem = make(0, length=4, longest=3, scale=0.0, ragged=False, extras=())
    problem = {k: x if x is None else torch.zeros_like(x) for k, x in problem.items()}
    for backend in ("reference", "cpu"):
        decoded = semicrf.viterbi(**problem, backend=backend)
        assert decoded.segments == [[(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 4, 0)]]


@pytest.mark.parametrize("self_transitions", [True, False])
def test_samples_follow_the_posterior(self_transitions):
    """Chi-squared over all segmentations: 20,000 draws, rejected one time in a million."""
    problem = make(
        3, ragged=False, length=4, classes=2, longest=3, self_transitions=self_transitions
    )
    every, log_probs, _ = enumerate_all(problem)
    count = 20_000
    draws = semicrf.sample(
        **problem, count=count, backend="reference", generator=torch.Generator().manual_seed(1)
    )
    seen = Counter(map(tuple, draws[0]))
    statistic, cells = 0.0, -1
    for segments, weight in zip(every[0], log_probs[0].tolist(), strict=True):
        expected = count * math.exp(weight)
        if expected > 5:
            statistic += (seen[tuple(segments)] - expected) ** 2 / expected
            cells += 1
        elif weight == -math.inf:
            assert seen[tuple(segments)] == 0
    assert cells > 3
    # Wilson & Hilferty's normal approximation of chi-squared, at 4.75 standard deviations.
    normal = ((statistic / cells) ** (1 / 3) - 1 + 2 / (9 * cells)) / math.sqrt(2 / (9 * cells))
    assert normal < 4.75


@given(problems(lengths=(1, 6), longest=(1, 8)))
@settings(max_examples=20)
def test_float32_is_the_float64_definition_rounded(problem):
    rounded = {
        k: x.float() if x is not None and x.dtype.is_floating_point else x
        for k, x in problem.items()
    }
    if not possible(rounded):
        return
    exact = {
        k: x.double() if x is not None and x.dtype.is_floating_point else x
        for k, x in rounded.items()
    }
    value = semicrf.partition(**rounded, backend="reference")
    assert value.dtype == torch.float32
    assert torch.equal(value, semicrf.partition(**exact, backend="reference").float())
