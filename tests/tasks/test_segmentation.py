"""The task segmentation: conditions, what a model gets, and how answers are judged."""

import json

import h5py
import numpy as np
import pytest

from lacuna import metrics, tasks
from lacuna.authoring.segmentation import SIZES, law
from lacuna.genome.files import write_pair
from lacuna.report.svg import Series
from lacuna.tasks.segmentation import plots
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, InvalidOutput
from lacuna_contract.h5ad import open_h5ad, read_names
from lacuna_contract.sequences import Segmentation, boundaries
from lacuna_contract.tasks import segmentation

TASK = tasks.load("segmentation")
NAMES = list(metrics.of_task("segmentation"))


def test_conditions():
    found = TASK.conditions(
        {"lengths": "10000,20000", "preset": "motifs, gene_like", "seeds": "1,2"}
    )
    assert len(found) == 8
    assert found[0].name == "motifs_10000_seed_1"
    assert found[0].arguments == {
        "length": 10000, "preset": "motifs", "num_classes": 3,
        "num_train": 1000, "num_val": 200, "num_test": 200,
    }  # fmt: skip
    assert [c.name for c in TASK.conditions({})] == ["gene_like_20000_seed_42"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lengths": 999}, "length '999': expected a whole number from 1000 upwards"),
        ({"preset": "motif"}, "unknown preset 'motif'. Did you mean 'motifs'?"),
        ({"num_classes": 4}, "4 classes; expected 3"),
        ({"num_test": "\u00b2"}, "number of sequences '\u00b2': expected a whole number from 1"),
        ({"num_val": 0}, "number of sequences '0': expected a whole number from 1 upwards"),
        ({"num_test": "3,4"}, "num_test: expected one number; found 2"),
    ],
)
def test_conditions_that_there_are_not(given, said):
    with pytest.raises(ContractError, match=said):
        TASK.conditions(given)


def test_prepare(tmp_path):
    raw = tmp_path / "raw.h5ad"
    TASK.import_dataset({"dataset": "synthetic"}, None, raw)
    given = {"lengths": 1000, "num_train": 2, "num_val": 1, "num_test": 2}
    (condition,) = TASK.conditions(given)
    made = {"key": "segmentation/synthetic/x_seed_42", "seed": 42, "task": "segmentation"}
    made["arguments"] = condition.arguments
    files = {}
    for name, salt in (("a", ""), ("b", ""), ("salted", "secret")):
        pair = [tmp_path / f"{name}_{kind}.h5ad" for kind in ("input", "truth")]
        TASK.prepare(made, raw, *pair, salt)
        files[name] = [path.read_bytes() for path in pair]
    assert files["a"] == files["b"]
    assert files["a"][0] != files["salted"][0]
    check_h5ad(tmp_path / "a_truth.h5ad", "segmentation_truth")
    data = segmentation.read(tmp_path / "a_input.h5ad")
    assert (data.labels[data.test] == -1).all()
    with h5py.File(tmp_path / "a_input.h5ad") as file:
        assert "law" not in file["uns/lacuna"]
        assert "seed_42" not in str(list(file["uns/lacuna"]))
    with pytest.raises(ContractError, match="segmentation has only sequences of known law"):
        TASK.import_dataset({"dataset": "mine"}, raw, tmp_path / "own.h5ad")


@pytest.fixture
def case(tmp_path):
    """The truth, the classes in it, what a model was given, and names of its test sequences."""
    paths = tmp_path / "input.h5ad", tmp_path / "truth.h5ad"
    write_pair(law(), SIZES, np.random.SeedSequence(3), *paths, {})
    with open_h5ad(paths[1]) as file:
        return paths[1], file["X"][:], segmentation.read(paths[0]), read_names(file, "obs")


def test_a_perfect_answer_in_another_order(case, tmp_path):
    truth, labels, data, names = case
    order = np.random.default_rng(0).permutation(len(names))
    begins = boundaries(labels[order])
    answer = Segmentation(
        labels[order],
        begins.astype(np.float32),
        decodings={"boundaries": np.argwhere(begins), "positions": labels[order].astype(int)},
    )
    path = tmp_path / "p.h5ad"
    segmentation.write(path, segmentation.checked(answer, data), [names[i] for i in order], data)
    found = TASK.evaluate(truth, path, NAMES)
    for name in ("boundary_f1", "boundary_f1_near", "segment_f1", "position_f1"):
        assert found.metrics[name] == 1
    assert found.metrics["boundary_calibration"] == pytest.approx(0, abs=1e-9)
    assert found.metrics["learned_kl_exon"] is None
    assert "no durations" in found.undefined["learned_kl_exon"]
    assert len(json.dumps(found.details)) < 40_000
    bare = TASK.evaluate(truth, path, NAMES, drawn=False)
    assert (bare.metrics, bare.details) == (found.metrics, {})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f["X"].__setitem__((0, 0), 3), "classes from 0 to 3; expected 0..2"),
        (lambda f: f["X"].__setitem__((0, 0), -1), "-1 is no class"),
        (lambda f: f["obs/_index"].__setitem__(0, "other"), "sequence names are not those of the"),
        (lambda f: f["var/_index"].__setitem__(0, "x"), "other positions than the input"),
        (lambda f: f["layers/boundaries"].__setitem__((0, 5), np.nan), "without NaN"),
        (
            lambda f: f["uns/lacuna/classes"].__setitem__((), "a,b,c"),
            "expected intergenic,exon,int",
        ),
    ],
)
def test_answers_that_cannot_be_scored(case, tmp_path, spoil, said):
    truth, labels, data, names = case
    answer = Segmentation(labels, boundaries(labels).astype(np.float32))
    path = tmp_path / "p.h5ad"
    segmentation.write(path, segmentation.checked(answer, data), names, data)
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(InvalidOutput, match=said):
        TASK.evaluate(truth, path, NAMES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": [["exon"]]}, "labels: <U4 of shape"),
        ({"labels": [[0], [0, 1]]}, "the model returned a list that is no array: "),
        ({"boundaries": np.full((1, 1), None)}, "boundaries: object of shape"),
        ({"durations": [[None] * 3]}, "durations: object of shape"),
    ],
)
def test_what_is_no_number_is_no_answer(case, change, said):
    _, labels, data, _ = case
    with pytest.raises(InvalidOutput, match=said):
        segmentation.checked(Segmentation(**({"labels": labels} | change)), data)


def test_figures(case, tmp_path):
    truth, labels, data, names = case
    durations = np.log(np.full((500, 3), 1 / 500))
    series = []
    for name, control, answer in (
        ("ceiling", "ceiling", Segmentation(labels)),
        ("model", None, Segmentation(np.roll(labels, 3, axis=1), None, durations)),
        ("floor", "floor", Segmentation(np.zeros_like(labels))),
    ):
        path = tmp_path / f"{name}.h5ad"
        segmentation.write(path, segmentation.checked(answer, data), names, data)
        details = TASK.evaluate(truth, path, NAMES).details
        series.append(Series(name, control or "s0", "o", control, details))
    found = {figure.title: figure for figure in plots.figures(series)}
    for name in data.classes:
        panels = found[f"Durations, {name}"].panels
        # Ground truth, ceiling, models, in this order; the floor has no panel.
        assert [p.count("<svg") for p in panels] == [1, 1, 1]
        for panel, word in zip(panels, ("ground truth", "ceiling", "model"), strict=True):
            assert f">{word}" in panel
    assert "KL" in found["Durations, exon"].panels[0]
    assert len(found["Learned durations"].panels) == 3
    assert len(found["Sequences, true and predicted"].panels) == 3
    assert "Boundaries by tolerance" in found
    assert plots.figures([]) == []
