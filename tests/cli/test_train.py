"""train-<model> runs what a benchmark would run, and takes what a benchmark would score."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from processes import children

from lacuna import training
from lacuna.mock.cli import make_mock_multimodal

MAIN = """
import argparse, json, time
import h5py, numpy as np
from lacuna_contract.tasks import multimodal

words = argparse.ArgumentParser()
for name in ("input", "output", "metadata", "params"):
    words.add_argument(f"--{name}")
words = words.parse_args()
data = multimodal.read(words.input)
params = json.load(open(words.params))
if params.get("wait"):
    open(params["state"], "w").write("checkpoint")
    time.sleep(600)
if params.get("declined"):
    json.dump({"not_applicable": "too few cells"}, open(words.metadata, "w"))
    raise SystemExit
if params.get("broken"):
    if params["broken"] == "late":
        open(params["state"], "w").write("checkpoint")
    raise SystemExit("it broke")
imputed = {m: np.full(one.shape, 0.5) for m, one in data.asked.items()}
if params.get("prediction", True):
    multimodal.write(words.output, data, np.eye(data.n_cells)[:, :2], imputed)
if params.get("strange"):
    with h5py.File(words.output, "r+") as file:
        file["uns/imputed/atac/values"][:] = 2
said = {"details": {"score": 7, "rank": params["rank"]}} if params.get("said") else {}
if "history" in params:
    said = {"details": {"history": params["history"], "best_epoch": params.get("best")}}
json.dump(said, open(words.metadata, "w"))
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
    manifest["variants"] = {"default": {"rank": 3}, "large": {"rank": 30}}
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

    def run(*words: str, command: tuple[str, ...] = ("train-written-by-hand",)) -> tuple[int, Path]:
        out = tmp_path / "out"
        given = ["--config", str(config), "--out", str(out), "--models-dir", str(folder.parent)]
        return training.main(command[0], [*command[1:], *given, *words]), out

    return run


def test_the_entry_of_the_manifest_is_run(train, capsys):
    code, out = train("said=true")
    assert code == 0, capsys.readouterr().err
    assert (out / "prediction.h5ad").is_file()
    assert "score 7" in capsys.readouterr().out


def test_the_parameters_are_those_of_the_default_variant(train, capsys):
    assert train("said=true")[0] == 0
    assert "rank 3\n" in capsys.readouterr().out
    assert train("said=true", "rank=4", "--overwrite")[0] == 0
    assert "rank 4\n" in capsys.readouterr().out


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


def test_any_models_folder_by_one_command(train, capsys):
    assert train(command=("bin/train-model", "written_by_hand"))[0] == 0
    capsys.readouterr()
    assert train(command=("bin/train-model", "written_by_han"))[0] == 1
    assert "Did you mean 'written_by_hand'" in capsys.readouterr().err
    assert train(command=("bin/train-model",))[0] == 1
    assert "train-model MODEL: unknown multimodal model 'MODEL'" in capsys.readouterr().err


def test_a_history_is_drawn_as_far_as_it_can_be(train, capsys):
    history = {"train": [3.0, 2, 1], "held_out": [3.0, 1], "none": [None, 1], "rate": 0.1}
    code, out = train("history=" + json.dumps(history | {"epoch": [1, 2, 3], "empty": []}))
    assert code == 0, capsys.readouterr().err
    assert json.loads((out / "history.json").read_text())["none"] == [None, 1]
    drawn = (out / "curves.svg").read_text()
    assert "train, held out" in drawn
    assert drawn.count('class="line') == 2
    assert train("history=[1, 2]", "--overwrite")[0] == 0
    assert not (out / "curves.svg").exists()


@pytest.mark.parametrize("best", [None, "last", 9, 0])
def test_the_best_epoch_is_one_of_those_there_are(best):
    for given, count in ((best, 0), (2, 1)):
        drawn = training.curves({"loss": [2.0, 1.0]}, given)
        assert drawn.count('class="guide"') == count


def test_a_model_without_use_for_a_gpu_gets_none(train, capsys):
    code, out = train("--gpu")
    assert code == 1
    assert "written_by_hand uses no GPU" in capsys.readouterr().err
    assert not out.exists()


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def trained(train, *names):
    """The folder of a training, in which files of these names have words of ours."""
    code, out = train("said=true")
    assert code == 0
    for name in names:
        (out / name).write_text("mine")
    return out


def test_a_training_is_not_lost_to_another(train, capsys):
    out = trained(train, "notes.txt", "checkpoint.pt")
    before = content(out)
    capsys.readouterr()
    assert train()[0] == 1
    said = capsys.readouterr().err
    for part in ("holds a training already (checkpoint.pt, pred", "--resume", "--out", "--overw"):
        assert part in said
    assert content(out) == before
    assert train("--resume")[0] == 0
    assert train("--overwrite")[0] == 0
    assert not (out / "checkpoint.pt").exists(), "it would be of another training"
    assert (out / "notes.txt").is_file()


def test_a_training_is_there_until_another_has_a_checkpoint(train, capsys):
    out = trained(train, "checkpoint.pt", "curves.svg")
    before = content(out)
    for word, said in (
        ("broken=early", "it broke"),
        ("declined=true", "declines this dataset: too few cells"),
        ("strange=true", "returned what is no prediction"),
    ):
        capsys.readouterr()
        assert train("--overwrite", word)[0] == 1
        error = capsys.readouterr().err
        assert said in error
        assert "the earlier training is kept" in error
        assert content(out) == before
    assert train("--overwrite", "broken=late")[0] == 1
    assert "is kept" not in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["checkpoint.pt"]
    assert (out / "checkpoint.pt").read_text() == "checkpoint"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_model_and_keeps_the_checkpoint(train, tmp_path, capsys, number):
    others, started, ended = children(), set(), threading.Event()

    def send():
        while not (tmp_path / "out/checkpoint.pt").is_file():
            if ended.wait(0.1):
                return
        started.update(children() - others)
        if not ended.is_set():  # nothing but the command hears it
            os.kill(os.getpid(), number)

    before, sender = signal.getsignal(number), threading.Thread(target=send)
    sender.start()
    try:
        code, out = train("wait=true")
    finally:
        ended.set()
        sender.join()
    assert code == 128 + number
    assert "interrupted; --resume goes on from the checkpoint" in capsys.readouterr().err
    assert (out / "checkpoint.pt").read_text() == "checkpoint"
    assert started
    assert not any(Path("/proc", child).exists() for child in started)
    assert signal.getsignal(number) == before
