import subprocess
import sys
import urllib.error

import anndata
import numpy as np
import pytest
import scanpy
from scipy import sparse

from lacuna import datasets
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError


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
    assert [*found.obsm, *found.obsp, *found.uns, *found.layers, *found.varm] == []


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


def test_pbmc3k_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    anndata.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(tmp_path / "datasets/pbmc3k_raw.h5ad")
    datasets.pbmc3k(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").shape == (3, 3)
