"""On counts of which the rates are known, the metrics that rank prefer the rates to all else."""

import numpy as np
import pytest
from scoring import defined

from lacuna import metrics

RANKING = [name for name, m in metrics.of_task("reconstruction").items() if m.rank]
#: Not ranked by, but losses of counts all the same: predicting nothing must not win.
LOSSES = [*RANKING, "spearman", "auroc"]


def simulate(kind, seed):
    """(truth, rates, hidden): 1,500 cells of five types, 60 genes, of which most are rare."""
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.4, 1.0, (5, 60)) * rng.gamma(1.0, 2.0, (1, 60))
    rates = profiles[rng.integers(0, 5, 1500)] * rng.lognormal(0, 0.4, (1500, 1)) + 1e-3
    if kind == "poisson":
        truth = rng.poisson(rates)
    else:
        # Genes differ in dispersion, as real ones do.
        size = rng.uniform(0.5, 5, 60)
        truth = rng.negative_binomial(size, size / (size + rates))
    return truth.astype(float), rates, rng.random(rates.shape) < 0.3


def others(truth, rates, hidden):
    """Predictors that know less than the rates, or distort them."""
    rng = np.random.default_rng(0)
    visible = np.where(hidden, np.nan, truth)
    gene = np.broadcast_to(np.nanmean(visible, axis=0), truth.shape)
    depth = np.nansum(visible, axis=1, keepdims=True)
    return {
        "zeros": np.zeros_like(truth),
        "ones": np.ones_like(truth) + 1e-6 * rng.random(truth.shape),
        "gene mean": gene,
        "depth-scaled mean": gene * depth / depth.mean(),
        "half the rates": rates / 2,
        "twice the rates": rates * 2,
        "noisy rates": rates * rng.lognormal(0, 0.3, rates.shape),
        "median": np.floor(np.maximum(rates - 1 / 3, 0)),
        "rounded rates": np.rint(rates),
        "logarithm": np.log1p(rates),
        "square": rates**2,
        "rates of other cells": rates[rng.permutation(len(rates))],
        "rates of other genes": rates[:, rng.permutation(rates.shape[1])],
    }


@pytest.mark.parametrize("kind", ["poisson", "negative binomial"])
@pytest.mark.parametrize("name", RANKING)
def test_the_oracle_beats_every_other_predictor(kind, name):
    truth, rates, hidden = simulate(kind, seed=4)
    visible = np.where(hidden, 0, truth).sum(axis=1)
    sign = 1 if metrics.of_task("reconstruction")[name].direction == "max" else -1
    best = sign * defined(name, truth, rates, hidden, visible)
    for who, prediction in others(truth, rates, hidden).items():
        value = defined(name, truth, prediction, hidden, visible)
        # Correlations do not see a factor.
        equal = who.endswith("the rates") and "pearson" in name
        slack = 1e-9 if equal else 0
        assert value is None or sign * value < best + slack, who


@pytest.mark.parametrize("kind", ["poisson", "negative binomial"])
@pytest.mark.parametrize("name", LOSSES)
def test_all_zeros_is_never_best(kind, name):
    truth, rates, hidden = simulate(kind, seed=5)
    visible = np.where(hidden, 0, truth).sum(axis=1)
    sign = 1 if metrics.of_task("reconstruction")[name].direction == "max" else -1
    zeros = defined(name, truth, np.zeros_like(truth), hidden, visible)
    gene_mean = np.broadcast_to(truth.mean(axis=0), truth.shape)
    for guess in (rates, gene_mean):
        value = defined(name, truth, guess, hidden, visible)
        assert zeros is None or sign * zeros <= sign * value


def test_absolute_error_can_prefer_zeros_and_so_does_not_rank():
    rng = np.random.default_rng(6)
    rates = rng.gamma(1.0, 0.3, (500, 40))
    truth = rng.poisson(rates).astype(float)
    assert defined("mae", truth, np.zeros_like(truth)) < defined("mae", truth, rates)
    assert not metrics.of_task("reconstruction")["mae"].rank


def test_lognorm_error_can_prefer_less_than_the_rates_and_so_does_not_rank():
    rng = np.random.default_rng(7)
    rates = rng.gamma(2.0, 0.05, (500, 40))
    truth = rng.poisson(rates).astype(float)
    visible = np.full(500, 2000.0)
    scores = [
        defined("mse_lognorm", truth, factor * rates, visible=visible) for factor in (1.0, 0.3)
    ]
    assert scores[1] < scores[0]
    assert not metrics.of_task("reconstruction")["mse_lognorm"].rank
