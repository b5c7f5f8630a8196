"""The command train-mosaic-vae: configurations, checkpoints, interruptions and what is wrong."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import pytest
import yaml
from processes import children
from trained import FEW, imputed, mock, train

from lacuna import watched
from lacuna.mock.cli import generate_all_mock_data, make_mock_multimodal
from lacuna.mock.config import Config, read_config, write_config
from lacuna.setup.common import ROOT
from lacuna.setup.environments import build
from lacuna.setup.registry import model
from lacuna.training import check_config, main
from lacuna_contract.errors import ContractError


def test_a_run_that_was_interrupted_ends_where_it_would_have(few, whole, tmp_path):
    assert train(few, tmp_path, "epochs=3", "save_every=2") == 0
    assert train(few, tmp_path, "epochs=6", "save_every=2", "--resume") == 0
    histories = [json.loads((x / "history.json").read_text()) for x in (whole, tmp_path)]
    assert histories[0] == histories[1]
    assert len(histories[0]["held_out"]) == 6
    once, twice = imputed(whole), imputed(tmp_path)
    for name, values in once.items():
        np.testing.assert_array_equal(values, twice[name])


@pytest.mark.parametrize(
    ("given", "theirs", "ours"),
    [
        (["latent=4"], "latent=16", "latent=4"),
        (["likelihood=zinb", "dropout=0.2"], "likelihood=nb, dropout=0.1", "likelihood=zinb"),
        (["rate=0.001", "held_out=0.2"], "rate=0.02, held_out=0.1", "rate=0.001, held_out=0.2"),
    ],
)
def test_what_a_resumed_training_cannot_change_is_refused(
    few, whole, tmp_path, capsys, given, theirs, ours
):
    shutil.copytree(whole, tmp_path / "out")
    before = (tmp_path / "out/checkpoint.pt").read_bytes()
    assert train(few, tmp_path / "out", *given, "--resume") == 1
    assert f"was trained with {theirs}, and this run has {ours}" in capsys.readouterr().err
    assert (tmp_path / "out/checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("other", [("--genes", "41"), ("--seed", "1")])
def test_a_checkpoint_of_other_data_is_refused(whole, tmp_path, capsys, other):
    shutil.copytree(whole, tmp_path / "out")
    assert train(mock(tmp_path, "mosaic", *FEW, *other), tmp_path / "out", "--resume") == 1
    assert "was trained with data=" in capsys.readouterr().err


def test_a_checkpoint_of_other_genes_is_refused(few, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "out")
    config = shutil.copy(few, tmp_path)
    data = shutil.copy(few.with_suffix(".h5ad"), tmp_path)
    with h5py.File(data, "r+") as file:
        file["uns/peak_gene"][:] = file["uns/peak_gene"][:][::-1]
    assert train(config, tmp_path / "out", "--resume") == 1
    assert "was trained with data=" in capsys.readouterr().err


def test_progress_is_shown_as_it_comes(few, tmp_path, capfd):
    assert train(few, tmp_path, "epochs=11") == 0
    said = capfd.readouterr().err
    assert "epoch 1/11: loss " in said
    assert "epoch 10/11: loss " in said


@pytest.mark.parametrize("checkpoint", [False, True])
def test_an_interruption_is_a_sentence(few, tmp_path, capsys, monkeypatch, checkpoint):
    def interrupted(*_, **__):
        if checkpoint:
            (tmp_path / "checkpoint.pt").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(watched, "run", interrupted)
    assert train(few, tmp_path) == 130
    said = capsys.readouterr().err
    assert "train-mosaic-vae: interrupted; " in said
    assert ("--resume goes on from" in said) == checkpoint
    assert ("no checkpoint yet" in said) != checkpoint


def test_a_program_does_not_outlive_an_interruption(tmp_path, monkeypatch):
    others, started = children(), set()

    def interrupted(*_):
        started.update(children() - others)
        raise KeyboardInterrupt

    # Not os.read itself, by which Popen learns that a program has started.
    monkeypatch.setattr(watched, "os", SimpleNamespace(read=interrupted))
    with pytest.raises(KeyboardInterrupt):
        watched.run([sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ))
    assert started
    assert not any(Path("/proc", pid).exists() for pid in started)


def test_a_file_of_the_folder_that_one_is_in_is_no_module(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('json is not what was meant')")
    recipe = model(ROOT / "containers/models/ridge_pca")
    build(recipe)
    assert watched.call(recipe, ["--help"], tmp_path) is None


def test_there_must_be_a_checkpoint_to_resume(few, tmp_path, capsys):
    assert train(few, tmp_path, "--resume") == 1
    assert "no checkpoint" in capsys.readouterr().err


def test_the_configuration_says_the_parameters(few, whole, tmp_path):
    content = yaml.safe_load(few.read_text())
    content["data"]["file"] = str(few.with_suffix(".h5ad"))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content | {"model": {"epochs": 6}}))
    read = read_config(tmp_path / "own.yaml")
    write_config(tmp_path / "again.yaml", read)
    assert read_config(tmp_path / "again.yaml") == read
    assert train(tmp_path / "again.yaml", tmp_path / "out", "save_every=2") == 0
    for name, values in imputed(whole).items():
        np.testing.assert_array_equal(values, imputed(tmp_path / "out")[name])


def test_the_configuration_of_an_own_dataset(few, whole, tmp_path):
    shutil.copy(few.with_suffix(".h5ad"), tmp_path / "cells.h5ad")
    # The form that docs/mosaic_vae.md shows.
    (tmp_path / "own.yaml").write_text(
        "data:\n"
        "  file: cells.h5ad\n"
        "  keys: {rna: {X: X}, atac: {obsm: X_atac}, adt: {obsm: X_adt}}\n"
        "model: {epochs: 6, save_every: 2}\n"
    )
    read = read_config(tmp_path / "own.yaml")
    assert read.mock is None
    write_config(tmp_path / "again.yaml", read)
    assert read_config(tmp_path / "again.yaml") == read
    assert train(tmp_path / "again.yaml", tmp_path / "out") == 0
    for name, values in imputed(whole).items():
        np.testing.assert_array_equal(values, imputed(tmp_path / "out")[name])


def test_keys_name_what_the_file_has(few, tmp_path, capsys):
    shutil.copy(few.with_suffix(".h5ad"), tmp_path / "cells.h5ad")
    (tmp_path / "own.yaml").write_text("data: {file: cells.h5ad, keys: {rna: {X: X}}}\n")
    assert train(tmp_path / "own.yaml", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "keys names rna, and " in said
    assert "cells.h5ad has rna, atac, adt: training reads all that a file has" in said


def test_keys_of_an_h5mu_are_its_own_names(tmp_path):
    (file := tmp_path / "cells.h5mu").touch()
    keys = {"rna": {"mod": "GEX"}, "adt": {"mod": "prot"}}
    check_config(Config(file, keys, None, {}))
    with pytest.raises(ContractError, match="keys\\['adt'\\] is {'mod': 'hto'}; training reads"):
        check_config(Config(file, keys | {"adt": {"mod": "hto"}}, None, {}))


def test_counts_of_rna_may_lie_in_a_layer(few, tmp_path, capsys):
    adata = anndata.read_h5ad(few.with_suffix(".h5ad"))
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    keys = "keys: {{rna: {}, atac: {{obsm: X_atac}}, adt: {{obsm: X_adt}}}}"
    text = f"data: {{{{file: cells.h5ad, {keys}}}}}"
    (tmp_path / "own.yaml").write_text(text.format("{X: X}"))
    assert train(tmp_path / "own.yaml", tmp_path / "out") == 1
    assert "(in a YAML for training: keys: {rna: {layer: ...}})" in capsys.readouterr().err
    (tmp_path / "own.yaml").write_text(text.format("{layer: counts}"))
    assert train(tmp_path / "own.yaml", tmp_path / "out", "epochs=2") == 0


def test_from_what_is_written_for_all_scenarios(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert generate_all_mock_data(FEW) == 0
    config = "configs/examples/mock_bridge.yaml"
    assert main("train-mosaic-vae", ["--config", config, "epochs=1"]) == 0
    out = tmp_path / "results/training/mosaic_vae/mock_bridge"
    assert "results/training/mosaic_vae/mock_bridge: " in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt", "curves.svg", "history.json", "metadata.json", "prediction.h5ad"
    }  # fmt: skip
    # Half of the cells lack RNA, the others ATAC, but for a few that have both.
    shapes = {name: values.shape for name, values in imputed(out).items()}
    assert shapes == {"rna": (29, 40), "atac": (28, 60), "embedding": (60, 16)}


def test_mudata_trains_as_the_same_cells_do(few, whole, tmp_path):
    config = tmp_path / "m.yaml"
    words = ["--problem=mosaic", f"--out={tmp_path}/m.h5mu", f"--config-out={config}", *FEW]
    assert make_mock_multimodal(words) == 0
    assert train(config, tmp_path / "out", "epochs=6", "save_every=2") == 0
    for name, values in imputed(whole).items():
        np.testing.assert_array_equal(values, imputed(tmp_path / "out")[name])


def test_what_is_wrong_with_a_configuration(few, tmp_path, capsys):
    path = tmp_path / "own.yaml"
    content = yaml.safe_load(few.read_text())
    few_clusters = yaml.safe_dump(content | {"mock": content["mock"] | {"n_clusters": 99}})
    for text, said in (
        ("data: [1", "own.yaml is not YAML"),
        ("data: \udcff", "own.yaml is not YAML"),
        ("", "own.yaml does not fit"),
        ("data: {file: cells.h5ad, keys: {rna: {X: X}}}", "cells.h5ad: no such file\n"),
        (few_clusters, "own.yaml: "),
    ):
        path.write_bytes(text.encode(errors="surrogateescape"))
        assert train(path, tmp_path / "out") == 1
        assert said in capsys.readouterr().err
    assert train(few, tmp_path / "out", "rate=[1") == 1
    assert "'[1' is neither JSON nor YAML" in capsys.readouterr().err


def test_unknown_parameters_are_errors(few, tmp_path, capsys):
    assert train(few, tmp_path, "epoch=5") == 1
    assert "Did you mean 'epochs'" in capsys.readouterr().err
    # These are seen before anything is run.
    assert train(few, tmp_path, "resume=true") == 1
    assert "set by this command" in capsys.readouterr().err
    assert train(few, tmp_path, "epochs") == 1
    assert "such as epochs=100" in capsys.readouterr().err


def test_a_model_that_there_is_not(few, capsys):
    assert main("train-mosaic-vea", ["--config", str(few)]) == 1
    assert "Did you mean 'mosaic_vae'" in capsys.readouterr().err
