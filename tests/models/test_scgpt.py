"""scGPT's way back from bins to counts; and the model from checkpoints in the published layout,
good and bad ones, all in one process of its environment."""

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import sparse

from lacuna.authoring import reconstruction
from lacuna.setup import environments
from lacuna.setup.common import ROOT
from lacuna.setup.registry import model
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_names, read_uns
from lacuna_contract.schema import read_json
from lacuna_contract.supervise import sha256
from lacuna_contract.tasks.reconstruction import split

FOLDER = ROOT / "containers/models/scgpt"
INSIDE = Path(__file__).parent / "_scgpt_inside/main.py"


@pytest.fixture(scope="module")
def bins():
    """The module of the model's folder; it needs NumPy only."""
    space: dict = {}
    exec((FOLDER / "bins.py").read_text(), space)
    return space


def spread_ties(counts, n_bins, rng):
    """Bins of a row of counts by the rule of scGPT, written down once more."""
    edges = np.quantile(counts[counts > 0], np.linspace(0, 1, n_bins - 1))
    low = np.searchsorted(edges, counts, side="left")
    high = np.searchsorted(edges, counts, side="right")
    drawn = low + np.ceil(rng.random(len(counts)) * (high - low))
    return np.where(counts > 0, np.where(high > low, drawn, high), 0).astype(int)


@pytest.fixture(scope="module")
def world(bins):
    """Counts of genes with rates of their own in cells of two kinds, their bins, the rates."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.7, 2.0, (2, 120))
    kind = rng.integers(0, 2, 600)
    counts = rng.poisson(rates[kind])
    binned = np.stack([spread_ties(row, 51, rng) for row in counts])
    return counts, binned, kind, rates


def test_each_visible_count_comes_back_from_its_own_bin(bins, world):
    """What a bin stands for is, over a cell's bins, the cell's counts: their sums agree exactly,
    and single counts within the width of a bin."""
    counts, binned, *_ = world
    seen = np.ones(counts.shape, bool)
    values = bins["stands_for"](counts, binned, seen, 51)
    back = np.take_along_axis(values, binned, axis=1)
    np.testing.assert_allclose(back.sum(axis=1), counts.sum(axis=1))
    assert (back[counts == 0] == 0).all()
    assert np.mean(np.abs(back - counts) < 0.5) > 0.97
    assert (np.diff(values, axis=1) >= -1e-9).all()


def inverse(bins, binned):
    spread = bins["Spread"](binned.shape[1], 51)
    spread.add(binned, np.ones(binned.shape, bool))
    return bins["Inverse"](spread.shares())


def test_a_genes_own_mean_bin_gives_its_distribution_in_the_cell(bins, world):
    counts, binned, *_ = world
    back = inverse(bins, binned)
    values = bins["stands_for"](counts, binned, np.ones(counts.shape, bool), 51)
    genes = np.arange(counts.shape[1])
    mean = back.shares @ np.arange(51)
    found = back(mean, genes, values[: len(genes)])
    expected = (back.shares * values[: len(genes)]).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_expected_counts_rise_with_the_bin_from_none_to_the_largest(bins, world):
    counts, binned, *_ = world
    back = inverse(bins, binned)
    values = bins["stands_for"](counts, binned, np.ones(counts.shape, bool), 51)
    means = np.linspace(-3, 53, 200)
    found = back(means, np.full(200, 5), np.repeat(values[7:8], 200, axis=0))
    assert (np.diff(found) >= -1e-9).all()
    assert (found[means <= 0] == 0).all()
    np.testing.assert_allclose(found[means >= 50], counts[7].max())


def test_true_mean_bins_give_nearly_the_true_rates(bins, world):
    """From the mean bin of each gene in each kind of cell, which is what a perfect network says.
    Reading it off at the cell's values, as if it were a bin, is far from them."""
    counts, binned, kind, rates = world
    back = inverse(bins, binned)
    values = bins["stands_for"](counts, binned, np.ones(counts.shape, bool), 51)
    mean = np.stack([binned[kind == k].mean(axis=0) for k in (0, 1)])
    rows, genes = np.divmod(np.arange(counts.size), counts.shape[1])
    found = back(mean[kind[rows], genes], genes, values[rows]).reshape(counts.shape)
    true = rates[kind]
    assert 0.9 < found.mean() / true.mean() < 1.1
    error = np.mean((found - true) ** 2)
    naive = [np.interp(mean[k], np.arange(51), values[i]) for i, k in enumerate(kind)]
    assert error < 0.5 * np.mean((np.stack(naive) - true) ** 2)
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.98


def test_genes_that_vary_together_have_components_near_each_other():
    """Three programs of twenty genes, each switched on in a third of the cells; the entries that
    are hidden, a whole gene among them, make no difference."""
    space: dict = {}
    exec((FOLDER / "genes.py").read_text(), space)
    rng = np.random.default_rng(0)
    program, kind = np.arange(60) % 3, rng.integers(0, 3, 300)
    rates = rng.gamma(2.0, 1.0, 60) * np.where(program == kind[:, None], 3.0, 0.3)
    counts, hidden = rng.poisson(rates), rng.random((300, 60)) < 0.2
    hidden[:, 7] = True
    visible = sparse.csr_matrix(np.where(hidden, 0, counts))
    found = space["components"](visible, sparse.csr_matrix(hidden), 4, np.random.default_rng(1))
    assert found.shape == (60, 5)
    assert np.isfinite(found).all()
    np.testing.assert_allclose([found[:, 0].std(), found[:, 1:].std()], 1)
    rest = np.delete(found[:, 1:], 7, axis=0)
    near = (rest @ rest.T) / np.outer(*2 * [np.linalg.norm(rest, axis=1)])
    same = np.equal.outer(np.delete(program, 7), np.delete(program, 7))
    assert near[same].mean() > 0.8
    assert near[~same].mean() < 0


BAD = {
    "missing": "18 of 39 weights are missing, such as ",
    "vocabulary": "encoder.embedding.weight: (93, 16), expected (103, 16) by args.json",
    "truncated": "best_model.pt is damaged or no file of weights",
    "code": "best_model.pt is no file of weights alone, and is not run",
    "strange": "1 have no place in this network, such as dsbn.weight",
    "args": "args.json lacks nlayers; there are: MVC, d_hid, dropout",
    "not_json": "vocab.json cannot be read",
}
PRETRAINED = {"pretrained": True, "steps": 0, "seed": 1}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder in which all jobs were run."""
    room = tmp_path_factory.mktemp("scgpt")
    cases = {case.name: case for case in reconstruction.cases(room / "cases")}
    (room / "plain.h5ad").write_bytes(cases["plain"].input.read_bytes())
    cells, genes = [f"c{i}" for i in range(20)], [f"ENSG{j:011}" for j in range(30)]
    with H5adWriter(room / "foreign.h5ad", cells, genes) as out:
        # The diagonal is 1, and -1 (hidden) at its start.
        seen = sparse.diags_array([-1.0] + 19 * [1.0], shape=(20, 30), dtype=np.float32)
        out.csr("X", np.float32).append(seen.tocsr())
        out.uns({"task": "reconstruction", "kind": "hidden", "n_hidden": 1})
    with open_h5ad(room / "plain.h5ad") as file:
        plain, about = Matrix(file["X"]).rows(0, 300), read_uns(file)
        names, symbols = read_names(file, "obs"), read_names(file, "var")
    with H5adWriter(room / "with_symbols.h5ad", names, [f"ENSG{j:011}" for j in range(100)]) as out:
        out.csr("X", np.float32).append(plain)
        out.column("var", "symbol", symbols)
        out.uns(about)
    jobs = [
        {"name": "pretrained", "params": PRETRAINED, "checkpoint": "plain"},
        {"name": "pretrained_flash", "params": PRETRAINED, "checkpoint": "flash"},
        {
            "name": "finetuned",
            "params": PRETRAINED | {"steps": 400, "every": 10, "patience": 2, "rate": 5e-3},
            "checkpoint": "flash",
        },
        {
            "name": "short_context",
            "params": PRETRAINED | {"steps": 2, "context": 20},
            "checkpoint": "plain",
        },
        {
            "name": "short_context_again",
            "params": PRETRAINED | {"steps": 2, "context": 20},
            "checkpoint": "plain",
        },
        {
            "name": "ensembl",
            "params": PRETRAINED,
            "checkpoint": "plain",
            "input": "with_symbols.h5ad",
        },
        {"name": "no_checkpoint", "params": PRETRAINED},
        {"name": "foreign", "params": {"steps": 2}, "input": "foreign.h5ad"},
        {"name": "gpu", "params": {"steps": 2, "device": "cuda"}},
        *({"name": f"bad_{name}", "params": PRETRAINED, "checkpoint": name} for name in BAD),
    ]
    (room / "jobs.json").write_text(json.dumps([{"input": "plain.h5ad"} | job for job in jobs]))
    recipe = model(FOLDER)
    environments.build(recipe)
    done = subprocess.run(
        [recipe.env / "bin/python", INSIDE, recipe.env / "model", room],
        capture_output=True, text=True, check=False, cwd=room,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(room)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return room


def said(room, name):
    return json.loads((room / "said.json").read_text())[name]


def values(path):
    with open_h5ad(path) as file:
        return np.concatenate(list(Matrix(file["X"]).values()))


@pytest.mark.parametrize("name", ["pretrained", "pretrained_flash", "finetuned", "short_context"])
def test_it_runs_from_a_checkpoint_and_keeps_its_hash(room, name):
    assert said(room, name) == {"code": 0, "said": ""}
    metadata = read_json(room / f"{name}.json", "metadata")
    folder = (
        room / "checkpoints" / ("flash" if name in ("pretrained_flash", "finetuned") else "plain")
    )
    assert metadata["checkpoint"] == {path.name: sha256(path) for path in folder.iterdir()}
    details = metadata["details"]
    assert (details["weights_loaded"], details["weights_of_other_heads"]) == (39, 3)
    assert (details["genes_in_vocabulary"], details["genes_predicted_by_the_floor"]) == (90, 10)


def test_both_spellings_of_attention_are_the_same_network(room):
    plain = values(room / "pretrained.h5ad")
    np.testing.assert_array_equal(values(room / "pretrained_flash.h5ad"), plain)
    assert np.std(plain) > 0.1


def test_hidden_entries_are_masks_and_never_padding(room):
    """Of 90 genes in contexts of 20 tokens, each is shown once; what fills a context up is neither
    a mask nor a count."""
    found = json.loads((room / "shown.json").read_text())
    assert found["hidden_are_masks_once"]
    assert found["others_are_their_counts"]
    assert found["padding_holds"] == [found["pad"]] == [-2]
    assert (found["mask"], found["bins"], found["top"]) == (-1, 51, 50)
    assert found["largest"] <= 20


def test_batches_of_genes_are_drawn_by_the_seed(room):
    first, again = (values(room / f"short_context{end}.h5ad") for end in ("", "_again"))
    np.testing.assert_array_equal(first, again)


def test_genes_without_a_token_are_predicted_by_the_floor(room):
    space: dict = {}
    exec((FOLDER / "genes.py").read_text(), space)
    with open_h5ad(room / "plain.h5ad") as file:
        data = split(Matrix(file["X"]).rows(0, 300), 0)
    depth, rate = space["scales"](data.counts, data.hidden)
    row = np.repeat(np.arange(300), np.diff(data.hidden.indptr))
    gene = data.hidden.indices
    floor, found = depth[row] * rate[gene], values(room / "pretrained.h5ad")
    np.testing.assert_allclose(found[gene >= 90], floor[gene >= 90], rtol=1e-6)
    assert np.isclose(found[gene < 90], floor[gene < 90]).mean() < 0.01
    details = json.loads((room / "pretrained.json").read_text())["details"]
    assert details["entries_predicted_by_the_floor"] == (gene >= 90).sum()


def test_ensembl_ids_are_matched_through_the_column_of_symbols(room):
    assert said(room, "ensembl") == {"code": 0, "said": ""}
    np.testing.assert_array_equal(values(room / "ensembl.h5ad"), values(room / "pretrained.h5ad"))


def test_every_hidden_entry_is_predicted_and_fitting_further_helps(room):
    with h5py.File(room / "cases/plain/truth.h5ad") as file:
        true = file["X/data"][:]
    errors = {}
    for name in ("pretrained", "finetuned"):
        found = values(room / f"{name}.h5ad")
        assert len(found) == len(true)
        errors[name] = np.mean(found - true * np.log(np.maximum(found, 1e-6)))
    assert errors["finetuned"] < errors["pretrained"]


def test_fitting_further_ends_when_held_out_values_are_no_longer_predicted_better(room):
    details = json.loads((room / "finetuned.json").read_text())["details"]
    steps = [int(step) for step in details["held_out"]]
    scores = list(details["held_out"].values())
    assert steps == list(range(0, steps[-1] + 1, 10))
    assert 0 < details["steps"] == steps[-3] < 375, "two scores after the best, before all passes"
    assert scores[-3] == min(scores)


def test_without_a_checkpoint_it_declines_and_says_what_is_missing(room):
    assert said(room, "no_checkpoint")["code"] == 0
    reason = read_json(room / "no_checkpoint.json", "metadata")["not_applicable"]
    assert "args.json, vocab.json and best_model.pt" in reason


def test_a_dataset_with_no_gene_in_the_vocabulary_is_declined(room):
    assert said(room, "foreign")["code"] == 0
    reason = read_json(room / "foreign.json", "metadata")["not_applicable"]
    assert reason.startswith("none of the 30 genes, such as 'ENSG00000000000', is in scGPT's")


@pytest.mark.parametrize("name", BAD)
def test_a_checkpoint_that_is_none_is_refused(room, name):
    found = said(room, f"bad_{name}")
    assert found["code"] == 1
    assert BAD[name] in found["said"]
    assert not (room / f"bad_{name}.h5ad").exists()


def test_no_code_of_a_checkpoint_is_run(room):
    assert not (room / "code_was_run").exists()


def test_a_gpu_that_is_not_there_is_an_error(room):
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU")
    assert said(room, "gpu") == {
        "code": 1,
        "said": "error: device 'cuda' was asked for, but torch sees no GPU\n",
    }
