import re
from pathlib import Path

import numpy as np
import pytest
from scoring import score

from lacuna import metrics
from lacuna.authoring import check_metric
from lacuna.metrics import registry
from lacuna.metrics.needs import Entries
from lacuna_contract.errors import ContractError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_metrics(monkeypatch):
    registry.of_task("reconstruction")
    copy = {task: dict(known) for task, known in registry._registered.items()}
    monkeypatch.setattr(registry, "_registered", copy)


def test_every_metric_says_what_it_is():
    for name, found in metrics.of_task("reconstruction").items():
        assert found.name == name
        assert found.title
        assert found.doc
        assert found.direction in ("min", "max")
        assert len(found.range) == 2


def test_the_metrics_of_the_issue_are_there():
    split = {f"{m}{s}" for m in ("mse", "mae", "pearson", "spearman") for s in ("", "_zero")}
    split |= {name.replace("_zero", "_nonzero") for name in split}
    others = {"mse_lognorm", "pearson_lognorm", "pearson_gene", "pearson_cell", "poisson_nll"}
    assert set(metrics.of_task("reconstruction")) == split | others | {"auroc", "calibration"}


def test_misspelt_names_get_a_suggestion():
    with pytest.raises(ContractError, match="unknown metric .*'mes'. Did you mean 'mse'"):
        metrics.get("reconstruction", ["pearson", "mes"])


def test_a_metric_of_ones_own(own_metrics):
    """The example of docs/add_a_metric.md."""

    @metrics.metric(
        "reconstruction",
        direction="min",
        range=(0, None),
        needs=Entries(),
        title="Median absolute error",
    )
    def median_absolute_error(entries):
        """Median of |prediction - truth|."""
        return np.median(np.abs(entries.truth - entries.prediction))

    assert "median_absolute_error" in metrics.of_task("reconstruction")
    truth, prediction = np.arange(12.0).reshape(4, 3), np.zeros((4, 3))
    assert score("median_absolute_error", truth, prediction, step=1) == 5.5


def test_the_example_of_a_multimodal_metric(own_metrics):
    """That of docs/add_a_metric.md, as it is written there."""
    text = (ROOT / "docs/add_a_metric.md").read_text()
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", text, re.S) if '"multimodal"' in c)
    exec(code, {})
    found = metrics.of_task("multimodal")["adt_mae_log"]
    assert check_metric.declared(found).passed
    assert found.function(np.expm1(np.eye(2)), np.zeros((2, 2))) == pytest.approx(0.5)


@pytest.mark.parametrize("needs", ["protein", Entries()])
def test_a_need_that_the_task_has_not_is_refused(own_metrics, needs):
    said = "need of metric 'adt_mae' of task 'multimodal': .* There are: adt, atac, embedding, rna"
    with pytest.raises(ContractError, match=said):

        @metrics.metric(
            "multimodal", direction="min", range=(0, None), needs=needs, title="Mean absolute error"
        )
        def adt_mae(truth, prediction):
            """Mean of |prediction - truth|."""


def test_two_metrics_of_one_name_are_refused(own_metrics):
    with pytest.raises(ContractError, match="two metrics of task 'reconstruction' .* 'mse'"):

        @metrics.metric(
            "reconstruction", direction="min", range=(0, None), needs=Entries(), title="again"
        )
        def mse(entries):
            return 0.0


def test_strata_of_needs_that_cannot_be_narrowed():
    with pytest.raises(ContractError, match="'far' has strata, but its needs, Entries, cannot"):

        @metrics.metric(
            "reconstruction",
            direction="min",
            range=(0, None),
            needs=Entries(),
            title="far",
            strata=("zero",),
        )
        def far(entries):
            return 0.0


def test_entries_above_their_limit_are_undefined():
    accumulator = Entries(limit=5).accumulator()
    from scoring import pieces

    every = np.ones((4, 3), dtype=bool)
    for piece in pieces(np.ones((4, 3)), np.ones((4, 3)), every, np.ones(4), step=1):
        accumulator.update(piece)
    with pytest.raises(metrics.Undefined, match="12 entries are more than its limit of 5"):
        accumulator.result()
