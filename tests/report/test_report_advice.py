"""Which model for what, and on which data: in words and in tables."""

import json
import re

import pytest
from synthetic import FACTS, Bench

from lacuna.report.advice import purposes
from lacuna.report.leaderboard import build_board
from lacuna.report.plots import _sweeps
from lacuna.report.records import load
from lacuna.report.sections import metric_ranks, summary
from lacuna.report.words import findings

CONTROLS = {"mean": "floor", "top": "ceiling"}
BASE = {"mean": {"error": 2.0, "fit": 0.0}, "top": {"error": 1.0, "fit": 1.0}}


def board_of(tmp_path, models, values, **options):
    plan, records = Bench(CONTROLS | dict.fromkeys(models), values, **options).write(tmp_path)
    runs, _ = load(json.loads(plan.read_text()), records)
    return build_board("reconstruction", runs, FACTS)


def scores(**own):
    """Values that give each model its scores of (error, fit), the same at every seed."""

    def values(name, dataset, setting, seed):
        if name in BASE:
            return dict(BASE[name])
        error, fit, seconds = own[name]
        return {"error": 2 - error, "fit": fit, "seconds": seconds}

    return values


def test_each_purpose_has_its_model_and_its_cost(tmp_path):
    values = scores(counter=(0.8, 0.2, 60.0), seer=(0.3, 0.6, 300.0))
    found = purposes(board_of(tmp_path, ["counter", "seer"], values))
    assert found == [
        "To count: counter (0.800; 60.0 s and 191 MB).",
        "To find patterns: seer (0.600; 5 min 00 s and 191 MB).",
    ]


def test_one_model_for_everything_is_said_once(tmp_path):
    values = scores(good=(0.8, 0.6, 60.0), poor=(0.3, 0.2, 1.0))
    found = purposes(board_of(tmp_path, ["good", "poor"], values))
    assert found == ["To count and to find patterns: good (0.700; 60.0 s and 191 MB)."]


def test_a_cheap_model_that_comes_near_is_named(tmp_path):
    values = scores(good=(0.8, 0.6, 60.0), near=(0.76, 0.57, 2.0), far=(0.5, 0.3, 1.0))
    (found,) = purposes(board_of(tmp_path, ["good", "near", "far"], values))
    assert found.endswith("; near (0.665; 2.00 s and 191 MB) comes near for less.")


def test_models_that_intervals_do_not_separate_are_named_together(tmp_path):
    shift = {1: 0.05, 2: -0.05, 3: 0.01}

    def values(name, dataset, setting, seed):
        if name in BASE:
            return dict(BASE[name])
        own = {"one": 0.5, "two": 0.5 + shift[seed], "three": 0.1}[name]
        return {"error": 2 - own, "fit": own, "seconds": {"one": 9.0}.get(name, 3.0)}

    (found,) = purposes(board_of(tmp_path, ["one", "two", "three"], values))
    assert found.startswith("To count and to find patterns: two (0.503; 3.00 s and 191 MB) and one")
    assert found.endswith(", which their intervals do not tell apart.")


def test_of_one_model_that_is_good_at_all_nothing_is_said_twice(tmp_path):
    values = scores(good=(0.8, 0.6, 60.0), poor=(0.3, 0.2, 1.0))
    one = board_of(tmp_path, ["good"], values)
    assert purposes(one) == []
    assert "Besides" not in summary(one)
    assert "rank" not in metric_ranks(one)
    assert "class=first" not in metric_ranks(one)
    two = board_of(tmp_path, ["good", "poor"], values)
    assert "Besides" in summary(two)
    assert "class=first" in metric_ranks(two)


def test_below_the_floor_no_model_is_recommended(tmp_path):
    values = scores(bad=(-0.2, 0.3, 1.0))
    found = purposes(board_of(tmp_path, ["bad"], values))
    assert found[0] == "To count: no model here beats the best floor control."
    assert found[1].startswith("To find patterns: bad (0.300;")


def by_dataset(name, dataset, setting, seed):
    if name == "top":
        return dict(BASE["top"])
    if name == "mean":
        return dict(BASE["mean"])
    if name == "knows":
        return {"error": 1.4, "fit": 0.6} if dataset == "made" else None
    own = {("real", "one"): 0.4, ("real", "two"): 0.3, ("made", "one"): 0.4, ("made", "two"): 0.5}
    value = own[dataset, name] + 0.01 * seed * (name == "two")
    return {"error": 2 - value, "fit": value}


@pytest.fixture
def two_datasets(tmp_path):
    models = CONTROLS | {"knows": "ceiling", "one": None, "two": None}
    bench = Bench(models, by_dataset, datasets=("real", "made"))
    plan, records = bench.write(tmp_path)
    content = json.loads(plan.read_text())
    content["runs"] = [
        run for run in content["runs"] if run["name"] != "knows" or run["dataset"] == "made"
    ]
    runs, _ = load(content, records)
    return build_board("reconstruction", runs, FACTS)


def test_ranks_by_dataset(two_datasets):
    parts = two_datasets.parts(0)
    ranks = {
        name: {model: row.rank for model, row in rows.items() if row.rank}
        for name, rows in parts.items()
    }
    assert ranks == {"real": {"one": 1, "two": 2}, "made": {"two": 1, "one": 2}}
    assert parts["made"]["knows"].score.mean == pytest.approx(0.6)
    assert "knows" not in parts["real"]
    assert "First by dataset: two on made; one on real." in findings(two_datasets)


def test_a_ceiling_that_is_not_perfect_says_how_far_one_can_come(two_datasets):
    said = [line for line in findings(two_datasets) if "as far as" in line]
    assert said == [
        "On made, the ceiling control knows scores 0.600, which is as far as a model can come; the "
        "best of them, two, scores 0.520."
    ]
    notes = {entry.name: entry.note for entry in two_datasets.entries}
    assert notes["knows"] == "ceiling control, on made alone"
    assert notes["top"] == "ceiling control"


def test_ranks_by_dataset_and_condition_are_in_results_json(report):
    def values(name, dataset, setting, seed):
        if name in BASE:
            return dict(BASE[name])
        own = {("real", "one"): 0.4, ("real", "two"): 0.3, ("made", "one"): 0.4}
        value = own.get((dataset, name), 0.5)
        return {"error": 2 - value, "fit": value}

    models = CONTROLS | {"one": None, "two": None}
    _, out = report(Bench(models, values, datasets=("real", "made")))
    rows = json.loads((out / "results.json").read_text())["leaderboard"]
    (two,) = (row for row in rows if row["name"] == "two")
    assert {name: row["rank"] for name, row in two["datasets"].items()} == {"real": 2, "made": 1}
    assert two["datasets"]["made"]["score"]["mean"] == pytest.approx(0.5)
    assert two["conditions"]["mask_15"]["score"]["mean"] == pytest.approx(0.4)


def test_sweeps_are_drawn_for_what_is_alike_in_everything_else():
    rows = {
        ("d", "mask_10"): {"percentage": 0.1, "strategy": "uniform"},
        ("d", "mask_20"): {"percentage": 0.2, "strategy": "uniform"},
        ("d", "mask_10_x"): {"percentage": 0.1, "strategy": "x"},
        ("d", "mask_20_x"): {"percentage": 0.2, "strategy": "x"},
        ("d", "mask_20_y"): {"percentage": 0.2, "strategy": "y"},
    }
    found = _sweeps(rows)
    assert [(key, words) for key, words, _ in found] == [
        ("percentage", ", strategy uniform"),
        ("percentage", ", strategy x"),
    ]
    assert found[1][2] == {("d", "mask_10_x"): 0.1, ("d", "mask_20_x"): 0.2}
    alone = {key: row for key, row in rows.items() if row["strategy"] == "uniform"}
    assert _sweeps(alone)[0][1] == ""


def test_numbers_that_span_decades_are_drawn_on_a_logarithmic_axis(report):
    settings = {f"n_{n}": {"length": n} for n in (1000, 10_000, 100_000)}
    values = scores(good=(0.8, 0.6, 60.0), poor=(0.3, 0.2, 1.0))
    models = CONTROLS | {"good": None, "poor": None}
    _, out = report(Bench(models, values, settings=settings))
    page = (out / "report.html").read_text()
    figure = page[page.index("<h3>Quality against length") :]
    at = [
        float(re.search(rf'x="([\d.]+)"[^>]*>{text}<', figure)[1])
        for text in ("1,000", "10,000", "100,000")
    ]
    assert at[1] - at[0] == pytest.approx(at[2] - at[1], abs=1) != 0


def test_with_several_tasks_the_top_of_the_page_is_brief(tmp_path):
    values = scores(good=(0.8, 0.6, 60.0), poor=(0.3, 0.2, 1.0))
    board = board_of(tmp_path, ["good", "poor"], values)
    whole, brief = summary(board), summary(board, brief=True)
    assert "<details" not in whole
    assert "<p class=which>Which model for what" in brief
    assert brief.index("Which model for what") < brief.index("<summary>Besides")
