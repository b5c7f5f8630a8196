import json
import textwrap
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy import sparse

from lacuna_contract import ContractError, harness
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.h5ad import H5adWriter, open_h5ad, read_strings
from lacuna_contract.tasks.multimodal import read

CELLS, GENES, PEAKS, PROTEINS = 12, 6, 9, 3


def measured(width, has, rng):
    return sparse.csr_matrix(
        (rng.poisson(1.0, (CELLS, width)) + 1) * has[:, None], dtype=np.float32
    )


@pytest.fixture
def room(tmp_path):
    """An input: RNA in the first 8 cells, ATAC (binary) in the last 8, ADT in all but one."""
    rng = np.random.default_rng(0)
    at = np.arange(CELLS)
    has = {"rna": at < 8, "atac": at >= 4, "adt": at != 5}
    with H5adWriter(
        tmp_path / "input.h5ad", [f"c{i}" for i in at], [f"g{j}" for j in range(GENES)]
    ) as out:
        out.csr("X", np.float32).append(measured(GENES, has["rna"], rng))
        atac = measured(PEAKS, has["atac"], rng)
        atac.data[:] = 1
        out.csr("obsm/X_atac", np.float32, PEAKS).append(atac)
        out.dense("obsm/X_adt", np.float32, PROTEINS).append(
            measured(PROTEINS, has["adt"], rng).toarray()
        )
        for name, values in {
            "batch": ["b1", "b2"] * 6,
            "dataset": ["d"] * 12,
            "split": ["train"] * 12,
        }.items():
            out.column("obs", name, values)
        for name, flags in has.items():
            out.column("obs", f"has_{name}", flags)
        out.array("uns/adt_names", ["CD3", "CD4", "CD8"])
        out.array("uns/peak_gene", np.arange(PEAKS, dtype=np.int32) % GENES)
        out.array("uns/asked/atac/cells", np.array([2, 0], dtype=np.int32))
        out.array("uns/asked/atac/features", np.array([8, 1, 3], dtype=np.int32))
        out.array("uns/asked/adt/cells", np.array([5], dtype=np.int32))
        out.array("uns/asked/adt/features", np.arange(3, dtype=np.int32))
        out.uns({"task": "multimodal", "n_hidden": 9})
    return tmp_path


HEAD = """
import numpy as np
from lacuna_contract import NotApplicable, model

@model("multimodal")
def predict(data, *, seed=0):
"""


def execute(folder, body):
    (folder / "main.py").write_text(HEAD + textwrap.indent(textwrap.dedent(body), "    "))
    (folder / "params.json").write_text("{}")
    files = {"input": "input.h5ad", "output": "prediction.h5ad"}
    files |= {"metadata": "metadata.json", "params": "params.json"}
    words = [w for k, f in files.items() for w in (f"--{k}", str(folder / f))]
    return harness.main([str(folder / "main.py"), *words])


GOOD = """
atac = np.arange(6).reshape(2, 3) / 10
adt = np.full((1, 3), 2.5)
embedding = np.column_stack([np.arange(12), data.batch])
"""


def test_what_a_model_gets(room):
    check_h5ad(room / "input.h5ad", "multimodal_input")
    data = read(room / "input.h5ad")
    assert list(data.counts) == ["rna", "atac", "adt"]
    assert [x.shape for x in data.counts.values()] == [(12, 6), (12, 9), (12, 3)]
    assert data.features["adt"] == ["CD3", "CD4", "CD8"]
    assert data.features["atac"][8] == "peak_8"
    assert data.has["rna"].sum() == 8
    assert data.batch.tolist() == [0, 1] * 6
    assert data.asked["atac"].cells.tolist() == [2, 0]
    assert "rna" not in data.asked
    assert data.gene_of["atac"][7] == 1
    assert "adt" not in data.gene_of


@pytest.mark.parametrize(
    ("cells", "genes", "joined", "by_genes"),
    [
        ("rna+atac rna+adt", [], True, True),
        ("rna+atac atac+adt", [], True, True),
        ("rna+atac adt", ["adt"], False, True),
        ("rna atac adt", ["atac"], False, False),
        ("rna atac adt", ["atac", "adt"], False, True),
        ("atac+adt rna", [], False, False),
    ],
)
def test_whether_all_modalities_are_joined(room, cells, genes, joined, by_genes):
    has = {m: np.array([m in cell for cell in cells.split()]) for m in ("rna", "atac", "adt")}
    gene_of = {name: np.array([-1, 0]) for name in genes}
    data = replace(read(room / "input.h5ad"), has=has, gene_of=gene_of)
    assert data.joined() == joined
    assert data.joined(by_genes=True) == by_genes
    unknown = replace(data, gene_of={"atac": np.full(2, -1), "adt": np.full(2, -1)})
    assert unknown.joined(by_genes=True) == joined


def test_a_prediction_carries_names(room):
    assert execute(room, GOOD + "return embedding, {'atac': atac, 'adt': adt}, {'epochs': 3}") == 0
    check_h5ad(room / "prediction.h5ad", "multimodal_prediction")
    with open_h5ad(room / "prediction.h5ad") as file:
        assert read_strings(file["uns/imputed/atac/cells"]) == ["c2", "c0"]
        assert read_strings(file["uns/imputed/atac/features"]) == ["peak_8", "peak_1", "peak_3"]
        assert np.allclose(file["uns/imputed/atac/values"], np.arange(6).reshape(2, 3) / 10)
        assert file["obsm/X_embedding"].shape == (12, 2)
    assert json.loads((room / "metadata.json").read_text())["details"] == {"epochs": 3}


def test_tables_are_put_in_order_by_their_names(room):
    body = """
    import pandas as pd
    tables = {}
    for name, values in (("atac", atac), ("adt", adt)):
        one = data.asked[name]
        rows, columns = [data.cells[i] for i in one.cells], np.array(data.features[name])
        tables[name] = pd.DataFrame(values, rows, columns[one.features]).iloc[::-1, ::-1]
    return pd.DataFrame(embedding, data.cells).iloc[::-1], tables
    """
    assert execute(room, GOOD + textwrap.dedent(body)) == 0
    with open_h5ad(room / "prediction.h5ad") as file:
        assert file["obsm/X_embedding"][:, 0].tolist() == list(range(12))
        assert np.allclose(file["uns/imputed/atac/values"], np.arange(6).reshape(2, 3) / 10)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("return embedding", "expected a tuple"),
        ("return embedding[:5], {'atac': atac, 'adt': adt}", "(5, 2); expected (12, dimensions)"),
        (
            "import pandas as pd; return pd.DataFrame(embedding), {'atac': atac, 'adt': adt}",
            "12 cell names that are not the 12 of the input: 12 are missing, such as 'c0'",
        ),
        ("return embedding * np.nan, {'atac': atac, 'adt': adt}", "embedding holds 24 NaN"),
        ("return embedding + 1e300, {'atac': atac, 'adt': adt}", "embedding holds 24 NaN or inf"),
        ("return embedding, {'atac': atac, 'adt': adt + 1e300}", "of adt holds 3 NaN or inf"),
        ("return embedding, {'atac': atac}", "did not predict adt"),
        ("return embedding, {'atac': atac, 'adt': adt, 'rna': adt}", "predicted rna; asked for"),
        ("return embedding, {'atac': atac.T, 'adt': adt}", "expected (2, 3)"),
        ("return embedding, {'atac': atac * 3, 'adt': adt}", "from 0 to 1.5; expected probability"),
        ("return embedding, {'atac': atac - 0.1, 'adt': adt}", "expected probability, from 0 to 1"),
        ("return embedding, {'atac': atac, 'adt': adt * np.inf}", "prediction of adt holds 3 NaN"),
        (
            "return embedding.astype(str), {'atac': atac, 'adt': adt}",
            "the embedding holds values of type <U21; expected floats",
        ),
        (
            "return np.full((12, 2), None), {'atac': atac, 'adt': adt}",
            "the embedding holds values of type object; expected floats",
        ),
        (
            "return [[1.0], *[[1.0, 2.0]] * 11], {'atac': atac, 'adt': adt}",
            "the model returned a list that is no array: ",
        ),
        ("return None, {'atac': atac, 'adt': adt}", "the embedding has shape ()"),
        (
            "return embedding, {'atac': np.full((2, 3), 'open'), 'adt': adt}",
            "the prediction of atac holds values of type <U4; expected floats",
        ),
        (
            "return embedding, {'atac': atac, 'adt': [[1.0, None, 2.0]]}",
            "the prediction of adt holds values of type object; expected floats",
        ),
        ("return embedding, {'atac': None, 'adt': adt}", "the prediction of atac has shape ()"),
        (
            "return embedding, {'atac': [[0.1], [0.2, 0.3]], 'adt': adt}",
            "the model returned a list that is no array: ",
        ),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_is_said(room, capsys, end, message):
    assert execute(room, GOOD + end) == 1
    assert message in capsys.readouterr().err
    assert not (room / "prediction.h5ad").exists()


def test_a_model_may_decline(room):
    assert execute(room, "raise NotApplicable('needs paired cells')") == 0
    assert json.loads((room / "metadata.json").read_text()) == {
        "not_applicable": "needs paired cells"
    }


def test_a_mask_that_says_observed_where_all_is_zero(room):
    with h5py.File(room / "input.h5ad", "r+") as file:
        file["obs/has_rna"][10] = True
    with pytest.raises(
        ContractError, match=r"has_rna is true, but rna is all zero, in 1 cells.*c10"
    ):
        read(room / "input.h5ad")


def test_a_missing_mask(room):
    with h5py.File(room / "input.h5ad", "r+") as file:
        del file["obs/has_atac"]
    with pytest.raises(ContractError, match="unknown column of obs 'has_atac'"):
        read(room / "input.h5ad")
    with pytest.raises(ContractError, match="obs lacks the column 'has_atac'"):
        check_h5ad(room / "input.h5ad", "multimodal_input")


def test_protein_names_that_do_not_match(room):
    with h5py.File(room / "input.h5ad", "r+") as file:
        del file["uns/adt_names"]
        file["uns/adt_names"] = ["CD3", "CD4"]
    with pytest.raises(ContractError, match=r"adt_names'\] has 2 names for 3 columns"):
        read(room / "input.h5ad")


def test_a_file_of_the_mock_generator_can_be_read(tmp_path):
    from lacuna.mock import Settings, write_mock

    write_mock(
        tmp_path / "mock.h5ad",
        Settings.of(
            {
                "problem": "bridge",
                "n_cells": 60,
                "n_genes": 20,
                "n_peaks": 40,
                "n_proteins": 4,
                "seed": 1,
            }
        ),
    )
    data = read(tmp_path / "mock.h5ad")
    assert list(data.counts) == ["rna", "atac"]
    assert np.array_equal(data.asked["rna"].cells, np.flatnonzero(~data.has["rna"]))
    assert data.asked["rna"].shape[1] == 20
