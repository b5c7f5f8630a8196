"""Bad input, each with what was wrong, what was expected and what there is."""

import numpy as np
import pytest

from lacuna.mock import apply_scenario, check_dataset, generate_mock_dataset
from lacuna.mock.cli import generate_all_mock_data, make_mock_multimodal
from lacuna_contract import ContractError

TINY = {"n_cells": 40, "n_genes": 20, "n_peaks": 40, "n_proteins": 4, "seed": 0}


@pytest.mark.parametrize(
    ("problem", "values", "message"),
    [
        ("brigde", {}, "unknown scenario 'brigde'. Did you mean 'bridge'"),
        ("paired", {"n_cells": 0}, "n_cells: 0 is less than the minimum of 1"),
        ("paired", {"n_cells": 3}, "n_cells is 3, fewer than n_clusters, 4"),
        ("paired", {"n_genes": -5}, "n_genes: -5 is less than the minimum"),
        ("paired", {"n_peaks": 0}, "n_peaks: 0 is less than the minimum"),
        ("paired", {"n_proteins": -1}, "n_proteins: -1 is less than the minimum"),
        ("paired", {"latent_dim": 3}, "latent_dim is 3, fewer than n_clusters"),
        ("paired", {"n_cells": 40.5}, "n_cells: 40.5 is not of type 'integer'"),
        ("paired", {"seed": -1}, "seed: -1 is less than the minimum"),
        ("paired", {"n_cell": 40}, "unknown mock setting 'n_cell'. Did you mean 'n_cells'"),
        ("paired", {"atac_density": 0.9}, "atac_density: 0.9 is greater than the maximum"),
        ("paired", {"atac_density": float("nan")}, "atac_density is nan"),
        ("paired", {"cluster_proportions": [0.5, 0.5]}, "expected 4 numbers that add up to 1"),
        ("paired", {"cluster_proportions": [float("nan")] * 4}, "numbers that add up to 1"),
        ("bridge", {"shares": {"bridge": 1.2}}, "shares.bridge: 1.2 is greater than the maximum"),
        ("bridge", {"shares": {"bridge": -0.1}}, "shares.bridge: -0.1 is less than the minimum"),
        ("bridge", {"shares": {"rna_only": 0.7, "bridge": 0.7}}, "add up to 1.4; expected at most"),
        ("bridge", {"shares": {"brigde": 0.1}}, "unknown cohort of scenario 'bridge' 'brigde'"),
        ("paired", {"shares": {"paired": 0.5}}, "add up to 0.5; expected 1, as every cohort"),
        ("mosaic", {"keeps": {"mosaic": {"": 1}}}, "keeps no modality"),
        ("mosaic", {"keeps": {"mosaic": {"rna+": 0}}}, "finite weights of 0 or more, one of"),
        ("mosaic", {"keeps": {"mosaic": {"rna": float("inf")}}}, "finite weights of 0 or more"),
        ("mosaic", {"keeps": {"mosaic": {"rna": float("nan")}}}, "finite weights of 0 or more"),
        ("mosaic", {"keeps": {"mosaic": {"dna": 1}}}, "unknown modality in 'dna' 'dna'"),
        (
            "prediction",
            {"target": "rna", "keeps": {"test": {"rna": 1}}},
            "a cell of cohort 'test' would keep no modality",
        ),
        ("paired", {"target": "rna"}, "'paired' has no target modality; 'target' is for predict"),
        ("prediction", {"target": "dna"}, "target: unknown value 'dna'"),
        ("hierarchical", {"study_shift": -1.0}, "study_shift: -1.0 is less than the minimum"),
    ],
)
def test_generator(problem, values, message):
    with pytest.raises(ContractError) as error:
        generate_mock_dataset(problem, **{**TINY, **values})
    assert message in str(error.value)


def test_too_few_cells_for_the_cohorts():
    with pytest.raises(ContractError, match="2 cells are too few for 3 cohorts"):
        generate_mock_dataset("bridge", n_cells=2, n_clusters=1, n_genes=9, n_peaks=9, seed=0)


def test_numpy_numbers_are_numbers():
    adata, _ = generate_mock_dataset(
        "paired", **{**TINY, "n_cells": np.int64(30), "atac_density": np.float32(0.05)}
    )
    assert adata.n_obs == 30


def test_commands_say_what_was_wrong(capsys, tmp_path):
    arguments = [f"--out={tmp_path}/x.h5ad", "--problem=brigde"]
    assert make_mock_multimodal(arguments) == 2
    assert "Did you mean 'bridge'" in capsys.readouterr().err
    places = [f"--out-dir={tmp_path}", f"--config-dir={tmp_path}"]
    assert generate_all_mock_data([*places, "--cells=-1"]) == 2
    assert "n_cells: -1 is less than the minimum" in capsys.readouterr().err
    assert generate_all_mock_data([*places, "--target=dna"]) == 2
    assert "target: unknown value 'dna'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    for flag, form in (
        ("--share=bridge", "COHORT=SHARE"),
        ("--share=bridge=few", "COHORT=SHARE"),
        ("--keep=mosaic=1", "COHORT:MODALITIES=WEIGHT"),
        ("--keep=mosaic:rna=few", "COHORT:MODALITIES=WEIGHT"),
    ):
        with pytest.raises(SystemExit):
            make_mock_multimodal([*arguments, flag])
        assert f"'{flag.partition('=')[2]}' is not {form}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["x.h5ad", "--truth-out=x.h5ad"], "need a path each"),
        (["x.h5ad", "--config-out=x.h5ad"], "need a path each"),
        (["x.h5ad", "--truth-out=t.h5mu"], "a truth is an .h5ad"),
        (["file/x.h5ad"], "file"),
    ],
)
def test_places_that_cannot_be_written_to(capsys, tmp_path, monkeypatch, paths, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    out, *more = paths
    assert make_mock_multimodal(["--problem=paired", "--cells=40", f"--out={out}", *more]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def adata():
    return generate_mock_dataset("mosaic", **TINY)[0]


def test_a_mask_that_says_observed_where_all_is_zero(adata):
    cell = np.flatnonzero(~adata.obs["has_atac"])[0]
    adata.obs.loc[adata.obs_names[cell], "has_atac"] = True
    with pytest.raises(ContractError, match=f"has_atac is true.*zero.*'cell_{cell}'"):
        check_dataset(adata)


def test_a_mask_that_says_hidden_where_there_is_something(adata):
    cell = np.flatnonzero(adata.obs["has_rna"])[0]
    adata.obs.loc[adata.obs_names[cell], "has_rna"] = False
    with pytest.raises(ContractError, match=f"has_rna is false, but rna is not zero.*cell_{cell}'"):
        check_dataset(adata)


def test_a_missing_mask(adata):
    del adata.obs["has_adt"]
    with pytest.raises(ContractError, match="obs lacks 'has_adt'; there are: batch, dataset"):
        check_dataset(adata)


def test_a_mask_of_another_type(adata):
    adata.obs["has_adt"] = adata.obs["has_adt"].astype(float)
    with pytest.raises(ContractError, match="has_adt.*is float64; expected bool"):
        check_dataset(adata)


def test_protein_names_that_do_not_match(adata):
    adata.uns["adt_names"] = adata.uns["adt_names"][:-1]
    with pytest.raises(ContractError, match="has 3 names, but the ADT has 4 columns"):
        check_dataset(adata)
    adata.uns["adt_names"] = np.array(["a", "a", "b", "c"])
    with pytest.raises(ContractError, match="names a protein twice"):
        check_dataset(adata)
    del adata.uns["adt_names"]
    with pytest.raises(ContractError, match="uns lacks 'adt_names'"):
        check_dataset(adata)


def test_a_cell_that_has_nothing(adata):
    others = np.arange(40)[:, None] > 0
    adata.X = adata.X.multiply(others).tocsr()
    adata.obsm["X_atac"] = adata.obsm["X_atac"].multiply(others).tocsr()
    adata.obsm["X_adt"][0] = 0
    for name in ("rna", "atac", "adt"):
        adata.obs.loc["cell_0", f"has_{name}"] = False
    with pytest.raises(ContractError, match="no modality is observed in 1 cells"):
        check_dataset(adata)


def test_no_cells(adata):
    with pytest.raises(ContractError, match="there are no cells"):
        apply_scenario(adata[:0].copy(), "mosaic", seed=0)
