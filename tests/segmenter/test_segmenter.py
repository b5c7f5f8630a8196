"""containers/models/segmenter: the functions of checks.py, run once in the model's environment."""

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
FILE = Path(__file__).with_name("checks.py")
NAMES = [
    node.name
    for node in ast.parse(FILE.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@functools.cache
def outcomes() -> dict[str, str | None]:
    """What went wrong in each function; None for what is well."""
    recipe = model(FOLDER)
    build(recipe)
    done = subprocess.run(
        [recipe.env / "bin/python", "-W", "ignore", FILE],
        env={**os.environ, "PYTHONPATH": str(FOLDER), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_check(name):
    assert outcomes()[name] is None, outcomes()[name]
