"""bin/check-metric holds a metric against the controls; without their runs here, which other tests
make: the verdicts are functions of what they are worth."""

from dataclasses import replace

import numpy as np
import pytest

from lacuna import metrics
from lacuna.authoring import check_metric
from lacuna.authoring.check_metric import direction, in_range, undefined
from lacuna.setup.registry import models
from lacuna_contract.errors import ContractError

CONTROLS = {r.name: r for r in models() if r.manifest.get("control")}
MSE = metrics.of_task("reconstruction")["mse"]
PLAIN = {"zeros": (3.0, None), "gene_mean": (2.0, None), "oracle": (1.5, None), "truth": (0, None)}
CEILINGS = {"oracle", "truth"}


def test_a_name_that_is_none():
    with pytest.raises(ContractError, match="unknown metric 'mes'. Did you mean 'mse'?"):
        check_metric.find("mes")
    assert check_metric.find("ari").task == "multimodal"


def test_the_direction_is_told_by_floors_and_ceilings():
    assert direction(MSE, PLAIN, CEILINGS).passed
    wrong = direction(replace(MSE, direction="max"), PLAIN, CEILINGS)
    assert not wrong.passed
    assert "the wrong way round, truth and prediction are swapped" in wrong.todo
    beaten = PLAIN | {"oracle": (2.5, None)}
    assert not direction(MSE, beaten, CEILINGS).passed
    assert direction(replace(MSE, rank=False), beaten, CEILINGS).passed


def test_values_outside_of_the_range_are_found():
    found = {("zeros", "plain"): (3.0, None), ("truth", "plain"): (0.0, None)}
    assert in_range(MSE, found).passed
    above = in_range(replace(MSE, range=(0, 1)), found)
    assert above.said == "(0, 1), but 3 for zeros, plain"
    assert "and 1 more" in in_range(replace(MSE, range=(5, 6)), found).said
    nothing = in_range(MSE, {("zeros", "plain"): (None, "no entries")})
    assert (nothing.passed, nothing.said) == (
        False,
        "it is undefined for every control: no entries",
    )


def test_a_null_needs_a_reason_of_its_own():
    fine = {("zeros", "one entry"): (None, "the prediction is constant"), ("a", "b"): (1.0, None)}
    assert undefined(fine).passed
    assert "1 of 2 values are null: the prediction is constant" in undefined(fine).said
    assert not undefined(fine | {("a", "c"): (None, "it is nan for these values")}).passed


def test_a_decorator_that_says_too_little():
    assert check_metric.declared(MSE).passed
    bare = check_metric.declared(replace(MSE, doc="", range=(1, 0), purpose=""))
    assert not bare.passed
    assert "a docstring" in bare.todo
    assert "a range whose lowest" in bare.todo
    assert "a purpose" in bare.todo


def test_metrics_are_scored_on_what_the_controls_predict(monkeypatch):
    """The real thing, with one floor and one ceiling."""
    controls = [CONTROLS["gene_mean"], CONTROLS["truth"]]
    verdicts = {v.name: v for v in check_metric.check(MSE, controls)}
    assert all(v.passed for v in verdicts.values()), verdicts
    assert list(verdicts) == ["declaration", "range", "undefined", "direction"]
    assert "truth 0" in verdicts["direction"].said

    turned = replace(MSE, function=lambda moments: np.inf, direction="max")
    monkeypatch.setitem(metrics.registry._registered["reconstruction"], "mse", turned)
    failed = {v.name for v in check_metric.check(turned, controls) if not v.passed}
    assert failed == {"range", "undefined"}

    def raises(moments):
        raise AttributeError("no such thing as a mode")

    broken = replace(MSE, function=raises)
    monkeypatch.setitem(metrics.registry._registered["reconstruction"], "mse", broken)
    (failed,) = [v for v in check_metric.check(broken, controls) if not v.passed]
    assert failed.name == "scoring"
    assert "gene_mean" in failed.said
    assert "no such thing as a mode" in failed.said
