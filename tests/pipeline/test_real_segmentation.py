"""The task segmentation through the pipeline, with its ceiling and its floor."""

import os
import subprocess
from pathlib import Path

from standin_project import QUICK, ROOT

from lacuna_contract.schema import read_json

MODELS = ("exact_posterior", "majority")


def test_segmentation(tmp_path: Path) -> None:
    built = subprocess.run(
        [ROOT / "bin/build-envs", *MODELS], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    words = "--tasks segmentation --lengths 1000,1500 --preset motifs,gene_like --seeds 3"
    words += " --num_train 3 --num_val 1 --num_test 2 --num_classes 5"
    done = subprocess.run(
        [ROOT / "bin/nextflow", "run", ROOT / "main.nf", "-ansi-log", "false", "-profile", "venv",
         "--models", ",".join(MODELS), *words.split()],
        cwd=tmp_path, env=os.environ | {"NXF_OPTS": QUICK},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results"
    runs = {run["id"]: run for run in read_json(results / "results.json", "results")["runs"]}
    conditions = {
        f"{preset}_{length}_5_classes_seed_3"
        for preset in ("motifs", "gene_like")
        for length in (1000, 1500)
    }
    assert set(runs) == {f"{m}/synthetic/{c}" for m in MODELS for c in conditions}
    for key, run in runs.items():
        assert run["status"] == "ok", run
        assert (results / key / "prediction.h5ad").is_file()
        assert 0 <= run["metrics"]["position_f1"] <= 1
    assert "Sequences, true and predicted" in (results / "report.html").read_text()
