"""Each metric of the task multimodal against an independent implementation."""

import importlib
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk
from sklearn.neighbors import KNeighborsClassifier

from lacuna import metrics
from lacuna.metrics.registry import Undefined
from lacuna.tasks.multimodal import embedding
from lacuna.tasks.multimodal.embedding import Known, Space

M = {name: metric.function for name, metric in metrics.of_task("multimodal").items()}
CELLS, FEATURES = 60, 7


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def counts(rng):
    """Counts and expected counts, one gene always zero, one prediction constant."""
    rate = rng.gamma(1.0, 2.0, (CELLS, FEATURES))
    truth = rng.poisson(rate).astype(np.float32)
    truth[:, 2] = 0
    rate[:, 5] = 1.3
    return truth, rate.astype(np.float32)


@pytest.fixture
def peaks(rng):
    p = rng.random((CELLS, FEATURES)).round(1)  # with ties
    truth = (rng.random(p.shape) < p * 0.5).astype(np.float32)
    truth[:, 3] = 0
    return truth, p.astype(np.float32)


def norm(x):
    return np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))


def test_pearson_of_rna(counts):
    truth, rate = counts
    each = [
        0.0 if j == 5 else stats.pearsonr(truth[:, j], rate[:, j])[0]
        for j in range(FEATURES)
        if j != 2
    ]
    assert M["rna_pearson_gene"](truth, rate) == pytest.approx(np.median(each), abs=1e-6)
    cells = [stats.pearsonr(a, b)[0] for a, b in zip(norm(truth), norm(rate), strict=True)]
    assert M["rna_pearson_cell"](truth, rate) == pytest.approx(np.median(cells), abs=1e-6)


def test_rmse_and_deviance_of_rna(counts):
    truth, rate = counts
    expected = sk.root_mean_squared_error(norm(truth).ravel(), norm(rate).ravel())
    assert M["rna_rmse_lognorm"](truth, rate) == pytest.approx(expected, rel=1e-5)
    size = 1 / 0.2

    def loglik(mean):
        return stats.nbinom.logpmf(truth, size, size / (size + mean))

    # The deviance is twice the distance from the likelihood of a prediction that is the truth.
    deviance = 2 * (loglik(np.maximum(truth, 1e-12)) - loglik(rate.astype(float))).mean()
    assert M["rna_nb_deviance"](truth, rate) == pytest.approx(deviance, rel=1e-5)


def test_expected_counts_have_the_least_deviance(rng):
    mean = rng.gamma(1.0, 2.0, (400, 50))
    truth = rng.poisson(rng.gamma(1 / 0.4, 0.4, mean.shape) * mean)  # of another dispersion
    best = M["rna_nb_deviance"](truth, mean)
    for other in (0.7 * mean, 1.4 * mean, np.full_like(mean, mean.mean()), mean + 0.5, 0 * mean):
        assert best < M["rna_nb_deviance"](truth, other)


def test_atac(peaks):
    truth, p = peaks
    columns = [j for j in range(FEATURES) if j != 3]
    pairs = [(truth[:, j], p[:, j]) for j in columns]
    for name, reference in (("auroc", sk.roc_auc_score), ("auprc", sk.average_precision_score)):
        within = np.mean([reference(*pair) for pair in pairs])
        assert M[f"atac_{name}_peak"](truth, p) == pytest.approx(within)
        pooled = reference(truth.ravel(), p.ravel())
        assert M[f"atac_{name}"](truth, p) == pytest.approx(pooled)
    brier = sk.brier_score_loss(truth.ravel(), p.ravel())
    assert M["atac_brier"](truth, p) == pytest.approx(brier)
    constant = np.full_like(p, 0.2)
    assert M["atac_auroc_peak"](truth, constant) == 0.5
    assert M["atac_auprc_peak"](truth, constant) == pytest.approx(truth[:, columns].mean())


def test_adt(rng):
    truth = rng.lognormal(2, 1, (CELLS, FEATURES)).astype(np.float32)
    guess = np.log1p(truth) + rng.normal(0, 0.5, truth.shape)
    each = [stats.pearsonr(np.log1p(truth[:, j]), guess[:, j])[0] for j in range(FEATURES)]
    assert M["adt_pearson"](truth, guess) == pytest.approx(np.median(each), abs=1e-6)
    rmse = sk.root_mean_squared_error(np.log1p(truth).ravel(), guess.ravel())
    assert M["adt_rmse_log"](truth, guess) == pytest.approx(rmse, rel=1e-5)


def test_a_truth_without_variation_is_undefined():
    zeros, ones = np.zeros((4, 3)), np.ones((4, 3))
    for name in ("rna_pearson_gene", "atac_auroc", "atac_auroc_peak", "atac_auprc"):
        with pytest.raises(Undefined):
            M[name](zeros, ones)


@pytest.fixture
def space(rng):
    """90 cells of three clusters: RNA alone, ATAC alone, or both, the last 20 of the first two
    groups being the same cells."""
    cluster = np.repeat([0, 1, 2], 30)
    rng.shuffle(cluster)
    z = rng.normal(size=(90, 5))
    z[:, :3] += 4 * np.eye(3)[cluster]
    has = np.zeros((90, 3), dtype=bool)
    has[:40, 0], has[40:80, 1], has[80:] = True, True, (True, True, False)
    twin = np.full(90, -1)
    twin[20:40], twin[60:80] = np.arange(60, 80), np.arange(20, 40)
    z[60:80] = z[20:40]
    cluster[60:80] = cluster[20:40]
    batch = np.array(["a", "b"])[(np.arange(90) >= 40).astype(int)]
    known = Known(np.array([f"c{k}" for k in cluster]), z, twin, None, has, batch)
    return Space(z + rng.normal(0, 0.7, z.shape), known), known, z, cluster


def test_foscttm_by_its_definition(space):
    one, known, _, _ = space
    x = one._whole
    first, second = range(40), range(40, 80)
    fractions = []
    for cells, others in ((first, second), (second, first)):
        for cell in cells:
            if known.twin[cell] < 0:
                continue
            mine = np.linalg.norm(x[cell] - x[known.twin[cell]])
            nearer = [np.linalg.norm(x[cell] - x[o]) < mine for o in others]
            fractions.append(sum(nearer) / (len(others) - 1))
    assert one.foscttm() == pytest.approx(np.mean(fractions))
    assert Space(known.z, known).foscttm() == 0
    noise = Space(np.random.default_rng(1).normal(size=known.z.shape), known)
    assert 0.3 < noise.foscttm() < 0.7
    assert Space(np.ones_like(known.z), known).foscttm() == 0.5


def test_foscttm_of_many_twins_is_that_of_some(space, monkeypatch):
    one, known, _, _ = space
    whole = one.foscttm()
    monkeypatch.setattr(embedding, "MOST_TWINS", 30)
    some = one.foscttm()
    assert some == Space(one._whole, known).foscttm(), "the same rows for every model"
    assert 0 < abs(some - whole) < 0.1


def test_label_transfer_as_sklearn_has_it(space):
    one, _, _, cluster = space
    x, right = one._whole, []
    for known, asked in ((slice(0, 40), slice(40, 80)), (slice(40, 80), slice(0, 40))):
        reference = KNeighborsClassifier(15).fit(x[known], cluster[known])
        right.append(reference.predict(x[asked]) == cluster[asked])
    assert one.label_transfer() == pytest.approx(np.mean(right))


def test_distances_as_scipy_has_them(space):
    one, known, z, _ = space
    pairs = [(i, j) for i in range(90) for j in range(i)]
    mine = [np.linalg.norm(one._whole[i] - one._whole[j]) for i, j in pairs]
    true = [np.linalg.norm(z[i] - z[j]) for i, j in pairs]
    assert one.z_distance() == pytest.approx(stats.pearsonr(mine, true)[0], abs=1e-6)
    assert Space(np.ones_like(z), known).z_distance() == 0


def test_clusters_and_mixing_through_scib(space):
    """Against sklearn where it has the same, and against what noise and the truth must give."""
    pytest.importorskip("scib_metrics")
    one, known, z, cluster = space
    noise = Space(np.random.default_rng(1).normal(size=z.shape), known)
    # scIB maps a silhouette from -1..1 to 0..1.
    expected = (sk.silhouette_score(one._whole, cluster) + 1) / 2
    assert M["silhouette_label"](one) == pytest.approx(expected, abs=1e-4)
    assert M["ari"](one) > 0.8 > 0.2 > M["ari"](noise)
    for name in ("nmi", "clisi", "isolated_labels"):
        assert M[name](noise) < M[name](one) <= 1.001, name
    apart = Space(one._whole + 20 * (known.batch == "a")[:, None], known)
    for name in ("ilisi", "bras"):
        assert M[name](apart) < M[name](one), name


def test_without_scib_metrics_the_reason_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(embedding, "keep", lambda: None)
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(
        Undefined, match=r"not installed here: pip install -e '\.\[multimodal\]' in"
    ):
        embedding.scib.__wrapped__()


@pytest.mark.only_all
def test_kbet_is_that_of_scib_metrics(rng, monkeypatch):
    """Its approximate search for neighbours, which takes half a minute to compile, finds the same
    as our exact one."""
    package = pytest.importorskip("scib_metrics")
    cluster, group = np.arange(300) % 2, np.arange(300) // 2 % 2
    batch, has = np.array(["a", "b"])[group], np.ones((300, 3), dtype=bool)
    known = Known(cluster.astype(str), None, np.full(300, -1), "no twins", has, batch)
    points = rng.normal(size=(300, 6)) + 5 * cluster[:, None]
    spaces = [Space(points + apart * group[:, None], known) for apart in (0, 0.3, 0.6, 1.5)]
    ours = [M["kbet"](each) for each in spaces]
    assert len(set(ours)) > 2
    theirs = importlib.import_module("scib_metrics.nearest_neighbors._pynndescent").pynndescent
    monkeypatch.setattr(package.nearest_neighbors, "pynndescent", theirs)
    assert [M["kbet"](each) for each in spaces] == pytest.approx(ours, abs=0.02)


def test_where_alignment_is_not_defined(space):
    _, known, z, _ = space
    paired = np.tile([True, False, True], (90, 1))
    alone = Known(None, None, np.full(90, -1), "all cells are paired", paired, np.full(90, "a"))
    one = Space(z, alone)
    for name, why in (
        ("foscttm", "all cells are paired"),
        ("label_transfer", "true clusters are not known"),
        ("z_distance", "true latent states are not known"),
        ("ilisi", "all cells are of one batch"),
        ("ari", "true clusters are not known"),
    ):
        with pytest.raises(Undefined, match=why):
            M[name](one)
