"""run-benchmark again and again, with stages left out, and when the data cannot be prepared."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from own_dataset import own_dataset

from lacuna.cli.people import run
from lacuna.setup.common import revision
from lacuna_contract.schema import read_json

GOOD = "good/mine/mask_15_seed_42"
SKIPS = ["--skip-prepare-data", "--skip-models", "--skip-evaluation"]


def statuses(folder="results"):
    rows = read_json(f"{folder}/results.json", "results")["runs"]
    return {row["name"]: row["status"] for row in rows}


@pytest.fixture
def options(here, room):
    """A benchmark of one model on a dataset of one's own."""
    sheet = own_dataset(here)
    return ["--sheet", sheet, "--models-dir", str(room), "--metrics", "mse"]


def test_twice_with_a_run_that_cannot_take_place(options, room, capsys):
    """Records that the report wrote are no second records for the next report."""
    path = room / "good/model.json"
    manifest = json.loads(path.read_text())
    gpu = manifest | {"resources": {"gpu": "required"}}
    path.write_text(json.dumps(gpu))
    try:
        for _ in range(2):
            assert run("run-benchmark", [*options, "--models", "good.default,zeros"]) == 0
            assert statuses() == {"good": "not_applicable", "zeros": "ok"}
            # Where no progress bar is seen, as in a log.
            said = capsys.readouterr().err
            assert "model 1 of 2: " in said
            assert "model 2 of 2: zeros/" in said
            assert re.search(r"evaluation 2 of 2: zeros/\S+ ok\n", said)
        lost = Path("results", GOOD, "status.json")
        lost.unlink()
        for _ in range(2):
            assert run("run-benchmark", [*options, "--models", "good.default", *SKIPS]) == 0
        assert read_json(lost, "status")["status"] == "not_applicable"
        assert not Path("results/records").exists()
        assert "two records" not in Path("results/report.html").read_text()
    finally:
        path.write_text(json.dumps(manifest))
    capsys.readouterr()


def test_strata_are_a_table_of_their_own(options):
    assert run("run-benchmark", [*options, "--models", "good.default,zeros"]) == 0
    with Path("results/strata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"good", "zeros"}
    for name in ("good", "zeros"):
        record = read_json(f"results/{name}/mine/mask_15_seed_42/metrics.json", "metrics")
        own = [{k: row[k] for k in record["strata"][0]} for row in rows if row["name"] == name]
        told = [
            {k: "" if v is None else str(v) for k, v in row.items()} for row in record["strata"]
        ]
        assert own == told
    with Path("results/results.csv").open(newline="") as file:
        whole = [(row["id"], row["metric"]) for row in csv.DictReader(file)]
    assert len(whole) == len(set(whole))


def test_twice_with_a_run_without_a_record(options):
    options += ["--models", "good.default"]
    for _ in range(2):
        assert run("run-benchmark", [*options, *SKIPS]) == 1
        assert statuses() == {"good": "lost"}
    assert run("run-benchmark", options) == 0
    assert statuses() == {"good": "ok"}


def test_everything_skipped_tells_what_the_records_say(options, capsys):
    options += ["--models", "good.default"]
    assert run("run-benchmark", options) == 0
    capsys.readouterr()
    assert run("run-benchmark", [*options, *SKIPS]) == 0
    out = capsys.readouterr().out
    assert f"pass  {GOOD}" in out
    assert out.strip().endswith("report.html")
    assert "rank" in out


@pytest.mark.parametrize("broken", ["import", "condition"])
def test_data_that_cannot_be_prepared_are_not_those_of_last_time(
    options, capsys, monkeypatch, broken
):
    from lacuna import tasks
    from lacuna_contract.errors import ContractError

    options += ["--models", "good.default"]
    assert run("run-benchmark", options) == 0
    assert Path("results", GOOD, "metrics.json").is_file()
    if broken == "import":
        Path("mine.h5ad").write_bytes(b"no")
        reason = "mine.h5ad is not a readable HDF5 file"
    else:
        reason = "nothing to hide"

        def fail(*_):
            raise ContractError(reason)

        task = tasks.load("reconstruction")
        monkeypatch.setattr(tasks, "load", lambda _: replace(task, prepare=fail))
    capsys.readouterr()
    assert run("run-benchmark", options) == 1
    out = capsys.readouterr().out
    assert f"FAIL  {GOOD}  lost: its input could not be prepared: " in out
    assert reason in out
    assert not Path("results", GOOD, "metrics.json").exists()
    assert not Path("data/mine/masked/mask_15_seed_42.h5ad").exists()
    assert not Path("data/mine/truth/mask_15_seed_42.h5ad").exists()
    assert reason in read_json(f"results/{GOOD}/status.json", "status")["reason"]


def test_a_score_does_not_outlive_the_truth(options, capsys):
    options += ["--models", "good.default"]
    assert run("run-benchmark", options) == 0
    Path("data/mine/truth/mask_15_seed_42.h5ad").write_bytes(b"no")
    capsys.readouterr()
    assert run("run-benchmark", [*options, *SKIPS[:2]]) == 1
    assert "is not a readable HDF5 file" in capsys.readouterr().out
    assert statuses() == {"good": "lost"}


def test_the_report_says_where_its_numbers_come_from(options):
    extra = ["--models", "good.default", "--salt", "not to be told", "--", "--factor", "0.5"]
    assert run("run-benchmark", [*options, *extra]) == 0
    document = read_json("results/provenance.json", "provenance")
    said = document["pipeline"]
    assert (said["engine"], said["command"]) == ("venv", "run-benchmark")
    assert said["revision"] == revision()
    assert said["parameters"]["metrics"] == "mse"
    assert said["parameters"]["skip_models"] is False
    assert said["parameters"]["of models"] == {"factor": 0.5}
    digest = said["models"]["good"]["digest"]
    assert said["models"]["good"]["env"] == f"good-{digest}"
    assert said["machine"]["cpus"] >= 1
    # No image ran.
    status = read_json(f"results/{GOOD}/status.json", "status")
    assert status["run"]["image"] == f"good-{digest}"
    assert document["models"][0]["image"] == f"good-{digest}"
    for path in Path("results").rglob("*.*"):
        if path.is_file():
            assert b"not to be told" not in path.read_bytes()


def test_one_unreadable_input_does_not_stop_the_others(here, room, capsys):
    run("prepare-data", ["--sheet", own_dataset(here)])
    masked = Path("data/mine/masked")
    (masked / "mask_30_seed_42.h5ad").write_bytes(b"no")
    (masked / "by_hand.h5ad").write_bytes((masked / "mask_15_seed_42.h5ad").read_bytes())
    capsys.readouterr()
    options = ["--models-dir", str(room), "--models", "good.default"]
    assert run("run-models", options) == 1
    out = capsys.readouterr().out
    assert "FAIL  mine/masked/mask_30_seed_42.h5ad  failed: data/mine/masked/mask_30_seed_42" in out
    assert "FAIL  mine/masked/by_hand.h5ad" in out
    assert "expected a name that ends in its seed" in out
    assert f"pass  {GOOD}" in out
    assert run("run-models", [*options, "--file", "data/mine/masked/by_hand.h5ad"]) == 1
    assert "expected a name that ends in its seed" in capsys.readouterr().err


def test_a_gpu_can_be_asked_for(options, room):
    path = room / "good/model.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"resources": {"gpu": "optional"}}))
    try:
        run("run-benchmark", [*options, "--models", "good.default", "--gpu"])
    finally:
        path.write_text(json.dumps(manifest))
    given = read_json(f"results/{GOOD}/status.json", "status")["run"]["params"]
    assert given["device"] == "cuda"
