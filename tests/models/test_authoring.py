"""bin/new-model makes a folder that passes; bin/check-model says what is wrong with one that does
not, and what to do."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from lacuna.authoring import new_model, places
from lacuna.authoring.check_model import check, main
from lacuna.setup.common import SetupError


@pytest.mark.parametrize(
    ("engine", "uid", "words"),
    [
        ("podman", 1000, "--userns=keep-id --user 1000:1000"),
        ("podman", 0, "--user 10001:10001"),
        ("docker", 1000, "--user 1000:1000"),
    ],
)
def test_a_container_has_the_user_of_the_pipelines(tmp_path, monkeypatch, engine, uid, words):
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(os, "getgid", lambda: uid)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    where = places.Container(SimpleNamespace(name=engine, program=engine))
    recipe = SimpleNamespace(image=lambda: "lacuna/m:0")
    command = where.command(recipe, tmp_path, {"cpus": 1, "memory_bytes": 2**30})
    assert f" 4096 {words} --cpus " in " ".join(command)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A new model."""
    return new_model.make("my_model", "reconstruction", tmp_path)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def failures(folder: Path) -> dict[str, str]:
    return {v.name: f"{v.said} -> {v.todo}" for v in check(folder) if v.passed is False}


def left(folder: Path) -> list[str]:
    return [v.name for v in check(folder) if v.passed is None]


def test_a_new_model_passes(folder, capsys):
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "my_model passes all" in said
    assert "PASS  variant deep" in said


def test_the_command_prints_what_comes_next(tmp_path, capsys):
    assert new_model.main(["a_model", "--models-dir", str(tmp_path)]) == 0
    assert f"bin/check-model {tmp_path / 'a_model'}" in capsys.readouterr().out
    assert new_model.main(["a_model", "--models-dir", str(tmp_path)]) == 1
    assert "there is a model of that name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("Mine", "reconstruction", "'Mine' is no name of a model"),
        ("_mine", "reconstruction", "is no name of a model"),
        ("zeros", "reconstruction", "there is a model of that name: containers/controls/zeros"),
        ("mine", "reconstructoin", "Did you mean 'reconstruction'"),
    ],
)
def test_names_that_cannot_be_used(name, task, message, tmp_path):
    with pytest.raises(SetupError, match=message):
        new_model.make(name, task, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_lock_and_a_stale_one(folder):
    replace(folder / "pyproject.toml", "dependencies = []", 'dependencies = ["tqdm"]')
    assert "is not what pyproject.toml asks for" in failures(folder)["packages"]
    assert left(folder) == ["installation", "every run"]
    (folder / "requirements.lock").unlink()
    assert f"is missing -> run bin/lock {folder}" in failures(folder)["packages"]


def test_a_manifest_that_does_not_fit(folder):
    replace(folder / "model.json", '"licence"', '"license"')
    assert "Did you mean 'licence'?" in failures(folder)["manifest"]
    (folder / "model.json").unlink()
    assert "has no model.json" in failures(folder)["manifest"]


@pytest.mark.parametrize(
    ("old", "new", "first", "message"),
    [
        ("", "raise KeyError('basis')", "300 cells x 100 genes", "KeyError: 'basis'"),
        ("", "usual = usual * np.nan", "300 cells x 100 genes", "30000 NaN"),
        ("", "usual += np.random.random(usual.shape)", "same seed", "seeded with the parameter"),
        ("", "assert len(depth) > 100", "40 cells x 200 genes", "AssertionError"),
        ("", "return np.random.default_rng(seed).gamma(0.5, 2 * usual.mean(), x.shape)",
         "better than doing", "every floor in 0 of"),
        ("", "return np.log1p(10000 * usual / usual.sum(1, keepdims=True))", "value space",
         'write value_space="lognorm"'),
        ("", "return np.tile(x.mean(axis=0), (len(x), 1))", "half of the entries", "for a zero"),
        ('"counts"', '"lognorm"', "300 cells x 100 genes", "are they counts?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_code_is_told(folder, old, new, first, message):
    last = "return np.maximum("
    replace(folder / "main.py", old or last, new if old else f"{new}\n    {last}")
    found = next(v for v in check(folder) if not v.passed)
    assert found.name.startswith(first)
    assert message in f"{found.said} -> {found.todo}"


def test_a_new_multimodal_model_passes(tmp_path):
    assert failures(new_model.make("my_model", "multimodal", tmp_path)) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[::-1]", "no better than a guess: imputed values"),
        ("[:, ::-1]", "far worse than a guess: rna_nb_deviance, adt_rmse_log"),
        ("[::-1, ::-1]", "far worse than a guess: rna_nb_deviance"),
    ],
)
def test_imputation_in_the_wrong_order_is_told(tmp_path, change, message):
    """Its embedding is right, and by luck some correlations are above 0."""
    folder = new_model.make("my_model", "multimodal", tmp_path)
    given = "np.clip(found, low, high)"
    replace(folder / "main.py", given, f"{given}{change}.copy()")
    [(failed, said)] = failures(folder).items()
    assert failed == "better than doing nothing clever"
    assert message in said


@pytest.mark.parametrize(
    ("modality", "function", "name", "message"),
    [
        ("adt", "expm1", "value space", "-> return log1p of ADT intensities"),
        ("rna", "log1p", "cells with RNA or ATAC", "RNA is to be expected counts, not logarithms"),
    ],
)
def test_imputation_on_another_scale_is_told(tmp_path, modality, function, name, message):
    folder = new_model.make("my_model", "multimodal", tmp_path)
    given = "np.clip(found, low, high)"
    other = f"np.{function}({given}) if name == '{modality}' else {given}"
    replace(folder / "main.py", given, other)
    found = {failed: said for failed, said in failures(folder).items() if failed.startswith(name)}
    assert message in "".join(found.values())


def test_a_package_that_is_missing_is_told_with_what_to_do(folder):
    todo = f"'umap' to dependencies in {folder}/pyproject.toml (the stack numeric is there already)"
    replace(folder / "main.py", "return np.maximum(", "import umap\n    return np.maximum(")
    first = next(iter(failures(folder).values()))
    assert f"{todo}, then run bin/lock {folder}; the end of its standard error" in first
    replace(folder / "main.py", "import numpy as np\n", "import numpy as np\nimport umap\n")
    assert f"{todo}, then run bin/lock {folder}" in failures(folder)["installation"]


def test_what_can_still_be_tried_is_tried(folder, capsys):
    """The plain data fail, and so does the other variant on them; all other data do not."""
    last, plain = "return np.maximum(", "len(x) == 300 and 0.1 < hidden.mean() < 0.2"
    replace(folder / "main.py", last, f"assert not ({plain}), 'of all numbers'\n    {last}")
    assert main([str(folder)]) == 1
    said = capsys.readouterr().out
    assert said.count("the end of its standard error") == 1
    assert "FAIL  variant deep: failed: the model exited with code 1: AssertionError: of" in said
    assert "PASS  half of the entries hidden: the mean" in said
    assert "PASS  12 cells x 6 genes" in said
    needs = "not tried: needs '300 cells x 100 genes, 15 % hidden'"
    assert f"----  same seed, same prediction: {needs}" in said
    fails, rest = said.splitlines()[-2:]
    assert fails.startswith("my_model fails 4 of 14 checks: 300 cells x 100 genes, 15 % hidden; ")
    names = "value space; same seed, same prediction; better than doing nothing clever"
    assert rest == f"not tried: {names}"


def test_after_a_run_without_an_end_no_other_is_tried(folder):
    replace(folder / "main.py", "return np.maximum(", "import time; time.sleep(600)\n    return (")
    replace(folder / "model.json", '"time": "10 min"', '"time": "5 s"')
    assert list(failures(folder)) == ["300 cells x 100 genes, 15 % hidden"]
    assert left(folder)[-1] == "variants and other data"


def test_declining_is_fine_but_not_for_plain_data(folder):
    head = "from lacuna_contract import NotApplicable, model"
    replace(folder / "main.py", "from lacuna_contract import model", head)
    decline = "if counts.shape[0] < {}:\n        raise NotApplicable('few cells')\n    x, seen"
    replace(folder / "main.py", "x, seen", decline.format(100))
    assert failures(folder) == {}
    replace(folder / "main.py", "< 100", "< 1000")
    assert "not_applicable: few cells" in next(iter(failures(folder).values()))


def test_no_folder(capsys):
    assert main(["containers/models/none"]) == 1
    assert "there is no folder" in capsys.readouterr().err
