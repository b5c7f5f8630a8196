"""What the report draws of the task, from what its evaluation writes."""

import json
import re

import numpy as np
import pytest

from lacuna.report.svg import BOTTOM, LEFT, Series
from lacuna.tasks.multimodal.details import summary
from lacuna.tasks.multimodal.embedding import Known
from lacuna.tasks.multimodal.plots import COLOURS, figures, overview


def series(name="vae", control=None, history=True):
    rng = np.random.default_rng(0)
    has = np.repeat([[True, False, False], [False, True, False], [True, True, False]], 10, axis=0)
    batch = np.repeat(["rna_only", "atac_only", "multiome"], 10)
    twin = np.full(30, -1)
    twin[[0, 10]] = 10, 0
    known = Known(None, None, twin, "none", has, batch)
    probability = rng.random((10, 50)) / 4
    opened = (rng.random((10, 50)) < probability).astype(float)
    counts = rng.poisson(1.0, (10, 8)).astype(float)
    pairs = {"rna": (counts, counts + 0.5), "atac": (opened, probability)}
    details = summary(known, pairs, np.full(30, "train"))
    picture = {"x": list(range(30)), "y": list(range(30)), "cluster": [0, 1, -1] * 10}
    details["picture"] = picture | {"pattern": [1] * 10 + [2] * 10 + [3] * 10}
    details["picture"]["clusters"] = ["B cell", "T cell"]
    lists = {"loss": [3.0, 2.0, 1.5], "epoch": [1, 2, 3], "note": "none", "lost": [np.nan] * 3}
    curves = {"history": lists}
    return Series(name, "s0", "o", control, details | (curves if history else {}))


def test_the_details_count_what_is_there():
    details = series().details
    assert {row["batch"]: (row["pattern"], row["cells"]) for row in details["cohorts"]} == {
        "rna_only": (1, 10), "atac_only": (2, 10), "multiome": (3, 10),
    }  # fmt: skip
    assert np.sum(details["imputed"]["rna"]["counts"]) == 80
    table = details["imputed"]["atac"]
    assert sum(table["n"]) == 500
    assert np.corrcoef(table["predicted"], table["open"])[0, 1] > 0.8


def test_axes_reach_as_far_as_the_truth():
    known = Known(None, None, np.full(40, -1), "none", np.ones((40, 3), bool), np.full(40, "b"))
    truth = np.random.default_rng(0).lognormal(8, 2, (40, 10)).astype(np.float32)
    found = summary(known, {"adt": (truth, np.log1p(truth))}, np.full(40, "train"))["imputed"][
        "adt"
    ]
    assert json.loads(json.dumps(found)) == found
    counts = np.array(found["counts"])
    assert found["width"] * len(counts) == np.ceil(np.quantile(np.log1p(truth), 0.999))
    assert np.trace(counts) == counts.sum() == 400
    assert counts[-1].sum() < 20, "they are not all in the last bin"


def test_figures_of_one_condition():
    made = {figure.title: figure for figure in figures([series(), series("mean", "floor", False)])}
    assert list(made) == [
        "Embeddings", "Imputation against truth", "Are the probabilities of open peaks right?",
        "Training",
    ]  # fmt: skip
    assert [panel.count("<svg") for panel in made["Embeddings"].panels] == [2, 2]
    assert "loss</span>" in made["Training"].legend
    assert len(made["Training"].panels) == 1
    assert "loss: 1.5" in made["Training"].panels[0]
    assert "epoch" not in made["Training"].panels[0].replace("Epoch", "")
    assert "RNA+ATAC" in made["Embeddings"].legend
    assert "True cluster:" in made["Embeddings"].legend
    assert "T cell" in made["Embeddings"].legend


def test_figures_of_all_conditions():
    shown = {("mock", "bridge"): [series()], ("mock", "mosaic"): [series()]}
    scores = {"low": {("mock", "bridge"): 0.25}, "vae": dict.fromkeys(shown, 0.5)}
    masks, table = overview(shown, scores)
    assert len(masks.panels) == 2
    assert "(1 of them twice)" in masks.panels[0]
    assert "FOSCTTM is told by them" in masks.reading
    rows = table.panels[0].split("<tr>")
    assert "vae" in rows[2]
    assert "0.500" in rows[2]
    assert "low" in rows[3]
    assert "–" in rows[3], "low did nothing on mosaic"


def test_nothing_to_draw_is_no_figure():
    assert figures([Series("a", "s0", "o", None, {})]) == []
    assert overview({("d", "s"): [Series("a", "s0", "o", None, {})]}, {}) == []


def boxes(panel, css):
    """Left, right and height from the top of each filled rectangle of a colour."""
    found = re.findall(rf'class="mark {css}" d="M([\d.]+) ([\d.]+)H([\d.]+)', panel)
    return [(float(x), float(end), float(y)) for x, y, end in found]


def test_the_mask_is_filled_where_cells_have_a_modality():
    masks, _ = overview({("mock", "bridge"): [series()]}, {"vae": {("mock", "bridge"): 0.5}})
    # In the order of their batches: 10 cells with ATAC, 10 with both, 10 with RNA.
    (panel,) = masks.panels
    rna, atac = boxes(panel, "s0"), boxes(panel, "s1")
    assert not boxes(panel, "s2")
    assert (len(rna), len(atac)) == (2, 2)
    left, width = atac[0][0], atac[0][1] - atac[0][0]
    for found, starts in ((rna, (1, 2)), (atac, (0, 1))):
        places = [(start - left, end - left) for start, end, _ in found]
        assert np.allclose(places, [(at * width, (at + 1) * width) for at in starts], atol=0.2)
    assert rna[0][2] < atac[0][2]  # RNA is the upper row, as its name is


def test_embeddings_are_coloured_by_cluster_and_by_modalities():
    by_cluster, by_modalities = figures([series()])[0].panels[0].split("<svg")[1:]

    def dots(panel):
        found = re.findall(r'class="dots ([\w-]+)" d="([^"]*)"', panel)
        return {css: path.count("M") for css, path in found}

    assert "By true cluster" in by_cluster
    assert dots(by_cluster) == {"s0": 10, "s1": 10, "s-rest": 10}
    assert "By modalities" in by_modalities
    assert dots(by_modalities) == {COLOURS[1]: 10, COLOURS[2]: 10, COLOURS[3]: 10}


def test_truth_is_drawn_across_and_predictions_upwards():
    one = series()
    counts = np.zeros((24, 24), dtype=int)
    counts[20, 3] = 5  # high in truth, low in the prediction
    one.details["imputed"]["rna"] |= {"counts": counts.tolist()}
    panel = next(f for f in figures([one]) if f.title == "Imputation against truth").panels[0]
    x, y, width, height = map(
        float, re.search(r'class="d8" d="M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)', panel).groups()
    )
    tall = float(re.search(r'height="([\d.]+)"', panel)[1])
    assert x == pytest.approx(LEFT + 20 * width, abs=0.2)
    assert y == pytest.approx(tall - BOTTOM - 4 * height, abs=0.2)
