"""Scoring files: names, value spaces, and everything that a prediction can have wrong."""

import importlib
import json

import h5py
import numpy as np
import pytest
from scipy import sparse, stats

from lacuna import metrics
from lacuna.tasks.reconstruction import TASK
from lacuna_contract.errors import ContractError, InvalidOutput
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_column
from lacuna_contract.values import to_lognorm

CELLS, GENES = [f"cell{i}" for i in range(80)], [f"gene{i}" for i in range(30)]
ALL = list(metrics.of_task("reconstruction"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(truth file, hidden mask, true counts, a prediction, visible totals)."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(5)
    rates = rng.gamma(0.7, 1, (80, 1)) * rng.gamma(0.7, 2, (1, 30)) + 0.01
    counts = rng.poisson(rates).astype(np.float32)
    with H5adWriter(folder / "data.h5ad", CELLS, GENES) as out:
        out.csr("X", np.float32).append(sparse.csr_matrix(counts))
    condition = {"key": "k", "task": "reconstruction", "seed": 1}
    condition["arguments"] = {"percentage": 0.3, "strategy": "uniform"}
    truth = folder / "truth.h5ad"
    TASK.prepare(condition, folder / "data.h5ad", folder / "input.h5ad", truth, "")
    with open_h5ad(truth) as file:
        stored = Matrix(file["X"]).rows(0, 80)
        visible = read_column(file, "obs", "visible_total")
    hidden = np.zeros(counts.shape, dtype=bool)
    hidden[stored.nonzero()] = True
    hidden[np.repeat(np.arange(80), np.diff(stored.indptr)), stored.indices] = True
    noisy = np.float32(rates * rng.lognormal(0, 0.3, rates.shape))
    return truth, hidden, counts, noisy, visible


def pattern(values, hidden):
    """CSR whose stored entries are exactly the hidden ones."""
    indptr = np.concatenate([[0], np.cumsum(hidden.sum(axis=1))])
    return sparse.csr_matrix((values[hidden], np.nonzero(hidden)[1], indptr), shape=hidden.shape)


def write(path, x, cells=CELLS, genes=GENES, space="counts", entries=None, dtype=np.float32):
    with H5adWriter(path, cells, genes) as out:
        (out.csr if sparse.issparse(x) else out.dense)("X", dtype).append(x)
        entries = entries or ("hidden" if sparse.issparse(x) else "all")
        out.uns({"entries": entries, "value_space": space})
    return path


def test_dense_and_sparse_predictions_score_the_same(world, tmp_path):
    truth, hidden, counts, noisy, _ = world
    dense = TASK.evaluate(truth, write(tmp_path / "d.h5ad", noisy), ALL)
    csr = TASK.evaluate(truth, write(tmp_path / "s.h5ad", pattern(noisy, hidden)), ALL)
    assert dense == csr
    assert dense.n_hidden == hidden.sum()
    expected = stats.pearsonr(noisy[hidden].astype(float), counts[hidden])[0]
    assert dense.metrics["pearson"] == pytest.approx(expected)
    error = np.mean((noisy[hidden].astype(float) - counts[hidden]) ** 2)
    assert dense.metrics["mse"] == pytest.approx(error)
    assert set(dense.metrics) == set(ALL)
    assert set(dense.undefined) == {name for name, v in dense.metrics.items() if v is None}


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_cells_and_genes_are_matched_by_name(world, tmp_path, form):
    """By position, this prediction would score near 0."""
    truth, hidden, counts, noisy, _ = world
    rng = np.random.default_rng(2)
    rows, columns = rng.permutation(80), rng.permutation(30)
    x = noisy[rows][:, columns]
    x = x if form == "dense" else pattern(x, hidden[rows][:, columns])
    cells, genes = [CELLS[i] for i in rows], [GENES[i] for i in columns]
    shuffled = TASK.evaluate(truth, write(tmp_path / "p.h5ad", x, cells, genes), ALL)
    straight = TASK.evaluate(truth, write(tmp_path / "q.h5ad", noisy), ALL)
    assert shuffled == straight


def test_lognorm_predictions_are_converted(world, tmp_path):
    truth, hidden, counts, noisy, visible = world
    converted = to_lognorm(noisy.astype(float), visible[:, None])
    path = write(tmp_path / "l.h5ad", converted, space="lognorm", dtype=np.float64)
    found = TASK.evaluate(truth, path, ALL)
    expected = TASK.evaluate(truth, write(tmp_path / "c.h5ad", noisy), ALL)
    assert found.value_space == "lognorm"
    for name, value in expected.metrics.items():
        assert found.metrics[name] == (None if value is None else pytest.approx(value, rel=1e-4))


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_chunk_sizes_do_not_reach_exact_metrics(world, tmp_path, form, monkeypatch):
    truth, hidden, counts, noisy, _ = world
    x = noisy if form == "dense" else pattern(noisy, hidden)
    path = write(tmp_path / "p.h5ad", x)
    whole = TASK.evaluate(truth, path, ALL)
    module = importlib.import_module("lacuna.tasks.reconstruction.evaluate")
    monkeypatch.setattr(module, "CHUNK_ENTRIES", 20)
    monkeypatch.setattr(module, "DENSE_ENTRIES", 100)
    parts = TASK.evaluate(truth, path, ALL)
    for name, value in whole.metrics.items():
        assert parts.metrics[name] == (None if value is None else pytest.approx(value, rel=1e-12))
    assert parts.details["histogram"] == whole.details["histogram"]


def test_details_are_small_and_json(world, tmp_path):
    truth, hidden, counts, noisy, _ = world
    found = TASK.evaluate(truth, write(tmp_path / "p.h5ad", noisy), ["mse"])
    bare = TASK.evaluate(truth, tmp_path / "p.h5ad", ["mse"], drawn=False)
    assert (bare.metrics, bare.details, bare.strata) == (found.metrics, {}, ())
    text = json.dumps(found.details, allow_nan=False)
    assert len(text) < 20_000
    assert np.sum(found.details["histogram"]["counts"]) == hidden.sum()
    rows = found.details["by_count"]
    assert sum(row["n"] for row in rows) == hidden.sum()
    zero = hidden & (counts == 0)
    assert rows[0] == {
        "low": 0,
        "high": 0,
        "n": zero.sum(),
        "mean_prediction": pytest.approx(noisy[zero].mean(), rel=1e-5),
        "mse": pytest.approx((noisy[zero] ** 2).mean(), rel=1e-5),
    }
    assert sum(row["mse"] * row["n"] for row in rows) / hidden.sum() == pytest.approx(
        found.metrics["mse"], rel=1e-4
    )
    assert found.details["gene_pearson"]["values"][3] == pytest.approx(
        TASK.evaluate(truth, tmp_path / "p.h5ad", ["pearson_gene"]).metrics["pearson_gene"],
        rel=1e-5,
    )


def test_strata_add_up_to_the_whole(world, tmp_path):
    truth, hidden, counts, noisy, _ = world
    found = TASK.evaluate(truth, write(tmp_path / "p.h5ad", noisy), ["mse"])
    assert len({(row["by"], row["stratum"], row["metric"]) for row in found.strata}) == len(
        found.strata
    )
    for by in {row["by"] for row in found.strata}:
        own = [row for row in found.strata if row["by"] == by and row["metric"] == "mse"]
        n, values = [row["n"] for row in own], [row["value"] for row in own]
        assert sum(n) == hidden.sum()
        assert np.average(values, weights=n) == pytest.approx(found.metrics["mse"], rel=1e-4)
    (one,) = (r for r in found.strata if (r["by"], r["stratum"]) == ("true_count", "1"))
    at = hidden & (counts == 1)
    assert one["n"] == at.sum()
    assert one["value"] == pytest.approx(np.mean((noisy[at] - 1) ** 2), rel=1e-5)


def refuse(truth, path, message):
    with pytest.raises(InvalidOutput, match=message) as caught:
        TASK.evaluate(truth, path, ["mse"])
    assert str(path.parent) not in str(caught.value)


def test_wrong_names(world, tmp_path):
    truth, _, _, noisy, _ = world
    other = ["GENE0", *GENES[1:]]
    path = write(tmp_path / "p.h5ad", noisy, genes=other)
    refuse(truth, path, "1 are missing, such as 'gene0'; 1 are not in the input, such as 'GENE0'")
    path = write(tmp_path / "p.h5ad", noisy[:-1], cells=CELLS[:-1])
    refuse(truth, path, "cell names are not those of the input: 1 are missing, such as 'cell79'")
    path = write(tmp_path / "p.h5ad", noisy, cells=["cell1", *CELLS[1:]])
    refuse(truth, path, "names repeat")


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "NaN or infinite values"),
        (np.inf, "NaN or infinite values"),
        (-0.25, "negative counts .clip at 0.: -0.25 at cell 'cell7', gene 'gene"),
    ],
)
def test_wrong_values(world, tmp_path, form, value, message):
    truth, hidden, _, noisy, _ = world
    x = noisy.copy()
    x[7, np.flatnonzero(hidden[7])[2]] = value
    path = write(tmp_path / "p.h5ad", x if form == "dense" else pattern(x, hidden))
    refuse(truth, path, message)


def test_counts_that_are_called_lognorm(world, tmp_path):
    truth, _, _, noisy, _ = world
    path = write(tmp_path / "p.h5ad", noisy + 50, space="lognorm")
    refuse(truth, path, "lognorm values above 30.0; are they counts?")


def test_wrong_pattern(world, tmp_path):
    truth, hidden, counts, noisy, _ = world
    path = write(tmp_path / "p.h5ad", sparse.csr_matrix(noisy * hidden * (noisy > 1)))
    refuse(truth, path, "X's stored entries are not exactly the hidden ones: cell 'cell")
    moved = hidden.copy()
    moved[3] = np.roll(moved[3], 1)
    path = write(tmp_path / "p.h5ad", pattern(noisy, moved))
    refuse(truth, path, "cell 'cell3' has .* Keep explicit zeros")


def test_wrong_declarations(world, tmp_path):
    truth, hidden, _, noisy, _ = world
    refuse(truth, write(tmp_path / "p.h5ad", noisy, entries="hidden"), "expected 'all' with a dens")
    refuse(truth, write(tmp_path / "p.h5ad", noisy, space="zscores"), "unknown value 'zscores'")
    path = write(tmp_path / "p.h5ad", noisy)
    with h5py.File(path, "a") as file:
        del file["uns/lacuna/value_space"]
    refuse(truth, path, "'value_space' is a required property")
    path = write(tmp_path / "p.h5ad", np.rint(noisy), dtype=np.int32)
    refuse(truth, path, "expected float32 or float64")


def test_wrong_shape(world, tmp_path):
    truth, _, _, noisy, _ = world
    path = write(tmp_path / "p.h5ad", noisy)
    with h5py.File(path, "a") as file:
        del file["X"]
        file.create_dataset("X", data=noisy[:, :-1])
    refuse(truth, path, "30 names in var, but X is")


def test_broken_files(world, tmp_path):
    truth, hidden, _, noisy, _ = world
    path = tmp_path / "p.h5ad"
    path.write_bytes(b"not HDF5")
    refuse(truth, path, "not a readable HDF5 file")
    whole = write(path, noisy).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuse(truth, path, "cannot be read")
    write(path, pattern(noisy, hidden))
    with h5py.File(path, "a") as file:
        del file["X/indices"]
        file["X"].create_dataset("indices", data=np.zeros(3, dtype=np.int32))
    refuse(truth, path, "cannot be read|not exactly")
    with h5py.File(path, "a") as file:
        del file["X"]
    refuse(truth, path, "unknown slot")


def test_indices_out_of_range_are_no_crash(world, tmp_path):
    truth, hidden, _, noisy, _ = world
    path = write(tmp_path / "p.h5ad", pattern(noisy, hidden), genes=GENES[::-1])
    with h5py.File(path, "a") as file:
        file["X/indices"][5] = 4000
    refuse(truth, path, "an index is 4000, but there are 30 genes")


def link(file, truth):
    file["X"] = h5py.ExternalLink(str(truth), "/X")


def soft(file, truth):
    file["Y"] = h5py.ExternalLink(str(truth), "/X")
    file["X"] = h5py.SoftLink("/Y")


def inner(file, truth):
    x = file.create_group("X")
    x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (80, 30)})
    for name in ("data", "indices", "indptr"):
        x[name] = h5py.ExternalLink(str(truth), f"/X/{name}")


def virtual(file, truth):
    inner(file, truth)
    with h5py.File(truth) as other:
        size = other["X/data"].shape
    layout = h5py.VirtualLayout(size, dtype=np.float32)
    layout[:] = h5py.VirtualSource(str(truth), "X/data", shape=size)
    del file["X/data"], file["X/indices"], file["X/indptr"]
    file["X/indices"], file["X/indptr"] = np.arange(3), np.arange(81)
    file["X"].create_virtual_dataset("data", layout)


def external(file, truth):
    file.create_dataset("X", (80, 30), "f4", external=[(str(truth), 0, h5py.h5f.UNLIMITED)])


@pytest.mark.parametrize("how", [link, soft, inner, virtual, external])
def test_a_prediction_cannot_point_at_the_truth(world, tmp_path, how):
    """The truth lies beside the prediction when it is scored; a link to it would score best."""
    truth, hidden, _, noisy, _ = world
    path = write(tmp_path / "p.h5ad", pattern(noisy, hidden))
    with h5py.File(path, "a") as file:
        del file["X"]
        how(file, truth)
    with pytest.raises(InvalidOutput, match="expected the data itself|stored in another file"):
        TASK.evaluate(truth, path, ["mse"])


def flat(file):
    file["X"] = np.zeros(30, dtype=np.float32)


def empty(file):
    file["X"] = h5py.Empty("f4")


def nothing(file):
    file.create_group("X")


def words(file):
    file["X"] = np.full((80, 30), b"a")


def table(file):
    file["X"] = np.zeros((80, 30), dtype=[("a", "f4")])


@pytest.mark.parametrize("how", [flat, empty, nothing, words, table])
def test_an_x_that_is_no_matrix(world, tmp_path, how):
    truth, _, _, noisy, _ = world
    path = write(tmp_path / "p.h5ad", noisy)
    with h5py.File(path, "a") as file:
        del file["X"]
        how(file)
    refuse(truth, path, "cannot be read")


def test_unknown_metric_is_an_error_of_ours(world, tmp_path):
    truth, _, _, noisy, _ = world
    path = write(tmp_path / "p.h5ad", noisy)
    with pytest.raises(ContractError, match="Did you mean 'mse'"):
        TASK.evaluate(truth, path, ["mes"])


def test_a_bug_of_ours_is_no_invalid_output(world, tmp_path, monkeypatch):
    """A broken truth, or an error in a metric, must not become the model's fault."""
    truth, _, _, noisy, _ = world
    path = write(tmp_path / "p.h5ad", noisy)
    with pytest.raises(ContractError) as caught:
        TASK.evaluate(path, path, ["mse"])
    assert not isinstance(caught.value, InvalidOutput)
    monkeypatch.setattr("lacuna.metrics.pieces.Pair.mean_squared_error", property(lambda _: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        TASK.evaluate(truth, path, ["mse"])
