"""docs/add_a_model.md, followed to the letter on a copy of the repository."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lacuna.setup.common import ROOT

PAGE = (ROOT / "docs/add_a_model.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WRITES = {"python": "main.py", "json": "model.json"}


@pytest.fixture
def clone(tmp_path) -> Path:
    """What git would check out, changes that are not committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in filter(lambda name: (ROOT / name).is_file(), listed):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_following_the_page_works(clone):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"LACUNA_ENGINE": "venv"}
    for kind, text in BLOCKS:
        if kind == "sh":
            done = subprocess.run(
                ["bash", "-e", "-c", text], cwd=clone, env=env, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, text + done.stdout + done.stderr
        else:
            (clone / "containers/models/my_model" / WRITES[kind]).write_text(text)
    runs = json.loads((clone / "results/results.json").read_text())["runs"]
    found = {run["id"].split("/")[0]: run["status"] for run in runs}
    names = ("my_model", "my_model.half", "gene_mean", "truth")
    assert found == dict.fromkeys(names, "ok")
    # What test_models_page.py compares, so that `make test` is green afterwards.
    current = subprocess.run(
        [clone / ".venv/bin/python", "-m", "lacuna.authoring.docs"],
        cwd=clone, env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "my_model.half" in current
    assert (clone / "docs/models.md").read_text() == current


def test_it_is_one_page():
    assert len(PAGE.splitlines()) <= 110
    assert [kind for kind, _ in BLOCKS] == ["sh", "python", "json", "sh", "sh"]


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
