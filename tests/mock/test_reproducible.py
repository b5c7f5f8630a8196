"""A seed means the same bytes, however the data are made."""

import hashlib
import tracemalloc

import numpy as np
import pytest

import lacuna_contract.h5ad
from lacuna.mock import Settings, generate_mock_dataset, write_mock
from lacuna.mock.generate import make_plan
from lacuna_contract import ContractError

SIZES = {"n_cells": 700, "n_genes": 60, "n_peaks": 900, "n_proteins": 8}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    settings = Settings(problem="mosaic", seed=5, **SIZES)
    write_mock(folder / "a.h5ad", settings, truth=folder / "t.h5ad", workers=1, chunk_cells=128)
    return settings, digest(folder / "a.h5ad"), digest(folder / "t.h5ad")


@pytest.mark.parametrize(("chunk_cells", "workers"), [(1, 2), (200, 3), (512, 2), (10_000, 1)])
def test_bytes_do_not_depend_on_chunks_or_workers(tmp_path, reference, chunk_cells, workers):
    settings, expected, expected_truth = reference
    how = {"chunk_cells": chunk_cells, "workers": workers}
    write_mock(tmp_path / "a.h5ad", settings, truth=tmp_path / "t.h5ad", **how)
    assert digest(tmp_path / "a.h5ad") == expected
    assert digest(tmp_path / "t.h5ad") == expected_truth


def test_the_input_is_the_same_with_and_without_the_truth(tmp_path, reference):
    settings, expected, _ = reference
    write_mock(tmp_path / "a.h5ad", settings)
    assert digest(tmp_path / "a.h5ad") == expected


def test_h5mu_bytes_do_not_depend_on_chunks_or_workers(tmp_path, reference):
    settings = reference[0]
    write_mock(tmp_path / "a.h5mu", settings, chunk_cells=128, workers=1)
    write_mock(tmp_path / "b.h5mu", settings, chunk_cells=600, workers=3)
    assert digest(tmp_path / "a.h5mu") == digest(tmp_path / "b.h5mu")


def same(a, b):
    pairs = [(a.X, b.X), (a.obsm["X_atac"], b.obsm["X_atac"])]
    return (
        all(x.shape == y.shape and (x != y).nnz == 0 for x, y in pairs)
        and np.array_equal(a.obsm["X_adt"], b.obsm["X_adt"])
        and a.obs.equals(b.obs)
    )


def test_a_seed_in_memory():
    first, _ = generate_mock_dataset("hierarchical", seed=9, **SIZES)
    again, _ = generate_mock_dataset("hierarchical", seed=9, workers=3, chunk_cells=1, **SIZES)
    other, _ = generate_mock_dataset("hierarchical", seed=10, **SIZES)
    assert same(first, again)
    assert not same(first, other)


def test_without_a_seed_each_is_new_and_the_truth_says_which():
    sizes = {**SIZES, "n_cells": 50}
    first, _, truth = generate_mock_dataset("paired", return_truth=True, **sizes)
    second, _ = generate_mock_dataset("paired", **sizes)
    assert not same(first, second)
    again, _ = generate_mock_dataset("paired", seed=truth.settings.seed, **sizes)
    assert same(first, again)


def test_modalities_have_random_numbers_of_their_own():
    few = make_plan(Settings(problem="paired", n_cells=50, n_genes=40, n_peaks=50))
    many = make_plan(Settings(problem="paired", n_cells=50, n_genes=40, n_peaks=500))
    rna = [p.law.rna.response.loadings for p in (few, many)]
    np.testing.assert_array_equal(*rna)
    np.testing.assert_array_equal(few.cells.z, many.cells.z)


def test_blocks_differ():
    adata, _ = generate_mock_dataset("paired", seed=0, **SIZES)
    first, second = adata.X[:128].toarray(), adata.X[128:256].toarray()
    assert (first != second).any(axis=1).all()


def test_memory_does_not_grow_with_the_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(lacuna_contract.h5ad, "BLOCK", 1 << 12)  # smaller buffers fill sooner

    def peak(n_cells):
        settings = Settings(
            problem="mosaic", n_cells=n_cells, n_genes=50, n_peaks=20_000, atac_density=0.05
        )
        tracemalloc.start()
        write_mock(tmp_path / "a.h5ad", settings, chunk_cells=128, workers=1)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / 1e6

    # The ATAC of 2,048 cells more is 9 MB where it is kept; the table of cells is 1 MB. So is a
    # chunk, and whether the next is there while one is written is a matter of timing: the least of
    # several.
    peak(128)
    small, large = (min(peak(n) for _ in range(3)) for n in (512, 2560))
    assert large < small + 2


def test_nonsense_sizes_of_chunks(tmp_path):
    settings = Settings(problem="paired", n_cells=50)
    with pytest.raises(ContractError, match="chunk_cells is 0"):
        write_mock(tmp_path / "a.h5ad", settings, chunk_cells=0)
    assert list(tmp_path.iterdir()) == []


def test_a_truth_says_in_one_line_what_it_is_of():
    _, _, truth = generate_mock_dataset(
        "bridge", n_cells=60, n_genes=20, n_peaks=30, n_proteins=4, seed=3, return_truth=True
    )
    assert repr(truth) == (
        "Truth('bridge', n_cells=60, n_genes=20, n_peaks=30, n_proteins=4, latent_dim=16, seed=3)"
    )
