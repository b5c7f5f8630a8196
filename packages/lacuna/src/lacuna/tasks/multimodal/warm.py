"""Compiles what the stage would compile at first use: ``python -m lacuna.tasks.multimodal.warm``.

It scores invented embeddings of the default conditions, since what jax compiles is for one number
of cells.
"""

import tempfile
from pathlib import Path

import numpy as np

from lacuna import metrics
from lacuna.metrics.registry import Undefined
from lacuna.tasks.multimodal.conditions import conditions
from lacuna.tasks.multimodal.details import picture
from lacuna.tasks.multimodal.embedding import Space
from lacuna.tasks.multimodal.evaluate import Truth
from lacuna.tasks.multimodal.importing import import_dataset
from lacuna.tasks.multimodal.prepare import prepare
from lacuna_contract.h5ad import open_h5ad


def main() -> None:
    """Every metric of an embedding, for every scenario that the mock cells have."""
    chosen = [m for m in metrics.of_task("multimodal").values() if m.needs == "embedding"]
    with tempfile.TemporaryDirectory() as folder:
        raw, input, truth = (Path(folder, f"{name}.h5ad") for name in ("raw", "input", "truth"))
        import_dataset({"dataset": "mock"}, None, raw)
        for one in conditions({"seeds": 1}):
            if "mock" in one.elsewhere:
                continue
            condition = {
                "key": f"multimodal/mock/{one.name}",
                "task": "multimodal",
                "dataset": "mock",
                "condition": one.name,
                "seed": one.seed,
                "arguments": one.arguments,
            }
            prepare(condition, raw, input, truth)
            with open_h5ad(truth) as file:
                known = Truth(file).known
            noise = np.random.default_rng(0).normal(size=known.z.shape)
            embedding = known.z + 0.5 * known.z.std(axis=0) * noise
            space = Space(embedding, known)
            for metric in chosen:
                try:
                    metric.function(space)
                except Undefined:
                    continue  # has nothing to compile for this scenario
            picture(embedding, known)


if __name__ == "__main__":
    main()
