"""The default settings are neither easy nor hopeless: what a method can gain is known."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from lacuna.mock import SCENARIOS, generate_mock_dataset

SEEDS = [0, 1, 2]


def log_normalised(counts):
    totals = np.asarray(counts.sum(axis=1))
    return np.log1p(1000 * counts.toarray() / totals)


def components(counts, n=20):
    return PCA(n, svd_solver="randomized", random_state=0).fit_transform(log_normalised(counts))


def mean_auroc(y, score, least=10):
    """Mean over peaks of the AUROC over cells, for peaks that are open in `least` cells."""
    good = np.flatnonzero((y.sum(axis=0) >= least) & (y.sum(axis=0) < len(y)))[:600]
    y, ranks = y[:, good], rankdata(score[:, good], axis=0)
    n = y.sum(axis=0)
    return np.mean(((ranks * y).sum(axis=0) - n * (n + 1) / 2) / (n * (len(y) - n)))


@pytest.mark.parametrize("seed", SEEDS)
def test_k_means_finds_the_clusters_in_part(seed):
    adata, _ = generate_mock_dataset("paired", seed=seed)
    found = KMeans(4, n_init=5, random_state=0).fit_predict(components(adata.X))
    assert 0.5 <= adjusted_rand_score(adata.obs["cluster"], found) <= 0.9


@pytest.mark.parametrize("name", [n for n in SCENARIOS if n not in ("paired", "hierarchical")])
def test_k_means_on_what_is_observed(name):
    adata, _ = generate_mock_dataset(name, seed=4)
    seen = adata[adata.obs["has_rna"].to_numpy()]
    found = KMeans(4, n_init=5, random_state=0).fit_predict(components(seen.X))
    assert 0.5 <= adjusted_rand_score(seen.obs["cluster"], found) <= 0.9


def test_the_oracle_beats_the_cluster_mean(truth):
    y, oracle = truth.atac.toarray(), truth.expected("atac")
    cluster = np.stack([oracle[truth.cluster == k].mean(axis=0) for k in range(4)])[truth.cluster]
    assert mean_auroc(y, oracle) - mean_auroc(y, cluster) >= 0.03
    # Pooled over peaks, most is known from the peaks' means; even so:
    some = slice(0, 1000)
    pooled = [roc_auc_score(y[:, some].ravel(), s[:, some].ravel()) for s in (oracle, cluster)]
    assert pooled[0] - pooled[1] >= 0.03
    assert mean_auroc(y, cluster) > 0.6


def test_the_oracle_beats_the_cluster_mean_on_adt(truth):
    y, oracle = np.log(truth.adt), truth.expected_log_adt()
    cluster = np.stack([y[truth.cluster == k].mean(axis=0) for k in range(4)])[truth.cluster]
    assert ((y - oracle) ** 2).mean() < 0.6 * ((y - cluster) ** 2).mean()


def test_there_is_something_to_learn_from_rna(truth):
    # Ridge on principal components of RNA gets most of the way to the oracle on held-out cells.
    x, train = components(truth.rna), np.arange(600) < 480
    x /= x[:, 0].std()
    y, oracle = truth.atac.toarray(), truth.expected("atac")
    score = Ridge(20).fit(x[train], y[train]).predict(x[~train])
    ridge, best = (mean_auroc(y[~train], s, 4) for s in (score, oracle[~train]))
    assert 0.6 < (ridge - 0.5) / (best - 0.5) < 1


def test_no_model_of_the_truth_beats_the_oracle(truth):
    # Regressing what was drawn on the true z, with as many parameters, does not help: held out,
    # the oracle is the ceiling.
    z, y, oracle = truth.z, np.log(truth.adt), truth.expected_log_adt()
    train = np.arange(600) < 400
    squares = np.column_stack([z, z**2, z[:, :4] ** 3])
    fitted = Ridge(1.0).fit(squares[train], y[train]).predict(squares[~train])
    assert ((y - oracle)[~train] ** 2).mean() < ((y[~train] - fitted) ** 2).mean()


def test_five_percent_of_paired_cells_are_a_bridge():
    # RNA components to ATAC components on the 30 paired cells, and from there to the peaks.
    adata, _, truth = generate_mock_dataset("bridge", seed=0, return_truth=True)
    rna, atac = (adata.obs[f"has_{m}"].to_numpy() for m in ("rna", "atac"))
    fitted = PCA(6, random_state=0).fit(log_normalised(adata.X[rna]))
    x = fitted.transform(log_normalised(truth.rna))
    x /= x[:, 0].std()
    open_peaks = adata.obsm["X_atac"]
    q = TruncatedSVD(7, random_state=0).fit(open_peaks[atac]).transform(open_peaks)
    q /= q[atac].std(axis=0)
    across = Ridge(3).fit(x[rna & atac], q[rna & atac])
    decode = Ridge(20).fit(q[atac], open_peaks[atac].toarray())
    hidden = rna & ~atac
    y, score = truth.atac[hidden].toarray(), decode.predict(across.predict(x[hidden]))
    gain, best = (mean_auroc(y, s, 8) - 0.5 for s in (score, truth.expected("atac")[hidden]))
    assert 0.7 < gain / best < 1


@pytest.mark.parametrize(("link", "matched"), [(0.5, True), (0.0, False)])
def test_unpaired_cells_can_be_matched_by_the_genes_of_the_peaks(link, matched):
    adata, _, truth = generate_mock_dataset("unpaired", seed=0, gene_link=link, return_truth=True)
    rna, atac = (adata.obs[f"has_{m}"].to_numpy() for m in ("rna", "atac"))
    n = adata.n_vars
    gene = np.eye(n, dtype=np.float32)[adata.uns["peak_gene"]]
    activity = adata.obsm["X_atac"][atac] @ gene
    profiles = []
    for values, rows in ((log_normalised(adata.X[rna]), rna), (activity, atac)):
        scaled = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)
        profiles += [scaled[truth.cluster[rows] == k].mean(axis=0) for k in range(4)]
    similarity = np.corrcoef(profiles)[:4, 4:]
    of_its_own = np.diag(similarity).min()
    assert of_its_own > 0.3 if matched else of_its_own < 0.15
