"""containers/models/segmenter: what each checks_*.py finds, run in the model's environment."""

import ast
import functools
import json
import os
import subprocess
from pathlib import Path

import pytest

from lacuna.setup.common import ROOT
from lacuna.setup.environments import build
from lacuna.setup.registry import model

FOLDER = ROOT / "containers/models/segmenter"
FILES = sorted(Path(__file__).parent.glob("checks_*.py"))


def names(file: Path) -> list[str]:
    nodes = ast.parse(file.read_text()).body
    functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if name.startswith("check_")]


@functools.cache
def outcomes(file: Path) -> dict[str, str | None]:
    """What went wrong in each function of a file; None for what is well."""
    recipe = model(FOLDER)
    build(recipe)
    done = subprocess.run(
        [recipe.env / "bin/python", "-W", "ignore", file],
        env={**os.environ, "PYTHONPATH": str(FOLDER), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CHECKS = [(file, name) for file in FILES for name in names(file)]


@pytest.mark.parametrize(("file", "name"), CHECKS, ids=[name for _, name in CHECKS])
def test_check(file, name):
    assert outcomes(file)[name] is None, outcomes(file)[name]
