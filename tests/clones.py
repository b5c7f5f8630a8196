"""A small clone: what discovery reads, in a folder where a test may change it."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = {
    "title": "Tiny",
    "summary": "A model of a test.",
    "tasks": ["reconstruction"],
    "licence": "MIT",
    "reference": {"citation": "None."},
}
MAIN = """from lacuna_contract import model


@model("reconstruction")
def predict(counts, hidden):
    return counts.toarray()
"""


def make_model(room: Path, name: str, manifest: dict | None = None) -> Path:
    """A model folder with the lock of the numeric stack."""
    folder = room / name
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(MANIFEST if manifest is None else manifest))
    (folder / "main.py").write_text(MAIN)
    (folder / "pyproject.toml").write_text('[tool.lacuna]\nstack = "numeric"\n')
    shutil.copy(ROOT / "containers/stacks/numeric/requirements.lock", folder)
    return folder


@dataclass
class Clone:
    """A clone, and its commands."""

    root: Path
    cache: Path

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess:
        """Run one of bin/ in it."""
        return subprocess.run(
            [self.root / words[0], *words[1:]],
            env={**os.environ, "LACUNA_CACHE": str(self.cache), **env},
            text=True, capture_output=True, check=False,
        )  # fmt: skip

    def discover(self, *words: str, **env: str) -> dict:
        """What bin/discover prints, its models by name."""
        done = self.run("bin/discover", *words, **env)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return {**found, "models": {model["name"]: model for model in found["models"]}}

    def digests(self) -> dict[str, str]:
        """The digest of every model and stage."""
        found = self.discover()
        rows = {**found["models"], **found["stages"]}
        return {name: row["digest"] for name, row in rows.items()}


def make_clone(folder: Path) -> Clone:
    """A clone with two models, `one` and `two`."""
    root = folder / "clone"
    junk = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("bin", "packages", "schemas"):
        shutil.copytree(ROOT / name, root / name, ignore=junk)
    for name in ("base", "stacks", "stages"):
        shutil.copytree(ROOT / "containers" / name, root / "containers" / name)
    room = root / "containers/models"
    make_model(room, "one", {**MANIFEST, "tier": "core"})
    make_model(room, "two")
    shutil.copy(ROOT / "containers/models/Dockerfile", room)
    for name in ("pyproject.toml", "requirements-dev.lock", "nextflow_schema.json"):
        shutil.copy(ROOT / name, root)
    return Clone(root, folder / "cache")
