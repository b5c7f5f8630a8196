"""What is claimed of the three measurements, held against data at the default settings."""

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.special import expit, logit

from lacuna.mock import generate_mock_dataset
from lacuna.mock.generate import make_plan
from lacuna.mock.latent import STATE_BITS, SUM_BITS, centres, latent_sd
from lacuna.mock.modalities import Rna, at_least_one, bernoulli
from lacuna.mock.settings import Settings


def own_rates(truth, name):
    """Linear predictors with each cell's own depth."""
    plan = truth.plan
    return plan.design(name, 0, len(plan.cells)) @ plan.law[name].response.weights


def test_clusters_are_gaussian_around_equidistant_centres(truth):
    s, z = truth.settings, truth.z.astype(float)
    found = centres(s)
    gaps = np.linalg.norm(found[:, None] - found[None], axis=-1)[np.triu_indices(s.n_clusters, 1)]
    np.testing.assert_allclose(gaps, s.cluster_separation)
    scores = (z - found[truth.cluster]) / latent_sd(s)
    assert stats.kstest(scores.ravel(), "norm").pvalue > 0.001
    assert np.bincount(truth.cluster).tolist() == [150] * 4


def test_rna_has_the_negative_binomial_variance(truth):
    # Standardised by NB, squared residuals average 1; a Poisson with these means would give less.
    mu = np.exp(own_rates(truth, "rna").astype(float))
    phi = truth.plan.law.rna.dispersion.astype(float)
    y = truth.rna.toarray()
    negative_binomial = ((y - mu) ** 2 / (mu + phi * mu**2)).mean()
    poisson = ((y - mu) ** 2 / mu).mean()
    assert negative_binomial == pytest.approx(1, abs=0.03)
    assert poisson > 1.2


def test_rna_variance_gene_by_gene_follows_the_dispersion(truth):
    mu = np.exp(own_rates(truth, "rna").astype(float))
    y, phi = truth.rna.toarray(), truth.plan.law.rna.dispersion
    strong = mu.mean(axis=0) > 1
    estimate = ((y - mu) ** 2 - mu).sum(axis=0) / (mu**2).sum(axis=0)
    assert strong.sum() > 100
    assert stats.spearmanr(estimate[strong], phi[strong]).statistic > 0.8
    assert np.median(estimate[strong]) == pytest.approx(np.median(phi[strong]), rel=0.1)


def test_rna_zeros_are_those_of_the_negative_binomial(truth):
    # The mean and variance alone would not tell a zero-inflated law from this one.
    mu = np.exp(own_rates(truth, "rna").astype(float))
    phi = truth.plan.law.rna.dispersion.astype(float)
    expected = (1 + phi * mu) ** (-1 / phi)
    found = 1 - truth.rna.nnz / np.prod(truth.rna.shape)
    assert found == pytest.approx(expected.mean(), abs=0.005)
    assert 0.5 < found < 0.9  # 10-45 % of genes detected in real cells


def test_library_sizes_are_log_normal_as_asked(truth):
    s = truth.settings
    depth = truth.plan.cells.depth[:, 0]
    assert depth.std() == pytest.approx(s.rna_library_sd, rel=0.1)
    totals = np.log(np.asarray(truth.rna.sum(axis=1)).ravel())
    assert totals.std() > 0.8 * s.rna_library_sd
    assert truth.rna.mean() == pytest.approx(s.rna_counts_per_gene, rel=0.1)


@pytest.mark.parametrize("density", [0.01, 0.03, 0.1])
def test_atac_density_is_what_was_asked_for(density):
    _, _, truth = generate_mock_dataset(
        "mosaic", n_cells=300, n_genes=50, n_peaks=4000, atac_density=density, seed=5,
        return_truth=True,
    )  # fmt: skip
    assert truth.atac.nnz / np.prod(truth.atac.shape) == pytest.approx(density, rel=0.08)
    assert set(np.unique(truth.atac.data)) == {1.0}
    per_peak = np.asarray(truth.atac.mean(axis=0)).ravel()
    assert np.median(per_peak) < density  # most peaks are closed, a few are open often


def test_atac_is_bernoulli_with_the_rate_of_each_cell_and_peak(truth):
    p = expit(own_rates(truth, "atac").astype(float)).ravel()
    y = truth.atac.toarray().ravel()
    edges = np.quantile(p, np.linspace(0, 1, 21))
    bins = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, 19)
    n = np.bincount(bins)
    expected, found = np.bincount(bins, p), np.bincount(bins, y)
    deviation = (found - expected) / np.sqrt(np.bincount(bins, p * (1 - p)))
    assert n.min() > 10_000
    assert np.abs(deviation).max() < 4
    assert (deviation**2).sum() < stats.chi2(20).ppf(0.9999)


@pytest.mark.parametrize("p", [1e-4, 1 / 256, 0.02, 0.5, 0.97, 1 - 1e-4])
def test_bernoulli_at_every_rate(p):
    # 1/256 is an edge of the byte that settles most entries.
    rng = np.random.default_rng(3)
    n = 1_000_000
    hits = bernoulli(rng, np.full((10, n // 10), logit(p), dtype=np.float32))
    assert abs(len(hits) - n * p) < 4.5 * np.sqrt(n * p * (1 - p))
    assert (np.diff(hits) > 0).all()


def test_adt_is_log_normal_around_signal_plus_background(truth):
    s, plan = truth.settings, truth.plan
    mean = plan.expected_log_adt() + plan.cells.depth[:, [2]]
    residual = (np.log(truth.adt) - mean) / s.adt_noise
    assert stats.kstest(residual.ravel(), "norm").pvalue > 0.001
    assert (truth.adt > 0).all()
    background = plan.law.adt.background
    assert (np.exp(plan.expected_log_adt()) > background).all()


def test_the_oracle_is_the_mean_of_what_is_drawn(truth):
    # Over all cells, and over those at each end of the oracle's own range.
    for name, y in (("rna", truth.rna.toarray()), ("atac", truth.atac.toarray())):
        expected = truth.expected(name)
        assert y.mean() == pytest.approx(expected.mean(), rel=0.03)
        high = expected > np.quantile(expected, 0.99)
        assert y[high].mean() == pytest.approx(expected[high].mean(), rel=0.05)
    expected = truth.expected("adt")
    assert (truth.adt / expected).mean() == pytest.approx(1, abs=0.03)


def test_rates_in_pieces_are_the_rates(truth):
    whole = truth.expected("atac", 0, 60)
    pieces = np.vstack([truth.expected("atac", a, a + 20) for a in (0, 20, 40)])
    np.testing.assert_array_equal(whole, pieces)


def test_sums_are_exact(truth):
    # The promise behind equal bytes on any BLAS: float32 products equal those of float64.
    design = truth.plan.design("atac", 0, 50)
    weights = truth.plan.law.atac.response.weights
    exact = design.astype(float) @ weights.astype(float)
    np.testing.assert_array_equal((design @ weights).astype(float), exact)
    assert (np.ldexp(truth.z, STATE_BITS) % 1 == 0).all()
    assert (np.ldexp(exact, SUM_BITS) % 1 == 0).all()


def test_an_observed_cell_is_never_empty():
    adata, _, truth = generate_mock_dataset(
        "mosaic", n_cells=200, n_genes=5, n_peaks=10, seed=1, return_truth=True
    )
    assert (np.diff(truth.atac.indptr) > 0).all()
    assert (np.diff(truth.rna.indptr) > 0).all()
    empty = sparse.csr_matrix((2000, 3), dtype=np.float32)
    rates = np.log(np.tile([1.0, 2.0, 5.0], (2000, 1)))
    filled = at_least_one(np.random.default_rng(0), empty, rates)
    share = np.asarray(filled.sum(axis=0)).ravel() / 2000
    np.testing.assert_allclose(share, np.array([1, 2, 5]) / 8, atol=0.04)


def test_peaks_follow_the_genes_that_they_lie_near(truth):
    law = truth.plan.law
    genes = law.rna.response.loadings[:, law.peak_gene].ravel()
    peaks = law.atac.response.loadings.ravel()
    assert np.corrcoef(genes, peaks)[0, 1] == pytest.approx(truth.settings.gene_link, abs=0.02)


def test_more_dispersion_more_variance():
    def spread(phi):
        plan = make_plan(Settings(problem="paired", n_cells=128, rna_dispersion=phi))
        assert isinstance(plan.law.rna, Rna)
        y = plan.law.rna.draw(np.random.default_rng(0), plan.design("rna", 0, 128)).toarray()
        return y.var()

    assert spread(1.0) > 1.5 * spread(0.05)
