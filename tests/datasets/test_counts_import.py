"""Anybody's h5ad becomes raw counts, or is refused with what was found."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lacuna import counts
from lacuna.counts import csc_rows, import_counts
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import CsrSlot, Matrix


@pytest.fixture(scope="module")
def dense():
    return np.random.default_rng(0).poisson(0.4, (120, 25)).astype(np.float32)


def adata_of(x):
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(x.shape[0])])
    obs["kind"] = pd.Categorical(["B", "T"] * (x.shape[0] // 2))
    obs["depth"] = np.arange(x.shape[0])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(x.shape[1])])
    return anndata.AnnData(x, obs=obs, var=var)


def imported(tmp_path, adata, **options):
    adata.write_h5ad(tmp_path / "in.h5ad")
    import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad", **options)
    check_h5ad(tmp_path / "out.h5ad", "reconstruction_raw")
    return anndata.read_h5ad(tmp_path / "out.h5ad")


FORMS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "dense": np.array,
    "csr array": sparse.csr_array,
    "float64": lambda x: sparse.csr_matrix(x, dtype=np.float64),
    "int": lambda x: sparse.csr_matrix(x.astype(np.int64)),
    "unsigned": lambda x: x.astype(np.uint16),
    "explicit zeros": lambda x: sparse.csr_matrix(
        (x.ravel(), np.tile(np.arange(25), 120), np.arange(0, 3001, 25)), shape=x.shape
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("small", [False, True])
def test_every_form_gives_the_same_counts(tmp_path, dense, form, small, monkeypatch):
    if small:
        monkeypatch.setattr(counts, "CHUNK_ENTRIES", 30)
        monkeypatch.setattr(counts, "CSC_ENTRIES", 50)
    found = imported(tmp_path, adata_of(FORMS[form](dense)), cell_type="kind")
    assert (found.X.toarray() == dense).all()
    assert np.all(found.X.data != 0)
    assert found.X.has_canonical_format
    assert list(found.obs_names) == [f"cell{i}" for i in range(120)]
    assert list(found.obs["cell_type"]) == ["B", "T"] * 60
    assert list(found.obs.columns) == ["cell_type"]


def test_nothing_but_zeros_is_refused(tmp_path, dense):
    with pytest.raises(ContractError, match="X: every entry is zero; expected counts"):
        imported(tmp_path, adata_of(sparse.csr_matrix(dense.shape, dtype=np.float32)))
    assert not (tmp_path / "out.h5ad").exists()


def test_bool_counts(tmp_path, dense):
    with h5py.File(tmp_path / "in.h5ad", "w") as file:
        adata_of(dense).write_h5ad(tmp_path / "b.h5ad")
        with h5py.File(tmp_path / "b.h5ad") as other:
            for key in ("obs", "var"):
                other.copy(key, file)
        file["X"] = dense > 0
    import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    assert (anndata.read_h5ad(tmp_path / "out.h5ad").X.toarray() == (dense > 0)).all()


def test_unsorted_rows_and_duplicates_are_made_canonical(tmp_path, dense):
    rows = sparse.csr_matrix(dense)
    shuffled = rows.copy()
    for i in range(rows.shape[0]):
        here = slice(rows.indptr[i], rows.indptr[i + 1])
        shuffled.indices[here] = rows.indices[here][::-1]
        shuffled.data[here] = rows.data[here][::-1]
    shuffled.has_sorted_indices = False
    adata = adata_of(sparse.csr_matrix(dense))
    adata.write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "a") as file:
        file["X/indices"][:], file["X/data"][:] = shuffled.indices, shuffled.data
    import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    assert (anndata.read_h5ad(tmp_path / "out.h5ad").X.toarray() == dense).all()


def test_a_layer_and_raw(tmp_path, dense):
    adata = adata_of(np.log1p(dense))
    adata.layers["counts"] = sparse.csc_matrix(dense)
    assert (imported(tmp_path, adata.copy(), layer="counts").X.toarray() == dense).all()
    wider = adata_of(dense)
    narrow = adata[:, :10].copy()
    narrow.raw = wider
    found = imported(tmp_path, narrow, layer="raw/X")
    assert (found.X.toarray() == dense).all()
    assert list(found.var_names) == list(wider.var_names)


def test_symbols_come_along(tmp_path, dense):
    adata = adata_of(dense)
    adata.var["feature_name"] = [f"SYM{i}" for i in range(25)]
    assert list(imported(tmp_path, adata).var["symbol"])[:2] == ["SYM0", "SYM1"]


def test_files_of_old_anndata(tmp_path, dense):
    """Compound tables, h5sparse attributes, categories in uns: what anndata < 0.7 wrote."""
    rows = sparse.csr_matrix(dense)
    with h5py.File(tmp_path / "in.h5ad", "w") as file:
        x = file.create_group("X")
        x.attrs["h5sparse_format"], x.attrs["h5sparse_shape"] = "csr", rows.shape
        x["data"], x["indices"], x["indptr"] = rows.data, rows.indices, rows.indptr
        obs = [(f"cell{i}".encode(), i % 2) for i in range(120)]
        file["obs"] = np.array(obs, dtype=[("index", "S9"), ("kind", "i1")])
        file["var"] = np.array([(f"gene{i}".encode(),) for i in range(25)], dtype=[("index", "S9")])
        file["uns/kind_categories"] = np.array([b"B", b"T"])
    import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad", cell_type="kind")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert (found.X.toarray() == dense).all()
    assert list(found.obs["cell_type"][:3]) == ["B", "T", "B"]


def test_nullable_string_names(tmp_path, dense):
    """The encoding of names that newer releases of anndata write."""
    adata_of(dense).write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "a") as file:
        names = file["obs/_index"][:]
        del file["obs/_index"]
        group = file.create_group("obs/_index")
        group.attrs["encoding-type"] = "nullable-string-array"
        group["values"], group["mask"] = names, np.zeros(len(names), dtype=bool)
    import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    assert anndata.read_h5ad(tmp_path / "out.h5ad").obs_names[3] == "cell3"


def spoil(dense, value):
    x = dense.copy()
    x[70, 3] = value
    return x


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.nan, "NaN: nan"),
        (np.inf, "infinite values: inf"),
        (-1, "negative values: -1.0"),
        (0.5, "fractional values: 0.5"),
        (2.0**25, "values above 16,777,216, not exact in float32: 33554432.0"),
    ],
)
def test_what_is_not_counts_is_refused(tmp_path, dense, form, value, found):
    adata = adata_of(FORMS[form](spoil(dense, value)))
    with pytest.raises(ContractError, match=f"X holds {found} at cell 'cell70', gene 'gene3'"):
        imported(tmp_path, adata)
    assert not (tmp_path / "out.h5ad").exists()


def test_the_message_says_where_counts_are(tmp_path, dense):
    adata = adata_of(np.log1p(dense))
    adata.layers["umis"] = dense
    adata.layers["scaled"] = dense / 3
    with pytest.raises(ContractError, match="These hold whole counts: layers/umis. Name the layer"):
        imported(tmp_path, adata)


def test_a_missing_layer(tmp_path, dense):
    adata = adata_of(dense)
    adata.layers["counts"] = dense
    with pytest.raises(ContractError, match="unknown layer 'count'. Did you mean 'counts'?"):
        imported(tmp_path, adata, layer="count")


def test_a_missing_column(tmp_path, dense):
    with pytest.raises(ContractError, match="unknown column of obs 'kinds'. Did you mean 'kind'?"):
        imported(tmp_path, adata_of(dense), cell_type="kinds")


@pytest.mark.parametrize(
    "kind",
    [
        pd.Categorical(["B", None, "T"] * 40),
        pd.array([1, None, 2] * 40, dtype="Int64"),
        np.array([1.0, np.nan, 2.0] * 40),
    ],
    ids=["categories", "masked numbers", "NaN"],
)
def test_cell_types_that_are_missing_are_no_type(tmp_path, dense, kind):
    adata = adata_of(dense)
    adata.obs["kind"] = kind
    said = r"obs\['kind'\] is missing in 40 of 120 cells \(the first is 'cell1'\)"
    with pytest.raises(ContractError, match=said):
        imported(tmp_path, adata, cell_type="kind")


def test_cell_names_that_repeat(tmp_path, dense):
    adata = adata_of(dense)
    adata.obs_names = ["A", "A", "A", "B", "B", *adata.obs_names[5:]]
    with pytest.raises(ContractError, match=r"cell names repeat: 'A' \(3 times\), 'B' \(2 times\)"):
        imported(tmp_path, adata)


def test_gene_names_that_repeat_get_numbers_and_stay_symbols(tmp_path, dense):
    adata = adata_of(dense)
    names = ["A", "A-1", "A", "B", "A", *adata.var_names[5:]]
    adata.var_names = names
    found = imported(tmp_path, adata)
    assert list(found.var_names[:5]) == ["A", "A-1", "A-2", "B", "A-3"]
    assert list(found.var["symbol"]) == names
    assert (found.X.toarray() == dense).all()
    adata.var["gene_name"] = [f"S{i}" for i in range(25)]
    assert list(imported(tmp_path, adata).var["symbol"])[:2] == ["S0", "S1"]


def test_ensembl_ids_with_symbols_that_repeat(tmp_path, dense):
    adata = adata_of(dense)
    adata.var_names = [f"ENSG{i:011d}" for i in range(25)]
    adata.var["known_as"] = ["MATR3", "MATR3", *(f"S{i}" for i in range(23))]
    found = imported(tmp_path, adata, symbol="known_as")
    assert list(found.var_names) == list(adata.var_names)
    assert list(found.var["symbol"][:3]) == ["MATR3", "MATR3", "S0"]
    with pytest.raises(ContractError, match="unknown column of var 'known'. Did you mean 'known_a"):
        imported(tmp_path, adata, symbol="known")


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_cells_and_genes_without_counts_stay(tmp_path, dense, form):
    empty = dense.copy()
    empty[[0, 5, 119]], empty[:, [0, 7, 24]] = 0, 0
    found = imported(tmp_path, adata_of(FORMS[form](empty)))
    assert found.shape == (120, 25)
    assert (found.X.toarray() == empty).all()


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_a_subsample_is_drawn_by_its_seed(tmp_path, dense, form, monkeypatch):
    options = {"cell_type": "kind", "subsample": 30}
    adata = adata_of(FORMS[form](dense))
    first = imported(tmp_path, adata, **options)
    monkeypatch.setattr(counts, "CHUNK_ENTRIES", 40)
    monkeypatch.setattr(counts, "CSC_ENTRIES", 50)
    again = imported(tmp_path, adata, **options)
    other = imported(tmp_path, adata, **options, seed=1)
    assert list(first.obs_names) == list(again.obs_names) != list(other.obs_names)
    rows = [int(name.removeprefix("cell")) for name in first.obs_names]
    assert len(rows) == 30
    assert rows == sorted(rows)
    assert (first.X.toarray() == dense[rows]).all()
    assert (again.X.toarray() == dense[rows]).all()
    assert list(first.obs["cell_type"]) == [("B", "T")[row % 2] for row in rows]
    assert imported(tmp_path, adata, subsample=121).n_obs == 120


def test_the_organism_is_told(tmp_path, dense):
    assert imported(tmp_path, adata_of(dense), organism="mouse").uns["lacuna"] == {
        "organism": "mouse"
    }


def test_an_hdf5_file_that_is_neither(tmp_path):
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(ContractError, match="neither an h5ad nor a 10x file: it holds weights"):
        import_counts(tmp_path / "in.h5", tmp_path / "out.h5ad")


def test_no_x(tmp_path, dense):
    adata = adata_of(dense)
    adata.layers["counts"] = dense
    adata.X = None
    with pytest.raises(ContractError, match="has no X; .*Layers: layers/counts"):
        imported(tmp_path, adata)


def test_damaged_files(tmp_path, dense):
    adata_of(sparse.csr_matrix(dense)).write_h5ad(tmp_path / "in.h5ad")
    whole = (tmp_path / "in.h5ad").read_bytes()
    (tmp_path / "in.h5ad").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ContractError, match="not a readable HDF5 file"):
        import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    (tmp_path / "in.h5ad").write_bytes(whole)
    with h5py.File(tmp_path / "in.h5ad", "a") as file:
        del file["X/indices"]
    with pytest.raises(ContractError, match="is damaged"):
        import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    with pytest.raises(ContractError, match="no such file"):
        import_counts(tmp_path / "nothing.h5ad", tmp_path / "out.h5ad")


def test_a_full_disk_is_not_blamed_on_the_source(tmp_path, dense, monkeypatch):
    adata_of(sparse.csr_matrix(dense)).write_h5ad(tmp_path / "in.h5ad")

    def full(self, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CsrSlot, "append", full)
    with pytest.raises(OSError, match="No space left"):
        import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")


def test_data_that_cannot_be_read_are_damage(tmp_path, dense):
    adata_of(sparse.csr_matrix(dense)).write_h5ad(tmp_path / "in.h5ad", compression="gzip")
    with h5py.File(tmp_path / "in.h5ad") as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    with (tmp_path / "in.h5ad").open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(bytes(chunk.size))
    with pytest.raises(ContractError, match="is damaged"):
        import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")


def test_an_unknown_encoding(tmp_path, dense):
    adata_of(sparse.csr_matrix(dense)).write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "a") as file:
        file["X"].attrs["encoding-type"] = "bsr_matrix"
    with pytest.raises(ContractError, match="is 'bsr_matrix'; expected array, csr_matrix or csc"):
        import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")


def test_csc_windows_hold_a_bounded_number_of_entries(tmp_path, dense):
    adata_of(sparse.csc_matrix(dense)).write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad") as file:
        parts = list(csc_rows(file["X"], Matrix(file["X"]), entries=60))
    assert max(part.nnz for _, part in parts) <= 60
    assert (sparse.vstack([part for _, part in parts]).toarray() == dense).all()


@pytest.mark.parametrize(
    ("form", "index"),
    [
        *((sparse.csr_matrix, index) for index in (-3, 25, 120, 10**6)),
        *((sparse.csc_matrix, index) for index in (-3, 120, 10**6)),
    ],
)
def test_an_index_outside_the_matrix_is_refused(tmp_path, dense, form, index):
    """scipy would count it to another gene, or to another cell."""
    adata_of(form(dense)).write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "a") as file:
        file["X/indices"][10] = index
    size = "25 genes" if form is sparse.csr_matrix else "120 cells"
    with pytest.raises(ContractError, match=f"X is damaged: .* {index}, but there are {size}"):
        import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize(("at", "value"), [(0, 2), (3, -1), (3, 10**6), (-1, 5)])
def test_pointers_that_do_not_rise_to_the_end_are_refused(tmp_path, dense, form, at, value):
    adata_of(form(dense)).write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "a") as file:
        file["X/indptr"][at] = value
    with pytest.raises(ContractError, match="X is damaged: indptr"):
        import_counts(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
