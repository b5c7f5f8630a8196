"""Ridge over genes against scikit-learn, gene by gene."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from lacuna.setup.common import ROOT


@pytest.fixture(scope="module")
def regress():
    space: dict = {}
    exec((ROOT / "containers/models/ridge/main.py").read_text(), space)
    return space["regress"]


@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_the_closed_form_is_the_regression_of_each_gene_on_the_others(regress, penalty):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 12)) + rng.normal(size=(50, 12))
    sources = np.array([0, 2, 3, 5, 8, 9])
    weights = regress(values, sources, penalty)
    assert weights.shape == (6, 12)
    for gene in range(12):
        others = np.flatnonzero(sources != gene)
        exact = Ridge(alpha=penalty * 50, fit_intercept=False)
        exact.fit(values[:, sources[others]], values[:, gene])
        np.testing.assert_allclose(weights[others, gene], exact.coef_, rtol=1e-8, atol=1e-10)
        assert weights[sources == gene, gene].sum() == 0
