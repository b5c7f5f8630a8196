"""Data of one's own in the task multimodal: what is taken, in which forms, and what is refused."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from posing import TASK, condition
from scipy import sparse

from lacuna.mock import generate_mock_dataset
from lacuna.mock.cli import make_mock_multimodal
from lacuna.tasks.multimodal.evaluate import Truth
from lacuna_contract import ContractError, NotApplicable
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.h5ad import open_h5ad
from lacuna_contract.tasks.multimodal import read


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A person's own file: cells with RNA and ADT, as the mock generator makes them."""
    adata, _ = generate_mock_dataset(
        "paired", n_cells=120, n_genes=30, n_peaks=40, n_proteins=5, seed=1
    )
    del adata.obsm["X_atac"], adata.obs["has_atac"]
    adata.obs_names = [f"ACGT-{i}" for i in range(120)]
    path = tmp_path_factory.mktemp("own") / "own.h5ad"
    adata.write_h5ad(path)
    return path


def imported(path, folder):
    TASK.import_dataset({"dataset": "mine"}, path, folder / "raw.h5ad")
    return folder / "raw.h5ad"


def test_own_cells_are_hidden_like_mock_ones(own, tmp_path):
    raw = imported(own, tmp_path)
    paths = tmp_path / "in.h5ad", tmp_path / "truth.h5ad"
    TASK.prepare(condition("mosaic", dataset="mine"), raw, *paths, "")
    data = read(paths[0])
    assert set(data.counts) == {"rna", "adt"}
    assert (data.has["rna"] | data.has["adt"]).all()
    assert len(data.asked["adt"].cells) > 20
    whole = anndata.read_h5ad(own)
    with open_h5ad(paths[1]) as file:
        truth = Truth(file)
        values = truth.values("adt")
    assert truth.known.z is None
    assert set(truth.known.cluster) == set(whole.obs["cluster"])
    there = {tuple(row) for row in np.round(whole.obsm["X_adt"], 3).tolist()}
    assert {tuple(row) for row in np.round(values, 3).tolist()} <= there
    unpaired = condition("unpaired", dataset="mine")
    with pytest.raises(ContractError, match="has cells that keep atac alone; these data have rna"):
        TASK.prepare(unpaired, raw, *paths, "")
    with pytest.raises(NotApplicable, match="has cells that keep atac alone; these data have rna"):
        TASK.prepare(unpaired | {"if_possible": True}, raw, *paths, "")


def test_a_mosaic_of_ones_own_hides_one_of_several(own, tmp_path):
    whole = anndata.read_h5ad(own)
    obs = pd.DataFrame({"batch": np.repeat(["a", "b", "c"], 40)}, index=whole.obs_names)
    rna = anndata.AnnData(whole.X[:80], obs=obs[:80], var=whole.var)
    adt = anndata.AnnData(
        sparse.csr_matrix(whole.obsm["X_adt"][40:]),
        obs=obs[40:],
        var=pd.DataFrame(index=[f"p{i}" for i in range(5)]),
    )
    joined = MuData({"rna": rna, "adt": adt})
    joined.obs["batch"] = obs.loc[joined.obs_names, "batch"]
    joined.write_h5mu(tmp_path / "own.h5mu")
    raw = imported(tmp_path / "own.h5mu", tmp_path)
    paths = tmp_path / "in.h5ad", tmp_path / "truth.h5ad"
    TASK.prepare(condition("holdout", dataset="mine"), raw, *paths, "")
    data = read(paths[0])
    # Of the 40 cells with both, half keep one of them.
    assert 0 < len(data.asked["rna"].cells) < 20
    assert data.features["adt"] == [f"p{i}" for i in range(5)]
    with pytest.raises(ContractError, match="80 of 120 have rna; for a mosaic there is the scenar"):
        TASK.prepare(condition("mosaic", dataset="mine"), raw, *paths, "")
    twice = MuData({"rna": rna, "adt": adt, "prot": adt.copy()})
    twice.write_h5mu(tmp_path / "twice.h5mu")
    with pytest.raises(ContractError, match="twice.h5mu has adt twice, once as 'prot'"):
        imported(tmp_path / "twice.h5mu", tmp_path)
    with h5py.File(tmp_path / "own.h5mu", "r+") as file:
        names = file["mod/adt/obs/_index"]
        names[1] = names[0]
    with pytest.raises(ContractError, match="own.h5mu, modality adt: cell names repeat: "):
        imported(tmp_path / "own.h5mu", tmp_path)


def test_cells_without_a_second_modality(own, tmp_path):
    """Nothing could be hidden of them whose truth is known."""
    adata = anndata.read_h5ad(own)
    has_adt = np.arange(120) < 60
    adata.obs["has_rna"], adata.obs["has_adt"] = ~has_adt, has_adt
    adata.X = sparse.csr_matrix(adata.X.toarray() * ~has_adt[:, None])
    adata.obsm["X_adt"][~has_adt] = 0
    adata.write_h5ad(tmp_path / "apart.h5ad")
    with pytest.raises(ContractError, match="no cell has more than one modality .there is rna, ad"):
        imported(tmp_path / "apart.h5ad", tmp_path)


def test_some_cells_of_ones_own(own, tmp_path):
    whole = anndata.read_h5ad(own)
    found = {}
    for seed in (0, 0, 1):
        raw = tmp_path / "raw.h5ad"
        row = {"dataset": "mine", "subsample": 50, "subsample_seed": seed}
        TASK.import_dataset(row, own, raw)
        check_h5ad(raw, "multimodal_raw")
        some = anndata.read_h5ad(raw)
        assert some.obs_names.tolist() == found.setdefault(seed, some.obs_names.tolist())
        expected = whole[some.obs_names]
        assert [n for n in whole.obs_names if n in some.obs_names] == some.obs_names.tolist()
        assert some.n_obs == 50
        assert (some.X.toarray() == expected.X.toarray()).all()
        np.testing.assert_allclose(some.obsm["X_adt"], expected.obsm["X_adt"], rtol=1e-6)
        for name in ("batch", "cluster", "has_adt"):
            assert some.obs[name].tolist() == expected.obs[name].tolist()
    assert found[0] != found[1]
    note = TASK.import_dataset({"dataset": "mine", "subsample": 121}, own, raw)
    assert note.startswith("subsample is 121, and there are 120 cells: all of them are taken; read")
    assert anndata.read_h5ad(raw).n_obs == 120


def test_what_is_read_of_a_file_and_what_is_left_is_said(own, tmp_path):
    note = TASK.import_dataset({"dataset": "mine"}, own, tmp_path / "raw.h5ad")
    assert note == "read rna (X) and adt (obsm['X_adt']); labels batch, dataset, cluster"
    adata = anndata.read_h5ad(own)
    adata.obsm["X_pca"], adata.obs["kind"] = adata.obsm["X_adt"], "B"
    del adata.obs["dataset"], adata.obs["cluster"]
    adata.write_h5ad(tmp_path / "other.h5ad")
    note = TASK.import_dataset({"dataset": "mine"}, tmp_path / "other.h5ad", tmp_path / "raw.h5ad")
    assert note == (
        "read rna (X) and adt (obsm['X_adt']), left obsm['X_pca']; labels batch, no dataset, no "
        "cluster"
    )
    row = {"dataset": "mine", "cell_type": "kind"}
    note = TASK.import_dataset(row, tmp_path / "other.h5ad", tmp_path / "raw.h5ad")
    assert note.endswith("; labels batch, cluster (kind), no dataset")
    adata.obsm["protein_expression"] = adata.obsm.pop("X_adt")
    del adata.obs["has_adt"]
    adata.write_h5ad(tmp_path / "alone.h5ad")
    with pytest.raises(ContractError) as caught:
        imported(tmp_path / "alone.h5ad", tmp_path)
    assert str(caught.value).endswith(
        "ADT in obsm['X_adt'], or an .h5mu with rna (or gex), atac (or peaks), adt (or prot or "
        "protein). It has obsm['X_pca'], obsm['protein_expression'], which are not read"
    )


def test_other_names_of_an_h5mu(own, tmp_path):
    whole = anndata.read_h5ad(own)
    adt = anndata.AnnData(
        whole.obsm["X_adt"], obs=whole.obs[[]], var=pd.DataFrame(index=list("abcde"))
    )
    rna = anndata.AnnData(whole.X, obs=whole.obs[[]], var=whole.var)
    MuData({"gex": rna, "protein": adt}).write_h5mu(tmp_path / "own.h5mu")
    note = TASK.import_dataset({"dataset": "mine"}, tmp_path / "own.h5mu", tmp_path / "raw.h5ad")
    assert note == "read rna (mod 'gex') and adt (mod 'protein'); no batch, no dataset, no cluster"


@pytest.mark.parametrize(
    "logged",
    [np.log1p, lambda adt: np.log1p(adt / np.exp(np.log1p(adt).mean(axis=0)))],
    ids=["log1p", "CLR"],
)
def test_intensities_that_are_logarithms_are_refused(own, tmp_path, logged):
    adata = anndata.read_h5ad(own)
    adata.obsm["X_adt"] = logged(np.rint(adata.obsm["X_adt"]))
    adata.write_h5ad(tmp_path / "bad.h5ad")
    with pytest.raises(
        ContractError, match="adt holds fractions and nothing above [1-9][.0-9]+, a"
    ):
        imported(tmp_path / "bad.h5ad", tmp_path)


def test_few_counts_are_no_logarithms(own, tmp_path):
    adata = anndata.read_h5ad(own)
    adata.obsm["X_adt"] = np.minimum(np.rint(adata.obsm["X_adt"]), 3) + 1
    adata.write_h5ad(tmp_path / "few.h5ad")
    assert anndata.read_h5ad(imported(tmp_path / "few.h5ad", tmp_path)).obsm["X_adt"].max() == 4


@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_mock_intensities_are_taken(tmp_path, seed):
    adata, _ = generate_mock_dataset(
        "paired", n_cells=40, n_genes=20, n_peaks=20, n_proteins=2, seed=seed
    )
    adata.write_h5ad(tmp_path / "mock.h5ad")
    imported(tmp_path / "mock.h5ad", tmp_path)


def test_weights_of_peaks_are_taken_for_open_peaks(tmp_path):
    adata, _ = generate_mock_dataset(
        "bridge", n_cells=60, n_genes=20, n_peaks=40, n_proteins=2, seed=1
    )
    weighed = adata.copy()
    weighed.obsm["X_atac"] = sparse.csr_matrix(adata.obsm["X_atac"] * 0.37)  # as by TF-IDF
    weighed.write_h5ad(tmp_path / "own.h5ad")
    found = anndata.read_h5ad(imported(tmp_path / "own.h5ad", tmp_path))
    assert (found.obsm["X_atac"] != adata.obsm["X_atac"]).nnz == 0


def test_an_h5mu_with_what_is_no_modality(own, tmp_path):
    adata = anndata.read_h5ad(own)
    whole = {word: anndata.AnnData(adata.obsm["X_adt"], obs=adata.obs[[]]) for word in ("hto", "x")}
    MuData({"rna": adata, **whole}).write_h5mu(tmp_path / "own.h5mu")
    said = r"unknown modality 'hto'.* \(x neither\)\. Rename it, or write the file without it"
    with pytest.raises(ContractError, match=said):
        imported(tmp_path / "own.h5mu", tmp_path)


def test_labels_that_are_there_are_named(own, tmp_path):
    adata = anndata.read_h5ad(own)
    adata.obs = adata.obs.rename(columns={"cluster": "Leiden"})
    adata.write_h5ad(tmp_path / "own.h5ad")
    row = {"dataset": "mine"}
    note = TASK.import_dataset(row, tmp_path / "own.h5ad", tmp_path / "raw.h5ad")
    assert note.endswith("no cluster, the sheet's cell_type may name Leiden")
    note = TASK.import_dataset(row | {"cell_type": "Leiden"}, tmp_path / "own.h5ad", tmp_path / "r")
    assert "may name" not in note


def test_counts_of_rna_may_lie_in_a_layer(own, tmp_path):
    """X is what people plot, normalised, and counts are beside it."""
    adata = anndata.read_h5ad(own)
    counts = adata.X.copy()
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "own.h5ad")
    adt = anndata.AnnData(adata.obsm["X_adt"], obs=adata.obs[[]])
    adt.var_names = adata.uns["adt_names"]
    whole = MuData({"GEX": adata, "Prot": adt})
    whole.write_h5mu(tmp_path / "own.h5mu")
    row = {"dataset": "mine", "layer": "counts"}
    for name, said in (
        ("own.h5ad", "read rna (layers['counts']) and"),
        ("own.h5mu", "'GEX', laye"),
    ):
        note = TASK.import_dataset(row, tmp_path / name, tmp_path / "raw.h5ad")
        assert said in note
        found = anndata.read_h5ad(tmp_path / "raw.h5ad")
        assert (counts != found.X).nnz == 0
        assert found.obsm["X_adt"].any()
        with pytest.raises(ContractError, match="layer of RNA 'count'. Did you mean 'counts'"):
            TASK.import_dataset(row | {"layer": "count"}, tmp_path / name, tmp_path / "bad.h5ad")


@pytest.mark.parametrize("column", ["symbol", "organism"])
def test_columns_of_a_sheet_that_would_do_nothing_are_refused(own, tmp_path, column):
    row = {"dataset": "mine", "layer": None, column: "counts"}
    with pytest.raises(ContractError, match=f"column '{column}' does not apply to multimodal"):
        TASK.import_dataset(row, own, tmp_path / "raw.h5ad")


def empty_a_cell(adata):
    adata.X = sparse.csr_matrix(adata.X.toarray() * (np.arange(120) != 3)[:, None])


def adt_value(value):
    return lambda a: a.obsm["X_adt"].__setitem__((2, 3), value)


def adt_table(adata):
    adata.obsm["X_adt"] = pd.DataFrame(
        adata.obsm["X_adt"], index=adata.obs_names, columns=adata.uns["adt_names"]
    )


def lognormalised(adata):
    adata.X = adata.X.log1p()


def label_gap(column):
    def damage(adata):
        labels = adata.obs[column].astype(object)
        labels.iloc[[4, 7]] = np.nan
        adata.obs[column] = pd.Categorical(labels)

    return damage


def flags_with_a_gap(adata):
    adata.obs["has_adt"] = pd.array([True, None, *[True] * 118], dtype="boolean")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda a: a.obs.__delitem__("has_adt"), "obs has has_rna, but no has_adt. There is data"),
        (lambda a: a.obs.__setitem__("has_adt", "yes"), "text or categories, such as 'yes'; exp"),
        (
            lambda a: a.obs.__setitem__("has_adt", 1.0),
            "holds float64, such as '1.0'; expected true",
        ),
        (lambda a: a.obs.__setitem__("has_adt", 2), "obs['has_adt'] holds int64, such as '2'"),
        (flags_with_a_gap, "obs['has_adt'] is missing in 1 of 120 cells (the first is 'ACGT-1')"),
        (empty_a_cell, "rna is taken to be observed, but is all zero"),
        (lambda a: a.uns.update(adt_names=np.array(["x", "y"])), "2 names for 5 columns"),
        (lambda a: a.uns.__delitem__("adt_names"), "uns lacks 'adt_names'"),
        (adt_value(-1), "adt holds -1.0 at cell 'ACGT-2', protein 'adt_3', the first of 1 among"),
        (adt_value(np.nan), "adt holds nan at cell 'ACGT-2', protein 'adt_3'"),
        (adt_value(-1), "Expected intensities of 0 or more"),
        (lognormalised, "bad.h5ad: rna holds fractional values: "),
        (
            lognormalised,
            "(whole, not negative). These hold whole counts: layers/counts. Name it in the sheet's",
        ),
        (
            adt_table,
            "obsm['X_adt'] is a DataFrame; expected a matrix. With it as `table`: adata.uns[",
        ),
        (label_gap("batch"), "obs['batch'] is missing in 2 of 120 cells (the first is 'ACGT-4')"),
        (label_gap("dataset"), "obs['dataset'] is missing in 2 of 120 cells"),
        (label_gap("cluster"), "obs['cluster'] is missing in 2 of 120 cells"),
        (label_gap("split"), "obs['split'] is missing in 2 of 120 cells"),
        (lambda a: a.obs.__setitem__("has_adt", False), "has_adt is false, but adt is not zero"),
        (lambda a: a.obs.__setitem__("split", "valid"), "unknown split 'valid'"),
        (lambda a: a.uns.update(adt_gene=[0, 1]), "uns['adt_gene'] has 2 entries; expected 5, a"),
        (lambda a: a.uns.update(adt_gene=[0, 1, 2, 3, 30]), "holds 30 for protein 'adt_4'; expe"),
        (lambda a: a.uns.update(adt_gene=["CD3E"] * 5), "names no gene of the RNA (it has 'CD3E' "),
        (lambda a: a.uns.update(adt_gene=[0.0] * 5), "or their positions as integers from 0 to 29"),
    ],
)
def test_own_data_that_cannot_be_used(own, tmp_path, damage, said):
    adata = anndata.read_h5ad(own)
    damage(adata)
    adata.write_h5ad(tmp_path / "bad.h5ad")
    with pytest.raises(ContractError) as caught:
        imported(tmp_path / "bad.h5ad", tmp_path)
    assert said in str(caught.value)
    assert not (tmp_path / "raw.h5ad").exists()


def without_flags(adata):
    del adata.obs["has_rna"], adata.obs["has_adt"]


def stored_by_columns(adata):
    adata.X = adata.X.tocsc()
    adata.obsm["X_adt"] = sparse.csc_matrix(adata.obsm["X_adt"])


@pytest.mark.parametrize(
    "change",
    [
        without_flags,
        lambda a: a.obs.__setitem__("has_adt", 1),
        stored_by_columns,
    ],
)
def test_other_forms_of_the_same_cells(own, tmp_path, change):
    adata = anndata.read_h5ad(own)
    change(adata)
    adata.write_h5ad(tmp_path / "other.h5ad")
    found = anndata.read_h5ad(imported(tmp_path / "other.h5ad", tmp_path))
    (tmp_path / "usual").mkdir()
    usual = anndata.read_h5ad(imported(own, tmp_path / "usual"))
    pd.testing.assert_frame_equal(found.obs, usual.obs)
    assert (found.X != usual.X).nnz == 0
    assert (found.obsm["X_adt"] == usual.obsm["X_adt"]).all()


def test_the_genes_of_proteins_by_name(own, tmp_path):
    adata = anndata.read_h5ad(own)
    adata.uns["adt_gene"] = np.array(["gene_3", "unheard of", "", "gene_29", "gene_0"])
    adata.write_h5ad(tmp_path / "other.h5ad")
    found = anndata.read_h5ad(imported(tmp_path / "other.h5ad", tmp_path))
    assert found.uns["adt_gene"].tolist() == [3, -1, -1, 29, 0]


@pytest.mark.parametrize("problem", ["bridge", "mosaic"])
def test_both_forms_that_the_generator_writes_are_the_same_data(tmp_path, problem):
    sizes = ["--cells=60", "--genes=20", "--peaks=40", "--proteins=5"]
    raws = []
    for suffix in ("h5ad", "h5mu"):
        (tmp_path / suffix).mkdir()
        path = tmp_path / f"mock.{suffix}"
        assert make_mock_multimodal([f"--problem={problem}", f"--out={path}", *sizes]) == 0
        raws.append(anndata.read_h5ad(imported(path, tmp_path / suffix)))
    one, two = raws
    pd.testing.assert_frame_equal(one.obs, two.obs)
    assert (one.X != two.X).nnz == 0
    assert (one.obsm["X_atac"] != two.obsm["X_atac"]).nnz == 0
    assert (one.uns["peak_gene"] == two.uns["peak_gene"]).all()
    assert (one.uns["peak_names"] == two.uns["peak_names"]).all()
    assert ("X_adt" in two.obsm) == (problem == "mosaic")


def test_what_is_neither_h5ad_nor_h5mu(tmp_path):
    with h5py.File(tmp_path / "ten.h5", "w") as file:
        file.create_group("matrix")
    with pytest.raises(ContractError, match="nor an .h5mu, but a file with matrix. The package mu"):
        imported(tmp_path / "ten.h5", tmp_path)
    (tmp_path / "ten").mkdir()
    with pytest.raises(ContractError, match="nor an .h5mu, but a folder. The package muon makes"):
        imported(tmp_path / "ten", tmp_path)


def test_an_index_outside_a_matrix_stored_by_columns(own, tmp_path):
    adata = anndata.read_h5ad(own)
    stored_by_columns(adata)
    adata.write_h5ad(tmp_path / "bad.h5ad")
    with h5py.File(tmp_path / "bad.h5ad", "a") as file:
        file["X/indices"][10] = 120
    with pytest.raises(ContractError, match="X is damaged: an index is 120"):
        imported(tmp_path / "bad.h5ad", tmp_path)
