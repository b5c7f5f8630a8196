"""Scenarios put on data that are there."""

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lacuna.mock import SCENARIOS, apply_scenario, check_dataset
from lacuna.mock.check import nonzero_rows
from lacuna.mock.cli import make_mock_multimodal
from lacuna_contract import ContractError

N = 120


@pytest.fixture
def paired():
    """Fully observed cells with everything that people leave in an AnnData."""
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(1.0, (N, 30)).astype(np.int64))
    index = [f"AAAC{i}" for i in range(N)]
    obs = pd.DataFrame(
        {
            "batch": ["x", "y"] * (N // 2),
            "cluster": ["T"] * (N // 2) + ["B"] * (N // 2),
            "n_counts": np.asarray(counts.sum(1)).ravel(),
        },
        index=index,
    )
    adata = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(30)]))
    adata.obsm["X_atac"] = sparse.csr_matrix((rng.random((N, 50)) < 0.3).astype(np.float32))
    adata.obsm["X_adt"] = rng.lognormal(2, 1, (N, 4)).astype(np.float32)
    adata.obsm["X_pca"] = rng.normal(size=(N, 5))
    adata.uns["adt_names"] = ["CD3", "CD4", "CD8", "CD19"]
    adata.uns["neighbors"] = {"params": {}}
    adata.layers["log"] = adata.X.astype(np.float32).log1p()
    adata.raw = adata
    return adata


def has(adata):
    return adata.obs[["has_rna", "has_atac", "has_adt"]].to_numpy()


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_hides_and_keeps_nothing_else(paired, name):
    before = paired.copy()
    adata, keys = apply_scenario(paired, name, seed=3)
    check_dataset(adata)
    pairs = [(adata.X, paired.X)] + [(adata.obsm[s], paired.obsm[s]) for s in ("X_atac", "X_adt")]
    for column, (found, original) in enumerate(pairs):
        mask = has(adata)[:, column]
        assert not mask.any() or abs(found[mask] - original[mask]).max() == 0
        np.testing.assert_array_equal(nonzero_rows(found), mask)
    assert set(keys) == {m for m, kept in zip(("rna", "atac", "adt"), has(adata).T) if kept.any()}  # noqa: B905
    assert adata.raw is None
    assert sorted(adata.obsm) == ["X_adt", "X_atac"]
    assert sorted(adata.layers) == ["counts"]
    assert list(adata.uns) == ["adt_names"]
    assert "n_counts" not in adata.obs
    assert list(adata.obs["cluster"]) == list(paired.obs["cluster"])
    assert list(adata.obs["batch"]) == list(paired.obs["batch"])
    assert (paired.X != before.X).nnz == 0
    assert sorted(paired.obsm) == sorted(before.obsm)


def test_cells_are_dealt_out_at_random(paired):
    # In order, the first half of the cells, all T, would be the RNA cohort.
    adata, _ = apply_scenario(paired, "unpaired", seed=1)
    kept = adata.obs.groupby("cluster", observed=True)["has_rna"].sum()
    assert kept.sum() == N // 2
    assert kept.min() > N // 8


def test_a_seed(paired):
    first, again, other = (apply_scenario(paired, "mosaic", seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(has(first), has(again))
    assert (has(first) != has(other)).any()


def test_rna_and_adt_alone(paired):
    del paired.obsm["X_atac"]
    adata, keys = apply_scenario(paired, "mosaic", seed=0)
    assert set(keys) == {"rna", "adt"}
    assert not adata.obs["has_atac"].any()
    assert "X_atac" not in adata.obsm
    kinds = {tuple(row) for row in has(adata)}
    assert len(kinds) == 3
    for target in (None, "adt"):
        adata, _ = apply_scenario(paired, "prediction", seed=0, target=target)
        assert has(adata).sum(axis=0).tolist() == [N, 0, round(0.8 * N)]
    with pytest.raises(ContractError, match="'prediction' hides atac; these data have rna and adt"):
        apply_scenario(paired, "prediction", seed=0, target="atac")
    for name, said in (
        ("unpaired", "has cells that keep atac alone; these data have rna and adt"),
        ("bridge", "has cells that keep atac alone; these data have rna and adt"),
    ):
        with pytest.raises(ContractError, match=said):
            apply_scenario(paired, name, seed=0)


def test_rna_and_atac_alone(paired):
    del paired.obsm["X_adt"]
    adata, keys = apply_scenario(paired, "hierarchical", seed=0)
    assert set(keys) == {"rna", "atac"}
    with pytest.raises(
        ContractError, match="is about rna and adt, of which only rna would be left"
    ):
        apply_scenario(paired, "paired", seed=0)
    apply_scenario(paired, "paired", seed=0, keeps={"paired": {"rna": 1}})


def test_mudata_of_the_same_cells(paired):
    rna = anndata.AnnData(paired.X.astype(np.float32), paired.obs[[]].copy(), paired.var.copy())
    adt = anndata.AnnData(
        paired.obsm["X_adt"], paired.obs[[]].copy(), pd.DataFrame(index=paired.uns["adt_names"])
    )
    order = np.random.default_rng(1).permutation(N)
    data = mudata.MuData({"RNA": rna, "Prot": adt[order].copy()})
    adata, keys = apply_scenario(data, "mosaic", seed=0)
    assert set(keys) == {"rna", "adt"}
    assert list(adata.uns["adt_names"]) == ["CD3", "CD4", "CD8", "CD19"]
    kept = has(adata)[:, 2]
    place = paired.obs_names.get_indexer(adata.obs_names)
    np.testing.assert_array_equal(adata.obsm["X_adt"][kept], paired.obsm["X_adt"][place][kept])
    few = mudata.MuData({"rna": rna, "adt": adt[:50].copy()})
    with pytest.raises(ContractError, match="has 50 of 120 cells"):
        apply_scenario(few, "mosaic", seed=0)
    with pytest.raises(ContractError, match="share of cohort 'bridge' is 'half'; expected 0 to 1"):
        apply_scenario(few, "bridge", seed=0, shares={"bridge": "half"})
    odd = mudata.MuData({"rna": rna, "methylation": adt.copy()})
    with pytest.raises(ContractError, match="unknown MuData modality 'methylation'"):
        apply_scenario(odd, "mosaic", seed=0)
    twice = mudata.MuData({"rna": rna, "adt": adt.copy(), "prot": adt.copy()})
    with pytest.raises(ContractError, match="has adt twice, once as 'prot'"):
        apply_scenario(twice, "mosaic", seed=0)


FULL = ["--problem=mosaic", "--keep=mosaic:rna+atac+adt=1", "--cells=90", "--genes=20"]


@pytest.mark.parametrize("name", ["unpaired", "mosaic"])
def test_both_forms_of_what_the_command_writes(tmp_path, name):
    for suffix in ("h5ad", "h5mu"):
        arguments = [*FULL, "--peaks=50", "--proteins=4", f"--out={tmp_path}/full.{suffix}"]
        assert make_mock_multimodal(arguments) == 0
    whole = anndata.read_h5ad(tmp_path / "full.h5ad")
    one, keys = apply_scenario(whole, name, seed=1)
    two, same = apply_scenario(mudata.read_h5mu(tmp_path / "full.h5mu"), name, seed=1)
    assert keys == same
    assert (one.obs == two.obs).all(axis=None)
    assert (one.X != two.X).nnz == 0
    assert (one.obsm["X_atac"] != two.obsm["X_atac"]).nnz == 0
    np.testing.assert_array_equal(one.obsm["X_adt"], two.obsm["X_adt"])
    # Which gene a peak lies near is no secret, and all that `unpaired` can be matched by.
    for adata in (one, two):
        np.testing.assert_array_equal(adata.uns["peak_gene"], whole.uns["peak_gene"])
        np.testing.assert_array_equal(adata.uns["adt_gene"], whole.uns["adt_gene"])
        assert list(adata.uns["adt_names"]) == list(whole.uns["adt_names"])
    assert list(two.uns["peak_names"]) == [f"peak_{j}" for j in range(50)]
    # Some of the cells of a file, as people take them.
    some, _ = apply_scenario(whole[::2], name, seed=1)
    assert some.n_obs == 45


def test_a_table_of_proteins_names_them(paired):
    names = ["CD3", "CD4", "CD8", "CD19"]
    paired.obsm["X_adt"] = pd.DataFrame(paired.obsm["X_adt"], paired.obs_names, names)
    del paired.uns["adt_names"]
    adata, _ = apply_scenario(paired, "mosaic", seed=0)
    assert list(adata.uns["adt_names"]) == names


def test_names_and_labels_that_tell_cells_apart(paired):
    paired.obs["batch"] = paired.obs["batch"].where(np.arange(N) != 5)
    with pytest.raises(ContractError, match=r"obs\['batch'\] is missing in 1 of 120 .*'AAAC5'"):
        apply_scenario(paired, "mosaic", seed=0)
    paired.obs_names = ["one", "one", *paired.obs_names[2:]]
    with pytest.raises(ContractError, match="the cell 'one' is there twice"):
        apply_scenario(paired, "mosaic", seed=0)


def test_what_is_not_fully_observed_is_refused(paired):
    paired.obs["has_rna"] = np.arange(N) > 0
    with pytest.raises(ContractError, match="has_rna.*not true for all cells"):
        apply_scenario(paired, "mosaic", seed=0)
    del paired.obs["has_rna"]
    paired.obsm["X_adt"][7] = 0
    with pytest.raises(ContractError, match="has_adt is true, but adt is all zero, in 1 cells"):
        apply_scenario(paired, "paired", seed=0)


def test_what_is_no_measurement_is_refused(paired):
    paired.obsm["X_adt"][0, 0] = np.nan
    with pytest.raises(ContractError, match="adt holds values that are negative or not finite"):
        apply_scenario(paired, "mosaic", seed=0)
    paired.obsm["X_adt"][0, 0] = 1
    paired.X = paired.X.astype(np.float32) - sparse.csr_matrix(np.full((N, 30), 2.0))
    with pytest.raises(ContractError, match="rna holds values that are negative"):
        apply_scenario(paired, "mosaic", seed=0)


def test_keys_that_are_not_there(paired):
    keys = {"rna": {"X": "X"}, "adt": {"obsm": "X_prot"}}
    with pytest.raises(ContractError, match="unknown name in obsm 'X_prot'"):
        apply_scenario(paired, "paired", seed=0, keys=keys)
    with pytest.raises(ContractError, match="unknown modality in keys 'protein'"):
        apply_scenario(paired, "paired", seed=0, keys={"rna": {"X": "X"}, "protein": {"X": "X"}})
    with pytest.raises(ContractError, match="expected X, or a name in layer or obsm"):
        apply_scenario(paired, "paired", seed=0, keys={"rna": {"varm": "X"}})
    with pytest.raises(ContractError, match="keys has no rna"):
        apply_scenario(paired, "paired", seed=0, keys={"adt": {"obsm": "X_adt"}})
    layer = {"rna": {"layer": "log"}, "adt": {"obsm": "X_adt"}}
    adata, _ = apply_scenario(paired, "paired", seed=0, keys=layer)
    assert abs(adata.X - paired.layers["log"]).max() == 0
