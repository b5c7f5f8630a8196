"""Each metric against scipy and sklearn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scoring import defined, score
from sklearn import metrics as sk

from lacuna import metrics
from lacuna.metrics.reconstruction import RATE_FLOOR
from lacuna.metrics.registry import Undefined

NAMES = list(metrics.of_task("reconstruction"))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    rates = rng.gamma(0.5, 1.0, (60, 1)) * rng.gamma(0.6, 3.0, (1, 40)) + 0.02
    truth = rng.poisson(rates).astype(float)
    prediction = np.float32(rates * rng.lognormal(0, 0.4, rates.shape)).astype(float)
    # Ties among predictions, zeros among them.
    prediction[:, :5] = np.round(prediction[:, :5])
    hidden = rng.random(rates.shape) < 0.4
    visible = np.where(hidden, 0, truth).sum(axis=1)
    return truth, prediction, hidden, visible


def lognorm(counts, visible):
    return np.log1p(1e4 * counts / np.maximum(visible, 1)[:, None])


def grouped(truth, prediction, hidden):
    """scipy's correlation of each row that has one; 0 where only the prediction is constant."""
    found = []
    for t, p, h in zip(truth, prediction, hidden, strict=True):
        t, p = t[h], p[h]
        if len(t) >= 2 and np.ptp(t) > 0:
            found.append(stats.pearsonr(t, p)[0] if np.ptp(p) > 0 else 0.0)
    return np.median(found)


REFERENCES = {
    "mse": lambda t, p: sk.mean_squared_error(t, p),
    "mae": lambda t, p: sk.mean_absolute_error(t, p),
    "pearson": lambda t, p: stats.pearsonr(t, p)[0],
    "spearman": lambda t, p: stats.spearmanr(t, p)[0],
    "poisson_nll": lambda t, p: -stats.poisson.logpmf(t, np.maximum(p, RATE_FLOOR)).mean(),
    "auroc": lambda t, p: sk.roc_auc_score(t > 0, p),
}
STRATIFIED = ("mse", "mae", "pearson", "spearman")


@pytest.mark.parametrize("step", [None, 7])
@pytest.mark.parametrize("name", REFERENCES)
def test_over_all_hidden_entries(data, name, step):
    truth, prediction, hidden, visible = data
    expected = REFERENCES[name](truth[hidden], prediction[hidden])
    assert score(name, *data, step=step) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", STRATIFIED)
def test_among_truly_nonzero_entries(data, name):
    truth, prediction, hidden, _ = data
    keep = hidden & (truth > 0)
    expected = REFERENCES[name](truth[keep], prediction[keep])
    assert score(f"{name}_nonzero", *data) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_among_truly_zero_entries(data, name):
    truth, prediction, hidden, _ = data
    keep = hidden & (truth == 0)
    expected = REFERENCES[name](truth[keep], prediction[keep])
    assert score(f"{name}_zero", *data) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["pearson_zero", "spearman_zero"])
def test_correlation_among_true_zeros_is_undefined_and_says_why(data, name):
    with pytest.raises(Undefined, match="the truth is constant"):
        score(name, *data)


@pytest.mark.parametrize("name", ["mse", "pearson"])
def test_in_lognorm_space(data, name):
    truth, prediction, hidden, visible = data
    expected = REFERENCES[name](
        lognorm(truth, visible)[hidden], lognorm(prediction, visible)[hidden]
    )
    assert score(f"{name}_lognorm", *data, step=9) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("step", [None, 7])
def test_within_cells_and_genes(data, step):
    truth, prediction, hidden, _ = data
    cells = grouped(truth, prediction, hidden)
    genes = grouped(truth.T, prediction.T, hidden.T)
    assert score("pearson_cell", *data, step=step) == pytest.approx(cells, rel=1e-9)
    assert score("pearson_gene", *data, step=step) == pytest.approx(genes, rel=1e-9)


@pytest.mark.parametrize("step", [None, 7])
def test_calibration(data, step):
    truth, prediction, hidden, _ = data
    true, mine = truth[hidden], prediction[hidden].copy()
    group = np.clip(np.floor(np.log2(np.maximum(mine, 1e-9)) + 0.5), -10, 10)
    gaps = [abs(mine[group == g].sum() - true[group == g].sum()) for g in np.unique(group)]
    found = score("calibration", *data, step=step)
    assert found == pytest.approx(sum(gaps) / true.sum(), rel=1e-9)
    assert score("calibration", truth, truth, hidden) == 0
    mean = np.broadcast_to(np.where(hidden, truth, 0).sum() / hidden.sum(), truth.shape)
    assert score("calibration", truth, mean, hidden) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_in_either_space_scores_the_same(data, name):
    truth, prediction, hidden, visible = data
    as_lognorm = lognorm(prediction, visible)
    expected = defined(name, *data)
    found = defined(name, truth, as_lognorm, hidden, visible, space="lognorm")
    # Ranks are taken of float32, in which the way there and back can make or break a tie.
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-4))


@pytest.mark.parametrize("name", NAMES)
def test_model_space_taken_for_counts_is_seen(data, name):
    """Values in lognorm that are scored as if they were counts do not score as the counts do."""
    truth, prediction, hidden, visible = data
    expected = defined(name, *data)
    if expected is None:
        return
    found = defined(name, truth, lognorm(prediction, visible), hidden, visible)
    assert found != pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_values_lie_in_the_range_they_declare(data, name):
    truth, prediction, hidden, visible = data
    low, high = metrics.of_task("reconstruction")[name].range
    zeros = np.zeros_like(truth)
    for guess in (prediction, zeros, truth, zeros + 2.5, 100 - np.minimum(truth, 100)):
        value = defined(name, truth, guess, hidden, visible)
        if value is not None:
            assert np.isfinite(value)
            assert low is None or value >= low
            assert high is None or value <= high


@pytest.mark.parametrize("name", NAMES)
def test_truth_is_the_best_prediction_there_is(data, name):
    truth, prediction, hidden, visible = data
    metric = metrics.of_task("reconstruction")[name]
    best = defined(name, truth, truth, hidden, visible)
    other = defined(name, *data)
    if best is not None:
        end = metric.range[0 if metric.direction == "min" else 1]
        if name != "poisson_nll":  # the truth's own likelihood is less than 1
            assert best == pytest.approx(end, abs=1e-12)
        assert best <= other if metric.direction == "min" else best >= other


@pytest.mark.parametrize("name", ["pearson", "spearman", "pearson_lognorm"])
def test_a_constant_prediction_has_no_correlation(data, name):
    truth, _, hidden, visible = data
    # In lognorm, cells of different depth would give equal counts different values.
    flat = np.full(truth.shape, np.float32(0.3), dtype=float)
    visible = np.full_like(visible, 50.0)
    with pytest.raises(Undefined, match="the prediction is constant"):
        score(name, truth, flat, hidden, visible, step=7)


def test_constant_within_each_gene_counts_as_nothing_learned_there(data):
    truth, _, hidden, visible = data
    means = np.broadcast_to(np.float32(truth.mean(axis=0)), truth.shape)
    assert score("pearson_gene", truth, means, hidden, visible, step=7) == 0
    assert score("pearson_cell", truth, means, hidden, visible) > 0.3


def test_genes_and_cells_without_variation_in_the_truth_are_left_out():
    truth = np.array([[1.0, 0, 2], [1.0, 3, 0], [1.0, 1, 1]])
    prediction = np.array([[5.0, 0, 2], [1.0, 3, 0], [2.0, 1, 1]])
    assert score("pearson_gene", truth, prediction) == pytest.approx(1)
    with pytest.raises(Undefined, match="constant within every gene"):
        score("pearson_gene", np.ones((3, 3)), prediction)


def test_no_entries_in_a_stratum():
    with pytest.raises(Undefined, match="no such entries"):
        score("mse_nonzero", np.zeros((2, 3)), np.ones((2, 3)))
    with pytest.raises(Undefined, match="all entries are truly zero"):
        score("auroc", np.zeros((2, 3)), np.ones((2, 3)))


def test_poisson_loss_is_the_right_way_round():
    """With truth and prediction swapped, all zeros would score best."""
    truth = np.array([[0.0, 3.0, 1.0, 0.0]])
    right = score("poisson_nll", truth, np.full((1, 4), 1.0))
    zeros = score("poisson_nll", truth, np.zeros((1, 4)))
    assert right == pytest.approx(-stats.poisson.logpmf(truth, 1.0).mean())
    assert zeros > 5 * right
    assert score("poisson_nll", np.array([[70_000.0]]), np.array([[70_000.0]])) == pytest.approx(
        -stats.poisson.logpmf(70_000, 70_000), rel=1e-6
    )


def test_large_offsets_do_not_drown_variation():
    """Sums of squares about 0 would lose every digit here."""
    rng = np.random.default_rng(0)
    truth = rng.poisson(5.0, (200, 3)).astype(float)
    prediction = np.float32(1e6 + truth + rng.normal(0, 2, truth.shape)).astype(float)
    expected = grouped(truth.T, prediction.T, np.ones((3, 200), dtype=bool))
    assert score("pearson_gene", truth, prediction, step=11) == pytest.approx(expected, rel=1e-6)
    everything = stats.pearsonr(truth.ravel(), prediction.ravel())[0]
    assert score("pearson", truth, prediction, step=11) == pytest.approx(everything, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    cells=st.integers(1, 12),
    genes=st.integers(1, 8),
    step=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_size_of_pieces_changes_nothing(data, cells, genes, step, seed):
    rng = np.random.default_rng(seed)
    truth = rng.poisson(0.8, (cells, genes)).astype(float)
    prediction = rng.choice([0, 0.5, 1, 2, 3.25], (cells, genes))
    hidden = rng.random((cells, genes)) < 0.7
    hidden[0, 0] = True
    visible = rng.integers(0, 50, cells).astype(float)
    name = data.draw(st.sampled_from(NAMES))
    whole = defined(name, truth, prediction, hidden, visible)
    parts = defined(name, truth, prediction, hidden, visible, step=step)
    assert parts == (None if whole is None else pytest.approx(whole, rel=1e-9, abs=1e-12))
