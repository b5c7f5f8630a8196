import hashlib

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lacuna_contract import ContractError
from lacuna_contract.descriptor import check_h5ad, describe
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_column, read_names, read_uns

CELLS, GENES = [f"cell{i}" for i in range(500)], [f"gene{i}" for i in range(40)]


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(1)
    return sparse.csr_matrix(rng.poisson(0.6, (500, 40)).astype(np.float32))


def write(path, counts, step=500, uns=None):
    with H5adWriter(path, CELLS, GENES) as out:
        x = out.csr("X", np.float32)
        for start in range(0, counts.shape[0], step):
            x.append(counts[start : start + step])
        out.column("obs", "visible_total", np.arange(500.0))
        out.column("obs", "cell_type", ["T", "B"] * 250)
        out.uns(uns or {"task": "reconstruction", "n": 3, "arguments": {"percentage": 0.15}})
    return path


def test_anndata_reads_what_is_written(tmp_path, counts):
    adata = anndata.read_h5ad(write(tmp_path / "a.h5ad", counts))
    assert (counts != adata.X).nnz == 0
    assert list(adata.obs_names) == CELLS
    assert list(adata.var_names) == GENES
    assert list(adata.obs["cell_type"][:2]) == ["T", "B"]
    assert adata.uns["lacuna"]["arguments"]["percentage"] == 0.15


def test_what_anndata_reads_can_be_sliced_and_scaled(tmp_path, counts):
    write(tmp_path / "a.h5ad", counts)
    adata = anndata.read_h5ad(tmp_path / "a.h5ad")
    # scipy refuses both where the two index arrays differ in type.
    assert (counts[::2] != adata[::2].copy().X).nnz == 0
    assert (adata.X.multiply(np.ones((len(CELLS), 1))) != counts).nnz == 0


@pytest.mark.parametrize("step", [1, 7, 499])
def test_the_bytes_do_not_depend_on_the_chunks(tmp_path, counts, step):
    digests = {
        hashlib.sha256(write(tmp_path / f"{s}.h5ad", counts, s).read_bytes()).hexdigest()
        for s in (step, 500)
    }
    assert len(digests) == 1


def test_bytes_do_not_depend_on_chunks_beyond_a_block(tmp_path):
    # 3 million entries: more than two blocks of the writer.
    big = sparse.random(3000, 2000, 0.5, format="csr", dtype=np.float32, random_state=0)
    digests = set()
    for step in (3000, 211):
        with H5adWriter(tmp_path / "b.h5ad", range(3000), range(2000)) as out:
            x = out.csr("X", np.float32)
            for start in range(0, 3000, step):
                x.append(big[start : start + step])
        digests.add(hashlib.sha256((tmp_path / "b.h5ad").read_bytes()).hexdigest())
    assert len(digests) == 1
    assert (big != anndata.read_h5ad(tmp_path / "b.h5ad").X).nnz == 0


def test_explicit_zeros_are_kept(tmp_path):
    stored = sparse.csr_matrix((np.zeros(3, np.float32), [0, 2, 1], [0, 2, 3]), shape=(2, 3))
    with H5adWriter(tmp_path / "z.h5ad", ["a", "b"], ["x", "y", "z"]) as out:
        out.csr("X", np.float32).append(stored)
    assert describe(tmp_path / "z.h5ad")["X"]["stored"] == 3


def test_nothing_is_left_under_its_name_when_the_writing_fails(tmp_path, counts):
    with (
        pytest.raises(ContractError, match="X has 10 rows, expected 500 cells"),
        H5adWriter(tmp_path / "a.h5ad", CELLS, GENES) as out,
    ):
        out.csr("X", np.float32).append(counts[:10])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["csr", "array"])
def test_rows_chunks_and_take(tmp_path, counts, form):
    adata = anndata.AnnData(counts if form == "csr" else counts.toarray())
    adata.write_h5ad(tmp_path / "a.h5ad")
    order = np.random.default_rng(0).permutation(500)[:77]
    with open_h5ad(tmp_path / "a.h5ad") as file:
        matrix = Matrix(file["X"])
        dense = [sparse.csr_matrix(rows).toarray() for _, rows in matrix.chunks(33)]
        assert np.array_equal(np.concatenate(dense), counts.toarray())
        taken = sparse.csr_matrix(matrix.take(order)).toarray()
        assert np.array_equal(taken, counts.toarray()[order])


def test_columns_in_every_encoding(tmp_path):
    frame = pd.DataFrame(index=["a", "b", "c"])
    frame["category"] = pd.Categorical(["T", None, "B"])
    frame["text"] = ["x", "y", "z"]
    frame["number"] = [1.5, 2.0, 3.0]
    frame["nullable"] = pd.array([1, 2, 3], dtype="Int64")
    frame.index.name = "barcode"
    anndata.AnnData(np.zeros((3, 2), np.float32), obs=frame).write_h5ad(tmp_path / "a.h5ad")
    with open_h5ad(tmp_path / "a.h5ad") as file:
        assert read_names(file, "obs") == ["a", "b", "c"]
        assert read_column(file, "obs", "category") == ["T", "", "B"]
        assert read_column(file, "obs", "text") == ["x", "y", "z"]
        assert list(read_column(file, "obs", "number")) == [1.5, 2.0, 3.0]
        assert list(read_column(file, "obs", "nullable")) == [1, 2, 3]
        with pytest.raises(ContractError, match="unknown slot of /obs 'categry'. Did you mean"):
            read_column(file, "obs", "categry")


def test_uns_comes_back_as_plain_values(tmp_path, counts):
    uns = {"task": "reconstruction", "n": 3, "arguments": {"percentage": 0.15, "flag": True}}
    with open_h5ad(write(tmp_path / "a.h5ad", counts, uns=uns)) as file:
        assert read_uns(file) == uns


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "no X"])
def test_what_is_not_an_h5ad_is_a_contract_error(tmp_path, counts, damage):
    path = tmp_path / "a.h5ad"
    if damage != "missing":
        write(path, counts)
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "text":
        path.write_text("cell,gene\n")
    elif damage == "no X":
        with h5py.File(path, "a") as file:
            del file["X"]
    with pytest.raises(ContractError, match=r"a\.h5ad"):
        describe(path)


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        (np.nan, {"finite": False}),
        (np.inf, {"finite": False}),
        (0.5, {"whole": False}),
        (-1, {"hidden": 1}),
        (-2, {"negative": 1, "min": -2}),
    ],
)
def test_content_facts(tmp_path, counts, value, fact):
    changed = counts.copy()
    changed.data[100] = value
    found = describe(write(tmp_path / "a.h5ad", changed))["content"]
    clean = {"finite": True, "whole": True, "hidden": 0, "negative": 0}
    expected = {**clean, **fact}
    assert {k: found[k] for k in expected} == expected


def test_an_input_may_carry_nothing_else(tmp_path, counts):
    adata = anndata.AnnData(counts)
    adata.raw = adata.copy()
    adata.obs["leiden"] = "1"
    adata.obsp["connectivities"] = sparse.identity(500, format="csr")
    adata.obsm["X_pca"] = np.zeros((500, 2))
    adata.layers["all"] = counts
    adata.uns["neighbors"] = {}
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ContractError) as caught:
        check_h5ad(tmp_path / "a.h5ad", "reconstruction_input")
    for slot in ("raw", "obs.columns[0]", "obsp", "obsm", "layers", "uns_keys[0]", "uns"):
        assert f"\n  {slot}: " in str(caught.value)


def test_arrays_and_links(tmp_path, counts):
    path = tmp_path / "a.h5ad"
    with H5adWriter(path, CELLS, GENES) as out:
        out.csr("X", np.float32, compression=1).append(counts)
        out.link("layers/counts", "X")
        out.array("uns/adt_names", ["CD3", "CD4"])
        out.array("uns/law/rna/loadings", np.arange(6.0).reshape(2, 3))
        out.array("obsm/z", np.ones((500, 2)))
    adata = anndata.read_h5ad(path)
    assert (adata.layers["counts"] != counts).nnz == 0
    assert list(adata.uns["adt_names"]) == ["CD3", "CD4"]
    assert adata.uns["law"]["rna"]["loadings"].shape == (2, 3)
    assert adata.obsm["z"].shape == (500, 2)
    with h5py.File(path) as file:
        assert file["X"] == file["layers/counts"]
