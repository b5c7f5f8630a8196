"""Ridge over genes against scikit-learn, gene by gene; and in pieces as in one."""

import json

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from lacuna.authoring import reconstruction
from lacuna.setup.common import ROOT
from lacuna_contract import harness
from lacuna_contract.authoring import Chunk

FOLDER = ROOT / "containers/models/ridge"


@pytest.fixture(scope="module")
def ridge():
    space: dict = {}
    exec((FOLDER / "main.py").read_text(), space)
    return space


@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_the_closed_form_is_the_regression_of_each_gene_on_the_others(ridge, penalty):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 12)) + rng.normal(size=(50, 12))
    sources = np.array([0, 2, 3, 5, 8, 9])
    x = values[:, sources]
    weights = ridge["regress"](x.T @ x, x.T @ values, sources, penalty * 50)
    assert weights.shape == (6, 12)
    for gene in range(12):
        others = np.flatnonzero(sources != gene)
        exact = Ridge(alpha=penalty * 50, fit_intercept=False)
        exact.fit(values[:, sources[others]], values[:, gene])
        np.testing.assert_allclose(weights[others, gene], exact.coef_, rtol=1e-8, atol=1e-10)
        assert weights[sources == gene, gene].sum() == 0


@pytest.fixture(scope="module")
def whole():
    """Counts of 90 cells of two kinds and 40 genes, of which a sixth is hidden."""
    rng = np.random.default_rng(1)
    rates = rng.gamma(0.7, 2.0, (2, 40))
    counts = rng.poisson(rates[rng.integers(0, 2, 90)])
    hidden = rng.random(counts.shape) < 1 / 6
    return counts, hidden


def pieces(whole, *bounds):
    """The cells as the chunks that end at `bounds`."""
    counts, hidden = whole
    cuts = [0, *bounds, len(counts)]
    return [
        Chunk(
            sparse.csr_matrix(np.where(hidden, 0, counts)[a:b].astype(np.float32)),
            sparse.csr_matrix(hidden[a:b]),
            range(a, b),
        )
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]


def predictions(ridge, chunks, **parameters):
    model = ridge["Ridge"](seed=3, **parameters)
    model.fit(chunks)
    return np.concatenate([model.predict(chunk) for chunk in chunks]), model.details


def test_pieces_of_any_size_give_the_same(ridge, whole, monkeypatch):
    expected, about = predictions(ridge, pieces(whole))
    assert expected.shape == (whole[1].sum(),)
    monkeypatch.setitem(ridge, "BLOCK", 7 * 40)
    found, again = predictions(ridge, pieces(whole, 13, 14, 60))
    assert again["penalty"] == about["penalty"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_it_predicts_better_than_the_rates(ridge, whole):
    counts, hidden = whole
    (chunk,) = pieces(whole)
    found, _ = predictions(ridge, [chunk])
    depth, rate = ridge["scales"](chunk.counts, chunk.hidden)
    true = counts[hidden]
    assert np.mean((found - true) ** 2) < 0.9 * np.mean((np.outer(depth, rate)[hidden] - true) ** 2)


def test_the_harness_runs_it(tmp_path):
    """Whose own parameters, such as `cells`, are no parameters of a variant."""
    case = next(iter(reconstruction.cases(tmp_path)))
    (tmp_path / "params.json").write_text('{"seed": 1, "fitted": 250}')
    words = ["--input", case.input, "--params", tmp_path / "params.json"]
    words += ["--output", tmp_path / "out.h5ad", "--metadata", tmp_path / "out.json"]
    assert harness.main([str(word) for word in (FOLDER / "main.py", *words)]) == 0
    details = json.loads((tmp_path / "out.json").read_text())["details"]
    assert details["cells"] == 250
    assert details["penalty"] in (0.3, 1, 3, 10, 30)


def test_of_many_cells_a_sample_is_fitted_and_all_are_predicted(ridge, whole):
    found, about = predictions(ridge, pieces(whole, 30, 60), fitted=50)
    assert about["cells"] == 50
    assert found.shape == (whole[1].sum(),)
    np.testing.assert_array_equal(found, predictions(ridge, pieces(whole, 30, 60), fitted=50)[0])
    assert not np.array_equal(found, predictions(ridge, pieces(whole, 30, 60))[0])


def test_genes_that_are_no_sources_are_predicted_from_those_that_are(ridge, whole):
    found, _ = predictions(ridge, pieces(whole), sources=15)
    assert np.isfinite(found).all()
    assert not np.array_equal(found, predictions(ridge, pieces(whole))[0])
