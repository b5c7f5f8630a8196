"""What the task multimodal hides, asks for and tells: mock scenarios, and data of one's own."""

import json
from dataclasses import replace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from posing import SCENARIOS, TASK, condition, posed
from scipy import sparse

from lacuna.mock import generate_mock_dataset
from lacuna.mock.cli import make_mock_multimodal
from lacuna.mock.files import read_plan
from lacuna.parameters import Problems
from lacuna.plan import plan_data
from lacuna.tasks.multimodal.conditions import conditions
from lacuna.tasks.multimodal.evaluate import Truth
from lacuna.tasks.multimodal.question import Cells, pose
from lacuna_contract import ContractError, NotApplicable
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.tasks.multimodal import MODALITIES, read


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_input_and_truth_fit_their_schemas_and_each_other(pairs, scenario):
    input, truth = pairs[scenario]
    check_h5ad(input, "multimodal_input")
    check_h5ad(truth, "multimodal_truth")
    data, plan = read(input), read_plan(truth)
    assert plan.cells.z.shape[0] == data.n_cells
    hidden = 0
    with open_h5ad(truth) as file:
        for modality, one in data.asked.items():
            assert not data.has[modality][one.cells].any()
            hidden += len(one.cells) * len(one.features)
        assert read_uns(file)["n_hidden"] == hidden == read_uns(h5py.File(input))["n_hidden"]
    if scenario == "paired":
        assert not data.asked
    if scenario == "prediction":
        assert list(data.asked) == ["atac"]
        assert (data.split[data.asked["atac"].cells] == "test").all()


@pytest.mark.parametrize("scenario", ["bridge", "mosaic", "hierarchical"])
def test_what_is_hidden_is_what_the_law_gives_at_these_cells(pairs, scenario):
    """Rows of truth and law belong together, in spite of cells that are there twice."""
    input, truth = pairs[scenario]
    data, plan = read(input), read_plan(truth)
    with open_h5ad(truth) as file:
        values = Truth(file).values("atac")
    one = data.asked["atac"]
    expected = np.array([plan.expected("atac", c, c + 1)[0, one.features] for c in one.cells])
    right = np.log(np.where(values > 0, expected, 1 - expected)).mean()
    shuffled = np.random.default_rng(0).permutation(expected)
    assert right > np.log(np.where(values > 0, shuffled, 1 - shuffled)).mean() + 0.001


def test_twins_are_the_same_cell_with_one_other_modality(pairs):
    for scenario in ("unpaired", "bridge", "mosaic"):
        input, truth = pairs[scenario]
        data = read(input)
        with open_h5ad(truth) as file:
            twin, z = file["obs/twin"][:], file["obsm/z"][:]
        rows = np.flatnonzero(twin >= 0)
        assert len(rows) >= 20, scenario
        has = np.column_stack([data.has.get(m, np.zeros(data.n_cells, bool)) for m in MODALITIES])
        assert (has[rows].sum(axis=1) == 1).all()
        assert not (has[rows] & has[twin[rows]]).any()
        assert np.array_equal(z[rows], z[twin[rows]])
        assert np.array_equal(twin[twin[rows]], rows)


def odd_among_neighbours(batch, reach=3):
    """Rows of another batch than most of the rows around."""
    n = len(batch)
    around = [batch[max(0, i - reach) : i + reach + 1] for i in range(n)]
    return np.array([np.mean(near == batch[i]) <= 0.5 for i, near in enumerate(around)])


@pytest.mark.parametrize("scenario", ["unpaired", "bridge", "mosaic"])
def test_a_twin_does_not_stand_out(pairs, scenario):
    """Neither its batch nor its place nor what is asked of it tells that a row was added."""
    input, truth = pairs[scenario]
    data = read(input)
    with open_h5ad(truth) as file:
        twin = file["obs/twin"][:] >= 0
    if scenario == "unpaired":
        for batch in np.unique(data.batch):
            assert len({data.has["rna"][i] for i in np.flatnonzero(data.batch == batch)}) == 1
    for modality, one in data.asked.items():
        lacks = np.flatnonzero(~data.has[modality])
        never = np.setdiff1d(lacks, one.cells)
        assert not never.size or twin[never].mean() < 0.5, f"what is not asked of {modality}"
    if len(np.unique(data.batch)) > 1:
        odd = odd_among_neighbours(data.batch)
        assert odd.sum() > 10, "rows come in any order"
        assert abs(twin[odd].mean() - twin.mean()) < 0.2


@pytest.mark.parametrize("scenario", ["paired", "prediction"])
def test_no_twins_where_no_cell_has_one_modality_alone(pairs, scenario):
    with open_h5ad(pairs[scenario][1]) as file:
        assert "no two modalities have cells" in read_uns(file)["no_twins"]
        assert (file["obs/twin"][:] == -1).all()


def test_the_input_says_nothing_of_the_truth(pairs):
    input, truth = pairs["mosaic"]
    with open_h5ad(input) as file:
        assert set(file["obs"]) == {"_index", "batch", "dataset", "split"} | {
            f"has_{m}" for m in MODALITIES
        }
        assert set(file["uns"]) == {"lacuna", "asked", "adt_names", "peak_gene", "adt_gene"}
        assert read_uns(file).keys() == {"task", "n_hidden"}
        assert not set(file["obsm"]) - {"X_atac", "X_adt"}
    settings = json.loads(read_uns(h5py.File(truth))["settings"])
    assert settings["seed"] != 7


def test_a_seed_means_the_same_bytes_and_a_salt_others(tmp_path, pairs):
    again = posed(tmp_path, "bridge")
    assert again[0].read_bytes() == pairs["bridge"][0].read_bytes()
    salted = posed(tmp_path, "bridge", salt="secret")
    # Other cells, not only others of them hidden: the run's seed is no secret.
    laws = [read_plan(truth).law.rna.dispersion for _, truth in (again, salted)]
    assert not np.isin(*laws).any()


def test_scenarios_of_a_seed_have_the_same_cells(pairs):
    laws = [read_plan(pairs[s][1]).law.rna.dispersion for s in ("bridge", "mosaic")]
    assert np.array_equal(*laws)


def test_much_is_asked_for_in_part(tmp_path, monkeypatch):
    from lacuna.tasks.multimodal import question

    monkeypatch.setattr(question, "MOST_FEATURES", 40)
    monkeypatch.setattr(question, "MOST_CELLS", 30)
    data = read(posed(tmp_path, "unpaired")[0])
    assert data.asked["atac"].shape == (30, 40)
    assert (np.diff(data.asked["atac"].features) > 0).all()
    assert data.asked["atac"].features.max() > 100, "drawn from all peaks"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scenarios": "brige"}, "unknown scenario 'brige'. Did you mean 'bridge'?"),
        ({"cells": 0}, "cells '0': expected a whole number from 40 upwards"),
        ({"cells": 3}, "cells '3'"),
        ({"peaks": -5}, "peaks '-5'"),
        ({"cells": "100,200"}, "expected one number for all conditions"),
        ({"scenarios": "bridge,bridge"}, "scenario bridge is given twice"),
        ({"seeds": "x"}, "seed 'x'"),
    ],
)
def test_conditions_that_make_no_sense(given, said):
    with pytest.raises(ContractError) as caught:
        conditions(given)
    assert said in str(caught.value)


def test_conditions_belong_to_datasets():
    problems = Problems()
    given = {"tasks": "multimodal", "datasets": "mock,pbmc_mosaic", "scenario_seeds": "1,2"}
    rows, planned = plan_data(given, None, problems)
    assert not problems.found
    assert len(rows) == 2
    of = {row["dataset"]: [c for c in planned if c["dataset"] == row["dataset"]] for row in rows}
    assert len(of["mock"]) == 12
    assert [c["condition"] for c in of["pbmc_mosaic"]] == ["holdout_seed_1", "holdout_seed_2"]
    plan_data(given | {"scenarios": "bridge"}, None, problems)
    assert problems.found == ["dataset 'pbmc_mosaic' has none of these conditions: bridge_seed_1, "
                              "bridge_seed_2"]  # fmt: skip


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
    assert note == "subsample is 121, and there are 120 cells: all of them are taken"
    assert anndata.read_h5ad(raw).n_obs == 120


@pytest.mark.parametrize("column", ["layer", "symbol", "organism"])
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
        (lambda a: a.uns.update(adt_names=np.array(["x", "y"])), "2 names, but there are 5"),
        (lambda a: a.uns.__delitem__("adt_names"), "uns lacks 'adt_names'"),
        (adt_value(-1), "adt holds -1.0 at cell 'ACGT-2', protein 'adt_3', the first of 1 among"),
        (adt_value(np.nan), "adt holds nan at cell 'ACGT-2', protein 'adt_3'"),
        (adt_value(-1), "Expected intensities of 0 or more"),
        (lognormalised, "bad.h5ad: rna holds fractional values: "),
        (
            lognormalised,
            "(whole, not negative) in X. These hold whole counts: layers/counts",
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


def test_test_cells_are_asked_for_where_there_are_any():
    keep = np.ones((20, 3), dtype=bool)
    keep[:10, 1] = False
    labels = np.full(20, "a", object)
    split = np.where(np.arange(20) % 2, "test", "train").astype(object)
    cells = Cells(np.ones((20, 3), bool), keep, labels, labels, split, shifted=True)
    asked = pose(cells, {"atac": 5}, np.random.default_rng(0)).asked
    assert asked["atac"].cells.tolist() == [1, 3, 5, 7, 9]
    cells = replace(cells, split=np.full(20, "train", object))
    assert len(pose(cells, {"atac": 5}, np.random.default_rng(0)).asked["atac"].cells) == 10


def test_twins_keep_to_batches_where_batches_differ():
    n = 200
    keep = np.zeros((n, 3), dtype=bool)
    keep[:100, 0], keep[100:, 1] = True, True
    words = np.array(["a", "b"], dtype=object)
    cells = Cells(
        np.ones((n, 3), bool), keep, words[(np.arange(n) >= 100).astype(int)],
        np.full(n, "s", object), np.full(n, "train", object), shifted=True,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    assert "no two modalities have cells (of one batch)" in pose(cells, {}, rng).no_twins
    assert pose(replace(cells, shifted=False), {}, rng).no_twins is None
