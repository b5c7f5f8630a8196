"""What plots are drawn from, against plain formulas."""

import numpy as np
import pytest
from scipy import stats

from lacuna.metrics.needs import Calibration, PerGene
from lacuna.metrics.pieces import Piece
from lacuna.tasks.reconstruction import details

CELLS, GENES = 60, 40


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    rates = rng.lognormal(0, 0.4, (CELLS, 1)) * 10 ** rng.uniform(-2.5, 1.5, GENES)
    return rng.poisson(rates).astype(float), rates * rng.lognormal(0, 0.3, rates.shape)


def pieces(truth, prediction, step=7):
    for start in range(0, CELLS, step):
        rows = truth[start : start + step]
        yield Piece(
            np.arange(len(rows) + 1) * GENES,
            np.tile(np.arange(GENES), len(rows)),
            rows.ravel(),
            prediction[start : start + step].ravel(),
            np.full(len(rows), 1000.0),
            GENES,
        )


def result(accumulator, *args, **kwargs):
    for piece in pieces(*args, **kwargs):
        accumulator.update(piece)
    return accumulator.result()


def test_by_expression(data):
    truth, prediction = data
    accumulator = PerGene().accumulator()
    result(accumulator, truth, prediction)
    rows = details.by_expression(*accumulator.by_gene())
    assert sum(row["genes"] for row in rows) == GENES
    mean = truth.mean(axis=0)
    for row in rows:
        here = (mean >= row["low"]) & (mean < (row["high"] or np.inf))
        assert row["genes"] == here.sum() > 0
        assert row["n"] == here.sum() * CELLS
        assert row["mean"] == pytest.approx(truth[:, here].mean(), rel=1e-5)
        expected = ((prediction - truth)[:, here] ** 2).mean()
        assert row["mse"] == pytest.approx(expected, rel=1e-5)
        known = [
            stats.pearsonr(truth[:, j], prediction[:, j])[0]
            for j in np.flatnonzero(here)
            if truth[:, j].var() > 0
        ]
        if known:
            assert row["pearson"] == pytest.approx(np.quantile(known, (0.25, 0.5, 0.75)), rel=1e-4)
        else:
            assert row["pearson"] is None


def test_calibration(data):
    truth, prediction = data
    prediction = prediction.copy()
    prediction[3] = 0
    rows = details.calibration(result(Calibration().accumulator(), truth, prediction))
    assert sum(row["n"] for row in rows) == truth.size
    for row, following in zip(rows, [*rows[1:], {"low": np.inf}], strict=True):
        here = (prediction >= row["low"]) & (prediction < following["low"])
        assert row["n"] == here.sum()
        assert row["prediction"] == pytest.approx(prediction[here].mean(), rel=1e-5)
        assert row["truth"] == pytest.approx(truth[here].mean(), rel=1e-5)


def test_by_cell_type(data):
    truth, prediction = data
    types = np.array(["B", "T", "T", "NK"])[np.random.default_rng(1).integers(0, 4, CELLS)]
    kept = result(details.CellTypes(list(types)), truth, prediction)
    rows = kept["by_cell_type"]
    tidy = {(r["stratum"], r["metric"]): r["value"] for r in details.strata(kept)}
    assert tidy == {
        (row["cell_type"], name): row[name]
        for row in rows
        for name in ("mse", "poisson_nll", "pearson")
    }
    assert [row["cells"] for row in rows] == sorted((row["cells"] for row in rows), reverse=True)
    assert {row["cell_type"] for row in rows} == {"B", "T", "NK"}
    for row in rows:
        here = types == row["cell_type"]
        true, mine = truth[here].ravel(), prediction[here].ravel()
        assert row["n"] == len(true)
        assert row["mse"] == pytest.approx(np.mean((true - mine) ** 2), rel=1e-5)
        assert row["pearson"] == pytest.approx(stats.pearsonr(true, mine)[0], rel=1e-5)
        expected = -stats.poisson.logpmf(true, mine).mean()
        assert row["poisson_nll"] == pytest.approx(expected, rel=1e-5)


def test_a_constant_prediction_has_no_correlation_within_a_type(data):
    truth, _ = data
    rows = result(details.CellTypes(["A"] * CELLS), truth, np.ones_like(truth))["by_cell_type"]
    assert rows[0]["pearson"] is None


@pytest.mark.parametrize("step", [1, 7, 60])
def test_cells(data, step):
    truth, prediction = data
    names = [f"c{i}" for i in range(CELLS)]
    rows = result(details.Cells(names), truth, prediction, step)["cells"]
    assert [row["cell"] for row in rows] == ["c0", "c8", "c17", "c25", "c34", "c42", "c51", "c59"]
    for row in rows:
        true = np.log1p(10 * truth[names.index(row["cell"])])
        assert row["truth"] == pytest.approx(np.sort(true)[::-1][:40], abs=0.006)
        mine = np.log1p(10 * prediction[names.index(row["cell"])])
        assert sorted(row["prediction"]) == pytest.approx(sorted(mine), abs=0.006)


def test_fewer_cells_than_are_shown(data):
    truth, prediction = data
    piece = next(pieces(truth, prediction, 3))
    few = details.Cells(["a", "b", "c"])
    few.update(piece)
    assert [row["cell"] for row in few.result()["cells"]] == ["a", "b", "c"]
