"""nextflow_schema.json describes the parameters: --help prints it, all errors come at once."""

import ast
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from standin_project import ROOT, Project

SCHEMA = json.loads((ROOT / "nextflow_schema.json").read_text())
SPECS = {k: v for group in SCHEMA["$defs"].values() for k, v in group["properties"].items()}

#: What people type and rely on, with what is taken without it.
INTERFACE = {
    "tasks": "reconstruction", "datasets": None, "mask_percentages": 0.15,
    "mask_strategy": "uniform", "seeds": 42, "models": "all", "metrics": "all",
    "outdir": "results", "registry": None, "retry_failed": False, "allow_controls": False,
    "help": False,
}  # fmt: skip

#: Parameters, and what must be said about them (nothing where they are fine).
CASES = [
    ({}, []),
    ({"seeds": 0}, []),
    ({"seeds": "0,1"}, []),
    ({"seeds": "1, 2"}, []),
    ({"seeds": -1}, ["--seeds -1: expected whole numbers from 0"]),
    ({"seeds": "one"}, ["--seeds one: expected whole numbers from 0"]),
    ({"seeds": 1.5}, ["--seeds 1.5: expected whole numbers from 0"]),
    ({"mask_percentages": 0.0001}, []),
    ({"mask_percentages": "0.15,.3"}, []),
    ({"mask_percentages": 0}, ["--mask_percentages 0: expected fractions between 0 and 1"]),
    ({"mask_percentages": 1}, ["--mask_percentages 1: expected fractions between 0 and 1"]),
    ({"mask_percentages": 15}, ["--mask_percentages 15: expected fractions between 0 and 1"]),
    ({"mask_percentages": "a"}, ["--mask_percentages a: expected fractions between 0 and 1"]),
    ({"mask_percentages": "0.1,1.5"}, ["--mask_percentages 0.1,1.5: expected fractions"]),
    ({"mask_strategy": "nonzeros"}, ["--mask_strategy nonzeros: did you mean 'nonzero'?"]),
    ({"mask_strategy": "else"}, ["There are: uniform, nonzero, per_cell, per_gene, count_thinn"]),
    ({"mask_strategy": "uniform, count_thinning"}, []),
    ({"mask_strategy": "uniform,nonzeros"}, ["uniform,nonzeros: did you mean 'nonzero'?"]),
    ({"engine": "dokcer"}, ["--engine dokcer: did you mean 'docker'?"]),
    ({"models": True}, ["--models true: needs a value"]),
    ({"retry_failed": "yes"}, ["--retry_failed yes: expected boolean"]),
    ({"outdir": None}, ["--outdir is missing"]),
    ({"sheet": "nowhere.csv"}, ["--sheet nowhere.csv: there is no such file"]),
    ({"sheet": "a$b.csv"}, ["--sheet a$b.csv: Nextflow cannot handle $ in a path"]),
    ({"checkpoints": "{a}"}, ["--checkpoints {a}: Nextflow cannot handle { } in a path"]),
    ({"models_dir": "nowhere"}, ["--models_dir nowhere: there is no such folder"]),
    ({"registry": "https://r.org/x"}, ["--registry https://r.org/x: expected a registry and"]),
    ({"modles": "svd"}, ["unknown parameter --modles. Did you mean --models?"]),
    ({"xyzzy": 1}, ["unknown parameter --xyzzy."]),
    ({"mask-strategy": "uniform", "maskStrategy": "uniform"},
     ["unknown parameter --mask-strategy. Did you mean --mask_strategy?"]),
    ({"lengths": 999}, ["--lengths 999: expected whole numbers from 1000 upwards"]),
    ({"lengths": "10000,20000", "preset": "motifs, gene_like"}, []),
    ({"preset": "motif"}, ["--preset motif: expected gene_like, motifs, or both"]),
    ({"num_classes": 4}, ["--num_classes 4"]),
    ({"num_test": 0}, ["--num_test 0: expected 1 or more"]),
    ({"modles": "svd", "seeds": "x", "mask_percentages": 2},
     ["unknown parameter --modles", "--seeds x", "--mask_percentages 2"]),
]  # fmt: skip


def test_each_parameter_is_checked(fresh: Project) -> None:
    defaults = {name: spec.get("default") for name, spec in SPECS.items()}
    (fresh.folder / "cases.json").write_text(json.dumps([defaults | case for case, _ in CASES]))
    (fresh.folder / "cases.nf").write_text("""workflow {
        def specs = Parameters.known(Parameters.read(projectDir))
        def cases = Json.parse(file("${projectDir}/cases.json").text)
        def said = cases.collect { given -> Parameters.problems(specs, given) }
        file("${projectDir}/said.json").text = Json.text(said)
    }""")
    command = [str(ROOT / "bin" / "nextflow"), "run", "cases.nf", "-profile", "venv"]
    done = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    answers = json.loads((fresh.folder / "said.json").read_text())
    for (case, expected), said in zip(CASES, answers, strict=True):
        assert len(said) == len(expected), (case, said)
        for words, text in zip(expected, said, strict=True):
            assert words in text, case


def test_everything_wrong_is_said_before_any_task(project: Project) -> None:
    done = project.run("--modles", "svd", "--seeds", "x", "--mask-percentages", "0.2")
    assert done.returncode == 1
    assert "3 parameters are wrong (--help lists all):" in done.stderr + done.stdout
    said = done.stderr + done.stdout
    assert "unknown parameter --modles. Did you mean --models?" in said
    assert "unknown parameter --mask-percentages. Did you mean --mask_percentages?" in said
    assert "--seeds x: expected whole numbers" in said
    assert "Submitted process" not in said


def test_help_is_the_schema(project: Project) -> None:
    done = project.run("--help", "--outdir", "nothing", profile=None)
    assert done.returncode == 0
    for group in SCHEMA["$defs"].values():
        assert group["title"] in done.stdout
    for name, spec in SPECS.items():
        assert (f"--{name} " in done.stdout) == (not spec.get("hidden")), name
        assert spec.get("hidden") or spec["description"] in done.stdout, name
    assert "[default: 0.15]" in done.stdout
    assert "apptainer, awsbatch, docker, google, gpu, k8s, podman, slurm, test, venv" in done.stdout
    assert not (project.folder / "nothing").exists()


def test_defaults_are_those_of_the_schema(config: dict) -> None:
    values = {k[7:]: v for k, v in config("").items() if k.startswith("params.")}
    assert {k: ast.literal_eval(_python(v)) for k, v in values.items()} == {
        name: spec.get("default") for name, spec in SPECS.items()
    }
    assert {name: SPECS[name].get("default") for name in INTERFACE} == INTERFACE


def _python(value: str) -> str:
    return {"null": "None", "true": "True", "false": "False"}.get(value, value)


def test_every_profile_is_a_file_and_every_file_a_profile(config: dict) -> None:
    text = (ROOT / "nextflow.config").read_text()
    profiles = {line.split()[0] for line in text.splitlines() if "{ includeConfig 'conf/" in line}
    assert profiles == {p.stem for p in (ROOT / "conf").iterdir()} - {"base"}


def test_a_misspelt_profile_is_named(project: Project) -> None:
    done = project.run(profile="dokcer")
    assert done.returncode == 1
    assert "Unknown configuration profile: 'dokcer'" in done.stdout + done.stderr
    assert "docker" in (done.stdout + done.stderr).replace("dokcer", "")


PROFILES = [
    # profiles, executor, folder of PATH with sbatch in it: what is said
    ("venv", "local", False, []),
    ("gpu,slurm,apptainer", "slurm", True, []),
    ("venv,docker", "local", False, ["venv and docker each name the engine to run with; take one"]),
    ("slurm, k8s,venv", "k8s", True, ["slurm and k8s each name the place to run with"]),
    ("slurm,venv", "slurm", False, ["submitted with sbatch, which is not on PATH"]),
    ("podman,docker,slurm", "slurm", False, ["podman and docker each", "sbatch, which is not"]),
    (None, "sge", True, ["submitted with qsub, which is not on PATH"]),
]


def test_profiles_that_do_not_fit_together_and_the_files_of_a_sheet(fresh: Project) -> None:
    (fresh.folder / "sbatch").write_text("#!/bin/sh\n")
    (fresh.folder / "sbatch").chmod(0o755)
    (fresh.folder / "sinfo").write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    (fresh.folder / "sinfo").chmod(0o755)
    (fresh.folder / "models/.kube").mkdir()
    (fresh.folder / "models/.kube/config").touch()
    paths = {False: "/nowhere:", True: f"/nowhere:{fresh.folder}"}
    cases = [[given, executor, paths[there]] for given, executor, there, _ in PROFILES]
    (fresh.folder / "cases.json").write_text(json.dumps(cases))
    (fresh.folder / "cases.nf").write_text("""workflow {
        def cases = Json.parse(file("${projectDir}/cases.json").text)
        def said = cases.collect { row -> Profiles.problems(projectDir, row[0], row[1], row[2]) }
        file("${projectDir}/said.json").text = Json.text(said)
        def paths = ['~/a.h5ad', 'b/c.h5ad', '/d.h5ad']
            .collect { path -> Plan.source([source: path], '/sheets/s.csv') }
        file("${projectDir}/paths.txt").text = paths.join('\\n')
        def home = java.nio.file.Path.of("${projectDir}")
        def known = [[[server: 'a'], null, home], [null, '/a', home]]
        known += [[null, null, home.resolve('models')], [null, null, home]]
        def clusters = known.collect { row -> Profiles.noCluster(row[0], row[1], row[2]) }
        clusters += ["${projectDir}/sinfo", 'true', '/nowhere/sinfo']
            .collect { program -> Profiles.noAnswer(program.toString()) }
        file("${projectDir}/clusters.json").text = Json.text(clusters)
    }""")
    command = [str(ROOT / "bin" / "nextflow"), "run", "cases.nf", "-profile", "venv"]
    done = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    home = f"{os.environ['HOME']}/a.h5ad"
    paths = (fresh.folder / "paths.txt").read_text().split("\n")
    assert paths == [home, "/sheets/b/c.h5ad", "/d.h5ad"]
    clusters = json.loads((fresh.folder / "clusters.json").read_text())
    *found, nowhere, silent = clusters[:5]
    assert found == [[], [], []]
    assert silent == ["Slurm is installed here, and no cluster answers: no controller"]
    assert clusters[5:] == [[], []]
    assert f"no Kubernetes cluster is known: expected {fresh.folder}/.kube/config" in nowhere[0]
    answers = json.loads((fresh.folder / "said.json").read_text())
    for (*case, expected), said in zip(PROFILES, answers, strict=True):
        assert len(said) == len(expected), (case, said)
        for words, text in zip(expected, said, strict=True):
            assert words in text, case


def test_two_engines_are_refused_before_any_task(project: Project) -> None:
    project.model("good")
    done = project.run(profile="venv,docker")
    assert done.returncode == 1
    said = done.stderr + done.stdout
    assert "venv and docker each name the engine" in said
    assert "apptainer, docker, podman, venv" in said
    assert "Submitted process" not in said


def test_what_the_plan_refuses_is_said_plainly(project: Project) -> None:
    project.model("good")
    done = project.run("--metrics", "bad")
    assert done.returncode == 1
    assert "unknown metric 'bad'. There are: mse" in done.stdout + done.stderr
    assert "Command executed" not in done.stdout + done.stderr


def test_a_missing_registry_is_said(project: Project, tmp_path: Path) -> None:
    (tmp_path / "k8s.config").write_text("process.executor = 'k8s'\nk8s.client.server = 'x'\n")
    done = project.run("-c", str(tmp_path / "k8s.config"), "-profile", "docker", profile=None)
    assert done.returncode == 1
    assert "name the same with --registry R" in done.stdout + done.stderr


def test_what_discovery_refuses_is_said(fresh: Project) -> None:
    (fresh.folder / "bin" / "discover").write_text("#!/bin/sh\necho 'no such model' >&2; exit 2\n")
    done = fresh.run()
    assert done.returncode == 1
    assert "no such model" in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounts a small disk")
def test_a_full_disk_while_publishing(fresh: Project, tmp_path: Path) -> None:
    fresh.model("good")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (disk / "ballast").write_bytes(bytes(300_000))
        fresh.model("large", variants={"default": {"do": "large", "bytes": 200_000}})
        done = fresh.run("--outdir", str(disk / "results"))
        said = done.stdout + done.stderr
        assert done.returncode == 1
        assert "No space left on device" in said
        assert "-resume" in said
        (disk / "ballast").unlink()
        again = fresh.run("--outdir", str(disk / "results"), "-resume", log="log")
        assert again.returncode == 0, again.stdout
        assert "run_model" not in fresh.executed("log")
        answer = disk / "results" / "large" / "d1" / "mask_15_seed_42" / "answer.h5ad"
        assert answer.stat().st_size == 200_000
    finally:
        subprocess.run(["umount", str(disk)], check=True)
