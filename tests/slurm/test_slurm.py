"""The pipeline on a Slurm of one node: jobs are taken, run and ended as they ask to be."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))

import cluster
from standin_project import Project, make

pytestmark = pytest.mark.only_all


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Cluster]:
    obstacle = cluster.install()
    if obstacle:
        pytest.skip(obstacle)
    with cluster.Cluster(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


def test_runs_are_jobs(slurm: cluster.Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    project: Project = make(folder)
    project.env |= slurm.env
    project.model("plain")
    project.model("fast", resources={"gpu": "optional"})
    project.model("crash", variants={"default": {"do": "crash"}})
    project.model("hungry", variants={"default": {"do": "hungry", "needs": 300_000_000}})
    (folder / "quick.config").write_text("executor.pollInterval = '1 sec'\n")
    done = project.run("-c", "quick.config", profile="gpu,slurm,venv")
    assert done.returncode == 1, done.stdout + done.stderr
    runs = {run["name"]: run for run in project.results().values()}
    assert {name: (run["status"], run["attempts"]) for name, run in runs.items()} == {
        "plain": ("ok", 1),
        "fast": ("ok", 1),
        "crash": ("failed", 1),
        "hungry": ("ok", 2),
    }
    jobs = (slurm.folder / "slurmctld.out").read_text()
    # PLAN, IMPORT, PREPARE, 4 models with one tried twice, 4 EVALUATE, REPORT
    assert jobs.count("_slurm_rpc_submit_batch_job: JobId=") == 13
