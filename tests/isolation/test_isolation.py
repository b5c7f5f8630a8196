"""A model in a container finds nothing but its input; under plain staging the same model finds all.

What no container can hide: the names of cells and genes. Who has the same public data can look them
up, so a blind evaluation needs data that are not public. And the public recipe of the masks gives
back, without a salt, which entries are hidden, which the input says anyway.
"""

import csv
import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import sparse

from lacuna.setup.common import ROOT, relative
from lacuna.setup.locks import of_folder
from lacuna.setup.registry import model
from lacuna_contract.h5ad import H5adWriter

CANARY = "-".join(["canary", "of", "the", "truth"]).upper()

# What Nextflow does by itself: links to the files of other tasks, whose folders it mounts. And what
# Docker does by itself: root with a writable system, as in every image that names no other user.
PLAIN = """
docker.runOptions = '-u 0:0'
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
def adversary() -> ModuleType:
    """Its detectors, to be called outside of any container."""
    path = ROOT / "tests/isolation/adversary/main.py"
    spec = importlib.util.spec_from_file_location("adversary", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def listener(adversary) -> Iterator[str]:
    """A port of this machine, which a container with any network reaches, also without internet."""
    with socket.create_server(("", adversary.LISTENER), reuse_port=True):
        yield f":{adversary.LISTENER}"


def test_the_adversary_can_be_installed():
    recipe = model(ROOT / "tests/isolation/adversary")
    where = relative(recipe.folder)
    assert of_folder(recipe.folder, recipe.stack, recipe.packages).current, f"bin/lock {where}"


@pytest.fixture(scope="module")
def sealed(docker, listener, tmp_path_factory) -> Finished:
    """As people run it; the salt is another canary, on the command line of the pipeline."""
    folder = tmp_path_factory.mktemp("sealed")
    return pipeline(folder, "adversary,gene_mean", "--salt", CANARY)


@pytest.fixture(scope="module")
def plain(docker, listener, tmp_path_factory) -> Finished:
    """The positive control: the same with Nextflow's own way of staging, and without a salt."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain.config").write_text(PLAIN)
    return pipeline(folder, "adversary.default", "-c", str(folder / "plain.config"))


def test_nothing_is_found(sealed):
    said = sealed.read("adversary", "metadata.json")["details"]
    assert said["searched"] > 1000
    assert said["finished"]
    nothing = {"found": {}, "in_processes": [], "interfaces": [], "reached": []}
    nothing |= {"writable": [], "rights": []}
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
    for name in ("gene_mean", "adversary"):
        status = sealed.read(name, "status.json")
        assert (status["status"], status["input_sha256"]) == ("ok", digest)


def test_under_plain_staging_the_same_model_finds_the_truth(plain):
    said = plain.read("adversary", "metadata.json")["details"]
    assert "truth" in said["found"].values()
    assert plain.read("adversary", "metrics.json")["metrics"]["mse"] == 0


def test_in_a_plain_container_every_other_detector_finds_something(plain, listener):
    said = plain.read("adversary", "metadata.json")["details"]
    assert said["interfaces"]
    assert any(place.endswith(listener) for place in said["reached"])
    assert {"/", "/usr/bin", ".command.run"} <= set(said["writable"])
    assert {"root", "new privileges"} <= set(said["rights"])
    assert any(right.startswith("CapEff=") for right in said["rights"])


def test_processes_of_the_same_machine_are_seen(adversary):
    waits = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", waits, CANARY], stdin=subprocess.PIPE) as other:
        texts, _ = adversary.processes()
        other.stdin.close()
    assert CANARY.encode() in texts[f"/proc/{other.pid}/cmdline"]


def test_without_a_salt_the_public_recipe_tells_the_condition(plain):
    said = plain.read("adversary", "metadata.json")["details"]
    assert said["regenerated"] == ["canary/mask_15_seed_42"]
