"""What each profile resolves to, and the commands it makes: stand-ins for engines note them."""

import os
import shlex
from pathlib import Path

import pytest
import shims
from standin_project import Project

ENGINES = ("docker", "podman", "apptainer", "venv")
ISOLATED = ("--network none", "--read-only", "--tmpfs /tmp:", "--pids-limit")


def on_path(project: Project, folder: Path) -> None:
    """Stand-ins before everything else, and the stages for what runs 'in a container'."""
    project.env["PATH"] = f"{folder}:{project.folder / 'standins'}:{os.environ['PATH']}"


@pytest.mark.parametrize("profile", ["", *ENGINES, "gpu"])
def test_one_engine_is_enabled(config: dict, profile: str) -> None:
    values = config(profile)
    expected = profile if profile in ENGINES else "docker"
    assert values["params.engine"] == f"'{expected}'"
    enabled = [name for name in ENGINES if values.get(f"{name}.enabled") == "true"]
    assert enabled == ([] if expected == "venv" else [expected])
    assert values["params.gpu"] == ("true" if profile == "gpu" else "false")
    assert values["process.withName:RUN_MODEL_GPU.accelerator"] == "1"
    assert values["process.withName:RUN_MODEL_GPU.maxForks"] == "1"


@pytest.mark.parametrize(
    ("profile", "executor"),
    [("slurm", "slurm"), ("k8s", "k8s"), ("awsbatch", "awsbatch"), ("google", "google-batch")],
)
@pytest.mark.parametrize("also", ["", "gpu"])
def test_a_place_to_run(config: dict, profile: str, executor: str, also: str) -> None:
    values = config(f"{also},{profile}".strip(","))
    assert values["process.executor"] == f"'{executor}'"
    assert values["process.resourceLimits"] == "[]"
    # Not the one GPU of this machine.
    assert values["process.withName:RUN_MODEL_GPU.maxForks"] == "100"
    gpu = "[request:1, type:'nvidia-tesla-t4']" if profile == "google" else "1"
    assert values["process.withName:RUN_MODEL_GPU.accelerator"] == gpu
    assert values["params.gpu"] == ("true" if also else "false")


def test_pods(config: dict) -> None:
    values = config("k8s")
    assert "runAsNonRoot:true" in values["k8s.securityContext"]
    pod = values["process.withName:RUN_MODEL.*.pod"]
    assert "automountServiceAccountToken:false" in pod
    assert "lacuna-role" in pod


def test_profiles_compose(config: dict) -> None:
    values = config("gpu,slurm,apptainer")
    assert values["params.engine"] == "'apptainer'"
    assert values["params.gpu"] == "true"
    assert values["process.executor"] == "'slurm'"
    assert "--gres=gpu" in values["process.clusterOptions"]
    assert "--nv" in values["process.withName:RUN_MODEL.*.containerOptions"]
    test = config("test,venv")
    assert test["params.models"] == "'zeros,gene_mean,truth,svd'"


@pytest.fixture(scope="module")
def calls(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """By engine, the containers that were started with -profile gpu,<engine>."""
    project.model("plain")
    project.model("fast", resources={"gpu": "optional"})
    found = {}
    for engine in ("docker", "podman", "apptainer"):
        folder = tmp_path_factory.mktemp(engine)
        log = shims.install(folder, engine)
        on_path(project, folder)
        profile = "gpu" if engine == "docker" else f"gpu,{engine}"
        pulled = ["--registry", "registry.example.org"] if engine == "apptainer" else []
        done = project.run("--outdir", f"results-{engine}", *pulled, profile=profile)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = log.read_text().splitlines()
        found[engine] = [line for line in lines if shlex.split(line)[1] in ("run", "exec")]
    return found


def of_model(calls: list[str], name: str) -> str:
    """The one call that started a model's container."""
    (line,) = (line for line in calls if f"/{name}:" in line or f"-{name}-" in line)
    return " ".join(shlex.split(line))


@pytest.mark.parametrize(
    ("engine", "flag"),
    [("docker", "--gpus all"), ("podman", "--device nvidia.com/gpu=all"), ("apptainer", "--nv")],
)
def test_only_a_model_that_can_use_a_gpu_gets_it(calls: dict, engine: str, flag: str) -> None:
    assert flag in of_model(calls[engine], "fast")
    assert flag not in of_model(calls[engine], "plain")
    assert sum(flag in " ".join(shlex.split(line)) for line in calls[engine]) == 1


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_model_is_shut_in(project: Project, calls: dict, engine: str) -> None:
    call = of_model(calls[engine], "plain")
    for option in ISOLATED:
        assert option in call
    words = shlex.split(call)
    mounts = [words[i + 1] for i, word in enumerate(words) if word == "-v"]
    (task,) = (m.split(":")[0] for m in mounts if not m.endswith("/.command.run:ro"))
    # Its own folder, and neither the work of others nor the clone with its data.
    assert task.startswith(f"{project.folder}/work/")
    assert set(mounts) == {f"{task}:{task}", f"{task}/.command.run:{task}/.command.run:ro"}
    users = [words[i + 1] for i, word in enumerate(words) if word == "-u"]
    if os.getuid() == 0:
        assert users[-1] == "10001:10001"
    assert users[0] == f"{os.getuid()}:{os.getgid()}"
    assert "--cap-drop ALL" in call
    assert "no-new-privileges" in call


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_stage_cannot_write_to_what_others_made(
    project: Project, calls: dict, engine: str
) -> None:
    call = next(line for line in calls[engine] if "LACUNA_SALT" in line)
    words = shlex.split(call)
    mounts = [words[i + 1] for i, word in enumerate(words) if word == "-v"]
    writable = [m for m in mounts if not m.endswith(":ro")]
    assert len(writable) == 1
    assert "/work/" in writable[0]
    assert f"-u {os.getuid()}:{os.getgid()}" in " ".join(words)


def test_apptainer_shuts_in_by_its_own_means(calls: dict) -> None:
    call = of_model(calls["apptainer"], "plain")
    assert "--containall" in call
    assert "--net --network none" in call
    assert "/.command.run:ro" in call
    assert ("--security uid:10001,gid:10001" in call) == (os.getuid() == 0)


def test_apptainer_without_a_registry_is_refused_before_anything_runs(project: Project) -> None:
    done = project.run(profile="apptainer")
    assert done.returncode != 0
    assert "--registry R" in done.stdout + done.stderr
    assert "Submitted process" not in done.stdout
