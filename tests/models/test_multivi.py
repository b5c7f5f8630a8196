"""What MultiVI's decoders say of a modality, as expected values."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from lacuna.mock import generate_mock_dataset
from lacuna.setup.common import ROOT
from lacuna.setup.environments import build
from lacuna.setup.registry import model

FOLDER = ROOT / "containers/models/multivi"
INSIDE = Path(__file__).parent / "_multivi_inside/decoded.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of a model with random weights: what `decoded` and `expected` say, and what they should."""
    folder, recipe = tmp_path_factory.mktemp("multivi"), model(FOLDER)
    build(recipe)
    # Three studies, of which one has no ATAC, and one has ATAC alone or with RNA.
    sizes = {"n_cells": 60, "n_genes": 40, "n_peaks": 60, "n_proteins": 6}
    generate_mock_dataset("hierarchical", **sizes, seed=0)[0].write_h5ad(folder / "cells.h5ad")
    words = [INSIDE, recipe.env / "model", folder / "cells.h5ad", folder / "found.npz"]
    done = subprocess.run(
        [str(word) for word in (recipe.env / "bin/python", *words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "found.npz"))


@pytest.mark.parametrize("name", ["rna", "atac"])
def test_a_batch_without_the_modality_has_no_effect_of_its_own(found, name):
    """Its part of the decoder is never trained: whatever it is, cells are decoded as before."""
    lacking = found[f"{name} lacking"]
    assert lacking.any() == (name == "atac")
    assert np.array_equal(found[f"{name} as it is"], found[f"{name} by others"])
    assert np.ptp(found[f"{name} as it is"], axis=0).min() > 0


def test_rna_is_the_mean_of_the_zero_inflated_law(found):
    np.testing.assert_allclose(found["rna expected"], found["rna law"], rtol=1e-4)
    # Zeros beyond the negative binomial's are part of it.
    assert found["rna expected"].sum() < 0.7 * found["rna rate"].sum()


def test_adt_is_the_mean_of_log_intensities(found):
    # Of 300 draws, some of wide laws.
    error = found["adt expected"] - found["adt law"]
    assert np.median(np.abs(error)) < 0.06
    assert abs(error.mean()) < 0.03
    assert found["adt law"].min() > 3
