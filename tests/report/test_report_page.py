import json
import re
import time
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from synthetic import FACTS, Bench, lively

from lacuna.report import stage

VOID = {"wbr", "meta", "link", "br", "hr", "img", "input"}


class Checker(HTMLParser):
    """Collects resources that a page asks for, and tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.asked = [], [], []

    def handle_starttag(self, tag, attrs):
        self.asked += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def check(html: str) -> None:
    """The page is well nested, asks for nothing outside itself, and its drawings are XML."""
    checker = Checker()
    checker.feed(html)
    assert (checker.wrong, checker.open) == ([], [])
    assert [link for link in checker.asked if not link.startswith("#")] == []
    assert not re.search(r"https?://|@import|url\(|//[a-z]+\.", html)
    for drawing in re.findall(r"<svg viewBox.*?</svg>", html, re.S):
        ElementTree.fromstring(drawing)
    assert not re.search(r'\b(?:d|x|y|style)="[^"]*(nan|inf)', html)


def page(out) -> str:
    return (out / "report.html").read_text()


def scores(**by_name):
    return lambda name, *_: {"error": by_name[name], "fit": 0.5}


def failing(name, *_):
    return {"status": {"status": "failed", "reason": "it broke", "exit_code": 1}}


def nothing(name, *_):
    return {"error": None, "fit": None, "shown": None}


@pytest.mark.parametrize(
    "bench",
    [
        lively(),
        lively(models=20),
        lively(seeds=(42,)),
        lively(settings={"mask_15": {"percentage": 0.15}}),
        lively(datasets=("pbmc", "other")),
        Bench({"good": None}, scores(good=1.0), seeds=(1,)),
        Bench({"floor": "floor"}, scores(floor=1.0)),
        Bench({"good": None, "bad": None}, failing),
        Bench({"good": None, "floor": "floor"}, lambda *_: None),
        Bench({"good": None, "floor": "floor", "top": "ceiling"}, nothing),
        Bench({"good": None, "floor": "floor"}, scores(good=1e-12, floor=1e9)),
        Bench({"good": None}, lambda *_: {"error": 1.0, "seconds": 0, "memory": 0}),
        Bench({"good": None}, lambda *_: {"error": 1.0, "seconds": None, "memory": None}),
    ],
    ids=["lively", "many", "one seed", "one condition", "two datasets", "one run", "only a floor",
         "all failed", "all lost", "all undefined", "extremes", "no time", "not measured"],
)  # fmt: skip
def test_the_page_stands_whatever_is_missing(report, bench):
    _, out = report(bench)
    check(page(out))
    if (out / "leaderboard.svg").exists():
        drawing = (out / "leaderboard.svg").read_text()
        ElementTree.fromstring(drawing)
        assert "http" not in drawing.replace("http://www.w3.org/2000/svg", "")


def test_words_at_the_top_say_who_leads_and_whether_it_separates(report):
    _, out = report(lively())
    html = page(out)
    assert "svd leads, at 0.4" in html
    assert "svd separates from knn_smoothing" in html
    assert "Not ranked for missing scores: scvi" in html


@pytest.mark.parametrize(
    ("pipeline", "warned"),
    [
        ({"engine": "venv"}, "venv"),
        ({"engine": "docker", "executor": "k8s"}, "docker on k8s"),
        ({"engine": "docker", "executor": "local"}, None),
        ({"engine": "apptainer", "executor": "slurm"}, None),
    ],
)
def test_a_run_without_isolation_says_so(tmp_path, monkeypatch, pipeline, warned):
    monkeypatch.setattr(stage, "describe", lambda task, names: {n: FACTS[n] for n in names})
    plan, records = lively().write(tmp_path)
    (tmp_path / "pipeline.json").write_text(json.dumps(pipeline))
    stage.build(plan, records, tmp_path / "pipeline.json", tmp_path / "out")
    html = page(tmp_path / "out")
    assert ("models were not isolated" in html) == (warned is not None)
    assert warned is None or f"not isolated ({warned})" in html


def test_it_says_what_the_datasets_are_that_lacuna_brings(report):
    bench = lively(datasets=("mock", "pbmc_mosaic", "mine"))
    bench.task = "multimodal"
    _, out = report(bench)
    section = page(out).partition("<section id=")[2].partition("</section>")[0]
    assert "<b>mock</b>: cells with RNA, ATAC and ADT" in section
    assert re.search("<b>pbmc_mosaic</b>: [^<]*a smoke set", section)
    assert "<b>mine</b>" not in section


def test_versions_are_said_once_for_the_models_that_share_them(report):
    _, out = report(lively())
    ((names, said),) = re.findall(r"<dt>([^<]*)</dt><dd>(numpy [^<]*)</dd>", page(out))
    assert said == "numpy 2.4.0"
    assert "svd" in names.split(", ")


def test_with_one_seed_nothing_is_said_of_intervals(report):
    _, out = report(lively(seeds=(42,)))
    html = page(out)
    assert "(one seed, so no interval)" in html
    assert "Whether this order would hold on another seed is not known" in html
    assert "separates from" not in html
    assert "±" not in html.split("<body>")[1].replace("± half the 95 % interval", "")


def test_everything_that_comes_from_outside_is_escaped(report):
    nasty = '<img src=x onerror="alert(1)">&'

    def values(name, *_):
        if name == "floor":
            return {"error": 1.0}
        return {"status": {"status": "failed", "reason": nasty, "stderr_tail": nasty}}

    bench = Bench({nasty: None, "floor": "floor"}, values, datasets=(nasty,),
                  settings={nasty: {"<b>": 1}, "<i>": {"<b>": 2}})  # fmt: skip
    _, out = report(bench)
    html = page(out)
    assert "<img" not in html
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;" in html
    check(html)

    def scored(name, *_):
        return {"error": 1.0 if name == "floor" else 0.5}

    bench.values = scored
    _, out = report(bench)
    assert "<img" not in page(out)
    check(page(out))


def test_every_failure_shows_its_reason_and_stderr(report):
    _, out = report(lively())
    html = page(out)
    assert "ValueError: &lt;NaN&gt; &amp; inf in the loss at epoch 12" in html
    assert "no record of this run reached the report" in html


def test_quality_is_drawn_against_seconds_and_memory(report):
    _, out = report(lively())
    figure = page(out).partition("Quality against cost")[2].partition("</figure>")[0]
    assert figure.count("<svg viewBox") == 2
    for what in ("seconds a run", "peak memory"):
        assert f"Score against {what}" in figure


def test_five_hundred_runs_stay_small_and_fast(report):
    start = time.process_time()
    _, out = report(lively(models=50, seeds=(1, 2, 3), settings={
        "mask_15": {"percentage": 0.15}, "mask_30": {"percentage": 0.3},
        "mask_50": {"percentage": 0.5},
    }))  # fmt: skip
    assert time.process_time() - start < 5
    assert len(page(out).encode()) < 2_000_000
    check(page(out))
