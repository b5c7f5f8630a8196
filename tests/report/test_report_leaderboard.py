import json
import re

import pytest
from synthetic import Bench

CONTROLS = {"low": "floor", "mean": "floor", "top": "ceiling"}

# error is better low, fit better high: the best floor differs by metric.
KNOWN = {
    "low": {"error": 3.0, "fit": 0.2},
    "mean": {"error": 2.0, "fit": 0.1},
    "top": {"error": 1.0, "fit": 1.0},
    "good": {"error": 1.5, "fit": 0.6},
    "poor": {"error": 2.5, "fit": 0.2},
}


def known(name, dataset, setting, seed):
    return dict(KNOWN[name])


def board(folder) -> dict[str, dict]:
    rows = json.loads((folder / "results.json").read_text())["leaderboard"]
    return {row["name"]: row for row in rows}


def test_scores_lie_between_the_best_floor_and_the_ceiling(report):
    _, out = report(Bench(CONTROLS | {"good": None, "poor": None}, known))
    rows = board(out)
    # error: (1.5 - 2) / (1 - 2) = 0.5; fit: (0.6 - 0.2) / (1 - 0.2) = 0.5
    assert rows["good"]["score"]["mean"] == pytest.approx(0.5)
    # error: (2.5 - 2) / (1 - 2) = -0.5; fit: 0
    assert rows["poor"]["score"]["mean"] == pytest.approx(-0.25)
    assert rows["poor"]["metrics"]["error"]["score"]["mean"] == pytest.approx(-0.5)
    assert rows["top"]["score"]["mean"] == pytest.approx(1)
    assert rows["mean"]["score"]["mean"] == pytest.approx((0 + (0.1 - 0.2) / 0.8) / 2)
    assert [rows[n]["rank"] for n in ("good", "poor", "low", "mean", "top")] == [
        1, 2, None, None, None,
    ]  # fmt: skip


def test_what_the_registry_does_not_let_rank_is_left_out(report):
    def values(name, *_):
        return KNOWN[name] | {"shown": 0.99 if name == "poor" else 0.01}

    _, out = report(Bench(CONTROLS | {"good": None, "poor": None}, values))
    rows = board(out)
    assert rows["good"]["rank"] == 1
    assert set(rows["good"]["metrics"]) == {"error", "fit"}


def test_the_interval_is_over_seeds_after_the_mean_over_conditions(report):
    shift = {1: -0.2, 2: 0.0, 3: 0.2}

    def values(name, dataset, setting, seed):
        if name != "good":
            return dict(KNOWN[name])
        # The conditions differ a lot, the seeds little: the interval must be of the seeds alone.
        wide = 0.3 if setting == "mask_15" else -0.3
        return {"error": 1.5 + shift[seed] + wide, "fit": 0.6}

    settings = {"mask_15": {"percentage": 0.15}, "mask_30": {"percentage": 0.3}}
    _, out = report(Bench(CONTROLS | {"good": None}, values, settings=settings))
    score = board(out)["good"]["score"]
    half = 4.302652729911275 * 0.1 / 3**0.5  # t(0.975, 2), standard deviation of 0.4, 0.5, 0.6
    assert score["seeds"] == 3
    assert score["mean"] == pytest.approx(0.5)
    assert score["high"] - score["mean"] == pytest.approx(half)


def test_without_a_ceiling_the_best_possible_value_is_one(report):
    def values(name, *_):
        return {"fit": KNOWN[name]["fit"], "error": KNOWN[name]["error"]}

    models = {"low": "floor", "mean": "floor", "good": None}
    _, out = report(Bench(models, values))
    good = board(out)["good"]["metrics"]
    assert good["error"]["score"]["mean"] == pytest.approx((1.5 - 2) / (0 - 2))
    assert good["fit"]["score"]["mean"] == pytest.approx((0.6 - 0.2) / (1 - 0.2))
    assert "no ceiling control was scored" in (out / "report.html").read_text()


def test_without_a_floor_the_score_is_the_share_of_models_beaten(report):
    _, out = report(Bench({"good": None, "poor": None, "top": "ceiling"}, known))
    rows = board(out)
    assert rows["good"]["scale"] == "share_beaten"
    assert rows["good"]["score"]["mean"] == 1
    assert rows["poor"]["score"]["mean"] == 0
    assert "No floor control has a score here" in (out / "report.html").read_text()


def test_a_model_that_lacks_a_score_is_shown_and_not_ranked(report):
    def values(name, dataset, setting, seed):
        if name == "good" and seed == 2:
            return {"status": {"status": "failed", "reason": "it broke", "exit_code": 1}}
        return dict(KNOWN[name])

    _, out = report(Bench(CONTROLS | {"good": None, "poor": None}, values))
    good = board(out)["good"]
    assert good["rank"] is None
    assert (good["comparisons"], good["comparisons_expected"]) == (4, 6)
    assert (good["score"]["low"], good["score"]["high"]) == (None, None)
    assert board(out)["poor"]["rank"] == 1
    drawn = (out / "leaderboard.svg").read_text()
    assert "good (4 of 6)" in drawn
    assert "1. poor" in drawn
    # The frontier is of what is ranked: poor's mark is where it lies, though good is better.
    frontier = re.search(r'<path class="line frontier" d="M[-.0-9]+ ([-.0-9]+)', drawn)
    poor = re.search(r'd="M[-.0-9]+ ([-.0-9]+)[^>]*><title>poor: [^,<]*, ', drawn)
    assert frontier[1] == poor[1]


def test_an_undefined_metric_leaves_the_model_unranked(report):
    def values(name, *_):
        return KNOWN[name] | ({"fit": None} if name == "poor" else {})

    _, out = report(Bench(CONTROLS | {"good": None, "poor": None}, values))
    poor = board(out)["poor"]
    assert poor["rank"] is None
    assert poor["metrics"]["error"]["rank"] == 2
    assert "fit" not in poor["metrics"]
    assert "prediction is constant" in (out / "report.html").read_text()


def test_a_floor_as_good_as_the_ceiling_leaves_nothing_to_scale(report):
    def values(name, *_):
        return KNOWN[name] | {"error": 1.0}

    _, out = report(Bench(CONTROLS | {"good": None}, values))
    rows = board(out)
    assert set(rows["good"]["metrics"]) == {"fit"}
    assert rows["good"]["rank"] == 1


def test_a_seed_that_ties_models_ties_their_ranks(report):
    noise = {"good": (0.0, 0.1, -0.1), "poor": (0.1, -0.1, 0.05)}

    def values(name, dataset, setting, seed):
        if name not in noise:
            return dict(KNOWN[name])
        return {"error": 1.5 + noise[name][seed - 1], "fit": 0.6}

    _, out = report(Bench(CONTROLS | {"good": None, "poor": None}, values))
    rows = board(out)
    assert (rows["good"]["rank"], rows["poor"]["rank"]) == (1, 1)
    assert rows["good"]["tied"]
    page = (out / "report.html").read_text()
    assert "good and poor lead together" in page
    assert "separates from" not in page
    assert "1=" in (out / "summary.txt").read_text()


@pytest.mark.parametrize(("models", "said"), [
    (["good", "poor"], "No floor control ran: scores set these models against one another"),
    (["good"], "No floor control ran and no other model: there is nothing to score good against"),
])  # fmt: skip
def test_the_report_says_plainly_that_no_floor_ran(report, models, said):
    _, out = report(Bench(dict.fromkeys(models), known))
    assert said in (out / "summary.txt").read_text()
    assert said in (out / "report.html").read_text()
    if models == ["good"]:
        assert (board(out)["good"]["rank"], board(out)["good"]["score"]) == (None, None)


def test_nothing_is_said_about_floors_where_one_ran(report):
    _, out = report(Bench(CONTROLS | {"good": None}, known))
    assert "No floor control" not in (out / "summary.txt").read_text()


def test_the_picture_reads_without_colour(report):
    """Filled or open, and the shape: no two of the models that have a colour, and no two controls,
    share both; the rest have one shape that none of these has."""
    models = [f"m{i}" for i in range(10)]

    places = {"low": 0, "mean": 1, "top": 20} | {name: i + 2 for i, name in enumerate(models)}

    def values(name, dataset, setting, seed):
        return {"error": 30.0 - places[name], "fit": places[name] / 30}

    _, out = report(Bench(CONTROLS | dict.fromkeys(models), values, seeds=(1,)))
    drawn = (out / "leaderboard.svg").read_text().partition("Scores: reconstruction")[2]
    mark = r'<path class="mark ([\w-]+)" d="M([-\d. ]+)([^"]*)"><title>(\w+):'
    marks = re.findall(mark, drawn.split("</svg>")[0])
    looks = {}
    for css, start, path, name in marks:
        x, y = map(float, start.split())
        points = [tuple(map(float, p.split())) for p in re.findall(r"L([-\d.]+ [-\d.]+)", path)]
        shape = [(round(px - x), round(py - y)) for px, py in points] or "circle"
        looks[name] = (css in ("floor", "ceiling"), str(shape), css == "s-rest")
    assert set(looks) == {*CONTROLS, *models}
    rest = {look[1] for look in looks.values() if look[2]}
    # In the table, too: beside a name, and at its score.
    table = (out / "report.html").read_text().partition("<table class=board")[2]
    for row in re.findall(r"<tr class=.*?</tr>", table.partition("</table>")[0]):
        drawn = re.findall(r'<path class="mark [\w-]+" d="([^"]*)"', row)
        assert len(drawn) == 2
        assert len(set(drawn)) == 1
    own = [look for look in looks.values() if not look[2]]
    assert len(rest) == 1
    assert len(own) == 8 + 3 == len(set(own))
    assert not rest & {look[1] for look in own}


def test_names_of_rows_are_not_cut_off_at_the_edge(report):
    """Those that are far too long lose their middle: variants differ at the end."""
    models = ["segmenter.semicrf_uniform", *(f"{'long_' * 9}.{end}" for end in ("one", "two"))]

    def values(name, *_):
        return {"error": 1 + len(name) / 100, "fit": 0.5}

    _, out = report(Bench(CONTROLS | dict.fromkeys(models), values, seeds=(1,)))
    drawn = (out / "leaderboard.svg").read_text()
    found = re.findall(r'<text class="tick" x="([-\d.]+)"[^>]*text-anchor="end">([^<]*)', drawn)
    assert "1. segmenter.semicrf_uniform" in {text for _, text in found}
    assert {text[-5:] for _, text in found if "…" in text} == {"_.one", "_.two"}
    assert all(float(end) >= 6.5 * len(text) for end, text in found)
    right, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())
    inner = re.findall(r'<svg x="(\d+)" y="(\d+)" viewBox="0 0 (\d+) (\d+)"', drawn)
    assert len(inner) == 2
    for x, y, width, tall in (map(int, box) for box in inner):
        assert x + width <= right
        assert y + tall <= height
