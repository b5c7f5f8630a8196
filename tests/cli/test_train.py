"""train-<model> runs what a benchmark would run, and takes what a benchmark would score."""

import json
import sys
from pathlib import Path

import pytest

from lacuna import training
from lacuna.mock.cli import make_mock_multimodal

MAIN = """
import argparse, json
import h5py, numpy as np
from lacuna_contract.tasks import multimodal

words = argparse.ArgumentParser()
for name in ("input", "output", "metadata", "params"):
    words.add_argument(f"--{name}")
words = words.parse_args()
data = multimodal.read(words.input)
params = json.load(open(words.params))
imputed = {m: np.full(one.shape, 0.5) for m, one in data.asked.items()}
if params.get("prediction", True):
    multimodal.write(words.output, data, np.eye(data.n_cells)[:, :2], imputed)
if params.get("strange"):
    with h5py.File(words.output, "r+") as file:
        file["uns/imputed/atac/values"][:] = 2
json.dump({"details": {"score": 7}} if params.get("said") else {}, open(words.metadata, "w"))
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """The command on a few cells, for a model whose entry is a program of its own."""
    folder = tmp_path / "models/written_by_hand"
    folder.mkdir(parents=True)
    (folder / "program.py").write_text(MAIN)
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '0'\n")
    manifest = {"title": "x", "summary": "a test", "tasks": ["multimodal"], "licence": "MIT"}
    manifest |= {"reference": {"citation": "nobody"}, "entry": ["python", "program.py"]}
    (folder / "model.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))

    def build(recipe):
        python = recipe.env / "bin/python"
        if not python.exists():
            python.parent.mkdir(parents=True)
            python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
            python.chmod(0o755)
            (recipe.env / "model").symlink_to(recipe.folder)

    monkeypatch.setattr(training, "build", build)
    sizes = ["--cells", "60", "--genes", "20", "--peaks", "20", "--proteins", "3"]
    config, data = tmp_path / "cells.yaml", tmp_path / "cells.h5ad"
    words = ["--problem", "mosaic", "--out", str(data), "--config-out", str(config), *sizes]
    assert make_mock_multimodal(words) == 0

    def run(*words: str) -> tuple[int, Path]:
        out = tmp_path / "out"
        given = ["--config", str(config), "--out", str(out), "--models-dir", str(folder.parent)]
        return training.main("train-written-by-hand", [*given, *words]), out

    return run


def test_the_entry_of_the_manifest_is_run(train, capsys):
    code, out = train("said=true")
    assert code == 0, capsys.readouterr().err
    assert (out / "prediction.h5ad").is_file()
    assert "score 7" in capsys.readouterr().out


def test_a_model_that_says_nothing_of_itself(train):
    code, out = train()
    assert code == 0
    assert (out / "prediction.h5ad").is_file()


def test_what_no_benchmark_would_score_is_an_error(train, capsys):
    for word, said in (
        ("strange=true", "returned what is no prediction: the prediction of atac reaches from 2"),
        ("prediction=false", "written_by_hand wrote no prediction"),
    ):
        code, out = train(word)
        assert code == 1
        assert said in capsys.readouterr().err
        assert not (out / "prediction.h5ad").exists()
