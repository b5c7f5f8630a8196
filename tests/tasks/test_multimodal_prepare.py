"""What the task multimodal hides, asks for and tells, in mock scenarios."""

import json
from dataclasses import replace

import numpy as np
import pytest
from posing import SCENARIOS, posed

from lacuna.mock.files import read_plan
from lacuna.parameters import Problems
from lacuna.plan import plan_data
from lacuna.tasks.multimodal.conditions import conditions
from lacuna.tasks.multimodal.evaluate import Truth
from lacuna.tasks.multimodal.question import Cells, pose
from lacuna_contract import ContractError
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.tasks.multimodal import MODALITIES, read


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_input_and_truth_fit_their_schemas_and_each_other(pairs, scenario):
    input, truth = pairs[scenario]
    check_h5ad(input, "multimodal_input")
    check_h5ad(truth, "multimodal_truth")
    data, plan = read(input), read_plan(truth)
    assert plan.cells.z.shape[0] == data.n_cells
    hidden = 0
    with open_h5ad(truth) as file, open_h5ad(input) as given:
        for modality, one in data.asked.items():
            assert not data.has[modality][one.cells].any()
            hidden += len(one.cells) * len(one.features)
        assert read_uns(file)["n_hidden"] == hidden == read_uns(given)["n_hidden"]
    if scenario == "paired":
        assert not data.asked
    if scenario == "prediction":
        assert list(data.asked) == ["atac"]
        assert (data.split[data.asked["atac"].cells] == "test").all()


@pytest.mark.parametrize("scenario", ["bridge", "mosaic", "hierarchical"])
def test_what_is_hidden_is_what_the_law_gives_at_these_cells(pairs, scenario):
    """Rows of truth and law belong together, in spite of cells that are there twice."""
    input, truth = pairs[scenario]
    data, plan = read(input), read_plan(truth)
    with open_h5ad(truth) as file:
        values = Truth(file).values("atac")
    one = data.asked["atac"]
    expected = np.array([plan.expected("atac", c, c + 1)[0, one.features] for c in one.cells])
    right = np.log(np.where(values > 0, expected, 1 - expected)).mean()
    shuffled = np.random.default_rng(0).permutation(expected)
    assert right > np.log(np.where(values > 0, shuffled, 1 - shuffled)).mean() + 0.001


def test_twins_are_the_same_cell_with_one_other_modality(pairs):
    for scenario in ("unpaired", "bridge", "mosaic"):
        input, truth = pairs[scenario]
        data = read(input)
        with open_h5ad(truth) as file:
            twin, z = file["obs/twin"][:], file["obsm/z"][:]
        rows = np.flatnonzero(twin >= 0)
        assert len(rows) >= 20, scenario
        has = np.column_stack([data.has.get(m, np.zeros(data.n_cells, bool)) for m in MODALITIES])
        assert (has[rows].sum(axis=1) == 1).all()
        assert not (has[rows] & has[twin[rows]]).any()
        assert np.array_equal(z[rows], z[twin[rows]])
        assert np.array_equal(twin[twin[rows]], rows)


def odd_among_neighbours(batch, reach=3):
    """Rows of another batch than most of the rows around."""
    n = len(batch)
    around = [batch[max(0, i - reach) : i + reach + 1] for i in range(n)]
    return np.array([np.mean(near == batch[i]) <= 0.5 for i, near in enumerate(around)])


@pytest.mark.parametrize("scenario", ["unpaired", "bridge", "mosaic"])
def test_a_twin_does_not_stand_out(pairs, scenario):
    """Neither its batch nor its place nor what is asked of it tells that a row was added."""
    input, truth = pairs[scenario]
    data = read(input)
    with open_h5ad(truth) as file:
        twin = file["obs/twin"][:] >= 0
    if scenario == "unpaired":
        for batch in np.unique(data.batch):
            assert len({data.has["rna"][i] for i in np.flatnonzero(data.batch == batch)}) == 1
    for modality, one in data.asked.items():
        lacks = np.flatnonzero(~data.has[modality])
        never = np.setdiff1d(lacks, one.cells)
        assert not never.size or twin[never].mean() < 0.5, f"what is not asked of {modality}"
    if len(np.unique(data.batch)) > 1:
        odd = odd_among_neighbours(data.batch)
        assert odd.sum() > 10, "rows come in any order"
        assert abs(twin[odd].mean() - twin.mean()) < 0.2


@pytest.mark.parametrize("scenario", ["paired", "prediction"])
def test_no_twins_where_no_cell_has_one_modality_alone(pairs, scenario):
    with open_h5ad(pairs[scenario][1]) as file:
        assert "no two modalities have cells" in read_uns(file)["no_twins"]
        assert (file["obs/twin"][:] == -1).all()


def test_the_input_says_nothing_of_the_truth(pairs):
    input, truth = pairs["mosaic"]
    with open_h5ad(input) as file:
        assert set(file["obs"]) == {"_index", "batch", "dataset", "split"} | {
            f"has_{m}" for m in MODALITIES
        }
        assert set(file["uns"]) == {"lacuna", "asked", "adt_names", "peak_gene", "adt_gene"}
        assert read_uns(file).keys() == {"task", "n_hidden"}
        assert not set(file["obsm"]) - {"X_atac", "X_adt"}
    with open_h5ad(truth) as file:
        settings = json.loads(read_uns(file)["settings"])
    assert settings["seed"] != 7


def test_a_seed_means_the_same_bytes_and_a_salt_others(tmp_path, pairs):
    again = posed(tmp_path, "bridge")
    assert again[0].read_bytes() == pairs["bridge"][0].read_bytes()
    salted = posed(tmp_path, "bridge", salt="secret")
    # Other cells, not only others of them hidden: the run's seed is no secret.
    laws = [read_plan(truth).law.rna.dispersion for _, truth in (again, salted)]
    assert not np.isin(*laws).any()


def test_scenarios_of_a_seed_have_the_same_cells(pairs):
    laws = [read_plan(pairs[s][1]).law.rna.dispersion for s in ("bridge", "mosaic")]
    assert np.array_equal(*laws)


def test_much_is_asked_for_in_part(tmp_path, monkeypatch):
    from lacuna.tasks.multimodal import question

    monkeypatch.setattr(question, "MOST_FEATURES", 40)
    monkeypatch.setattr(question, "MOST_CELLS", 30)
    data = read(posed(tmp_path, "unpaired")[0])
    assert data.asked["atac"].shape == (30, 40)
    assert (np.diff(data.asked["atac"].features) > 0).all()
    assert data.asked["atac"].features.max() > 100, "drawn from all peaks"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scenarios": "brige"}, "unknown scenario 'brige'. Did you mean 'bridge'?"),
        ({"cells": 0}, "cells '0': expected a whole number from 40 upwards"),
        ({"cells": 3}, "cells '3'"),
        ({"cells": ""}, "no number of cells is given"),
        ({"peaks": -5}, "peaks '-5'"),
        ({"cells": "100,200"}, "expected one for all conditions"),
        ({"scenarios": "bridge,bridge"}, "scenario bridge is given twice"),
        ({"seeds": "x"}, "seed 'x'"),
        ({"target": "dna"}, "unknown target modality 'dna'"),
        ({"target": "rna,adt"}, "target is rna,adt; expected one for all conditions"),
        (
            {"target": "rna", "scenarios": "bridge,mosaic"},
            "target rna is for prediction, and the scenarios are bridge, mosaic",
        ),
    ],
)
def test_conditions_that_make_no_sense(given, said):
    with pytest.raises(ContractError) as caught:
        conditions(given)
    assert said in str(caught.value)


def test_a_target_is_for_the_scenario_that_has_one():
    found = {c.arguments["scenario"]: c.arguments for c in conditions({"target": "adt"})}
    assert {name for name, arguments in found.items() if "target" in arguments} == {"prediction"}
    assert found["prediction"]["target"] == "adt"
    assert "target" not in conditions({"scenarios": "prediction"})[0].arguments
    names = {condition.name for condition in conditions({"target": "adt"})}
    assert {"prediction_adt_seed_42", "mosaic_seed_42"} < names


@pytest.mark.parametrize("target", ["rna", "atac", "adt"])
def test_test_cells_hide_the_target(tmp_path, pairs, target):
    input, truth = posed(tmp_path, "prediction", target=target)
    data, usual = read(input), read(pairs["prediction"][0])
    assert list(data.asked) == [target]
    test = data.split == "test"
    assert (data.has[target] == ~test).all()
    for other in set(MODALITIES) - {target}:
        assert data.has[other].all()
    assert data.cells == usual.cells
    assert (data.split == usual.split).all(), "the same cells are hidden"
    assert (input.read_bytes() == pairs["prediction"][0].read_bytes()) == (target == "atac")
    with open_h5ad(truth) as file:
        assert read_uns(file)["arguments"]["target"] == target
    with open_h5ad(pairs["prediction"][1]) as file:
        assert read_uns(file)["arguments"]["target"] == "atac", "the usual one is known, too"
    with open_h5ad(pairs["bridge"][1]) as file:
        assert "target" not in read_uns(file)["arguments"]


def test_conditions_belong_to_datasets():
    problems = Problems()
    given = {"tasks": "multimodal", "datasets": "mock,pbmc_mosaic", "scenario_seeds": "1,2"}
    rows, planned = plan_data(given, None, problems)
    assert not problems.found
    assert len(rows) == 2
    of = {row["dataset"]: [c for c in planned if c["dataset"] == row["dataset"]] for row in rows}
    assert len(of["mock"]) == 12
    assert [c["condition"] for c in of["pbmc_mosaic"]] == ["holdout_seed_1", "holdout_seed_2"]
    plan_data(given | {"scenarios": "bridge"}, None, problems)
    assert problems.found == ["dataset 'pbmc_mosaic' has none of these conditions: bridge_seed_1, "
                              "bridge_seed_2"]  # fmt: skip


def test_test_cells_are_asked_for_where_there_are_any():
    keep = np.ones((20, 3), dtype=bool)
    keep[:10, 1] = False
    labels = np.full(20, "a", object)
    split = np.where(np.arange(20) % 2, "test", "train").astype(object)
    cells = Cells(np.ones((20, 3), bool), keep, labels, labels, split, shifted=True)
    asked = pose(cells, {"atac": 5}, np.random.default_rng(0)).asked
    assert asked["atac"].cells.tolist() == [1, 3, 5, 7, 9]
    cells = replace(cells, split=np.full(20, "train", object))
    assert len(pose(cells, {"atac": 5}, np.random.default_rng(0)).asked["atac"].cells) == 10


def test_twins_keep_to_batches_where_batches_differ():
    n = 200
    keep = np.zeros((n, 3), dtype=bool)
    keep[:100, 0], keep[100:, 1] = True, True
    words = np.array(["a", "b"], dtype=object)
    cells = Cells(
        np.ones((n, 3), bool), keep, words[(np.arange(n) >= 100).astype(int)],
        np.full(n, "s", object), np.full(n, "train", object), shifted=True,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    assert "no two modalities have cells (of one batch)" in pose(cells, {}, rng).no_twins
    assert pose(replace(cells, shifted=False), {}, rng).no_twins is None
