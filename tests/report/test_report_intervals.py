import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lacuna.report.intervals import over_seeds, paired, ranks, separated

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=12)


@settings(deadline=None)
@given(VALUES)
def test_the_interval_is_students(values):
    found = over_seeds(values)
    error = stats.sem(values)
    if max(values) - min(values) < 1e-6:
        return
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_no_interval():
    found = over_seeds([0.4])
    assert (found.mean, found.low, found.high, found.half) == (0.4, None, None, None)


def test_rounding_is_no_spread():
    found = over_seeds([0.1 + 0.2, 0.3, 0.3])
    assert found.half == 0


def test_pairing_by_seed_separates_what_intervals_that_overlap_do_not():
    # Seeds differ far more than models do, but one model is better by the same amount at each.
    a = {1: 0.10, 2: 0.50, 3: 0.90}
    b = {1: 0.08, 2: 0.485, 3: 0.879}
    assert over_seeds(list(b.values())).high > over_seeds(list(a.values())).low
    assert separated(a, b)
    assert paired(a, b).mean == pytest.approx(np.mean([0.02, 0.015, 0.021]))
    t = stats.ttest_rel(list(a.values()), list(b.values()))
    assert paired(a, b).low == pytest.approx(t.confidence_interval(0.95).low)


def test_pairing_uses_the_seeds_that_both_have():
    assert paired({1: 1.0, 2: 3.0}, {2: 1.0, 3: 9.0}).mean == 2.0
    assert paired({1: 1.0}, {2: 1.0}) is None
    assert separated({1: 1.0}, {1: 0.0}) is None


def test_ties_share_a_rank_and_the_next_one_skips():
    scores = {
        "a": {1: 0.9, 2: 0.7, 3: 0.8},
        "b": {1: 0.7, 2: 0.8, 3: 0.8},
        "c": {1: 0.1, 2: 0.1, 3: 0.11},
        "d": {1: 0.0, 2: 0.0, 3: 0.01},
    }
    assert ranks(scores) == {"a": (1, True), "b": (1, True), "c": (3, False), "d": (4, False)}


def test_equal_scores_tie_with_one_seed_and_others_do_not():
    assert ranks({"a": {1: 0.5}, "b": {1: 0.5}, "c": {1: 0.4}}) == {
        "a": (1, True), "b": (1, True), "c": (3, False),
    }  # fmt: skip


def test_equal_deterministic_scores_tie_at_every_seed():
    assert ranks({"a": {1: 0.3, 2: 0.3}, "b": {1: 0.1 + 0.2, 2: 0.1 + 0.2}}) == {
        "a": (1, True), "b": (1, True),
    }  # fmt: skip


def test_nothing_to_rank():
    assert ranks({}) == {}
