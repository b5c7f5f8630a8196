"""Model folders that misbehave, and environments that are this Python: nothing is installed."""

import json
import os
import sys
from pathlib import Path

import pytest

from lacuna import local

ROOT = Path(__file__).parents[2]
SOURCES = [str(ROOT / "packages" / name / "src") for name in ("lacuna-contract", "lacuna")]
MODELS = {
    "good": """
import numpy as np
from lacuna_contract import model

@model("reconstruction")
def predict(counts, hidden, *, factor=1.0, seed=0):
    mean = np.asarray(counts.sum(axis=0)).ravel() / counts.shape[0]
    return np.tile(factor * mean, (counts.shape[0], 1))
""",
    "trained": """
import numpy as np
from lacuna_contract import model

@model("reconstruction")
def predict(counts, hidden, *, checkpoint):
    return np.full(counts.shape, float((checkpoint / "weights").read_text()))
""",
    "crashes": "raise RuntimeError('the checkpoint is missing')",
    "not_a_number": """
import numpy as np
from lacuna_contract import model

@model("reconstruction")
def predict(counts, hidden):
    return np.full(counts.shape, np.nan)
""",
    "declines": """
from lacuna_contract import NotApplicable, model

@model("reconstruction")
def predict(counts, hidden):
    raise NotApplicable("needs at least a million cells")
""",
    "writes_nothing": "import sys; sys.exit(0)",
    "hangs": "import time; time.sleep(60)",
    "renames": """
import sys
import numpy as np
from lacuna_contract.h5ad import H5adWriter, open_h5ad, read_names
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open_h5ad(args["--input"]) as file:
    cells, genes = read_names(file, "obs"), read_names(file, "var")
with H5adWriter(args["--output"], cells, [f"{g}!" for g in genes]) as out:
    out.dense("X", np.float32).append(np.zeros((len(cells), len(genes))))
    out.uns({"entries": "all", "value_space": "counts"})
""",
}


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """A folder of model folders."""
    room = tmp_path_factory.mktemp("models")
    for name, code in MODELS.items():
        folder = room / name
        folder.mkdir()
        (folder / "main.py").write_text(code)
        (folder / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '0'\n")
        manifest = {"title": name, "summary": "a test", "tasks": ["reconstruction"]}
        manifest |= {"licence": "MIT", "reference": {"citation": "nobody"}}
        if name == "good":
            manifest["variants"] = {"default": {}, "half": {"factor": 0.5}}
        if name == "trained":
            manifest["checkpoint"] = {"files": ["weights"], "published": "in the zoo"}
        if name == "hangs":
            manifest["resources"] = {"time": "1 s"}
        if name in ("crashes", "writes_nothing", "hangs", "renames"):
            manifest["entry"] = ["python", "main.py"]
        (folder / "model.json").write_text(json.dumps(manifest))
    return room


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, and environments that are links to this Python."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))

    def build(recipe):
        if recipe.env.is_dir():
            return False
        script = recipe.env / "bin/lacuna-supervise"
        script.parent.mkdir(parents=True)
        (script.parent / "python").symlink_to(sys.executable)
        path = os.pathsep.join(SOURCES)
        script.write_text(
            f"#!/bin/sh\nexport PYTHONPATH='{path}' LACUNA_MODEL_DIR='{recipe.folder}' "
            f'PATH="{Path(sys.executable).parent}:$PATH"\n'
            f'exec {sys.executable} -m lacuna_contract.supervise "$@"\n'
        )
        script.chmod(0o755)
        return True

    monkeypatch.setattr(local, "build", build)
    return tmp_path
