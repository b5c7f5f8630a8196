"""The ceiling: exact, and beaten by nobody. Computed in the control's own environment."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lacuna.setup import environments
from lacuna.setup.common import ROOT
from lacuna.setup.registry import model

HERE = Path(__file__).parent


def run(script: str) -> list[dict]:
    recipe = model(ROOT / "containers/controls/exact_posterior")
    environments.build(recipe)
    sources = [str(ROOT / "packages" / name / "src") for name in ("lacuna", "lacuna-contract")]
    done = subprocess.run(
        [recipe.env / "bin/python", HERE / script], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sources)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def checked() -> list[dict]:
    return run("exact_posterior_check.py")


def test_posteriors_are_those_of_the_law_written_out(checked):
    assert len(checked) == 5
    for found in checked:
        assert found["log_likelihood"] < 1e-9, found
        assert found["boundaries"] < 1e-9, found
        assert found["positions"] < 1e-6, found  # stored as float32
        assert found["segments"] < 1e-6, found
        assert found["drawn"] < 4, found  # in standard deviations
        assert found["first"] < 0.02, found  # improbable segments are left out
        assert found["least_certain"] < 0.95, found  # there was something to be wrong about
    assert sum(found["compared"] for found in checked) > 50


def test_nobody_beats_it():
    for found in run("exact_posterior_rivals.py"):
        assert found["rivals"], found
        for rival, score in found["rivals"].items():
            assert score <= found["ceiling"] + found["noise"], (found["metric"], rival, found)
        # What was expected of it is what it reaches.
        if found["expected"] is not None:
            assert abs(found["ceiling"] - found["expected"]) < 3 * found["noise"], found
