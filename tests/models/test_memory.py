"""Models that take all cells at once say before they begin when memory will not do."""

import json
import os
import subprocess

import pytest

from lacuna.authoring import reconstruction
from lacuna.setup import environments
from lacuna.setup.common import ROOT
from lacuna.setup.registry import model

# ALRA in blocks of genes against the package's functions on the dense matrix.
IN_BLOCKS = """
import sys
import numpy as np
from scipy import sparse
import halra
sys.path.insert(0, sys.argv[1])
import main as alra

rng = np.random.default_rng(0)
counts = rng.poisson(rng.gamma(0.7, 2.0, (3, 50))[rng.integers(0, 3, 120)]).astype(np.float32)
dark = rng.random(counts.shape) < 0.2
visible, hidden = sparse.csr_matrix(np.where(dark, 0, counts)), sparse.csr_matrix(dark)
blocks = []
for alra.BLOCK in (10**7, 1000):
    blocks.append(alra.impute(visible, hidden, hidden, 4, 0, 5))
np.testing.assert_allclose(blocks[1], blocks[0], rtol=1e-12)

depth = alra.depths(visible, hidden)
values = alra.normalise(visible, depth)
means = (values.sum(axis=0).A1 / (~dark).sum(axis=0))[hidden.indices]
low = halra.create_reconstruction(alra.fill(values, hidden, means), 4, 12, 5, verbose=False)
kept = halra.threshold_reconstruction(low, 0.001)
factors = halra.create_scaling_factors(kept, values, verbose=False)
scaled = halra.apply_scaling(kept, *factors, verbose=False)
whole = halra.clip_negative_values(scaled, verbose=False)
expected = depth[:, None] * np.expm1(whole.toarray())
np.testing.assert_allclose(blocks[0], expected[dark], rtol=1e-9, atol=1e-12)
assert (expected[dark] == 0).any() and (expected[dark] > 1).any()
"""


def run(recipe, words, **env):
    environments.build(recipe)
    return subprocess.run(
        [recipe.env / "bin/python", *words], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], "OMP_NUM_THREADS": "1"} | env,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "megabytes", "said"),
    [
        ("magic", 0.6, "a dense matrix of 300 cells x 100 genes: about"),
        pytest.param(
            "alra", 1.5, "ALRA takes all 300 cells x 100 genes at once: about",
            marks=pytest.mark.only_all,
        ),
        pytest.param(
            "ridge", 1.5, "a regression of 100 genes in 300 cells: about",
            marks=pytest.mark.only_all,
        ),
    ],
)  # fmt: skip
def test_it_ends_before_it_begins(name, megabytes, said, tmp_path):
    """What it would take is more than is available, and the input alone is not."""
    recipe = model(ROOT / "containers/models" / name)
    case = next(iter(reconstruction.cases(tmp_path)))
    (tmp_path / "params.json").write_text(json.dumps({"seed": 1}))
    words = ["-m", "lacuna_contract.harness", recipe.env / "model/main.py"]
    words += ["--input", case.input, "--output", tmp_path / "out.h5ad"]
    words += ["--metadata", tmp_path / "metadata.json", "--params", tmp_path / "params.json"]
    done = run(recipe, words, LACUNA_MEMORY_BYTES=str(int(megabytes * 1e6)))
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith(f"MemoryError: {said}")
    assert not (tmp_path / "metadata.json").exists()


@pytest.mark.only_all
def test_alra_in_blocks_of_genes_is_the_package_on_the_whole_matrix(tmp_path):
    recipe = model(ROOT / "containers/models/alra")
    (tmp_path / "blocks.py").write_text(IN_BLOCKS)
    done = run(recipe, [tmp_path / "blocks.py", recipe.folder])
    assert done.returncode == 0, done.stderr[-3000:]
