"""The runs of a plan: every variant on every condition, or why one cannot take place here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacuna import choice, parameters, seeds, tasks
from lacuna_contract.schema import load

# With -P: a file of the folder that a person is in, such as an abc.py, is no module.
ENTRY: list[str] = load("model")["properties"]["entry"]["default"]


def plan_runs(
    conditions: Sequence[Mapping[str, Any]],
    variants: Sequence[tuple[dict[str, Any], str]],
    given: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Every variant on every condition of a task, and a dataset, that its model does."""
    pairs = [
        (condition, model, variant)
        for condition in conditions
        for model, variant in variants
        if condition["task"] in model["manifest"]["tasks"]
        and condition["dataset"] in model["manifest"].get("datasets", [condition["dataset"]])
    ]
    return [_run(*pair, index, given) for index, pair in enumerate(pairs)]


def _run(
    condition: Mapping[str, Any],
    model: Mapping[str, Any],
    variant: str,
    index: int,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    manifest = model["manifest"]
    name = model["name"] if variant == "default" else f"{model['name']}.{variant}"
    resources = defaults("resources") | manifest.get("resources", {})
    params = dict(manifest.get("variants", {}).get(variant, {}))
    # All models of a condition get the same seed: it is theirs to draw from, not to differ by.
    params["seed"] = seeds.integer(condition["seed"], "model", condition["key"])
    if parameters.flag(given.get("gpu")) and resources["gpu"] != "never":
        params["device"] = "cuda"
    return {
        "id": f"{name}/{condition['dataset']}/{condition['condition']}",
        "key": condition["key"],
        "index": index,
        "task": condition["task"],
        "dataset": condition["dataset"],
        "condition": condition["condition"],
        "seed": condition["seed"],
        "model": model["name"],
        "variant": variant,
        "name": name,
        "control": manifest.get("control"),
        "tier": choice.tier(manifest, variant),
        "image": Path(model["env"]).name if given.get("engine") == "venv" else model["image"],
        "env": model["env"],
        "entry": manifest.get("entry", ENTRY),
        "params": params,
        "resources": resources,
        "prediction": tasks.load(condition["task"]).prediction,
        "together": tasks.load(condition["task"]).together,
        "checkpoint": model.get("checkpoint") if needs_checkpoint(manifest, variant) else None,
        "not_applicable": _impossible(model, variant, resources, given),
    }


def defaults(name: str) -> dict[str, Any]:
    """The defaults that the schema `model` gives for the parts of one of its fields."""
    parts: Mapping[str, Any] = load("model")["properties"][name]["properties"]
    return {key: part["default"] for key, part in parts.items() if "default" in part}


def needs_checkpoint(manifest: Mapping[str, Any], variant: str) -> bool:
    """Whether a variant runs from files that were trained elsewhere."""
    wanted = manifest.get("checkpoint")
    return wanted is not None and variant in wanted.get("variants", [variant])


def _impossible(
    model: Mapping[str, Any],
    variant: str,
    resources: Mapping[str, Any],
    given: Mapping[str, Any],
) -> str | None:
    """Why a run cannot take place here, if that is known already."""
    manifest = model["manifest"]
    engine, engines = given.get("engine"), manifest.get("engines", ["container", "venv"])
    if engine == "venv" and "venv" not in engines:
        return "runs in its image only; take a profile with a container engine, such as docker"
    if engine not in (None, "venv") and "container" not in engines:
        return f"runs in a virtual environment only, not with {engine}; take the profile venv"
    if resources["gpu"] == "required" and not parameters.flag(given.get("gpu")):
        return "needs a GPU; add the profile gpu where there is one"
    if needs_checkpoint(manifest, variant):
        return _untrained(model)
    return None


def _untrained(model: Mapping[str, Any]) -> str | None:
    """Which files of a model's checkpoint are missing, and where they are published."""
    wanted, found = model["manifest"]["checkpoint"], model.get("checkpoint")
    missing = [name for name in wanted["files"] if not found or name not in found["files"]]
    if not missing:
        return None
    files = f"{', '.join(missing)} (published: {wanted['published']})"
    if not found:
        return (
            f"needs {files}; put what it needs into the folder {model['name']} of a folder of "
            "checkpoints, and name that with --checkpoints"
        )
    return f"{found['folder']} lacks {files}"
