"""What the plain multimodal models choose by leaving cells out, against leaving them out."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from lacuna.setup.common import ROOT


def inside(name):
    space: dict = {}
    exec((ROOT / "containers/models" / name / "main.py").read_text(), space)
    return space


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("noise", [0.5, 20.0])
def test_the_penalty_of_pca_concat(rng, noise):
    model = inside("pca_concat")
    x, asked = rng.normal(size=(40, 4)), rng.normal(size=(5, 4))
    y = x @ rng.normal(size=(4, 3)) + noise * rng.normal(size=(40, 3))
    errors = []
    for penalty in model["PENALTIES"]:
        exact = Ridge(penalty).fit(x, y).predict(asked)
        np.testing.assert_allclose(model["ridge"](x, y, asked, [penalty]), exact)
        left_out = [
            Ridge(penalty).fit(np.delete(x, i, 0), np.delete(y, i, 0)).predict(x[[i]]) - y[i]
            for i in range(40)
        ]
        errors.append(np.square(left_out).sum())
    best = model["PENALTIES"][np.argmin(errors)]
    assert (best < 1) == (noise == 0.5)
    found = model["ridge"](x, y, asked, model["PENALTIES"])
    np.testing.assert_allclose(found, Ridge(best).fit(x, y).predict(asked))


def test_the_neighbours_of_knn_impute(rng):
    model = inside("knn_impute")
    points, rows = rng.normal(size=(300, 2)), rng.normal(size=(7, 2))
    # Cells in one place: none must be taken for its own neighbour.
    points[1] = points[0]
    values = np.sin(points) + rng.normal(size=(300, 2))

    def near(cells, k):
        far = ((points[None] - cells[:, None]) ** 2).sum(axis=2)
        if cells is points:
            np.fill_diagonal(far, np.inf)
        mean = values[np.argsort(far, axis=1)[:, :k]].sum(axis=1) + values.mean(axis=0)
        return mean / (k + 1)

    counts = [n for n in model["NEIGHBOURS"] if n <= 50] + [50]
    errors = [((near(points, k) - values) ** 2).sum() for k in counts]
    best = counts[int(np.argmin(errors))]
    assert 1 < best < 50
    has = {"rna": np.ones(307, bool), "adt": np.arange(307) < 300}
    places = {"rna": np.vstack([points, rows]), "adt": np.zeros((307, 2))}
    for k, expected in ((None, best), (5, 5)):
        found = model["average"](places, has, "adt", values, np.arange(300, 307), k, 1.0)
        np.testing.assert_allclose(found, near(rows, expected))
