"""Binomial splitting: the parts add up, the law holds, and chunks do not show."""

import importlib
import json

import anndata
import numpy as np
import pytest
from scipy import sparse, stats

from lacuna import metrics, seeds
from lacuna.authoring.reconstruction import world
from lacuna.setup.common import ROOT
from lacuna.tasks.reconstruction import TASK, masking
from lacuna.tasks.reconstruction.thinning import thin
from lacuna_contract import harness
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, InvalidOutput
from lacuna_contract.h5ad import H5adWriter
from lacuna_contract.values import to_lognorm

ALL = list(metrics.of_task("reconstruction"))
P = 0.2


def split(counts, percentage=P, seed=1, step=None):
    step = step or counts.shape[0]
    chunks = (counts[i : i + step] for i in range(0, counts.shape[0], step))
    blocks = list(thin(chunks, counts.shape, percentage, seeds.sequence(seed, "mask")))
    parts = ([getattr(block, name) for block in blocks] for name in ("input", "truth"))
    question, answer = (sparse.vstack(part, format="csr") for part in parts)
    return question, answer, np.concatenate([block.visible_total for block in blocks])


@pytest.fixture(scope="module")
def counts():
    return sparse.csr_matrix(world(150, 60, seed=3, hidden=0).counts)


@pytest.mark.parametrize("step", [1, 7, 150])
@pytest.mark.parametrize("block", [64, 1 << 20])
def test_the_parts_add_up_whatever_the_chunks(counts, step, block, monkeypatch):
    monkeypatch.setattr(masking, "BLOCK_ENTRIES", block)
    question, answer, visible = split(counts, step=step)
    whole = split(counts)
    assert ((question + answer) != counts).nnz == 0
    for one, other in ((question, whole[0]), (answer, whole[1])):
        assert np.all(one.data > 0)
        assert one.has_canonical_format
        assert np.array_equal(one.indices, other.indices)
        assert np.array_equal(one.data, other.data)
    assert visible.tolist() == question.toarray().sum(axis=1).tolist()


def test_another_seed_splits_otherwise(counts):
    assert (split(counts, seed=1)[1] != split(counts, seed=2)[1]).nnz > 0


def test_each_part_of_a_count_is_binomial():
    counts = sparse.csr_matrix(np.full((400, 50), 6, dtype=np.float32))
    held = split(counts, 0.3)[1].toarray().astype(int).ravel()
    expected = stats.binom.pmf(np.arange(7), 6, 0.3) * held.size
    assert stats.chisquare(np.bincount(held, minlength=7), expected).pvalue > 1e-3


def test_the_parts_of_poisson_counts_are_independent():
    counts = np.random.default_rng(0).poisson(3, (400, 250)).astype(np.float32)
    question, answer, _ = split(sparse.csr_matrix(counts))
    found = np.corrcoef(question.toarray().ravel(), answer.toarray().ravel())[0, 1]
    assert abs(found) < 4 / np.sqrt(counts.size)


@pytest.mark.parametrize(("percentage", "which"), [(1e-9, "none"), (1 - 1e-9, "all")])
def test_a_part_without_counts_is_refused(counts, percentage, which):
    with pytest.raises(ContractError, match=f"{which} of [0-9]+ counts are held out"):
        split(counts, percentage)


CELLS, GENES = [f"c{i}" for i in range(150)], [f"g{i}" for i in range(60)]


@pytest.fixture(scope="module")
def prepared(counts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("thinned")
    with H5adWriter(folder / "data.h5ad", CELLS, GENES) as out:
        out.csr("X", np.float32).append(counts)
    condition = {"key": "k", "task": "reconstruction", "seed": 1}
    condition["arguments"] = {"percentage": P, "strategy": "count_thinning"}
    TASK.prepare(condition, folder / "data.h5ad", folder / "input.h5ad", folder / "truth.h5ad", "")
    return folder


def test_files_fit_their_schemas(prepared, counts):
    header = check_h5ad(prepared / "input.h5ad", "reconstruction_input")
    check_h5ad(prepared / "truth.h5ad", "reconstruction_truth")
    assert header["uns"] == {"task": "reconstruction", "kind": "thinned", "n_hidden": 9000}
    assert header["content"]["hidden"] == 0
    parts = [anndata.read_h5ad(prepared / name).X for name in ("input.h5ad", "truth.h5ad")]
    assert (sum(parts) != counts).nnz == 0
    for word in (b"thinning", b"percentage"):
        assert word not in (prepared / "input.h5ad").read_bytes()


def write(path, values, space="counts", entries="all"):
    with H5adWriter(path, CELLS, GENES) as out:
        (out.dense if entries == "all" else out.csr)("X", np.float32).append(values)
        out.uns({"entries": entries, "value_space": space})
    return path


def test_a_prediction_is_for_the_depth_of_the_input(prepared, tmp_path, monkeypatch):
    given, held = (anndata.read_h5ad(prepared / f"{n}.h5ad").X for n in ("input", "truth"))
    rng = np.random.default_rng(0)
    guess = np.float32(given.toarray() + rng.gamma(1, 1, given.shape))
    expected = guess * np.float64(P / (1 - P))
    found = TASK.evaluate(prepared / "truth.h5ad", write(tmp_path / "p.h5ad", guess), ALL)
    true = held.toarray()
    assert found.n_hidden == true.size
    assert found.metrics["mse"] == pytest.approx(np.mean((expected - true) ** 2))
    poisson = -stats.poisson.logpmf(true, expected).mean()
    assert found.metrics["poisson_nll"] == pytest.approx(poisson)

    module = importlib.import_module("lacuna.tasks.reconstruction.evaluate")
    monkeypatch.setattr(module, "CHUNK_ENTRIES", 300)
    again = TASK.evaluate(prepared / "truth.h5ad", tmp_path / "p.h5ad", ALL)
    assert again.metrics == pytest.approx(found.metrics)

    visible = given.sum(axis=1).A1
    logged = np.float32(to_lognorm(guess, visible[:, None]))
    same = TASK.evaluate(
        prepared / "truth.h5ad", write(tmp_path / "l.h5ad", logged, "lognorm"), ALL
    )
    for name in ("mse", "poisson_nll", "pearson", "mse_lognorm", "pearson_lognorm"):
        assert same.metrics[name] == pytest.approx(found.metrics[name], rel=1e-4)


def test_hidden_entries_alone_are_no_answer(prepared, tmp_path):
    path = write(tmp_path / "p.h5ad", sparse.csr_matrix(np.ones((150, 60))), entries="hidden")
    with pytest.raises(InvalidOutput, match="every entry is to be predicted"):
        TASK.evaluate(prepared / "truth.h5ad", path, ALL)


def run(main_py, prepared, folder, params=None, truth=None):
    (folder / "params.json").write_text(json.dumps(params or {}))
    names = {"input": prepared / "input.h5ad", "output": folder / "p.h5ad"}
    names |= {"metadata": folder / "m.json", "params": folder / "params.json"}
    names |= {"truth": truth} if truth else {}
    words = [str(word) for name, path in names.items() for word in (f"--{name}", path)]
    return harness.main([str(main_py), *words])


def score(prepared, folder):
    return TASK.evaluate(prepared / "truth.h5ad", folder / "p.h5ad", ALL).metrics


@pytest.mark.parametrize("name", ["gene_mean", "depth_scaled_mean", "zeros", "truth"])
@pytest.mark.parametrize("rows", [1 << 20, 500])
def test_controls_in_pieces(prepared, tmp_path, name, rows, monkeypatch):
    module = importlib.import_module("lacuna_contract.tasks.reconstruction")
    monkeypatch.setattr(module, "DENSE_ENTRIES", rows)
    truth = prepared / "truth.h5ad" if name == "truth" else None
    assert run(ROOT / f"containers/controls/{name}/main.py", prepared, tmp_path, truth=truth) == 0
    given, held = (anndata.read_h5ad(prepared / f"{n}.h5ad").X for n in ("input", "truth"))
    found = anndata.read_h5ad(tmp_path / "p.h5ad").X
    expected = {
        "zeros": np.zeros(given.shape),
        "gene_mean": np.tile(given.mean(axis=0).A1, (150, 1)),
        "depth_scaled_mean": given.sum(axis=1) @ given.sum(axis=0) / given.sum(),
        "truth": held.toarray() * (1 - P) / P,
    }[name]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    if name == "truth":
        assert score(prepared, tmp_path)["mse"] < 1e-9


@pytest.mark.parametrize("name", ["knn_smoothing", "svd"])
def test_models_are_ahead_of_the_floor(prepared, tmp_path, name):
    floor, mine = tmp_path / "floor", tmp_path / "mine"
    floor.mkdir(), mine.mkdir()
    run(ROOT / "containers/controls/depth_scaled_mean/main.py", prepared, floor)
    assert run(ROOT / f"containers/models/{name}/main.py", prepared, mine) == 0
    for metric in ("mse", "poisson_nll"):
        assert score(prepared, mine)[metric] < score(prepared, floor)[metric]


def test_a_model_for_hidden_entries_alone_declines(prepared, tmp_path):
    code = "from lacuna_contract import model\n@model('reconstruction')\n"
    (tmp_path / "main.py").write_text(code + "def predict(counts, hidden): return counts.toarray()")
    assert run(tmp_path / "main.py", prepared, tmp_path) == 0
    assert (
        "these counts are thinned"
        in json.loads((tmp_path / "m.json").read_text())["not_applicable"]
    )
    assert not (tmp_path / "p.h5ad").exists()


def test_a_vector_is_no_answer(prepared, tmp_path, capsys):
    code = "from lacuna_contract import model\n@model('reconstruction')\n"
    code += "def predict(counts, hidden, *, kind): return counts.data"
    (tmp_path / "main.py").write_text(code)
    assert run(tmp_path / "main.py", prepared, tmp_path) == 1
    assert "every entry is to be predicted: expected (150, 60)" in capsys.readouterr().err
