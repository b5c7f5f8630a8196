"""The targets of the Makefile that a person types, by the commands that they would run."""

import os
import shlex
import subprocess

import pytest

from lacuna.setup import run
from lacuna.setup.common import ROOT


def commands(*words: str) -> list[list[str]]:
    """The command lines of a target, none of which is executed."""
    call = ["make", "--dry-run", "--always-make", *words]
    # `make test` hands its own flags and level on to every make below it.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]


def test_run_takes_what_the_pipeline_takes() -> None:
    (only,) = commands("run", "ARGS=--models core,mine --seeds 1")
    assert only == ["bin/run", "--models", "core,mine", "--seeds", "1"]


def test_the_benchmark_is_of_every_model_and_its_parameters_are_known() -> None:
    (only,) = commands("benchmark", "ARGS=--seeds 7")
    assert only[0] == "bin/run"
    run.check(only[1:])
    assert run.value(only, "--models") == "all"
    assert run.value(only, "--seeds") == "7"


@pytest.mark.parametrize(("target", "everything"), [("test", False), ("test-all", True)])
def test_the_tests_are_those_of_both_packages_and_the_style(target: str, everything: bool) -> None:
    lines = commands(target)
    suites = [line for line in lines if "pytest" in line]
    assert len(suites) == 2
    assert [("--all" in line) for line in suites] == [everything] * 2
    for words in ("ruff check .", "ruff format --check .", "bin/lock --check"):
        assert any(" ".join(line).endswith(words) for line in lines), words
