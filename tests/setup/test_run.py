"""make run: which engine, and what it hands to the pipeline."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from clones import Clone

from lacuna.setup import debian, run
from lacuna.setup.common import SetupError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--models", "svd"], "svd"),
        (["--models=svd"], "svd"),
        (["--models", "a", "--models", "b"], "b"),
        (["--model", "svd"], None),
        ([], None),
    ],
)
def test_an_option_is_read(words: list[str], found: str | None) -> None:
    assert run.value(words, "--models") == found


def test_the_default_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = run.pipeline([], "venv")
    assert words[:2] == ["run", str(ROOT / "main.nf")]
    assert run.value(words, "--tasks") == "all"
    assert run.value(words, "--scenario_seeds") == "1"
    assert run.value(run.pipeline(["--seeds", "5"], "venv"), "--scenario_seeds") is None
    assert run.value(words, "--mask_percentages") == "0.15,0.30"
    assert len(run.value(words, "--seeds").split(",")) == 3
    assert run.value(words, "--models") == "core"
    assert run.value(words, "-profile") == "venv"
    assert "-resume" not in words
    (tmp_path / ".nextflow").mkdir()
    (tmp_path / ".nextflow/history").touch()
    assert "-resume" in run.pipeline([], "venv")


def test_what_is_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--models=svd", "-profile", "gpu", "--sheet", "mine.csv"]
    words = run.pipeline(given, "docker")
    assert run.value(words, "--models") == "svd"
    assert words.count("--models") == 0
    assert run.value(words, "-profile") == "docker,gpu"
    # Nextflow itself does not know this form.
    assert run.value(run.pipeline(["-profile=gpu"], "docker"), "-profile") == "docker,gpu"
    words = run.pipeline(["-profile=podman,gpu", "--models=svd"], None)
    assert words[words.index("-profile") + 1] == "podman,gpu"
    assert "-profile=podman,gpu" not in words
    assert run.value(words, "--datasets") is None
    assert run.value(run.pipeline(["-profile", "podman"], None), "-profile") == "podman"


@pytest.mark.parametrize(
    "text",
    ['{"models": "svd", "salt": "s"}', "models: 'svd'  # one\n# seeds: 1\nsalt: s\nlist:\n  - 1\n"],
)
def test_what_a_file_of_parameters_says_wins_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").write_text(text)
    words = run.pipeline(["-params-file", "params"], "venv")
    assert run.value(run.from_file(words), "--models") == "svd"
    assert run.value(words, "--models") is None
    assert run.value(words, "--seeds") == "1,2,3"
    assert not any("salt" in word for word in words)


def test_a_file_of_parameters_that_is_wrong(clone: Clone, tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    assert "there is no such file" in clone.run("bin/run", "-params-file", str(file)).stderr
    file.write_text('{"modles": "svd"}')
    assert "Did you mean '--models'?" in clone.run("bin/run", "-params-file", str(file)).stderr


def test_without_an_engine_it_is_venv_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert run.choose("auto") == "venv"
    said = capsys.readouterr().err
    assert "Running with venv (docker " in said
    assert said.strip().endswith("no model is isolated from the truth")


def test_without_a_base_image_it_is_venv_and_says_why(
    docker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(debian, "_has", lambda program, name: False)
    monkeypatch.setattr(debian, "_pull", lambda program: "no such host")
    monkeypatch.setattr(debian, "_lacking", lambda: "debootstrap is not installed")
    assert run.choose("auto") == "venv"
    assert (
        "debian:bookworm-slim cannot be pulled (no such host) nor made (debootstrap is not "
        "installed)" in capsys.readouterr().err
    )


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(SetupError, match="unknown engine 'dokcer'. There are: auto, docker"):
        run.choose("dokcer")


def test_an_unknown_model_stops_before_anything_is_made(clone: Clone) -> None:
    done = clone.run("bin/run", "--models", "onne", "--engine", "venv")
    assert done.returncode == 1
    assert "Did you mean 'one'?" in done.stderr
    assert not (clone.cache / "envs").exists()


WRONG = [
    (["--modles", "one"], "unknown parameter '--modles'. Did you mean '--models'?"),
    (["--mask-percentages=0.15"], "Did you mean '--mask_percentages'?"),
    (["one"], "unexpected word 'one': parameters are given by name, such as --models one"),
    (["--models=one", "two"], "unexpected word 'two'"),
    (["--tasks=reconstuction"], "unknown task 'reconstuction'. Did you mean 'reconstruction'?"),
    (["-models", "one"], "unknown parameter '-models'. Did you mean '--models'?"),
    (["-profile", "apptainer"], "apptainer pulls its images: build and push them with"),
    (["--engine", "apptainer"], "apptainer pulls its images: build and push them with"),
    (["-profile=apptainer"], "apptainer pulls its images: build and push them with"),
    (["-profile", "venv,docker"], "-profile names several engines: venv, docker; take one"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_made(
    clone: Clone, words: list[str], message: str
) -> None:
    done = clone.run("bin/run", *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Running with" not in done.stderr
    assert not clone.cache.exists()


def test_a_folder_that_nextflow_cannot_handle_is_refused_first(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "50$ {data}"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = clone.run("bin/run", "-work-dir", "/a*b")
    assert done.returncode == 1
    why = "in a path; give it another name"
    assert f"this is started from {folder}: Nextflow cannot handle $ {{ }} {why}" in done.stderr
    assert f"tasks are run in /a*b: Nextflow cannot handle * {why}" in done.stderr
    assert not clone.cache.exists()


def test_it_refuses_what_the_pipeline_refuses() -> None:
    listed = re.search(r"UNFIT = \[(.*)\]", (ROOT / "lib/Paths.groovy").read_text()).group(1)
    assert re.findall(r"'(.+?)'", listed) == [sign.replace("\n", "\\n") for sign in run.UNFIT]


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_help_makes_nothing(clone: Clone, word: str) -> None:
    done = clone.run("bin/run", "--models", "one", word)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--mask_percentages" in done.stdout
    assert "--gpu" not in done.stdout
    assert not clone.cache.exists()


def test_apptainer_builds_nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run.images, "build_all", None)
    monkeypatch.setattr(run.nextflow, "command", lambda: ["nextflow"])
    started: list[str] = []
    monkeypatch.setattr(run.os, "execv", lambda _, words: started.extend(words))
    run.main(["-profile", "slurm,apptainer", "--registry", "registry.example.org/lacuna"])
    assert run.value(started, "-profile") == "slurm,apptainer"
    assert run.value(started, "--registry") == "registry.example.org/lacuna"


def test_a_run_beside_another_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    session = "5ea1a1a0-0000-4000-8000-00000000cafe"
    lock = tmp_path / ".nextflow/cache" / session / "db/LOCK"
    lock.parent.mkdir(parents=True)
    lock.touch()
    (tmp_path / ".nextflow/history").write_text(f"2026-01-01\t1m\tname\tOK\thash\t{session}\trun\n")
    assert "-resume" in run.pipeline([], "venv")
    # Locks of one process do not exclude each other: another one holds it.
    hold = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, 2); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        assert "-resume" not in run.pipeline([], "venv")
        other.communicate("\n")
    assert "Another run is going on here" in capsys.readouterr().err
    assert "-resume" in run.pipeline([], "venv")
