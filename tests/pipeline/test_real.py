"""The pipeline as it is, with its own stages and controls, in environments and in Docker."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from standin_project import QUICK, ROOT

from lacuna.setup.common import revision
from lacuna_contract.h5ad import H5adWriter
from lacuna_contract.schema import read_json

MODELS = ("gene_mean", "truth", "zeros")


def write(path: Path, scale: float = 1.0) -> None:
    """60 cells x 40 genes of Poisson counts, times `scale`."""
    draw = np.random.default_rng(5)
    rates = draw.gamma(1.0, 2.0, 40) * draw.gamma(4.0, 0.25, (60, 1))
    counts = sparse.csr_matrix(scale * draw.poisson(rates).astype(np.float32))
    names = [f"cell{i}" for i in range(60)], [f"gene{i}" for i in range(40)]
    with H5adWriter(path, *names) as writer:
        writer.csr("X", np.float32).append(counts)


@dataclass
class Launch:
    """A folder from which the pipeline is started."""

    folder: Path

    def run(self, profile: str, *arguments: str) -> subprocess.CompletedProcess:
        command = [ROOT / "bin" / "nextflow", "run", ROOT / "main.nf", "-ansi-log", "false"]
        if "--models" not in arguments:
            command += ["--models", ",".join(MODELS)]
        return subprocess.run(
            [*command, "-profile", profile, *arguments],
            cwd=self.folder, env=os.environ | {"NXF_OPTS": QUICK},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def check(self, profile: str) -> None:
        """Two datasets, of which one is refused."""
        write(self.folder / "good.h5ad")
        write(self.folder / "bad.h5ad", scale=0.3)
        sheet = self.folder / "sheet.csv"
        sheet.write_text("dataset,path\nmine,good.h5ad\nyours,bad.h5ad\n")
        done = self.run(profile, "--sheet", "sheet.csv", "--seeds", "1,2")
        assert done.returncode == 1, done.stdout + done.stderr
        results = self.folder / "results"
        runs = {run["id"]: run for run in read_json(results / "results.json", "results")["runs"]}
        assert len(runs) == 3 * 2 * 2
        for key, run in runs.items():
            read_json(results / key / "status.json", "status")
            if "/mine/" in key:
                assert run["status"] == "ok", run
                assert (results / key / "reconstruction.h5ad").is_file()
                read_json(results / key / "metrics.json", "metrics")
            else:
                assert run["status"] == "lost"
                assert "bad.h5ad" in run["reason"] or "whole" in run["reason"]
        assert runs["truth/mine/mask_15_seed_1"]["metrics"]["mse"] == 0
        names = {str(p.relative_to(self.folder / "data")) for p in self.folder.glob("data/*/*/*")}
        masks = {f"mine/{k}/mask_15_seed_{s}.h5ad" for k in ("masked", "truth") for s in (1, 2)}
        assert names == {"mine/raw/data.h5ad"} | masks
        provenance = json.loads((results / "provenance.json").read_text())
        assert MODELS[0] in json.dumps(provenance)
        assert provenance["pipeline"]["revision"] == revision()
        assert "6 of 12 runs failed" in done.stdout
        again = self.run(profile, "--sheet", "sheet.csv", "--seeds", "1,2", "-resume")
        assert "Submitted process" not in again.stdout


def build(program: str, tasks: str = "reconstruction", models: Sequence[str] = MODELS) -> None:
    command = [ROOT / "bin" / program, "--tasks", tasks, *models]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environments() -> None:
    build("build-envs")


@pytest.mark.usefixtures("environments")
def test_in_environments(tmp_path: Path) -> None:
    Launch(tmp_path).check("venv")


@pytest.mark.usefixtures("environments")
def test_all_missing_files_of_a_sheet_are_named(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text("dataset,path\na,nowhere.h5ad\nb,there/too.h5ad\n")
    done = Launch(tmp_path).run("venv", "--sheet", "sheet.csv")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "dataset 'a': nowhere.h5ad" in said
    assert f"dataset 'b': there/too.h5ad ({tmp_path}/there/too.h5ad)" in said


@pytest.mark.usefixtures("environments")
def test_a_misspelt_metric_and_a_wrong_column_are_said(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text("dataset,pth\na,nowhere.h5ad\n")
    done = Launch(tmp_path).run("venv", "--sheet", "sheet.csv", "--metrics", "mes")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "unknown metric 'mes'. Did you mean 'mse'?" in said
    assert "unknown column 'pth'. Did you mean 'path'?" in said


@pytest.mark.only_all
def test_scenarios(tmp_path: Path) -> None:
    """Mock cells are made, hidden, integrated and scored, all models of a scenario together."""
    models = ("modality_mean", "multimodal_oracle", "ridge_pca")
    build("build-envs", "multimodal", models)
    sizes = ["--cells", "240", "--genes", "60", "--peaks", "120", "--proteins", "6"]
    done = Launch(tmp_path).run(
        "venv", "--tasks", "multimodal", "--scenarios", "bridge,mosaic", *sizes,
        "--models", ",".join(models),
        # Those of scIB that jax compiles longest for are left to the metrics' own tests.
        "--metrics", "atac_auroc_peak,atac_brier,adt_rmse_log,ari,foscttm,z_distance",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results"
    runs = {run["id"]: run for run in read_json(results / "results.json", "results")["runs"]}
    assert len(runs) == 6
    for key, run in runs.items():
        assert run["status"] == "ok", run
        assert (results / key / "prediction.h5ad").is_file()
        assert run["metrics"]["ari"] is not None
    for scenario in ("bridge", "mosaic"):
        best, floor = (
            runs[f"{name}/mock/{scenario}_seed_42"]["metrics"]
            for name in ("multimodal_oracle", "modality_mean")
        )
        assert best["atac_auroc_peak"] > floor["atac_auroc_peak"] + 0.1
        assert best["ari"] > floor["ari"] + 0.3
        assert best["foscttm"] == 0
    assert "(adt) is hidden" in runs["ridge_pca/mock/bridge_seed_42"]["undefined"]["adt_rmse_log"]
    assert "Score by scenario" in (results / "report.html").read_text()
    judged = (results / "pipeline_info" / "trace.txt").read_text().count("EVALUATE")
    assert judged == 2


@pytest.mark.only_all
def test_the_real_mosaic(tmp_path: Path) -> None:
    """Real cells with RNA, ADT or both, of which some lose one: a condition of its own."""
    models = ("modality_mean", "multimodal_oracle", "ridge_pca")
    build("build-envs", "multimodal", models)
    done = Launch(tmp_path).run(
        "venv", "--tasks", "multimodal", "--datasets", "pbmc_mosaic",
        "--models", ",".join(models), "--metrics", "rna_nb_deviance,adt_rmse_log",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results"
    runs = {run["id"]: run for run in read_json(results / "results.json", "results")["runs"]}
    assert set(runs) == {f"{name}/pbmc_mosaic/holdout_seed_42" for name in models}
    floor, best, ridge = (runs[f"{name}/pbmc_mosaic/holdout_seed_42"] for name in models)
    for metric in ("rna_nb_deviance", "adt_rmse_log"):
        assert best["metrics"][metric] < 1e-3 < ridge["metrics"][metric]
        assert ridge["metrics"][metric] < floor["metrics"][metric]
    assert "a smoke set" in (results / "report.html").read_text()


def test_in_docker(docker: str, tmp_path: Path) -> None:
    build("build-images")
    Launch(tmp_path).check("docker")
    owners = {p.stat().st_uid for p in (tmp_path / "results").rglob("*")}
    assert owners == {os.getuid()}
