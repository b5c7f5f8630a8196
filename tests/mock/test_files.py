"""What the commands write: inputs, configurations, truth, MuData."""

import inspect
import time

import h5py
import mudata
import numpy as np
import pytest
import yaml

from lacuna.mock import (
    SCENARIOS,
    Config,
    Settings,
    generate_mock_dataset,
    read_config,
    read_plan,
    read_truth,
    write_config,
    write_mock,
)
from lacuna.mock.cli import generate_all_mock_data, make_mock_multimodal
from lacuna_contract import ContractError
from lacuna_contract.descriptor import describe

SMALL = ["--cells", "240", "--genes", "150", "--peaks", "1200", "--proteins", "12", "--seed", "7"]


def test_six_of_each(written):
    assert sorted(p.stem for p in (written / "mock").glob("*.h5ad")) == [
        f"mock_{name}" for name in sorted(SCENARIOS)
    ]
    assert len(list((written / "configs").glob("mock_*.yaml"))) == 6


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_file_and_call_agree(written, read, name):
    config = read_config(written / "configs" / f"mock_{name}.yaml")
    values = config.mock.as_dict()
    adata, keys = generate_mock_dataset(values.pop("problem"), **values)
    assert config.keys == keys
    assert config.file == written / "mock" / f"mock_{name}.h5ad"
    assert (adata.X != read[name].X).nnz == 0
    assert (adata.obsm["X_atac"] != read[name].obsm["X_atac"]).nnz == 0
    np.testing.assert_array_equal(adata.obsm["X_adt"], read[name].obsm["X_adt"])
    assert (adata.obs.astype(str) == read[name].obs.astype(str)).all(axis=None)
    for key in adata.uns:
        np.testing.assert_array_equal(adata.uns[key], read[name].uns[key])


def test_a_config_makes_the_same_file_again(written, tmp_path):
    config = read_config(written / "configs" / "mock_bridge.yaml")
    write_mock(tmp_path / "again.h5ad", config.mock)
    assert (tmp_path / "again.h5ad").read_bytes() == config.file.read_bytes()
    write_config(tmp_path / "again.yaml", config)
    assert read_config(tmp_path / "again.yaml") == config


def test_a_config_says_where_the_data_are_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = ["--problem=paired", "--out=data/x.h5ad", "--config-out=configs/x.yaml", *SMALL]
    assert make_mock_multimodal(arguments) == 0
    monkeypatch.chdir("/")
    assert read_config(tmp_path / "configs" / "x.yaml").file == tmp_path / "data" / "x.h5ad"
    assert yaml.safe_load((tmp_path / "configs/x.yaml").read_text())["data"]["file"] == (
        "../data/x.h5ad"
    )


@pytest.mark.parametrize(
    ("place", "key", "likely"),
    [((), "modle", "model"), (("mock",), "n_cell", "n_cells"), (("data",), "fil", "file")],
)
def test_an_unknown_key_of_a_config_is_an_error(written, tmp_path, place, key, likely):
    content = yaml.safe_load((written / "configs" / "mock_mosaic.yaml").read_text())
    node = content
    for step in place:
        node = node[step]
    node[key] = 1
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ContractError, match=f"unknown key '{key}'. Did you mean '{likely}'"):
        read_config(path)


def test_other_broken_configs(tmp_path):
    with pytest.raises(ContractError, match="no such file"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "c.yaml").write_text("a: [1")
    with pytest.raises(ContractError, match="is not YAML"):
        read_config(tmp_path / "c.yaml")
    with pytest.raises(ContractError, match=r"keys\.rna: {} should be non-empty"):
        write_config(tmp_path / "d.yaml", Config(tmp_path / "x", {"rna": {}}, Settings(
            problem="paired")))  # fmt: skip


def test_flags_reach_the_settings(tmp_path):
    line = (
        "--problem bridge --share bridge=0.2 --keep bridge:rna+atac+adt=1 --atac-density 0.06 "
        "--rna-dispersion 0.5 --study-shift 0.3 --cluster-proportions 0.4 0.3 0.2 0.1"
    )
    arguments = line.split()
    out, config = tmp_path / "a.h5ad", tmp_path / "a.yaml"
    assert make_mock_multimodal([*arguments, f"--out={out}", f"--config-out={config}", *SMALL]) == 0
    made = read_config(config).mock
    assert made.shares == {"bridge": 0.2}
    assert made.keeps == {"bridge": {"rna+atac+adt": 1}}
    assert (made.atac_density, made.rna_dispersion, made.study_shift) == (0.06, 0.5, 0.3)
    assert (made.n_cells, made.n_genes, made.n_peaks, made.n_proteins) == (240, 150, 1200, 12)
    assert made.cluster_proportions == [0.4, 0.3, 0.2, 0.1]


def test_the_defaults_are_those_of_the_interface(tmp_path, monkeypatch):
    sizes = {"n_cells": 600, "n_genes": 1000, "n_peaks": 5000, "n_proteins": 30, "latent_dim": 16}
    call = inspect.signature(generate_mock_dataset).parameters
    assert {name: call[name].default for name in sizes} == sizes
    assert (call["seed"].default, call["return_truth"].default) == (None, False)
    paths = [f"--out={tmp_path}/a.h5ad", f"--config-out={tmp_path}/a.yaml"]
    assert make_mock_multimodal(["--problem=paired", *paths]) == 0
    made = read_config(tmp_path / "a.yaml").mock
    assert made == Settings(problem="paired", seed=0, **sizes)
    monkeypatch.chdir(tmp_path)
    assert generate_all_mock_data(["--cells=40", "--genes=20", "--peaks=40"]) == 0
    for name in SCENARIOS:
        assert (tmp_path / "examples" / "mock" / f"mock_{name}.h5ad").is_file()
        config = read_config(tmp_path / "configs" / "examples" / f"mock_{name}.yaml")
        assert config.file.samefile(tmp_path / "examples" / "mock" / f"mock_{name}.h5ad")


def test_a_seed_of_128_bits(tmp_path):
    # What a derived seed has; a salt would be of no use if it were cut to fewer.
    seed = 2**127 + 1
    settings = Settings(problem="paired", n_cells=20, n_genes=10, n_peaks=20, seed=seed)
    keys = write_mock(tmp_path / "a.h5ad", settings, truth=tmp_path / "t.h5ad")
    assert read_plan(tmp_path / "t.h5ad").settings.seed == seed
    write_config(tmp_path / "a.yaml", Config(tmp_path / "a.h5ad", keys, settings))
    assert read_config(tmp_path / "a.yaml").mock.seed == seed
    short = Settings(problem="paired", n_cells=20, n_genes=10, n_peaks=20, seed=1)
    write_mock(tmp_path / "b.h5ad", short)
    assert (tmp_path / "a.h5ad").read_bytes() != (tmp_path / "b.h5ad").read_bytes()


def test_settings_and_their_schema_name_the_same_fields():
    from lacuna_contract.schema import load

    assert list(load("mock_settings")["properties"]) == list(Settings(problem="paired").as_dict())


def test_the_truth_file_is_the_truth(written, read):
    found = read_truth(written / "truth" / "mock_mosaic.truth.h5ad")
    values = read_config(written / "configs" / "mock_mosaic.yaml").mock.as_dict()
    _, _, truth = generate_mock_dataset(values.pop("problem"), return_truth=True, **values)
    assert (found.rna != truth.rna).nnz == 0
    assert (found.atac != truth.atac).nnz == 0
    np.testing.assert_array_equal(found.adt, truth.adt)
    np.testing.assert_array_equal(found.z, truth.z)
    np.testing.assert_array_equal(found.cluster, truth.cluster)
    for name in ("rna", "atac", "adt"):
        np.testing.assert_array_equal(found.expected(name, 3, 9), truth.expected(name, 3, 9))
    assert found.settings == truth.settings
    has = read["mosaic"].obs["has_rna"].to_numpy()
    assert (found.rna[has] != read["mosaic"].X[has]).nnz == 0
    assert found.rna[~has].nnz > 0


def test_the_small_part_of_a_truth_knows_the_rates(written, tmp_path):
    path = written / "truth" / "mock_hierarchical.truth.h5ad"
    plan = read_plan(path)
    np.testing.assert_array_equal(plan.expected("atac"), read_truth(path).expected("atac"))
    with pytest.raises(ContractError, match="is no mock truth"):
        read_plan(written / "mock" / "mock_paired.h5ad")


@pytest.mark.parametrize("name", ["mosaic", "unpaired"])
def test_mudata(tmp_path, read, name):
    path = tmp_path / "m.h5mu"
    config = tmp_path / "m.yaml"
    arguments = [f"--problem={name}", f"--out={path}", f"--config-out={config}", *SMALL]
    assert make_mock_multimodal(arguments) == 0
    data, adata = mudata.read_h5mu(path), read[name]
    seen = [m for m in ("rna", "atac", "adt") if adata.obs[f"has_{m}"].any()]
    assert list(data.mod) == seen
    # On reading, mudata puts the cells of its first modality first.
    assert set(data.obs_names) == set(adata.obs_names)
    order = data.obs_names.get_indexer(adata.obs_names)
    assert (data.obs.iloc[order].astype(str) == adata.obs[data.obs.columns].astype(str)).all(
        axis=None
    )
    matrices = {"rna": adata.X, "atac": adata.obsm["X_atac"], "adt": adata.obsm["X_adt"]}
    for m in seen:
        has = adata.obs[f"has_{m}"].to_numpy()
        assert list(data[m].obs_names) == list(adata.obs_names[has])
        assert abs(data[m].X - matrices[m][has]).max() == 0
        np.testing.assert_array_equal(data.obsm[m].ravel()[order], has)
    assert data.n_vars == sum(matrices[m].shape[1] for m in seen)
    assert read_config(config).keys == {m: {"mod": m} for m in seen}
    data.write(tmp_path / "again.h5mu")
    assert mudata.read_h5mu(tmp_path / "again.h5mu").shape == data.shape
    assert list(tmp_path.glob(".h5mu*")) == []


def test_another_suffix(tmp_path, capsys):
    arguments = ["--problem=paired", f"--out={tmp_path}/x.csv", *SMALL]
    assert make_mock_multimodal(arguments) == 2
    assert "expected .h5ad or .h5mu" in capsys.readouterr().err


def test_nothing_of_the_truth_is_in_an_input(tmp_path, written):
    out, truth = tmp_path / "input.h5ad", tmp_path / "truth.h5ad"
    arguments = [
        "--problem=mosaic", f"--out={out}", f"--truth-out={truth}", "--no-labels", *SMALL,
        "--seed=123456789",
    ]  # fmt: skip
    assert make_mock_multimodal(arguments) == 0
    found = describe(out)
    assert found["obs"]["columns"] == sorted(
        ["batch", "dataset", "split", "has_rna", "has_atac", "has_adt"]
    )
    assert found["var"]["columns"] == []
    assert sorted(found["layers"]) == ["counts"]
    assert sorted(found["obsm"]) == ["X_adt", "X_atac"]
    assert found["uns_keys"] == ["adt_gene", "adt_names", "peak_gene"]
    assert not found["raw"]
    assert found["varm"] == found["obsp"] == found["varp"] == []
    content = out.read_bytes()
    assert b"123456789" not in content
    assert b"cluster" not in content
    assert b"mosaic" not in content
    assert np.uint64(123456789).tobytes() not in content
    plan = read_plan(truth)
    # Neither a cell's state nor a hidden measurement lies anywhere in the bytes.
    assert plan.cells.z[0].tobytes() not in content
    hidden = read_truth(truth).adt[~plan.cells.assignment.has[:, 2]]
    assert hidden[0].tobytes() not in content
    with h5py.File(out) as file:
        stored = file["obsm/X_adt"][:]
        for name, column in (("X", 0), ("obsm/X_atac", 1)):
            rows = np.diff(file[f"{name}/indptr"][:])
            assert (rows[~plan.cells.assignment.has[:, column]] == 0).all()
            assert len(file[f"{name}/data"]) == rows.sum()
    assert (stored[~plan.cells.assignment.has[:, 2]] == 0).all()


@pytest.mark.parametrize("problem", ["mosaic", "hierarchical"])
def test_nothing_of_the_truth_is_in_a_mudata_input(tmp_path, problem):
    out, truth = tmp_path / "input.h5mu", tmp_path / "truth.h5ad"
    arguments = [
        f"--problem={problem}", f"--out={out}", f"--truth-out={truth}", "--no-labels", *SMALL,
        "--seed=123456789",
    ]  # fmt: skip
    assert make_mock_multimodal(arguments) == 0
    plan, whole = read_plan(truth), read_truth(truth)
    has = plan.cells.assignment.has
    with h5py.File(out) as file:
        assert set(file["obs"]) == {"_index", "batch", "dataset", "split"} | {
            f"has_{m}" for m in ("rna", "atac", "adt")
        }
        assert set(file["obsm"]) == set(file["mod"]) == {"rna", "atac", "adt"}  # masks, by cell
        assert not set(file["uns"]) | set(file["varp"]) | set(file["obsp"])
        for name in file["mod"]:
            part = file["mod"][name]
            assert list(part["obs"]) == ["_index"]
            assert not set(part["uns"]) | set(part["obsm"]) | set(part["layers"])
            assert set(part["var"]) <= {"_index", "gene"}
            assert len(part["obs/_index"]) == has[:, ["rna", "atac", "adt"].index(name)].sum()
    content = out.read_bytes()
    for word in (b"123456789", b"cluster", problem.encode(), np.uint64(123456789).tobytes()):
        assert word not in content
    assert plan.cells.z[0].tobytes() not in content
    hidden, seen = (whole.adt[has[:, 2] == kept] for kept in (False, True))
    assert seen[0].tobytes() in content
    assert not [row for row in hidden if row.tobytes() in content]


def test_sixty_thousand_peaks(tmp_path):
    # As docs/mock_data.md has it; here in processor time, which others' work leaves alone.
    sizes = ["--cells=600", "--genes=2000", "--peaks=60000", "--proteins=30", "--seed=42"]
    before = time.process_time()
    assert make_mock_multimodal(["--problem=bridge", f"--out={tmp_path}/x.h5ad", *sizes]) == 0
    assert time.process_time() - before < 1
    assert (tmp_path / "x.h5ad").stat().st_size < 10e6
    with h5py.File(tmp_path / "x.h5ad") as file:
        assert 0.01 < len(file["obsm/X_atac/data"]) / (315 * 60_000) < 0.1


def test_clusters_do_not_follow_from_place_or_name(truth):
    cluster, assignment = truth.cluster, truth.plan.cells.assignment
    half = cluster[: len(cluster) // 2]
    assert (np.bincount(half) > 50).all()
    assert len(set(assignment.dataset)) == 1
    assert (np.bincount(cluster[np.arange(len(cluster)) % 4 == 0]) > 20).all()


def test_files_are_small_and_sparse(written):
    for path in (written / "mock").glob("*.h5ad"):
        with h5py.File(path) as file:
            assert file["X"] == file["layers/counts"]
            assert file["obsm/X_atac"].attrs["encoding-type"] == "csr_matrix"
