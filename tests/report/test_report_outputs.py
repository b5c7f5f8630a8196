import csv
import json
import shutil

import pytest
from synthetic import Bench, lively

from lacuna_contract.errors import ContractError
from lacuna_contract.schema import read_json

ONE = {"floor": "floor", "top": "ceiling", "good": None}


def values(name, dataset, setting, seed):
    return {"error": {"floor": 2.0, "top": 0.0, "good": 1.0 + 0.01 * seed}[name], "fit": None}


def rows(out) -> list[dict]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_has_one_row_per_run_and_metric(report):
    _, out = report(Bench(ONE, values))
    found = rows(out)
    assert len(found) == 3 * 3 * 3
    row = next(
        r for r in found if r["id"] == "good/alpha/mask_15_seed_2" and r["metric"] == "error"
    )
    assert float(row["value"]) == 1.02
    assert (row["status"], row["seed"], row["seconds"]) == ("ok", "2", "1.5")
    null = next(r for r in found if r["name"] == "good" and r["metric"] == "fit")
    assert (null["value"], null["undefined"]) == ("", "prediction is constant")


def test_without_strata_there_is_no_table_of_them(report):
    _, out = report(Bench(ONE, values))
    assert not (out / "strata.csv").exists()


def test_results_json_fits_its_schema_and_holds_every_run(report):
    _, out = report(lively())
    document = read_json(out / "results.json", "results")
    assert len(document["runs"]) == 72
    failed = next(run for run in document["runs"] if run["status"] == "failed")
    assert "epoch 12" in failed["stderr_tail"]


def test_the_verdict_counts_what_should_have_worked(report):
    fates = {
        "a": {"status": "failed", "reason": "broke"},
        "b": {"status": "out_of_memory", "reason": "needed more"},
        "c": {"status": "timed_out", "reason": "took longer"},
        "d": {"status": "invalid_output", "reason": "wrong shape"},
        "e": {"status": "not_applicable", "reason": "no checkpoint"},
    }

    def ends(name, *_):
        if name == "gone":
            return None
        return {"status": fates[name]} if name in fates else {"error": 1.0}

    verdict, out = report(Bench(dict.fromkeys([*fates, "gone", "fine"]), ends, seeds=(1,)))
    assert verdict == json.loads((out / "verdict.json").read_text())
    assert {k: verdict[k] for k in ("runs", "ok", "failed", "not_applicable")} == {
        "runs": 7, "ok": 1, "failed": 5, "not_applicable": 1,
    }  # fmt: skip
    summary = (out / "summary.txt").read_text()
    assert "d: invalid_output (1 run): wrong shape" in summary
    assert "gone: lost (1 run): no record" in summary


@pytest.mark.parametrize("everywhere", [True, False])
def test_the_summary_says_what_no_run_has(report, everywhere):
    def some(name, *_):
        fit = 0.5 if name == "top" and not everywhere else None
        return {"error": 1.0, "fit": fit, "shown": None}  # "shown" does not rank

    _, out = report(Bench(ONE, some))
    said = "Undefined in all runs: fit: prediction is constant\n"
    assert (said in (out / "summary.txt").read_text()) is everywhere


def test_a_run_that_the_plan_rules_out_is_not_lost(report):
    def rule_out(plan, records):
        document = json.loads(plan.read_text())
        for run in document["runs"]:
            if run["name"] == "good":
                run["not_applicable"] = "needs a GPU, and there is none"
        plan.write_text(json.dumps(document))

    bench = Bench(ONE, lambda name, *_: None if name == "good" else {"error": 1.0})
    verdict, out = report(bench, rule_out)
    assert (verdict["failed"], verdict["not_applicable"]) == (0, 3)
    assert "needs a GPU" in (out / "report.html").read_text()


def test_a_run_without_a_record_is_given_one(report):
    def without(plan, records):
        shutil.rmtree(next(records.rglob("status.json")).parent)

    _, out = report(Bench(ONE, values), without)
    (path,) = (out / "records").rglob("status.json")
    record = read_json(path, "status")
    assert (record["status"], record["attempts"]) == ("lost", 0)
    assert record["run"]["id"] == str(path.parent.relative_to(out / "records"))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("metrics.json", None, "metrics.json: no such file"),
        ("metrics.json", "{", "metrics.json is not JSON"),
        ("metrics.json", '{"metrics": {"error": NaN}}', "NaN"),
        ("metrics.json", '{"metrics": {"error": "low"}}', "does not fit schema 'metrics'"),
        ("metadata.json", '{"device": "abacus"}', "does not fit schema 'metadata'"),
        ("status.json", '{"status": "fine"}', "does not fit schema 'status'"),
    ],
)
def test_a_broken_record_is_a_lost_run_with_its_reason(report, tmp_path, file, text, words):
    def spoil(plan, records):
        # Records without an identity are found by their folder, as they lie under results/.
        place = records / "good/alpha/mask_15_seed_1"
        shutil.copytree(records / "3", place)
        shutil.rmtree(records / "3")
        if text is None:
            (place / file).unlink()
        else:
            (place / file).write_text(text)

    verdict, out = report(Bench(ONE, values, seeds=(1,)), spoil)
    assert (verdict["ok"], verdict["failed"]) == (2, 1)
    run = next(r for r in json.loads((out / "results.json").read_text())["runs"]
               if r["name"] == "good")  # fmt: skip
    assert run["status"] == "lost"
    assert words in run["reason"]
    assert str(tmp_path) not in run["reason"]


def test_two_records_of_one_run_are_remarked_on_and_strangers_left_out(report):
    def add(plan, records):
        shutil.copytree(records / "3", records / "4")
        status = json.loads((records / "4/status.json").read_text())
        status["run"]["id"] = "other/alpha/mask_15_seed_1"
        (records / "5").mkdir()
        (records / "5/status.json").write_text(json.dumps(status))

    verdict, out = report(Bench(ONE, values, seeds=(1,)), add)
    page = (out / "report.html").read_text()
    assert verdict["runs"] == 3
    assert "two records say that they are the run good/alpha/mask_15_seed_1" in page
    assert "1 record belongs to no run of this plan" in page


def test_runs_of_one_condition_with_different_inputs_are_remarked_on(report):
    def tamper(plan, records):
        status = json.loads((records / "3/status.json").read_text())
        (records / "3/status.json").write_text(json.dumps(status | {"input_sha256": "f" * 64}))

    _, out = report(Bench(ONE, values, seeds=(1,)), tamper)
    assert "did not all read the same input" in (out / "report.html").read_text()
    inputs = json.loads((out / "provenance.json").read_text())["inputs"]
    assert len(inputs[0]["sha256"]) == 2


def test_provenance_keeps_what_the_pipeline_said(tmp_path, report):
    from lacuna.report import stage

    _, out = report(Bench(ONE, values))
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"nextflow": "24.10.5", "parameters": {"seeds": "42"}}))
    stage.build(tmp_path / "plan.json", tmp_path / "records", said, out)
    document = json.loads((out / "provenance.json").read_text())
    assert document["pipeline"]["nextflow"] == "24.10.5"
    assert document["seeds"] == [1, 2, 3]
    good = next(row for row in document["models"] if row["name"] == "good")
    assert good["params"] == {"rank": 20, "seed": "by run"}
    assert good["versions"] == {"numpy": "2.4.0"}
    assert "24.10.5" in (out / "report.html").read_text()


def test_what_could_not_be_prepared_says_why_its_runs_are_lost(tmp_path):
    from lacuna.report.records import load

    bench = Bench(ONE, lambda *_: None, datasets=("alpha", "beta", "gamma"), seeds=(1,))
    plan, records = bench.write(tmp_path)
    refusals = [
        {"dataset": "alpha", "reason": "alpha.h5ad: X holds fractions"},
        {"key": "reconstruction/beta/mask_15_seed_1", "reason": "nothing to hide"},
    ]
    runs, _ = load(json.loads(plan.read_text()), records, refusals)
    assert {run.status for run in runs} == {"lost"}
    reasons = {run.dataset: run.reason for run in runs}
    assert reasons["alpha"] == "its input could not be prepared: alpha.h5ad: X holds fractions"
    assert reasons["beta"] == "its input could not be prepared: nothing to hide"
    assert reasons["gamma"].startswith("no record")


def test_a_condition_that_a_dataset_cannot_have_is_said_and_missed_by_nobody(tmp_path, report):
    from lacuna.report import stage

    bench = Bench(ONE, values, settings={"mask_15": {}, "whole": {}}, seeds=(1, 2))
    keys = [f"reconstruction/alpha/whole_seed_{seed}" for seed in (1, 2)]
    refusals = [{"key": key, "reason": "not whole", "not_applicable": True} for key in keys]
    (tmp_path / "refusals.json").write_text(json.dumps(refusals))

    def drop(plan, records):
        for path in records.glob("*/status.json"):
            if "whole" in path.read_text():
                shutil.rmtree(path.parent)

    _, out = report(bench, drop)
    plan, records = tmp_path / "plan.json", tmp_path / "records"
    verdict = stage.build(plan, records, None, out, tmp_path / "refusals.json")
    assert (verdict["failed"], verdict["not_applicable"]) == (0, 2 * len(ONE))
    rows = json.loads((out / "results.json").read_text())
    absent = [run for run in rows["runs"] if run["condition"].startswith("whole")]
    assert {(run["status"], run["reason"]) for run in absent} == {("not_applicable", "not whole")}
    assert rows["leaderboard"][0]["rank"] == 1
    summary = (out / "summary.txt").read_text()
    assert "alpha cannot have whole: not whole" in summary
    assert "1 condition (mask_15)" in summary
    assert " 2/2" in summary
    assert "/4" not in summary
    page = (out / "report.html").read_text()
    assert "<li>alpha cannot have whole: not whole</li>" in page
    assert "None: every run gave a score." in page


def test_records_are_found_behind_links(report, tmp_path):
    def link(plan, records):
        for place in list(records.iterdir()):
            place.rename(tmp_path / f"task_{place.name}")
            place.symlink_to(tmp_path / f"task_{place.name}", target_is_directory=True)

    verdict, _ = report(Bench(ONE, values), link)
    assert verdict["ok"] == 9


def test_a_plan_that_breaks_its_schema_is_refused(tmp_path, report):
    def spoil(plan, records):
        plan.write_text("{}")

    with pytest.raises(ContractError, match="schema 'plan'"):
        report(Bench(ONE, values), spoil)
