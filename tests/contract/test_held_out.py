"""What models choose by, and what is imported of them before their first run."""

import math
import sys

import numpy as np
import pytest
from scipy import sparse

from lacuna_contract import warm
from lacuna_contract.held_out import BestEpoch, hold_out


def test_held_out_entries_are_visible_ones():
    rng = np.random.default_rng(0)
    hidden = sparse.csr_matrix(rng.random((60, 50)) < 0.3)
    held = hold_out(hidden, 0.1, np.random.default_rng(1))
    assert held.dtype == bool
    assert not held.multiply(hidden).nnz
    # Of 300 draws, three in ten fall on hidden entries, and a few on one entry twice.
    assert 180 < held.nnz < 225
    again = hold_out(hidden, 0.1, np.random.default_rng(1))
    assert (held != again).nnz == 0


def test_the_weights_of_the_best_epoch_are_kept():
    best, weights = BestEpoch(patience=2), {"w": np.zeros(1)}
    for loss, stop in ((3.0, False), (1.0, False), (2.0, False), (1.0, True)):
        weights["w"][0] = loss
        assert best.add(loss, weights) == stop
    assert best.epoch == 2
    assert best.weights["w"] == 1
    assert best.losses == [3, 1, 2, 1]
    with pytest.raises(FloatingPointError, match="the fit diverged: held-out loss nan"):
        best.add(math.nan, weights)


def test_what_is_imported_late_is_imported_when_a_folder_is_built(tmp_path, monkeypatch):
    (tmp_path / "main.py").write_text("def predict():\n    import late_one\n")
    (tmp_path / "late_one.py").write_text("import late_two, math\n")
    (tmp_path / "late_two.py").write_text("import package_that_is_missing\n")
    (tmp_path / "stray.py").write_text("raise SystemExit('never imported')\n")
    assert warm.modules(tmp_path) == ["__main__", "late_one", "late_two"]
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("main", "late_one"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModuleNotFoundError, match="package_that_is_missing"):
        warm.main(tmp_path)


def test_a_folder_in_another_language_has_nothing_to_import(tmp_path):
    warm.main(tmp_path)
