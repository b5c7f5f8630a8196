"""What Slurm is asked for, through a stand-in for sbatch; what a Kubernetes server is."""

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import shims
from standin_project import Project

MODELS = {
    "plain": {"resources": {"cpus": 2, "memory": "3 GB", "time": "20 min"}},
    "fast": {"resources": {"memory": "1.5 GB", "gpu": "optional"}},
    "hungry": {"variants": {"default": {"do": "hungry", "needs": 500_000_000}}},
}


@pytest.fixture(scope="module")
def jobs(project: Project, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The options of every job of a run with -profile gpu,slurm,venv."""
    for name, manifest in MODELS.items():
        project.model(name, **manifest)
    folder = tmp_path_factory.mktemp("slurm")
    log = shims.install(folder, "sbatch", "sinfo", "squeue", "scancel")
    project.env["PATH"] = f"{folder}:{os.environ['PATH']}"
    (folder / "quick.config").write_text("executor.pollInterval = '1 sec'\n")
    done = project.run("-c", str(folder / "quick.config"), profile="gpu,slurm,venv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {run["status"] for run in project.results().values()} == {"ok"}
    blocks = log.read_text().strip().split("\n\n")
    return [
        dict(re.split("[ =]", f"{line} ", maxsplit=1) for line in block.splitlines())
        for block in blocks
    ]


def of(jobs: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    """The jobs that ran one model, in the order they were submitted."""
    return [job for job in jobs if re.search(rf"RUN_MODEL\w*_\({name}_", job["-J"])]


def test_memory_time_and_cores(jobs: list[dict[str, str]]) -> None:
    (plain,) = of(jobs, "plain")
    asked = [plain[option].strip() for option in ("--mem", "-t", "-c")]
    assert asked == ["3072M", "00:25:00", "2"]


def test_every_job_says_how_much_memory_and_time_it_needs(jobs: list[dict[str, str]]) -> None:
    # PLAN, IMPORT, PREPARE; 3 models, one of them in 3 attempts; EVALUATE of each; REPORT
    assert len(jobs) == 3 + 5 + 3 + 1
    assert all(job.get("--mem") and job.get("-t") for job in jobs)


def test_memory_grows_with_each_attempt(jobs: list[dict[str, str]]) -> None:
    assert [job["--mem"].strip() for job in of(jobs, "hungry")] == ["200M", "400M", "600M"]


def test_only_a_model_that_can_use_a_gpu_asks_for_one(jobs: list[dict[str, str]]) -> None:
    (fast,) = of(jobs, "fast")
    assert [job for job in jobs if "--gres" in job] == [fast]
    assert fast["--gres"].strip() == "gpu:1"


class Cluster(BaseHTTPRequestHandler):
    """As much of a Kubernetes server as Nextflow asks for. A pod is a process of this machine."""

    pods: dict = {}
    codes: dict = {}
    path_of_programs = ""

    def _answer(self, body: dict, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_POST(self) -> None:  # noqa: N802
        pod = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = pod["metadata"]["name"]
        container = pod["spec"]["containers"][0]
        command = container.get("command") or container["args"]
        env = os.environ | {"PATH": f"{self.path_of_programs}:{os.environ['PATH']}"}
        self.pods[name] = pod
        done = subprocess.run(command, env=env, capture_output=True, check=False)
        self.codes[name] = done.returncode
        self._answer({"metadata": {"name": name}})

    def do_GET(self) -> None:  # noqa: N802
        parts = self.path.split("?")[0].split("/")
        if parts[-1] == "status" and parts[-2] in self.pods:
            ended = {"exitCode": self.codes[parts[-2]], "reason": "Completed"}
            ended |= {"startedAt": "2024-01-01T00:00:00Z", "finishedAt": "2024-01-01T00:00:01Z"}
            state = {"name": parts[-2], "state": {"terminated": ended}}
            self._answer({"status": {"phase": "Succeeded", "containerStatuses": [state]}})
        else:
            self._answer({"metadata": {}, "spec": {}, "items": [], "status": {}})

    def do_DELETE(self) -> None:  # noqa: N802
        self._answer({})

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def pods(project: Project, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The pods of a run with -profile gpu,k8s."""
    for name, manifest in MODELS.items():
        project.model(name, **manifest)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Cluster.path_of_programs = str(project.folder / "standins")
    config = tmp_path_factory.mktemp("k8s") / "own.config"
    config.write_text(f"""
        executor.pollInterval = '1 sec'
        k8s.storageClaimName = 'claim'
        k8s.storageMountPath = '{project.folder}'
        k8s.client = [server: 'http://127.0.0.1:{server.server_port}', token: 'x']
    """)
    work = str(project.folder / "work")
    done = project.run(
        "-c", str(config), "--registry", "r.example.org/x", "-w", work, "--outdir", "results-k8s",
        profile="gpu,k8s",
    )  # fmt: skip
    server.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    return list(Cluster.pods.values())


def test_pods(pods: list[dict]) -> None:
    by_image: dict[str, list] = {}
    for pod in pods:
        image = pod["spec"]["containers"][0]["image"]
        by_image.setdefault(image.split("/")[-1].split(":")[0], []).append(pod)
        assert image.startswith("r.example.org/x/lacuna/")
    assert all(p["spec"]["securityContext"]["runAsNonRoot"] for p in pods)
    (plain,), (fast,) = by_image["plain"], by_image["fast"]
    resources = plain["spec"]["containers"][0]["resources"]
    assert resources["limits"]["memory"] == "3072Mi"
    assert resources["requests"]["cpu"] == 2
    assert plain["spec"]["automountServiceAccountToken"] is False
    assert plain["metadata"]["labels"]["lacuna-role"] == "model"
    assert "lacuna-role" not in by_image["stage-report"][0]["metadata"]["labels"]
    assert [pod for pod in pods if "nvidia.com/gpu" in str(limits(pod))] == [fast]
    assert [limits(pod)["memory"] for pod in by_image["hungry"]] == ["200Mi", "400Mi", "600Mi"]


def limits(pod: dict) -> dict:
    return pod["spec"]["containers"][0]["resources"]["limits"]
