"""What models choose by, and what is imported of them before their first run."""

import math
import sys
from types import SimpleNamespace

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


def test_the_loss_that_scvi_tools_finds_is_added():
    best = BestEpoch(patience=1)
    plan = SimpleNamespace(module=SimpleNamespace(state_dict=lambda: {"w": np.ones(1)}))
    trainer = SimpleNamespace(sanity_checking=True, callback_metrics={}, should_stop=False)
    best.after_validation(trainer, plan)
    assert best.losses == []
    trainer.sanity_checking = False
    for loss, stop in ((2.0, False), (3.0, True)):
        trainer.callback_metrics["elbo_validation"] = loss
        best.after_validation(trainer, plan)
        assert trainer.should_stop == stop
    assert best.losses == [2, 3]
    assert best.epoch == 1


def test_what_is_imported_late_is_imported_when_a_folder_is_built(tmp_path, monkeypatch):
    (tmp_path / "main.py").write_text("def predict():\n    import late_one\n")
    (tmp_path / "late_one.py").write_text("import late_two, math\n")
    (tmp_path / "late_two.py").write_text("import package_that_is_missing\n")
    (tmp_path / "stray.py").write_text("raise SystemExit('never imported')\n")
    assert warm.modules(tmp_path) == ["main", "late_one", "late_two"]
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("main", "late_one"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModuleNotFoundError, match="package_that_is_missing"):
        warm.main(tmp_path)


def test_folders_of_a_model_that_are_no_packages(tmp_path):
    """Modules in a folder without __init__.py, and data in one that is called like a library."""
    for name in ("helpers", "json", "whole"):
        (tmp_path / name).mkdir()
    (tmp_path / "main.py").write_text(
        "import json\nfrom helpers.net import x\n\ndef predict():\n    from whole import late\n"
    )
    (tmp_path / "helpers/net.py").write_text("x = 1\n")
    (tmp_path / "json/data.txt").write_text("no module\n")
    (tmp_path / "whole/__init__.py").write_text("def f():\n    from .later import y\n")
    (tmp_path / "whole/late.py").write_text("def f():\n    from . import latest\n")
    for name in ("later", "latest"):
        (tmp_path / f"whole/{name}.py").write_text("y = 1\n")
    assert warm.modules(tmp_path) == [
        "main", "helpers.net", "whole", "whole.late", "whole.later", "whole.latest"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "caught", ["except ImportError", "except (ValueError, Exception)", "except"]
)
def test_what_a_model_can_do_without_may_be_missing(tmp_path, caught):
    (tmp_path / "main.py").write_text(
        f"try:\n    import fast\n{caught}:\n    import slow\nelse:\n    import more\n"
        "try:\n    import needed\nexcept ValueError:\n    pass\n"
    )
    for name in ("fast", "slow", "more", "needed"):
        (tmp_path / f"{name}.py").write_text("import package_that_is_missing\n")
    assert warm.modules(tmp_path) == ["main", "more", "needed"]


def test_a_folder_in_another_language_has_nothing_to_import(tmp_path):
    warm.main(tmp_path)
