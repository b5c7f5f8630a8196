import re
import subprocess
import sys
import tomllib
import urllib.error
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import scanpy
from scipy import sparse

from lacuna import datasets
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import H5adWriter


@pytest.fixture(scope="module")
def pbmc(tmp_path_factory):
    path = tmp_path_factory.mktemp("pbmc") / "data.h5ad"
    datasets.pbmc(path)
    return path


def test_pbmc_is_the_counts_that_scanpy_logged(pbmc):
    check_h5ad(pbmc, "reconstruction_raw")
    found, original = anndata.read_h5ad(pbmc), scanpy.datasets.pbmc68k_reduced()
    assert found.shape == (700, 765)
    assert found.X.nnz == original.raw.X.nnz == 174_400
    assert list(found.obs_names) == list(original.obs_names)
    assert list(found.var_names) == list(original.raw.var_names)
    assert list(found.obs["cell_type"]) == list(original.obs["bulk_labels"])
    assert list(found.obs.columns) == ["cell_type"]
    # Scaling the counts again gives what the file holds.
    logged = original.raw.X.toarray()
    counts = found.X.toarray()
    for cell in range(0, 700, 50):
        scale = np.expm1(logged[cell]).sum() / counts[cell].sum()
        assert np.log1p(counts[cell] * scale) == pytest.approx(logged[cell], abs=0.03)


def test_pbmc_holds_nothing_of_what_leaks(pbmc):
    found = anndata.read_h5ad(pbmc)
    assert found.raw is None
    assert [*found.obsm, *found.obsp, *found.layers, *found.varm] == []
    assert dict(found.uns) == {"lacuna": {"organism": "human"}}


def test_scanpy_is_not_imported(tmp_path):
    code = (
        "import sys\nfrom lacuna import datasets\n"
        f"datasets.pbmc({str(tmp_path / 'a.h5ad')!r})\n"
        "print([m for m in ('scanpy', 'anndata', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_counts_are_recovered_or_refused():
    rng = np.random.default_rng(0)
    dense = rng.poisson(1.0, (50, 30)).astype(float)
    dense[:, 0] = 1
    counts = sparse.csr_matrix(dense)
    depth = np.repeat(rng.uniform(0.2, 30, 50), np.diff(counts.indptr))
    logged = counts.copy()
    logged.data = np.log1p(counts.data * depth).astype(np.float32)
    assert (datasets.unscale(logged) != counts).nnz == 0
    logged.data *= 1.4
    with pytest.raises(ContractError, match="from a whole number"):
        datasets.unscale(logged)


def test_without_scanpy_pbmc_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ContractError, match="comes with the package scanpy"):
        datasets.pbmc(tmp_path / "a.h5ad")


def test_pbmc3k_offline_says_what_to_do(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(ContractError, match="no route to host.*put the file at .*pbmc3k_raw.h5ad"):
        datasets.pbmc3k(tmp_path / "a.h5ad")
    assert list((tmp_path / "cache" / "datasets").iterdir()) == []


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache whose pbmc3k is a file of the right shape and first names."""
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cache/datasets/pbmc3k_raw.h5ad"
    path.parent.mkdir(parents=True)
    cells = ["AAACATACAACCAC-1", *(f"c{i}" for i in range(1, 2_700))]
    genes = ["MIR1302-10", *(f"g{i}" for i in range(1, 32_738))]
    with H5adWriter(path, cells, genes) as out:
        out.csr("X", np.float32).append(sparse.eye(2_700, 32_738, format="csr"))
    return path


def test_pbmc3k_from_the_cache(tmp_path, kept):
    assert kept.is_file()
    datasets.pbmc3k(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").shape == (2_700, 32_738)


@pytest.mark.parametrize("what", ["shape", "names"])
def test_a_file_that_is_not_pbmc3k(tmp_path, kept, what):
    if what == "shape":
        anndata.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(kept)
    else:
        with h5py.File(kept, "a") as file:
            file["obs/_index"][0] = "another"
    with pytest.raises(ContractError, match="is not the dataset 'pbmc3k'.*Remove the file"):
        datasets.pbmc3k(tmp_path / "a.h5ad")
    assert not (tmp_path / "a.h5ad").exists()


def test_the_installed_commands_have_what_the_default_dataset_needs():
    root = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert any(re.match("scanpy\\b", text) for text in root["project"]["dependencies"])
