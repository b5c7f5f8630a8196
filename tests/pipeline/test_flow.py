"""Every expected run leaves a record, no failure stops others, -resume does only what is new."""

import functools
import os
import re
import signal
import subprocess
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standin_project import Project

Done = subprocess.CompletedProcess

SLOW_ANSWER = {"default": {"do": "wait", "seconds": 1}}


@pytest.fixture(scope="module")
def mixed(project: Project) -> Done:
    """One run of models that behave in every way, over two seeds."""
    # More than any machine has: what this one has is asked for instead.
    greedy = {"cpus": 4096, "memory": "900 TB"}
    project.model("good", variants={"default": {}, "two": {"x": 1}}, resources=greedy)
    project.model("knows", control="ceiling", variants={"default": {"do": "truth"}})
    project.model("crash", variants={"default": {"do": "crash"}})
    project.model("declined", not_applicable="needs a GPU")
    project.model("hungry", variants={"default": {"do": "hungry", "needs": 300_000_000}})
    project.model("vanish", variants={"default": {"do": "vanish"}})
    return project.run("--seeds", "1,2", "--salt", "sesame", log="log")


def test_every_expected_run_has_a_record(project: Project, mixed: Done) -> None:
    assert mixed.returncode == 1, mixed.stdout + mixed.stderr
    runs = project.results()
    names = {"good", "good.two", "knows", "crash", "declined", "hungry", "vanish"}
    conditions = {"mask_15_seed_1", "mask_15_seed_2"}
    assert set(runs) == {f"{name}/d1/{condition}" for name in names for condition in conditions}
    by_name: dict[str, set] = {}
    for run in runs.values():
        by_name.setdefault(run["name"], set()).add((run["status"], run.get("attempts")))
    assert by_name == {
        "good": {("ok", 1)},
        "good.two": {("ok", 1)},
        "knows": {("ok", 1)},
        "crash": {("failed", 1)},
        "declined": {("not_applicable", None)},
        "hungry": {("ok", 2)},
        "vanish": {("lost", None)},
    }
    for key in runs:
        assert (project.folder / "results" / key / "status.json").is_file(), key


def test_files_are_where_the_design_says(project: Project, mixed: Done) -> None:
    data = {str(p.relative_to(project.folder)) for p in (project.folder / "data").rglob("*.h5ad")}
    names = ["mask_15_seed_1.h5ad", "mask_15_seed_2.h5ad"]
    assert data == {"data/d1/raw/data.h5ad"} | {
        f"data/d1/{kind}/{name}" for kind in ("masked", "truth") for name in names
    }
    results = project.folder / "results"
    run = results / "good" / "d1" / "mask_15_seed_1"
    assert {p.name for p in run.iterdir()} == {
        "answer.h5ad", "metadata.json", "metrics.json", "status.json"
    }  # fmt: skip
    assert {p.name for p in results.iterdir() if p.is_file()} == {
        "results.csv", "results.json", "report.html", "provenance.json"
    }  # fmt: skip
    assert {p.name for p in (results / "pipeline_info").iterdir()} == {
        "trace.txt", "report.html", "timeline.html", "dag.mmd", "summary.txt", "verdict.json"
    }  # fmt: skip


def test_only_a_ceiling_is_given_the_truth(project: Project, mixed: Done) -> None:
    for folder in project.folder.glob("work/*/*"):
        if (folder / "entry.json").exists():
            task = (folder / ".command.run").read_text().split("RUN_MODEL (")[1].split(" ")[0]
            assert (folder / "truth.h5ad").exists() == (task == "knows")


def test_a_models_folder_does_not_say_what_it_is_given(project: Project, mixed: Done) -> None:
    seen = 0
    for folder in project.folder.glob("work/*/*"):
        if not (folder / "entry.json").exists() or (folder / "truth.h5ad").exists():
            continue
        seen += 1
        assert not any(p.is_symlink() for p in folder.iterdir())
        for path in (p for p in folder.iterdir() if p.name not in ("status.json", ".exitcode")):
            # A task's folder is named by a hash, which may spell a dataset's name.
            text = re.sub(r"/work/[0-9a-f]{2}/[0-9a-f]{30}", "", path.read_text())
            for word in ("mask_", "seed_", "d1/", "truth.h5ad", "sesame"):
                assert word not in text, f"{path} says {word}"
    assert seen >= 8


def test_the_salt_reaches_the_truth_and_nothing_published(project: Project, mixed: Done) -> None:
    truth = project.folder / "data/d1/truth/mask_15_seed_1.h5ad"
    assert "salt=sesame" in truth.read_text()
    for path in (p for p in (project.folder / "results").rglob("*") if p.is_file()):
        if path.relative_to(project.folder / "results").parts[0] == "knows":
            continue  # here a prediction is a copy of the truth
        if path.name == "report.html" and path.parent.name == "pipeline_info":
            continue  # it holds the command line as typed
        assert "sesame" not in path.read_text(), path


def test_the_console_begins_with_the_plans_notes_and_ends_with_the_summary(mixed: Done) -> None:
    assert "Note: something to know" in mixed.stdout.partition("process > IMPORT")[0]
    assert "SUMMARY of 14 runs" in mixed.stdout
    assert "4 of 14 runs failed, so this ends with exit code 1" in mixed.stdout
    assert "results/report.html" in mixed.stdout


def test_resume_does_what_is_new_and_nothing_else(fresh: Project) -> None:
    fresh.model("a")
    fresh.model("b")
    first = fresh.run("--seeds", "1", log="log")
    assert first.returncode == 0, first.stdout
    assert fresh.executed("log") == {
        "plan": 1, "import": 1, "prepare": 1, "run_model": 2, "evaluate": 2, "report": 1
    }  # fmt: skip

    assert fresh.run("--seeds", "1", "-resume", log="log").returncode == 0
    assert fresh.executed("log") == {}

    fresh.model("b", variants={"default": {"layers": 3}})  # a change of its digest
    fresh.model("aa")  # comes before it, so that its number in the plan changes
    fresh.run("--seeds", "1,2", "-resume", log="log")
    assert fresh.executed("log") == {
        "plan": 1, "prepare": 1, "run_model": 5, "evaluate": 5, "report": 1
    }  # fmt: skip

    fresh.run("--seeds", "1,2", "--metrics", "mse,mae", "-resume", log="log")
    assert fresh.executed("log") == {"plan": 1, "evaluate": 6, "report": 1}

    (fresh.folder / "version").write_text("2")  # new stages that prepare the same data
    fresh.run("--seeds", "1,2", "--metrics", "mse,mae", "-resume", log="log")
    assert fresh.executed("log") == {
        "plan": 1, "import": 1, "prepare": 2, "evaluate": 6, "report": 1
    }  # fmt: skip


def test_a_recorded_failure_is_retried_when_asked_and_stays_retried(fresh: Project) -> None:
    until = fresh.folder / "until"
    fresh.model("flaky", variants={"default": {"do": "flaky", "until": str(until)}})
    fresh.model("good")
    assert fresh.run().returncode == 1
    until.touch()
    again = fresh.run("-resume", log="log")
    assert (again.returncode, fresh.executed("log")) == (1, {})
    retried = fresh.run("-resume", "--retry_failed", log="log")
    assert retried.returncode == 0, retried.stdout
    assert fresh.executed("log")["run_model"] == 1
    assert fresh.run("-resume", log="log").returncode == 0
    assert "run_model" not in fresh.executed("log")
    assert fresh.results()["flaky/d1/mask_15_seed_42"]["status"] == "ok"


def test_all_runs_of_a_condition_are_scored_by_one_task_of_the_tasks_own_stage(
    fresh: Project,
) -> None:
    for name, how in (("good", {}), ("crash", {"do": "crash"}), ("vanish", {"do": "vanish"})):
        fresh.model(name, variants={"default": how})
    fresh.model("knows", control="ceiling", variants={"default": {"do": "truth"}})
    (fresh.folder / "stages" / "evaluate_fake").mkdir(parents=True)
    fresh.run("--seeds", "1,2", "--scenarios", "bridge", log="log")
    # Where a run left nothing, the others of its condition are scored all the same.
    found = {run["id"]: run["status"] for run in fresh.results().values()}
    expected = {"good": "ok", "knows": "ok", "crash": "failed", "vanish": "lost"}
    assert found == {
        f"{name}/d1/mask_15_seed_{seed}": status
        for seed in (1, 2)
        for name, status in expected.items()
    }
    assert fresh.executed("log")["evaluate"] == 2
    stages = [line.split() for line in (fresh.folder / "log").read_text().splitlines()]
    for stage, folder in stages:
        own = "stage-evaluate_fake" in Path(folder, ".command.run").read_text()
        assert own == (stage == "evaluate")
    fresh.run("--seeds", "1,2", "--scenarios", "bridge", "-resume", log="again")
    assert "evaluate" not in fresh.executed("again")


def test_killed_half_way_and_resumed(fresh: Project) -> None:
    fresh.model("slow", variants=SLOW_ANSWER)
    seeds = ("--seeds", ",".join(str(n) for n in range(8)))
    env = os.environ | {"STANDIN_LOG": str(fresh.folder / "log")}
    killed = subprocess.Popen(
        fresh.command(*seeds), cwd=fresh.folder, env=env, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    log = fresh.folder / "log"
    while not (log.exists() and log.read_text().count("evaluate") >= 1):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = fresh.run(*seeds, "-resume", log="log")
    assert done.returncode == 0, done.stdout + done.stderr
    assert fresh.executed("log").get("run_model", 0) < 8
    assert {run["status"] for run in fresh.results().values()} == {"ok"}
    assert len(fresh.results()) == 8


def test_a_dataset_that_is_refused_does_not_stop_the_others(fresh: Project, tmp_path: Path) -> None:
    fresh.model("good")
    (tmp_path / "Anne's good (1).h5ad").write_text("counts")
    (tmp_path / "bad.h5ad").write_text("fractions")
    sheet = tmp_path / "Anne's (new) sheet.csv"
    files = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/Anne%27s%20good%20(1).h5ad?download=1"
        rows = f"mine,Anne's good (1).h5ad\nyours,bad.h5ad\ntheirs,{url}\n"
        sheet.write_text(f"dataset,path\n{rows}")
        done = fresh.run("--sheet", str(sheet))
        server.shutdown()
    assert done.returncode == 1
    runs = fresh.results()
    assert runs["good/mine/mask_15_seed_42"]["status"] == "ok"
    assert runs["good/theirs/mask_15_seed_42"]["status"] == "ok"
    lost = runs["good/yours/mask_15_seed_42"]
    assert (lost["status"], lost["reason"]) == (
        "lost", "bad.h5ad: X holds fractions, expected counts"
    )  # fmt: skip


def test_a_condition_that_a_dataset_cannot_have_is_no_failure(
    fresh: Project, tmp_path: Path
) -> None:
    fresh.model("good")
    (tmp_path / "partial.h5ad").write_text("counts")
    (tmp_path / "sheet.csv").write_text("dataset,path\npartial,partial.h5ad\n")
    done = fresh.run("--sheet", str(tmp_path / "sheet.csv"), "--seeds", "1,2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Note: dataset 'partial': a part of it is not there" in done.stdout
    assert "Note: partial/mask_15_seed_1: something else is hidden" in done.stdout
    found = {key: (run["status"], run["reason"]) for key, run in fresh.results().items()}
    assert found == {
        "good/partial/mask_15_seed_1": ("ok", None),
        "good/partial/mask_15_seed_2": ("not_applicable", "it has no second seed"),
    }


def test_a_path_that_a_shell_would_read_otherwise_is_refused(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "a$HOME.h5ad").write_text("counts")
    (tmp_path / "sheet.csv").write_text("dataset,path\na,a$HOME.h5ad\nb,nowhere.h5ad\n")
    done = project.run("--sheet", str(tmp_path / "sheet.csv"))
    assert done.returncode == 1
    said = done.stdout + done.stderr
    why = "Nextflow cannot handle $ in a path; give it another name"
    assert f"dataset 'a': a$HOME.h5ad ({tmp_path}/a$HOME.h5ad): {why}" in said
    assert f"dataset 'b': nowhere.h5ad ({tmp_path}/nowhere.h5ad): there is no such file" in said
    assert "process > IMPORT" not in said

    folder = tmp_path / "50$ data"
    folder.mkdir()
    command = [*project.command(), "--outdir", str(tmp_path / "out")]
    command[command.index("main.nf")] = str(project.folder / "main.nf")
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert f"the pipeline is started from {folder}: {why}" in done.stdout + done.stderr
    assert "Submitted process" not in done.stdout


def test_links_that_a_model_leaves_are_removed(fresh: Project, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    link = {"do": "link", "to": str(precious), "harm": str(precious)}
    fresh.model("link", variants={"default": link})
    assert fresh.run().returncode == 1
    assert precious.read_text() == "precious"
    assert fresh.results()["link/d1/mask_15_seed_42"]["status"] == "invalid_output"
    assert not list((fresh.folder / "results").rglob("answer.h5ad"))


def test_a_checkpoint_reaches_its_model_and_another_one_makes_its_run_stale(
    fresh: Project, tmp_path: Path
) -> None:
    fresh.model("good")
    fresh.model("trained", checkpoint={}, variants={"default": {"do": "checkpoint"}})
    folder = tmp_path / "checkpoints" / "trained"
    folder.mkdir(parents=True)
    (folder / "args.json").write_text("shape ")
    (folder / "best.pt").write_text("weights 1")
    answer = fresh.folder / "results" / "trained" / "d1" / "mask_15_seed_42" / "answer.h5ad"
    given = ["--checkpoints", str(folder.parent)]

    done = fresh.run(*given, log="first")
    assert done.returncode == 0, done.stdout + done.stderr
    assert answer.read_text() == "shape weights 1"
    seen = [path for path in fresh.folder.glob("work/*/*") if (path / "checkpoint").exists()]
    assert len(seen) == 1, "another model was given the checkpoint"

    # Another content of the same size and time, which the file's attributes do not show.
    before = (folder / "best.pt").stat()
    (folder / "best.pt").write_text("weights 2")
    os.utime(folder / "best.pt", ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh.run(*given, "-resume", log="second")
    assert answer.read_text() == "shape weights 2"
    assert fresh.executed("second")["run_model"] == 1
