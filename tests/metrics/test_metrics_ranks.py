"""The streamed histogram behind Spearman and AUROC, against exact ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scoring import pieces
from sklearn.metrics import roc_auc_score

from lacuna.metrics.ranks import (
    EXACT_COUNTS,
    Ranks,
    midranks,
    prediction_bin,
    truth_bin,
)
from lacuna.metrics.registry import Undefined


def ranking(truth, prediction, limit, step=50, stratum="all"):
    need = Ranks(stratum, limit)
    accumulator = need.shared.accumulator()
    every = np.ones(truth.shape, dtype=bool)
    for piece in pieces(truth, prediction, every, np.ones(len(truth)), step=step):
        accumulator.update(piece)
    return need.view(accumulator.result())


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(8)
    rates = rng.gamma(0.4, 1.0, (400, 1)) * rng.gamma(0.5, 8.0, (1, 60)) + 1e-3
    truth = rng.negative_binomial(2, 2 / (2 + rates)).astype(float)
    return truth, np.float32(rates * rng.lognormal(0, 0.3, rates.shape)).astype(float)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 2.0**100, width=32), min_size=2, max_size=60))
def test_bins_keep_the_order(values):
    ordered = np.sort(np.array(values, dtype=np.float32))
    assert (np.diff(prediction_bin(ordered)) >= 0).all()
    assert (np.diff(truth_bin(np.floor(np.minimum(ordered, 2.0**24)))) >= 0).all()
    assert (prediction_bin(ordered) == 0).sum() == (ordered == 0).sum()


def test_small_counts_have_bins_of_their_own_and_large_ones_narrow_bins():
    values = np.arange(100_000, dtype=np.float32)
    bins = truth_bin(values)
    assert (bins[:EXACT_COUNTS] == np.arange(EXACT_COUNTS)).all()
    firsts = np.flatnonzero(np.diff(bins, prepend=-1))
    assert (np.diff(firsts) <= 0.033 * firsts[:-1] + 1).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_midranks_are_those_of_scipy(values):
    assert midranks(np.array(values)) == pytest.approx(stats.rankdata(values))


@pytest.mark.parametrize("stratum", ["all", "nonzero"])
def test_histogram_is_within_its_bound(counts, stratum):
    truth, prediction = counts
    keep = truth >= (stratum == "nonzero")
    exact = stats.spearmanr(truth[keep], prediction[keep])[0]
    found = ranking(truth, prediction, limit=10, stratum=stratum).spearman()
    assert abs(found.value - exact) <= found.bound
    assert found.bound < 0.01
    assert ranking(truth, prediction, 10**6, stratum=stratum).spearman().value == pytest.approx(
        exact
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(1e-4, 3), ties=st.booleans())
def test_the_bound_holds_however_near_the_values_are(seed, spread, ties):
    rng = np.random.default_rng(seed)
    truth = rng.poisson(rng.choice([0.3, 3, 300]), (30, 10)).astype(float)
    prediction = np.float32(np.exp(rng.normal(0, spread, truth.shape)))
    prediction = (np.round(prediction, 1) if ties else prediction).astype(float)
    if np.ptp(prediction) == 0:
        return
    exact = stats.spearmanr(truth.ravel(), prediction.ravel())[0]
    try:
        found = ranking(truth, prediction, limit=10).spearman()
    except Undefined:
        return
    assert abs(found.value - exact) <= found.bound + 1e-12


def test_predictions_too_near_for_the_histogram_are_not_scored(counts):
    truth, prediction = counts
    near = 1 + prediction / prediction.max() / 1e4
    with pytest.raises(Undefined, match="nearly"):
        ranking(truth, near, limit=10).spearman()
    assert ranking(truth, near, limit=10**6).spearman().value > 0.3


def test_auroc_from_the_histogram(counts):
    truth, prediction = counts
    exact = roc_auc_score((truth > 0).ravel(), prediction.ravel())
    assert ranking(truth, prediction, limit=10).auroc() == pytest.approx(exact, abs=1e-3)


def test_the_size_of_pieces_changes_nothing(counts):
    truth, prediction = counts
    first, second = (ranking(truth, prediction, 5000, step).spearman() for step in (3, 400))
    assert first.value == second.value
