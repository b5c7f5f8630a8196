"""Which cells keep what, in the files that the command writes."""

import numpy as np
import pytest

from lacuna.mock import SCENARIOS, Cohort, Scenario, check_dataset, generate_mock_dataset
from lacuna.mock.check import nonzero_rows
from lacuna_contract.tasks.multimodal import MODALITIES

NAMES = sorted(SCENARIOS)


def has(adata):
    return adata.obs[[f"has_{m}" for m in MODALITIES]].to_numpy(bool)


def combinations(adata):
    """Number of cells by combination of modalities."""
    words = ["+".join(np.array(MODALITIES)[row]) for row in has(adata)]
    return {word: words.count(word) for word in set(words)}


def test_there_are_six(read):
    assert NAMES == ["bridge", "hierarchical", "mosaic", "paired", "prediction", "unpaired"]
    assert sorted(read) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_layout(read, name):
    adata = read[name]
    assert adata.shape == (240, 150)
    assert adata.X.format == "csr"
    assert (adata.layers["counts"] != adata.X).nnz == 0
    assert adata.obsm["X_atac"].format == "csr"
    assert adata.obsm["X_atac"].shape == (240, 1200)
    assert adata.obsm["X_adt"].shape == (240, 12)
    assert len(adata.uns["adt_names"]) == 12
    expected = {"batch", "dataset", "cluster", "split", "has_rna", "has_atac", "has_adt"}
    assert set(adata.obs) == expected
    assert set(adata.obs["split"]) <= {"train", "test"}
    assert adata.obs["cluster"].nunique() == 4


@pytest.mark.parametrize("name", NAMES)
def test_masks_are_what_is_zero(read, name):
    adata = read[name]
    check_dataset(adata)
    for column, matrix in enumerate([adata.X, adata.obsm["X_atac"], adata.obsm["X_adt"]]):
        np.testing.assert_array_equal(nonzero_rows(matrix), has(adata)[:, column])
    assert has(adata).any(axis=1).all()


def test_coverage_of_each_scenario(read):
    assert combinations(read["paired"]) == {"rna+adt": 240}
    assert combinations(read["unpaired"]) == {"rna": 120, "atac": 120}
    assert combinations(read["bridge"]) == {"rna": 114, "atac": 114, "rna+atac": 12}
    mosaic = combinations(read["mosaic"])
    assert len(mosaic) == 7
    assert min(mosaic.values()) > 240 / 7 / 2
    assert max(mosaic.values()) < 240 / 7 * 2
    prediction = read["prediction"]
    test = prediction.obs["split"] == "test"
    assert combinations(prediction[~test]) == {"rna+atac+adt": 192}
    assert combinations(prediction[test]) == {"rna+adt": 48}


def test_studies_of_the_hierarchical_scenario_differ(read):
    adata = read["hierarchical"]
    assert adata.obs["dataset"].nunique() == 3
    assert adata.obs["batch"].nunique() == 6
    owner = adata.obs.groupby("batch", observed=True)["dataset"].nunique()
    assert (owner == 1).all()
    datasets = adata.obs["dataset"]
    mixes = {frozenset(combinations(adata[(datasets == d).to_numpy()])) for d in set(datasets)}
    assert len(mixes) == 3


def test_bridge_is_five_percent_whatever_the_size():
    for n in (100, 600, 1001):
        adata, _ = generate_mock_dataset("bridge", n_cells=n, n_genes=20, n_peaks=40, seed=0)
        both = adata.obs["has_rna"] & adata.obs["has_atac"]
        assert abs(both.sum() - 0.05 * n) <= 1


def test_keys_name_what_is_observed():
    sizes = {"n_cells": 40, "n_genes": 20, "n_peaks": 40, "seed": 0}
    keys = {name: generate_mock_dataset(name, **sizes)[1] for name in NAMES}
    assert keys["bridge"] == {"rna": {"X": "X"}, "atac": {"obsm": "X_atac"}}
    assert keys["paired"] == {"rna": {"X": "X"}, "adt": {"obsm": "X_adt"}}
    assert set(keys["mosaic"]) == {"rna", "atac", "adt"}


def test_ratios_are_parameters():
    sizes = {"n_cells": 200, "n_genes": 20, "n_peaks": 40, "seed": 0}
    adata, _ = generate_mock_dataset("bridge", shares={"bridge": 0.2}, **sizes)
    assert combinations(adata) == {"rna": 80, "atac": 80, "rna+atac": 40}
    adata, _ = generate_mock_dataset("bridge", shares={"bridge": 0}, **sizes)
    assert combinations(adata) == {"rna": 100, "atac": 100}
    adata, _ = generate_mock_dataset("mosaic", keeps={"mosaic": {"rna+adt": 1}}, **sizes)
    assert combinations(adata) == {"rna+adt": 200}
    adata, _ = generate_mock_dataset("prediction", target="rna", shares={"test": 0.5}, **sizes)
    assert combinations(adata) == {"rna+atac+adt": 100, "atac+adt": 100}


def test_a_seventh_scenario_is_a_row(monkeypatch, tmp_path):
    from lacuna.mock.cli import generate_all_mock_data

    row = Scenario(
        "a reference with everything, and a query of which only proteins are known",
        (
            Cohort("reference", 0.75, {"rna+atac+adt": 1}),
            Cohort("query", 0.25, {"adt": 1}, split="test"),
        ),
    )
    monkeypatch.setitem(SCENARIOS, "query", row)
    adata, keys = generate_mock_dataset("query", n_cells=80, n_genes=20, n_peaks=60, seed=0)
    assert combinations(adata) == {"rna+atac+adt": 60, "adt": 20}
    assert set(keys) == {"rna", "atac", "adt"}
    check_dataset(adata)
    places = [f"--out-dir={tmp_path}", f"--config-dir={tmp_path}"]
    assert generate_all_mock_data([*places, "--cells=40", "--genes=20", "--peaks=40"]) == 0
    assert (tmp_path / "mock_query.h5ad").is_file()
    assert (tmp_path / "mock_query.yaml").is_file()
