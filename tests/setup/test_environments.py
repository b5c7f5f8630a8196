"""Environments hold what their locks say, appear whole or not at all, and go when outdated."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clones import ROOT, Clone

from lacuna.setup import scoring
from lacuna.setup.registry import stages

# Those for one task alone, such as evaluate_multimodal, are not what the model here needs.
STAGES = sorted(
    f"stage-{path.name}"
    for path in (ROOT / "containers/stages").iterdir()
    if path.is_dir() and "_" not in path.name
)


def envs(clone: Clone) -> list[str]:
    """The names of the environments, half-made ones too, without their digests."""
    room = clone.cache / "envs"
    names = [p.name for p in room.iterdir() if p.name != ".locks"] if room.is_dir() else []
    return sorted(name.rpartition("-")[0] for name in names)


def test_an_environment_runs_its_model(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What lies where it is built is no part of it.
    (tmp_path / "work").mkdir()
    for name in ("main", "json"):
        (tmp_path / f"work/{name}.py").write_text(f"open('{name} was run', 'w')")
    monkeypatch.chdir(tmp_path / "work")
    done = clone.run("bin/build-envs", "one")
    assert done.returncode == 0, done.stderr
    assert len(list(Path().iterdir())) == 2
    assert envs(clone) == ["one", *STAGES]
    found = clone.discover("--models", "one", "--engine", "venv")
    env = Path(found["models"]["one"]["env"])
    assert (env / "model/main.py").is_file()
    # A file of the task must not stand in for a module.
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    asked = [env / "bin/lacuna-supervise", "--help"]
    helped = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert helped.returncode == 0, helped.stderr
    python = [env / "bin/python", "-c", "from lacuna_contract import schema; print(schema.names())"]
    shown = subprocess.run(python, cwd=tmp_path.parent, capture_output=True, text=True, check=True)
    assert "status" in shown.stdout
    stage = Path(found["stages"]["report"]["env"]) / "bin/lacuna"
    assert subprocess.run([stage, "--help"], capture_output=True, check=False).returncode == 0
    # Built once: nothing is said about what is there.
    assert clone.run("bin/build-envs", "one").stderr == ""


def test_two_builders_make_one_environment(clone: Clone) -> None:
    command = [sys.executable, clone.root / "bin/build-envs", "one"]
    told = {**os.environ, "LACUNA_CACHE": str(clone.cache)}
    both = [subprocess.Popen(command, env=told, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert envs(clone) == ["one", *STAGES]


def test_a_failed_build_leaves_nothing_and_says_why(clone: Clone) -> None:
    lock = clone.root / "containers/models/one/requirements.lock"
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0000", 400))
    done = clone.run("bin/build-envs", "one")
    assert done.returncode == 1
    assert "the environment of one failed" in done.stderr
    assert "one" not in envs(clone)
    assert "stage-report" in envs(clone)


def test_a_model_that_cannot_be_imported_is_no_environment(clone: Clone) -> None:
    (clone.root / "containers/models/one/main.py").write_text("import no_such_module\n")
    done = clone.run("bin/build-envs", "one")
    assert done.returncode == 1
    assert "importing the environment of one failed" in done.stderr
    assert "No module named 'no_such_module'" in done.stderr


def test_what_is_outdated_is_pruned(clone: Clone) -> None:
    room = clone.cache / "envs"
    current = Path(clone.discover()["models"]["one"]["env"]).name
    for name in (current, "one-000000000000", "gone-000000000000", ".one-x.1.2"):
        (room / name).mkdir(parents=True)
    done = clone.run("bin/build-envs", "--prune")
    assert done.stdout.split() == [
        "removed", "2", "environments", "gone-000000000000", "one-000000000000"
    ]  # fmt: skip
    # What another process may be building stays.
    assert {p.name for p in room.iterdir()} == {current, ".one-x.1.2"}


def test_a_command_in_the_environment_that_scores_is_run_in_it(monkeypatch, capsys) -> None:
    env = next(stage.env for stage in stages() if stage.name == "evaluate")
    monkeypatch.setattr(sys, "prefix", str(env))
    monkeypatch.setattr(sys, "argv", ["bin/check-metric", "no_such_metric"])
    with pytest.raises(SystemExit) as ended:
        scoring.start("lacuna.authoring.check_metric")
    assert ended.value.code == 1
    assert "unknown metric 'no_such_metric'" in capsys.readouterr().err
