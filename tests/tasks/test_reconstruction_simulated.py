"""Simulated counts: drawn from the law that is written down, and the oracle knows their best."""

import json

import anndata
import numpy as np
import pytest
from scipy import sparse

from lacuna import metrics, seeds
from lacuna.setup.common import ROOT
from lacuna.tasks.reconstruction import TASK, simulated
from lacuna_contract import harness
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.h5ad import H5adWriter, open_h5ad

RANKING = [name for name, m in metrics.of_task("reconstruction").items() if m.rank]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "data.h5ad"
    row = {"task": "reconstruction", "dataset": "simulated", "source": None, "file": "f"}
    TASK.import_dataset(row, None, path)
    return path


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "data.h5ad"
    row = {"task": "reconstruction", "dataset": "pbmc", "source": None, "file": "f"}
    TASK.import_dataset(row, None, path)
    return anndata.read_h5ad(path)


@pytest.fixture(scope="module", params=["uniform", "count_thinning"])
def prepared(request, raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    condition = {"key": "k", "task": "reconstruction", "seed": 3}
    condition["arguments"] = {"percentage": 0.3, "strategy": request.param}
    TASK.prepare(condition, raw, folder / "input.h5ad", folder / "truth.h5ad", "")
    return folder


def test_it_is_the_same_every_time_and_fits_its_schema(raw, tmp_path):
    check_h5ad(raw, "reconstruction_raw")
    simulated.write(tmp_path / "again.h5ad")
    assert (tmp_path / "again.h5ad").read_bytes() == raw.read_bytes()


def test_it_looks_like_the_real_counts(raw, real):
    made = anndata.read_h5ad(raw)
    assert made.shape == (1000, 765)
    assert list(made.var_names) == list(real.var_names)
    ours, theirs = made.X.toarray(), real.X.toarray()
    assert np.median(ours.sum(axis=1)) == pytest.approx(np.median(theirs.sum(axis=1)), rel=0.1)
    assert (ours == 0).mean() == pytest.approx((theirs == 0).mean(), abs=0.03)
    common = theirs.mean(axis=0) > 0.2
    logs = np.log(ours.mean(axis=0)[common]), np.log(theirs.mean(axis=0)[common])
    assert np.corrcoef(*logs)[0, 1] > 0.97
    spread = [np.log(x.var(axis=0)[common]) for x in (ours, theirs)]
    assert np.corrcoef(*spread)[0, 1] > 0.95
    assert set(made.obs["cell_type"]) == set(real.obs["cell_type"])


def test_counts_follow_the_law(raw, real):
    law = simulated.fit(real.X, list(real.obs["cell_type"]))
    drawn = list(simulated.draw(law, 6000, seeds.sequence(1, "test")))
    counts = sparse.vstack([block.counts for block in drawn]).toarray()
    depth = np.concatenate([block.depth for block in drawn])
    component = np.concatenate([block.component for block in drawn])
    expected = depth[:, None] * law.share[component]
    variance = expected + law.dispersion * expected**2
    scores = (counts - expected) / np.sqrt(variance)
    assert abs(scores.mean()) < 0.01
    assert (scores**2).mean() == pytest.approx(1, abs=0.05)
    assert np.bincount(component) / 6000 == pytest.approx(law.frequency, abs=0.02)


def test_the_law_can_be_fitted_again():
    rng = np.random.default_rng(0)
    law = simulated.Law(
        ["a", "b"],
        np.array([0.4, 0.6]),
        np.array([[6.0, 0.3], [7.0, 0.2]]),
        rng.dirichlet(np.full(60, 2.0), 2),
        rng.uniform(0.1, 0.8, 60),
    )
    drawn = list(simulated.draw(law, 4000, seeds.sequence(2, "test")))
    counts = sparse.vstack([block.counts for block in drawn], format="csr")
    component = np.concatenate([block.component for block in drawn])
    found = simulated.fit(counts, ["ab"[code] for code in component])
    assert found.frequency == pytest.approx(law.frequency, abs=0.03)
    assert found.depth == pytest.approx(law.depth, abs=0.1)
    assert found.share == pytest.approx(law.share, abs=0.004)
    assert np.corrcoef(found.dispersion, law.dispersion)[0, 1] > 0.9


def test_the_law_is_with_the_truth_alone(prepared):
    check_h5ad(prepared / "truth.h5ad", "reconstruction_truth")
    check_h5ad(prepared / "input.h5ad", "reconstruction_input")
    with open_h5ad(prepared / "truth.h5ad") as file:
        assert simulated.read_law(file) is not None
    given = anndata.read_h5ad(prepared / "input.h5ad")
    assert [*given.obs, *given.varm, *given.obsm] == []
    assert list(given.var) == []


def predict(name, prepared, folder, truth=False):
    folder.mkdir()
    (folder / "params.json").write_text("{}")
    names = {"input": prepared / "input.h5ad", "output": folder / "p.h5ad"}
    names |= {"metadata": folder / "m.json", "params": folder / "params.json"}
    names |= {"truth": prepared / "truth.h5ad"} if truth else {}
    words = [str(word) for key, path in names.items() for word in (f"--{key}", path)]
    assert harness.main([str(ROOT / "containers" / name / "main.py"), *words]) == 0
    return folder / "p.h5ad"


def test_nothing_is_better_than_the_oracle(prepared, tmp_path):
    oracle = predict("controls/oracle", prepared, tmp_path / "oracle", truth=True)
    best = TASK.evaluate(prepared / "truth.h5ad", oracle, RANKING).metrics
    for name in ("models/svd", "models/knn_smoothing", "controls/depth_scaled_mean"):
        path = predict(name, prepared, tmp_path / name.replace("/", "_"))
        found = TASK.evaluate(prepared / "truth.h5ad", path, RANKING).metrics
        for metric, value in found.items():
            higher = metrics.of_task("reconstruction")[metric].direction == "max"
            assert (best[metric] > value) == higher, (name, metric)


def test_any_other_prediction_is_worse(prepared, tmp_path):
    """Also one that is a little off: no better multiple, no better power of the oracle's."""
    path = predict("controls/oracle", prepared, tmp_path / "oracle", truth=True)
    read = anndata.read_h5ad(path)
    best = TASK.evaluate(prepared / "truth.h5ad", path, ["mse", "poisson_nll"]).metrics
    values = read.X.data if sparse.issparse(read.X) else read.X
    for change in (lambda v: 1.1 * v, lambda v: 0.9 * v, lambda v: v**1.05, lambda v: v**0.95):
        other = tmp_path / "other.h5ad"
        x = change(values).astype(np.float32)
        if sparse.issparse(read.X):
            x = sparse.csr_matrix((x, read.X.indices, read.X.indptr), shape=read.shape)
        with H5adWriter(other, list(read.obs_names), list(read.var_names)) as out:
            (out.csr if sparse.issparse(x) else out.dense)("X", np.float32).append(x)
            out.uns(dict(read.uns["lacuna"]))
        found = TASK.evaluate(prepared / "truth.h5ad", other, ["mse", "poisson_nll"]).metrics
        assert found["mse"] > best["mse"]
        assert found["poisson_nll"] > best["poisson_nll"]


def test_the_errors_of_the_oracle_are_those_of_the_law(prepared, tmp_path):
    """Their squares are the variances: of an entry, or of its held-out part given what is seen."""
    with open_h5ad(prepared / "truth.h5ad") as file:
        dispersion = simulated.read_law(file)["dispersion"]
    path = predict("controls/oracle", prepared, tmp_path / "oracle", truth=True)
    given, truth, found = (
        anndata.read_h5ad(p).X for p in (prepared / "input.h5ad", prepared / "truth.h5ad", path)
    )
    if sparse.issparse(found):
        true, expected, spread = truth.data, found.data, dispersion[found.indices]
    else:
        true, expected = truth.toarray(), found * (0.3 / 0.7)
        spread = dispersion / (1 + dispersion * given.toarray())
    errors = (true - expected) / np.sqrt(expected + spread * expected**2)
    assert abs(errors.mean()) < 0.01
    assert (errors**2).mean() == pytest.approx(1, abs=0.05)


def test_the_oracle_declines_real_data(tmp_path, real):
    with H5adWriter(tmp_path / "data.h5ad", *map(list, (real.obs_names, real.var_names))) as out:
        out.csr("X", np.float32).append(real.X)
    condition = {"key": "k", "task": "reconstruction", "seed": 3}
    condition["arguments"] = {"percentage": 0.3, "strategy": "uniform"}
    names = ("data.h5ad", "input.h5ad", "truth.h5ad")
    TASK.prepare(condition, *(tmp_path / name for name in names), "")
    made = predict("controls/oracle", tmp_path, tmp_path / "run", truth=True)
    assert not made.exists()
    said = json.loads((tmp_path / "run/m.json").read_text())
    assert "they are not simulated" in said["not_applicable"]
