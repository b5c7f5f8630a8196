import hashlib
import importlib.metadata
import json
import sys
import textwrap

import numpy as np
import pytest
from scipy import sparse

from lacuna_contract import harness
from lacuna_contract.descriptor import HIDDEN, check_h5ad
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad
from lacuna_contract.schema import validate

SHAPE = (30, 12)


@pytest.fixture
def masked(tmp_path):
    """A small input on disk, its counts (0 where hidden) and its mask."""
    rng = np.random.default_rng(0)
    counts, mask = rng.poisson(1.0, SHAPE), rng.random(SHAPE) < 0.2
    stored = sparse.csr_matrix(np.where(mask, HIDDEN, counts).astype(np.float32))
    cells, genes = [f"c{i}" for i in range(30)], [f"g{i}" for i in range(12)]
    with H5adWriter(tmp_path / "input.h5ad", cells, genes) as out:
        out.csr("X", np.float32).append(stored)
        out.uns({"task": "reconstruction", "kind": "hidden", "n_hidden": int(mask.sum())})
    return tmp_path, np.where(mask, 0, counts), mask


def execute(folder, code, params=None, more=()):
    (folder / "main.py").write_text(
        "import numpy as np\nfrom lacuna_contract import NotApplicable, model\n"
        + textwrap.dedent(code)
    )
    (folder / "params.json").write_text(json.dumps(params or {}))
    files = {"input": "input.h5ad", "output": "prediction.h5ad"}
    files |= {"metadata": "metadata.json", "params": "params.json"}
    words = [w for k, f in files.items() for w in (f"--{k}", str(folder / f))]
    return harness.main([str(folder / "main.py"), *words, *more])


def prediction(folder):
    found = check_h5ad(folder / "prediction.h5ad", "reconstruction_prediction")
    with open_h5ad(folder / "prediction.h5ad") as file:
        rows = Matrix(file["X"]).rows(0, SHAPE[0])
    return found["uns"], rows


def test_an_input_too_large_to_be_taken_whole_is_not_read(masked, monkeypatch):
    """A function gets all cells at once, a class does not."""
    folder, *_ = masked
    monkeypatch.setenv("LACUNA_MEMORY_BYTES", "1000")
    code = """
    @model("reconstruction")
    def predict(counts, hidden):
        raise AssertionError
    """
    with pytest.raises(MemoryError, match="takes all 30 cells x 12 genes at once: about 0.0 GB"):
        execute(folder, code)
    code = """
    @model("reconstruction")
    class Rows:
        def fit(self, chunks): ...
        def predict(self, chunk):
            return np.zeros(chunk.hidden.nnz)
    """
    assert execute(folder, code) == 0


def test_a_function_gets_visible_counts_and_the_mask(masked):
    folder, counts, mask = masked
    code = """
    @model("reconstruction", value_space="lognorm")
    def predict(counts, hidden):
        return counts.toarray() + 10 * hidden.toarray()
    """
    assert execute(folder, code) == 0
    uns, rows = prediction(folder)
    assert uns == {"entries": "all", "value_space": "lognorm"}
    assert np.array_equal(rows, counts + 10 * mask)


def test_a_vector_is_written_as_exactly_the_hidden_entries(masked):
    folder, _, mask = masked
    code = """
    @model("reconstruction")
    def predict(counts, hidden):
        return np.zeros(hidden.nnz), {"rank": np.int64(3)}
    """
    assert execute(folder, code) == 0
    uns, rows = prediction(folder)
    assert uns["entries"] == "hidden"
    assert rows.nnz == mask.sum()
    for row, (start, stop) in enumerate(zip(rows.indptr, rows.indptr[1:], strict=False)):
        assert np.array_equal(rows.indices[start:stop], np.flatnonzero(mask[row]))
    assert json.loads((folder / "metadata.json").read_text())["details"] == {"rank": 3}


def test_a_class_sees_every_chunk_twice_and_predicts_in_pieces(masked, monkeypatch):
    folder, counts, mask = masked
    whole = Matrix.chunks
    monkeypatch.setattr(Matrix, "chunks", lambda self, rows=None: whole(self, rows or 7))
    code = """
    @model("reconstruction")
    class Mean:
        def __init__(self, *, factor=1.0):
            self.factor = factor
        def fit(self, chunks):
            assert sum(c.counts.sum() for c in chunks) == sum(c.counts.sum() for c in chunks)
            self.total = sum(np.asarray(c.counts.sum(axis=0)).ravel() for c in chunks)
        def predict(self, chunk):
            assert chunk.cells.stop - chunk.cells.start == chunk.counts.shape[0] <= 7
            return self.factor * self.total[chunk.hidden.indices]
    """
    assert execute(folder, code, {"factor": 2.0}) == 0
    _, rows = prediction(folder)
    assert np.allclose(rows.data, 2 * counts.sum(axis=0)[np.nonzero(mask)[1]])


def test_what_the_harness_fills(masked):
    folder, _, _ = masked
    code = """
    @model("reconstruction")
    def predict(counts, hidden, *, seed, genes, symbols, cells, device, threads, kind):
        assert (seed, device, threads, kind) == (7, "cpu", 3, "hidden")
        assert genes == symbols == [f"g{i}" for i in range(12)] and cells[0] == "c0"
        return np.zeros(hidden.nnz)
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACUNA_CPUS", "3")
        assert execute(folder, code, {"seed": 7, "device": "cpu"}) == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.zeros((3, 3))", "returned shape (3, 3); expected (30, 12)"),
        ("return np.full(hidden.nnz, np.nan)", "NaN or infinite"),
        ("return None", "returned shape ()"),
        ("return np.full(counts.shape, 'high')", "returned values of type <U4; expected floats"),
        ("return np.full(hidden.nnz, None)", "returned values of type object; expected floats"),
        ("return [[1.0], [2.0, 3.0]]", "the model returned a list that is no array: "),
        ("return table(cells, [f'{g}!' for g in genes])", "12 gene names that are not the 12 of"),
        ("return table(cells[1:], genes)", "29 cell names that are not the 30 of the input: 1 are"),
        ("return table(cells + ['more'], genes)", "31 cell names that are not the 30 of the input"),
    ],
)
def test_what_is_no_prediction_is_said_in_the_metadata_too(masked, capsys, body, message):
    folder, _, _ = masked
    code = f"""
    import pandas as pd
    def table(cells, genes):
        return pd.DataFrame(np.zeros((len(cells), len(genes))), cells, genes)
    @model("reconstruction")
    def predict(counts, hidden, *, cells, genes):
        {body}
    """
    assert execute(folder, code) == 1
    assert message in capsys.readouterr().err
    metadata = json.loads((folder / "metadata.json").read_text())
    validate(metadata, "metadata")
    assert message in metadata["invalid_output"]
    assert not (folder / "prediction.h5ad").exists()


@pytest.mark.parametrize(
    ("body", "params", "message"),
    [
        ("return np.zeros(hidden.nnz)", {"rnk": 3}, "Did you mean 'rank'"),
        ("raise ContractError('my own file is damaged')", {}, "my own file is damaged"),
    ],
)
def test_what_goes_wrong_before_there_is_a_prediction_is_no_invalid_one(
    masked, capsys, body, params, message
):
    folder, _, _ = masked
    code = f"""
    from lacuna_contract import ContractError
    @model("reconstruction")
    def predict(counts, hidden, *, rank=20):
        {body}
    """
    assert execute(folder, code, params) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "metadata.json").exists()


def test_a_table_is_matched_by_its_names(masked):
    folder, counts, mask = masked
    code = """
    import pandas as pd
    @model("reconstruction")
    def predict(counts, hidden, *, cells, genes):
        order = np.random.default_rng(1).permutation
        found = pd.DataFrame(counts.toarray() + 10 * hidden.toarray(), cells, genes)
        return found.iloc[order(len(cells)), order(len(genes))]
    """
    assert execute(folder, code) == 0
    assert np.array_equal(prediction(folder)[1], counts + 10 * mask)


def test_a_parameter_without_a_value(masked, capsys):
    code = '@model("reconstruction")\ndef predict(counts, hidden, *, rank): ...\n'
    assert execute(masked[0], code) == 1
    assert "model.json gives no value for: rank" in capsys.readouterr().err


@pytest.mark.parametrize("keywords", ["", ", *, device"])
@pytest.mark.parametrize("device", ["cuda:0", "gpu", "CUDA", 0])
def test_a_device_that_is_none(masked, capsys, device, keywords):
    code = f'@model("reconstruction")\ndef predict(counts, hidden{keywords}): ...\n'
    assert execute(masked[0], code, {"device": device}) == 1
    assert f"unknown device '{device}'" in capsys.readouterr().err


def test_versions_are_of_every_distribution_that_was_imported(masked):
    code = """
    import jsonschema, yaml, sklearn.metrics
    @model("reconstruction")
    def predict(counts, hidden):
        return np.zeros(hidden.nnz)
    """
    assert execute(masked[0], code) == 0
    found = json.loads((masked[0] / "metadata.json").read_text())["versions"]
    assert {"python", "numpy", "scipy", "h5py", "jsonschema", "PyYAML", "scikit-learn"} <= set(
        found
    )
    assert found["scikit-learn"] == importlib.metadata.version("scikit-learn")
    # What is installed and was not imported, whichever that is after the tests before this one.
    modules = importlib.metadata.packages_distributions().items()
    imported = {name for module, names in modules if module in sys.modules for name in names}
    assert set(found) - {"python"} <= imported


def test_only_a_ceiling_has_the_truth(masked, capsys):
    code = '@model("reconstruction")\ndef predict(counts, hidden, *, truth): ...\n'
    assert execute(masked[0], code) == 1
    assert "only a ceiling is given" in capsys.readouterr().err


def test_a_checkpoint_is_handed_over_and_its_hash_kept(masked):
    folder, *_ = masked
    code = """
    @model("reconstruction")
    def predict(counts, hidden, *, checkpoint):
        factor = 1 if checkpoint is None else float((checkpoint / "weights").read_text())
        return np.full(counts.shape, factor)
    """
    assert execute(folder, code) == 0
    assert "checkpoint" not in json.loads((folder / "metadata.json").read_text())
    (folder / "trained").mkdir()
    (folder / "trained/weights").write_text("3")
    assert execute(folder, code, more=["--checkpoint", str(folder / "trained")]) == 0
    assert np.array_equal(prediction(folder)[1], np.full(SHAPE, 3))
    metadata = json.loads((folder / "metadata.json").read_text())
    validate(metadata, "metadata")
    assert metadata["checkpoint"] == {"weights": hashlib.sha256(b"3").hexdigest()}


def test_a_model_may_decline(masked):
    code = """
    @model("reconstruction")
    def predict(counts, hidden):
        raise NotApplicable("needs spliced counts")
    """
    assert execute(masked[0], code) == 0
    metadata = json.loads((masked[0] / "metadata.json").read_text())
    assert metadata == {"not_applicable": "needs spliced counts"}
    assert not (masked[0] / "prediction.h5ad").exists()


@pytest.mark.parametrize("count", [0, 2])
def test_a_main_without_exactly_one_model_of_the_task(masked, capsys, count):
    one = '@model("reconstruction")\ndef {}(counts, hidden): ...\n'
    other = '@model("other_task")\ndef other(data): ...\n'
    assert execute(masked[0], "".join(one.format(n) for n in "ab"[:count]) + other) == 1
    said = capsys.readouterr().err
    assert f'has {count} functions with @model("reconstruction")' in said
    assert "it has @model for: other_task" in said


def test_a_main_with_models_of_several_tasks(masked):
    code = """
    @model("other_task")
    def other(data): ...

    @model("reconstruction")
    def predict(counts, hidden):
        return np.zeros(hidden.nnz)
    """
    assert execute(masked[0], code) == 0


@pytest.mark.parametrize(
    ("uns", "said"),
    [
        ({"kind": "hidden"}, "does not say its task"),
        ({"task": "reconstuction"}, "Did you mean"),
    ],
)
def test_an_input_of_no_task_that_there_is(masked, capsys, uns, said):
    with H5adWriter(masked[0] / "input.h5ad", ["c"], ["g"]) as out:
        out.csr("X", np.float32).append(sparse.csr_matrix((1, 1), dtype=np.float32))
        out.uns(uns)
    assert execute(masked[0], '@model("reconstruction")\ndef predict(counts, hidden): ...\n') == 1
    assert said in capsys.readouterr().err


def test_an_error_of_the_model_is_not_swallowed(masked):
    code = """
    @model("reconstruction")
    def predict(counts, hidden):
        return 1 / 0
    """
    with pytest.raises(ZeroDivisionError):
        execute(masked[0], code)


def test_a_gpu_that_is_not_there_is_an_error(masked, capsys, monkeypatch):
    import types

    fake = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", fake)
    code = '@model("reconstruction")\ndef predict(counts, hidden, *, device): ...\n'
    assert execute(masked[0], code, {"device": "cuda"}) == 1
    assert "torch sees no GPU" in capsys.readouterr().err
