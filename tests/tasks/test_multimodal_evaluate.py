"""Scores of the task multimodal, and predictions that have none."""

import importlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from posing import TASK, posed

from lacuna.mock.files import read_plan
from lacuna_contract.errors import InvalidOutput
from lacuna_contract.h5ad import open_h5ad
from lacuna_contract.tasks.multimodal import read, write

QUICK = ["rna_nb_deviance", "rna_pearson_gene", "atac_auroc_peak", "atac_brier"]
QUICK += ["adt_pearson", "adt_rmse_log", "foscttm", "label_transfer", "z_distance"]


def answer(pairs, scenario, change=lambda embedding, imputed: (embedding, imputed)):
    """A prediction of the truth's own expectation, changed."""
    input, truth = pairs[scenario]
    data, plan = read(input), read_plan(truth)
    imputed = {}
    for name, one in data.asked.items():
        rows = [
            np.logaddexp(0, plan.expected_log_adt(c, c + 1)[0])
            if name == "adt"
            else plan.expected(name, c, c + 1)[0]
            for c in one.cells
        ]
        imputed[name] = np.array(rows)[:, one.features]
    return data, *change(plan.cells.z, imputed)


def test_twins_are_asked_for_and_not_scored(pairs, tmp_path):
    truth = pairs["unpaired"][1]
    with open_h5ad(truth) as file:
        twin = file["obs/twin"][:] >= 0
    data, z, imputed = answer(pairs, "unpaired")
    write(tmp_path / "one.h5ad", data, z, imputed)
    scored = 0
    for modality, one in data.asked.items():
        assert twin[one.cells].any(), modality
        imputed[modality][twin[one.cells]] = 0.5
        scored += int((~twin[one.cells]).sum()) * one.features.size
    write(tmp_path / "two.h5ad", data, z, imputed)
    found = [
        TASK.evaluate(truth, tmp_path / f"{n}.h5ad", QUICK, drawn=False) for n in ("one", "two")
    ]
    assert found[0].metrics == found[1].metrics
    assert found[0].n_hidden == scored


def test_the_oracle_beats_what_knows_less_by_more_than_noise(pairs, tmp_path):
    input, truth = pairs["mosaic"]
    data, z, imputed = answer(pairs, "mosaic")
    write(tmp_path / "oracle.h5ad", data, z, imputed)
    best = TASK.evaluate(truth, tmp_path / "oracle.h5ad", QUICK, drawn=False).metrics
    means = {m: np.broadcast_to(v.mean(axis=0), v.shape) for m, v in imputed.items()}
    noise = np.random.default_rng(0).normal(size=z.shape)
    write(tmp_path / "mean.h5ad", data, noise, means)
    rng = np.random.default_rng(1)
    blurred = {
        m: np.clip(v * np.exp(rng.normal(0, 0.3, v.shape)), 0, 1 if m == "atac" else None)
        for m, v in imputed.items()
    }
    write(tmp_path / "blurred.h5ad", data, z + 2 * noise, blurred)
    for other in ("mean", "blurred"):
        found = TASK.evaluate(truth, tmp_path / f"{other}.h5ad", QUICK, drawn=False).metrics
        for name, value in found.items():
            less = name in ("rna_nb_deviance", "atac_brier", "adt_rmse_log", "foscttm")
            sign = -1 if less else 1
            assert sign * best[name] > sign * value, (other, name)
    assert best["foscttm"] == 0
    assert best["z_distance"] == pytest.approx(1)


def test_rows_and_columns_are_matched_by_name(pairs, tmp_path):
    input, truth = pairs["mosaic"]
    data, z, imputed = answer(pairs, "mosaic")
    write(tmp_path / "one.h5ad", data, z, imputed)
    rng = np.random.default_rng(3)
    order = rng.permutation(data.n_cells)
    place = np.argsort(order)
    asked, shuffled = {}, {}
    for m, one in data.asked.items():
        rows, columns = (rng.permutation(n) for n in one.shape)
        asked[m] = replace(one, cells=place[one.cells][rows], features=one.features[columns])
        shuffled[m] = imputed[m][rows][:, columns]
    moved = replace(data, cells=[data.cells[i] for i in order], asked=asked)
    write(tmp_path / "two.h5ad", moved, z[order], shuffled)
    scores = [
        TASK.evaluate(truth, tmp_path / f"{n}.h5ad", QUICK, drawn=False).metrics
        for n in ("one", "two")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_what_nothing_is_asked_of_is_undefined(pairs, tmp_path):
    input, truth = pairs["paired"]
    data, z, imputed = answer(pairs, "paired")
    write(tmp_path / "p.h5ad", data, z, imputed)
    scores = TASK.evaluate(truth, tmp_path / "p.h5ad", QUICK, drawn=False)
    assert scores.metrics["atac_brier"] is None
    assert "nothing of this modality (atac) is hidden" in scores.undefined["atac_brier"]
    assert "no two modalities" in scores.undefined["foscttm"]
    assert scores.metrics["z_distance"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("scenario", "defined"),
    [
        ("paired", False), ("prediction", False),
        ("unpaired", True), ("bridge", True), ("mosaic", True), ("hierarchical", True),
    ],
)  # fmt: skip
def test_alignment_is_scored_where_it_is_defined(pairs, tmp_path, scenario, defined):
    if scenario == "hierarchical":
        # Few cells of one batch have one modality alone: with 200 too few to be there twice.
        pairs = {scenario: posed(tmp_path, scenario, cells=600)}
    data, z, imputed = answer(pairs, scenario)
    write(tmp_path / "p.h5ad", data, z, imputed)
    names = ["foscttm", "label_transfer"]
    found = TASK.evaluate(pairs[scenario][1], tmp_path / "p.h5ad", names, drawn=False)
    for name in names:
        assert (found.metrics[name] is not None) == defined
        assert defined or "no two modalities have cells" in found.undefined[name]
    if defined:
        assert found.metrics["foscttm"] == 0
        assert found.metrics["label_transfer"] > 0.7


def test_the_picture_is_drawn_whatever_the_metrics_unless_it_is_not_wanted(
    pairs, tmp_path, monkeypatch
):
    module = importlib.import_module("lacuna.tasks.multimodal.evaluate")
    monkeypatch.setattr(module, "picture", lambda embedding, known: {"x": len(embedding)})
    input, truth = pairs["paired"]
    data, z, imputed = answer(pairs, "paired")
    write(tmp_path / "p.h5ad", data, z, imputed)
    found = TASK.evaluate(truth, tmp_path / "p.h5ad", ["z_distance"])
    assert set(found.details) == {"cohorts", "twins", "imputed", "picture"}
    assert found.details["picture"] == {"x": len(z)}
    assert TASK.evaluate(truth, tmp_path / "p.h5ad", ["z_distance"], drawn=False).details == {}


def nan_embedding(file):
    file["obsm/X_embedding"][3, 0] = np.nan


def above_one(file):
    file["uns/imputed/atac/values"][0, 0] = 1.5


def unasked(file):
    file.copy(file["uns/imputed/atac"], file["uns/imputed"], "adt")


def missing(file):
    del file["uns/imputed/atac"]


def renamed(file):
    file["obs/_index"][0] = "somebody"


def other_features(file):
    file["uns/imputed/rna/features"][0] = "peak_of_fame"


def of_text(file):
    values = file["uns/imputed/atac/values"]
    words = values[:].astype(str).tolist()
    del file["uns/imputed/atac/values"]
    file.create_dataset("uns/imputed/atac/values", data=words, dtype=h5py.string_dtype())


def no_embedding(file):
    del file["obsm/X_embedding"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (nan_embedding, "embedding holds 1 NaN"),
        (above_one, "expected probability, from 0 to 1"),
        (unasked, "predicted adt; asked for: rna, atac"),
        (missing, "did not predict atac"),
        (renamed, "'somebody'"),
        (other_features, "feature names are not those of the input"),
        (no_embedding, "X_embedding"),
        (of_text, "uns/imputed/atac/values|the prediction of atac holds values of type object"),
    ],
)
def test_a_prediction_that_cannot_be_scored(pairs, tmp_path, damage, said):
    input, truth = pairs["bridge"]
    data, z, imputed = answer(pairs, "bridge")
    write(tmp_path / "p.h5ad", data, z, imputed)
    with h5py.File(tmp_path / "p.h5ad", "r+") as file:
        damage(file)
    with pytest.raises(InvalidOutput, match=said):
        TASK.evaluate(truth, tmp_path / "p.h5ad", QUICK, drawn=False)
