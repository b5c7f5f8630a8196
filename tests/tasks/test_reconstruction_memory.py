"""Three times the cells, the same peak: masking, what a model is handed, a model, scoring."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from lacuna import metrics
from lacuna.metrics import ranks
from lacuna.setup.common import ROOT
from lacuna.tasks.reconstruction import TASK
from lacuna_contract import harness
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.h5ad import H5adWriter

GENES, BLOCK = 1000, 2000


def peak(step: Callable[[], object]) -> int:
    """Most bytes held at once while a step runs."""
    tracemalloc.start()
    step()
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return top


def peaks(folder: Path, cells: int) -> dict[str, int]:
    """The peak of each step for a number of cells."""
    folder.mkdir()
    raw, given, truth = (folder / f"{name}.h5ad" for name in ("data", "input", "truth"))
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(cells)], [f"g{i}" for i in range(GENES)]
    with H5adWriter(raw, *names) as out:
        slot = out.csr("X", np.float32)
        for _ in range(cells // BLOCK):
            slot.append(sparse.csr_matrix(rng.poisson(0.7, (BLOCK, GENES)).astype(np.float32)))
    condition = {"key": "k", "task": "reconstruction", "seed": 1}
    condition["arguments"] = {"percentage": 0.15, "strategy": "uniform"}
    (folder / "params.json").write_text(json.dumps({"seed": 1}))
    answer = folder / "reconstruction.h5ad"
    words = [ROOT / "containers/controls/gene_mean/main.py", "--input", given, "--output", answer]
    words += ["--metadata", folder / "metadata.json", "--params", folder / "params.json"]
    every = list(metrics.of_task("reconstruction"))
    return {
        "masking": peak(lambda: TASK.prepare(condition, raw, given, truth, "")),
        "hand-over": peak(lambda: check_h5ad(given, "reconstruction_input")),
        "model": peak(lambda: harness.main(list(map(str, words)))),
        "scoring": peak(lambda: TASK.evaluate(truth, answer, every)),
    }


def test_memory_does_not_grow_with_the_number_of_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Up to four million entries are ranked exactly, and so are kept; here, none are.
    monkeypatch.setattr(ranks.Ranks, "accumulator", lambda self: ranks._Ranks(0))
    few, many = peaks(tmp_path / "few", 8000), peaks(tmp_path / "many", 24_000)
    growth = {step: many[step] / few[step] for step in few}
    assert max(growth.values()) < 1.25, growth
