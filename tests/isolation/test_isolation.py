"""A model in a container finds nothing but its input; under plain staging the same model finds all.

What no container can hide: the names of cells and genes. Who has the same public data can look them
up, so a blind evaluation needs data that are not public. And the public recipe of the masks gives
back, without a salt, which entries are hidden, which the input says anyway.
"""

import csv
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from lacuna_contract.h5ad import H5adWriter

ROOT = Path(__file__).resolve().parents[2]
CANARY = "-".join(["canary", "of", "the", "truth"]).upper()

# What Nextflow does by itself: links to the files of other tasks, whose folders it mounts.
PLAIN = """
process {
    withName: 'RUN_MODEL.*' {
        stageInMode = 'symlink'
        containerOptions = ''
    }
}
"""


@dataclass
class Finished:
    """What a run of the pipeline left."""

    folder: Path
    process: subprocess.CompletedProcess

    def read(self, model: str, name: str) -> dict:
        path = self.folder / "results" / model / "canary" / "mask_15_seed_42" / name
        assert path.is_file(), self.process.stdout + self.process.stderr
        return json.loads(path.read_text())


def dataset(folder: Path) -> Path:
    """A sheet with one dataset, whose cell types are the canary."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.lognormal(0, 1, 80), (120, 80)).astype(np.float32)
    cells, genes = [f"cell_{i}" for i in range(120)], [f"gene_{j}" for j in range(80)]
    with H5adWriter(folder / "canary.h5ad", cells, genes) as out:
        out.csr("X", np.float32).append(sparse.csr_matrix(counts))
        out.column("obs", "type", [CANARY] * 120)
    with (folder / "sheet.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["dataset", "path", "cell_type"])
        rows.writerow(["canary", "canary.h5ad", "type"])
    return folder / "sheet.csv"


def pipeline(folder: Path, models: str, *arguments: str) -> Finished:
    """The real pipeline with Docker, on the canary."""
    folder.chmod(0o755)  # pytest makes it for its own user; the stages, too, run as another
    sheet = dataset(folder)
    env = os.environ | {"LACUNA_MODELS_DIR": str(ROOT / "tests/isolation")}
    subprocess.run(
        [ROOT / "bin/build-images", *{name.split(".")[0] for name in models.split(",")}],
        env=env, check=True, timeout=900,
    )  # fmt: skip
    command = [ROOT / "bin/nextflow", "run", ROOT / "main.nf", "-ansi-log", "false"]
    command += ["-profile", "docker", "--sheet", sheet, "--models", models, *arguments]
    process = subprocess.run(
        list(map(str, command)), cwd=folder, env=env, text=True, capture_output=True, timeout=900,
        check=False,
    )  # fmt: skip
    return Finished(folder, process)


@pytest.fixture(scope="module")
def sealed(docker, tmp_path_factory) -> Finished:
    """As people run it; the salt is another canary, on the command line of the pipeline."""
    folder = tmp_path_factory.mktemp("sealed")
    return pipeline(folder, "adversary,gene_mean", "--salt", CANARY)


@pytest.fixture(scope="module")
def plain(docker, tmp_path_factory) -> Finished:
    """The positive control: the same with Nextflow's own way of staging, and without a salt."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain.config").write_text(PLAIN)
    return pipeline(folder, "adversary.default", "-c", str(folder / "plain.config"))


def test_nothing_is_found(sealed):
    said = sealed.read("adversary", "metadata.json")["details"]
    assert said["searched"] > 1000
    assert said["finished"]
    nothing = {"found": {}, "in_processes": [], "reached": [], "writable": [], "rights": []}
    assert {key: said[key] for key in nothing} == nothing
    assert sealed.read("adversary", "status.json")["status"] == "ok"
    assert sealed.read("adversary", "metrics.json")["metrics"]["mse"] > 0.1


def test_the_salt_keeps_the_hidden_entries_from_being_drawn_again(sealed):
    assert sealed.read("adversary", "metadata.json")["details"]["regenerated"] == []


def test_a_model_that_changes_its_input_harms_itself_alone(sealed):
    status = sealed.read("adversary.vandal", "status.json")
    assert (status["status"], status["reason"]) == ("failed", "the model changed its input file")
    assert sealed.process.returncode == 1
    published = sealed.folder / "data/canary/masked/mask_15_seed_42.h5ad"
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    for model in ("gene_mean", "adversary"):
        status = sealed.read(model, "status.json")
        assert (status["status"], status["input_sha256"]) == ("ok", digest)


def test_under_plain_staging_the_same_model_finds_the_truth(plain):
    said = plain.read("adversary", "metadata.json")["details"]
    assert "truth" in said["found"].values()
    assert plain.read("adversary", "metrics.json")["metrics"]["mse"] == 0
    assert said["reached"] or said["rights"] or said["writable"]


def test_without_a_salt_the_public_recipe_tells_the_condition(plain):
    said = plain.read("adversary", "metadata.json")["details"]
    assert said["regenerated"] == ["canary/mask_15_seed_42"]
