import hashlib
import importlib

import anndata
import numpy as np
import pytest
from scipy import sparse

from lacuna.tasks.reconstruction import TASK
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import H5adWriter

CANARY = "Zebra_type"


def write_raw(path, counts, cell_type=True):
    cells = [f"cell{i}" for i in range(counts.shape[0])]
    genes = [f"gene{i}" for i in range(counts.shape[1])]
    with H5adWriter(path, cells, genes) as out:
        out.csr("X", np.float32).append(counts)
        if cell_type:
            out.column("obs", "cell_type", [CANARY] * len(cells))
        out.column("var", "symbol", [name.upper() for name in genes])
    return path


def condition(strategy="uniform", seed=7043, percentage=0.15):
    return {
        "key": f"reconstruction/d/mask_15_seed_{seed}",
        "task": "reconstruction",
        "dataset": "d",
        "condition": f"mask_15_seed_{seed}",
        "seed": seed,
        "arguments": {"percentage": percentage, "strategy": strategy},
    }


@pytest.fixture
def counts():
    return sparse.csr_matrix(np.random.default_rng(1).poisson(0.5, (90, 40)).astype(np.float32))


@pytest.fixture
def prepared(tmp_path, counts):
    raw = write_raw(tmp_path / "data.h5ad", counts)
    paths = tmp_path / "input.h5ad", tmp_path / "truth.h5ad"
    TASK.prepare(condition(), raw, *paths, "")
    return paths


def test_files_fit_their_schemas_and_each_other(prepared, counts):
    question, answer = prepared
    header = check_h5ad(question, "reconstruction_input")
    check_h5ad(answer, "reconstruction_truth")
    assert header["uns"] == {"task": "reconstruction", "kind": "hidden", "n_hidden": 540}
    assert header["content"]["hidden"] == 540
    truth, given = anndata.read_h5ad(answer), anndata.read_h5ad(question)
    assert truth.uns["lacuna"]["input_sha256"] == hashlib.sha256(question.read_bytes()).hexdigest()
    assert truth.uns["lacuna"]["arguments"] == {"percentage": 0.15, "strategy": "uniform"}
    assert list(truth.obs_names) == list(given.obs_names) == [f"cell{i}" for i in range(90)]
    visible = np.where(given.X.toarray() < 0, 0, given.X.toarray())
    assert truth.obs["visible_total"].tolist() == visible.sum(axis=1).tolist()
    assert (visible + truth.X.toarray() == counts.toarray()).all()
    assert set(truth.obs["cell_type"]) == {CANARY}


def test_the_input_holds_nothing_but_what_is_visible(prepared):
    given = anndata.read_h5ad(prepared[0])
    assert list(given.obs.columns) == []
    assert list(given.var.columns) == ["symbol"]
    assert given.raw is None
    assert list(given.uns) == ["lacuna"]
    content = prepared[0].read_bytes()
    for word in (CANARY, "7043", "mask_15", "uniform", "percentage", "salt"):
        assert word.encode() not in content
    assert np.int64(7043).tobytes() not in content


def test_the_same_seed_gives_the_same_bytes(tmp_path, prepared, counts):
    raw = write_raw(tmp_path / "again.h5ad", counts)
    for folder, salt in (("same", ""), ("salted", "secret")):
        room = tmp_path / folder
        room.mkdir()
        TASK.prepare(condition(), raw, room / "input.h5ad", room / "truth.h5ad", salt)
    for path in prepared:
        assert (tmp_path / "same" / path.name).read_bytes() == path.read_bytes()
        assert (tmp_path / "salted" / path.name).read_bytes() != path.read_bytes()


def test_chunk_sizes_do_not_reach_the_files(tmp_path, prepared, counts, monkeypatch):
    module = importlib.import_module("lacuna.tasks.reconstruction.prepare")
    monkeypatch.setattr(module, "CHUNK_ENTRIES", 17)
    raw = write_raw(tmp_path / "again.h5ad", counts)
    TASK.prepare(condition(), raw, tmp_path / "i.h5ad", tmp_path / "t.h5ad", "")
    assert (tmp_path / "i.h5ad").read_bytes() == prepared[0].read_bytes()


def test_a_cell_of_which_everything_is_hidden_has_a_total_of_zero(tmp_path):
    counts = sparse.csr_matrix(np.eye(6, dtype=np.float32) * 3)
    raw = write_raw(tmp_path / "data.h5ad", counts)
    paths = tmp_path / "input.h5ad", tmp_path / "truth.h5ad"
    TASK.prepare(condition("nonzero", percentage=0.99), raw, *paths, "")
    assert anndata.read_h5ad(paths[1]).obs["visible_total"].tolist() == [0.0] * 6


def test_raw_data_that_break_the_contract_are_refused(tmp_path, counts):
    explicit = counts.copy()
    explicit.data[3] = 0
    raw = write_raw(tmp_path / "zeros.h5ad", explicit)
    with pytest.raises(ContractError, match="stores zeros"):
        TASK.prepare(condition(), raw, tmp_path / "i.h5ad", tmp_path / "t.h5ad", "")
    assert not (tmp_path / "i.h5ad").exists()
    assert not (tmp_path / "t.h5ad").exists()
    fractions = counts.copy()
    fractions.data[:] += 0.5
    raw = write_raw(tmp_path / "fractions.h5ad", fractions)
    with pytest.raises(ContractError, match="fractions are not counts"):
        TASK.prepare(condition(), raw, tmp_path / "i.h5ad", tmp_path / "t.h5ad", "")
