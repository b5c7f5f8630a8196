"""The command train-mosaic-vae on what the mock generator's commands write."""

from pathlib import Path

import h5py
import numpy as np

from lacuna.mock.cli import make_mock_multimodal
from lacuna.training import main

SMALL = ["--cells", "200", "--genes", "150", "--peaks", "400", "--proteins", "12"]
FEW = ["--cells", "60", "--genes", "40", "--peaks", "60", "--proteins", "6"]


def mock(folder: Path, problem: str, *flags: str) -> Path:
    """A dataset, its truth, and its configuration, whose path is returned."""
    config = folder / f"{problem}.yaml"
    words = ["--problem", problem, "--out", folder / f"{problem}.h5ad", "--config-out", config]
    words += ["--truth-out", folder / f"{problem}.truth.h5ad", *flags]
    assert make_mock_multimodal([str(word) for word in words]) == 0
    return config


def train(config: Path, out: Path, *words: str) -> int:
    return main("bin/train-mosaic-vae", ["--config", str(config), "--out", str(out), *words])


def imputed(out: Path) -> dict[str, np.ndarray]:
    with h5py.File(out / "prediction.h5ad") as file:
        found = file.get("uns/imputed", {})
        values = {name: found[name]["values"][:] for name in found}
        return values | {"embedding": file["obsm/X_embedding"][:]}
