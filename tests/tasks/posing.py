"""Inputs and truths of mock scenarios, for the tests of the task multimodal."""

from lacuna import tasks
from lacuna.tasks.multimodal.conditions import conditions

TASK = tasks.load("multimodal")
SIZES = {"cells": 200, "genes": 60, "peaks": 150, "proteins": 8}
SCENARIOS = ("paired", "unpaired", "bridge", "mosaic", "prediction", "hierarchical")


def condition(scenario, seed=7, dataset="mock", **sizes):
    (found,) = conditions({"scenarios": scenario, "seeds": seed, **(SIZES | sizes)})
    return {
        "key": f"multimodal/{dataset}/{found.name}",
        "task": "multimodal",
        "dataset": dataset,
        "condition": found.name,
        "seed": seed,
        "arguments": found.arguments,
    }


def posed(folder, scenario, salt="", **more):
    raw = folder / "raw.h5ad"
    if not raw.exists():
        TASK.import_dataset({"dataset": "mock"}, None, raw)
    name = f"{scenario}_{len(list(folder.iterdir()))}"
    paths = folder / f"{name}.h5ad", folder / f"{name}_truth.h5ad"
    TASK.prepare(condition(scenario, **more), raw, *paths, salt)
    return paths
