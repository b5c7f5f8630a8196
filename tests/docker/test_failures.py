"""Models that hang, or outgrow their memory, in a container of the real pipeline."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from lacuna.setup.common import ROOT
from lacuna_contract.h5ad import H5adWriter
from lacuna_contract.schema import read_json

HANGS = ROOT / "tests/models/_bad/hangs.py"
# All at once, so that the kernel ends it before the supervisor can look; more than three attempts
# are given.
HUNGRY = "block = bytearray(1)\nwhile True:\n    block += b'1' * 50_000_000\n"


def folder(room: Path, name: str, **resources: str) -> Path:
    """A model folder whose own Dockerfile adds nothing to the base."""
    made = room / name
    made.mkdir(parents=True)
    manifest = {"title": name, "summary": "Goes wrong.", "tasks": ["reconstruction"]}
    manifest |= {"licence": "MIT", "reference": {"citation": "None."}, "engines": ["container"]}
    manifest |= {"entry": ["python3", "run.py"], "resources": resources}
    (made / "model.json").write_text(json.dumps(manifest))
    (made / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    return made


@pytest.fixture(scope="module")
def records(docker: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The final record of each model by its name, and that of a model beside them."""
    room = tmp_path_factory.mktemp("failures")
    room.chmod(0o755)
    shutil.copy(HANGS, folder(room / "models", "hangs", time="5 s") / "run.py")
    (folder(room / "models", "hungry", memory="100 MB") / "run.py").write_text(HUNGRY)
    names = ["hangs", "hungry", "zeros"]
    env = os.environ | {"LACUNA_MODELS_DIR": str(room / "models")}
    subprocess.run([ROOT / "bin/build-images", *names], env=env, check=True, timeout=900)
    counts = np.random.default_rng(0).poisson(1.0, (40, 30)).astype(np.float32)
    cells, genes = [f"c{i}" for i in range(40)], [f"g{i}" for i in range(30)]
    with H5adWriter(room / "small.h5ad", cells, genes) as out:
        out.csr("X", np.float32).append(sparse.csr_matrix(counts))
    (room / "sheet.csv").write_text("dataset,path\nsmall,small.h5ad\n")
    command = [ROOT / "bin/nextflow", "run", ROOT / "main.nf", "-ansi-log", "false"]
    command += ["-profile", "docker", "--sheet", "sheet.csv", "--models", ",".join(names)]
    command += ["--models_dir", room / "models"]
    done = subprocess.run(
        list(map(str, command)), cwd=room, env=env, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    runs = read_json(room / "results/results.json", "results")["runs"]
    left = subprocess.run(
        [docker, "ps", "--format", "{{.Image}}"], capture_output=True, text=True, check=True
    ).stdout
    return {run["name"]: run for run in runs} | {"left": {"images": left}}


def test_one_that_hangs_is_ended_and_recorded(records: dict[str, dict]) -> None:
    assert records["hangs"]["status"] == "timed_out"
    assert "limit of 5 s" in records["hangs"]["reason"]
    assert "/hangs:" not in records["left"]["images"]


def test_one_that_outgrows_its_memory_gets_more_and_then_a_record(records: dict[str, dict]) -> None:
    assert records["hungry"]["status"] == "out_of_memory"
    assert "memory limit" in records["hungry"]["reason"]
    assert records["hungry"]["attempts"] == 3


def test_the_others_go_on(records: dict[str, dict]) -> None:
    assert records["zeros"]["status"] == "ok"
