"""The pipeline without Nextflow: the same stages, one after the other, on this machine.

Each model runs in its own virtual environment, in a folder of its own that holds a copy of its
input. There is no isolation beyond that; the container profiles of the pipeline have it.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacuna import metrics, parameters, tasks
from lacuna.evaluation import IDENTITY, NO_STATUS, evaluate_run
from lacuna.setup.common import SetupError
from lacuna.setup.environments import build
from lacuna.setup.registry import Recipe, listing, models
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.schema import read_json, write_json

ATTEMPTS = 3
OUT_OF_MEMORY = 137
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "s": 1, "min": 60, "h": 3600, "d": 86400}
FAILURES = ("failed", "out_of_memory", "timed_out", "invalid_output", "lost")


@dataclass(frozen=True)
class Outcome:
    """What became of one piece of work, for the summary."""

    what: str
    status: str
    reason: str | None = None

    @property
    def failed(self) -> bool:
        return self.status in FAILURES


def number(text: str) -> float:
    """A size in bytes or a time in seconds, as manifests write them.

    >>> number("2 GB"), number("10 min")
    (2000000000.0, 600.0)
    """
    value, unit = re.fullmatch(r"([0-9.]+) ?([A-Za-z]+)", text).groups()
    return float(value) * UNITS[unit]


def discover(models_dir: Sequence[Path]) -> tuple[dict[str, Recipe], dict[str, Any]]:
    """The model folders by name, and what ``bin/discover`` would print of them."""
    try:
        found = models(models_dir)
        return {recipe.name: recipe for recipe in found}, listing(found)
    except SetupError as error:
        raise ContractError(str(error)) from None


def prepare(
    rows: Iterable[Mapping[str, Any]],
    conditions: Sequence[Mapping[str, Any]],
    data: Path,
    salt: str = "",
) -> Iterator[Outcome]:
    """Import datasets and hide parts of them; one outcome for each dataset and condition."""
    for row in rows:
        raw = data / row["file"]
        raw.parent.mkdir(parents=True, exist_ok=True)
        try:
            source = None if row["source"] is None else Path(row["source"])
            tasks.load(row["task"]).import_dataset(row, source, raw)
        except ContractError as error:
            yield Outcome(row["dataset"], "failed", str(error))
            continue
        yield Outcome(row["dataset"], "ok")
        for condition in conditions:
            if condition["dataset"] == row["dataset"]:
                yield _hide(condition, data, salt)


def _hide(condition: Mapping[str, Any], data: Path, salt: str) -> Outcome:
    paths = {name: data / file for name, file in condition["files"].items()}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    what = f"{condition['dataset']}/{condition['condition']}"
    try:
        task = tasks.load(condition["task"])
        task.prepare(condition, paths["raw"], paths["input"], paths["truth"], salt)
    except ContractError as error:
        return Outcome(what, "failed", str(error))
    return Outcome(what, "ok")


def conditions_on_disk(
    data: Path, dataset: str | None, file: Path | None = None
) -> list[dict[str, Any]]:
    """The conditions whose inputs lie in a data folder (schema `condition`).

    Raises `ContractError` when there is none of that name.
    """
    if file is not None and not file.is_file():
        there = [data / (dataset or "") / tasks.load(t).folder / file.name for t in tasks.names()]
        file = next((path for path in there if path.is_file()), file)
    if file is not None:
        return [condition_of(file)]
    there = sorted(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    if dataset is not None and dataset not in there:
        hint = f"; prepare-data --dataset {dataset} makes it"
        raise ContractError(f"{data}: {suggest(dataset, there, 'dataset')}{hint}")
    folders = {tasks.load(name).folder for name in tasks.names()}
    found = [
        condition_of(path)
        for name in ([dataset] if dataset else there)
        for folder in sorted(folders)
        for path in sorted((data / name / folder).glob("*.h5ad"))
    ]
    if not found:
        raise ContractError(f"{data / (dataset or '')} has no inputs; prepare-data makes them")
    return found


def condition_of(path: Path) -> dict[str, Any]:
    """The condition that an input belongs to, from its content and its name."""
    with open_h5ad(path) as file:
        about = read_uns(file)
    task, dataset = about.get("task"), path.parent.parent.name
    if task not in tasks.names():
        raise ContractError(f"{path} is no input of a model: uns['lacuna'] is {about}")
    seed = re.search(r"_seed_([0-9]+)$", path.stem)
    return {
        "key": f"{task}/{dataset}/{path.stem}",
        "task": task,
        "dataset": dataset,
        "condition": path.stem,
        "seed": int(seed[1]) if seed else 0,
        "arguments": {},
        "files": tasks.load(task).files(dataset, path.stem) | {"input": str(path.absolute())},
    }


def run_model(
    run: Mapping[str, Any], recipe: Recipe, data: Path, files: Mapping[str, str], output: Path
) -> Outcome:
    """One run, into ``output/<run id>/``: prediction, metadata.json, status.json."""
    folder = output / run["id"]
    task = tasks.load(run["task"])
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (task.prediction, "metadata.json", "metrics.json", "status.json"):
        (folder / stale).unlink(missing_ok=True)
    identity = {key: run[key] for key in IDENTITY}
    status = NO_STATUS | {"run": identity}
    needed = ["input", "truth"] if run["control"] == "ceiling" else ["input"]
    missing = [str(data / files[name]) for name in needed if not (data / files[name]).is_file()]
    if run["not_applicable"]:
        status |= {"status": "not_applicable", "reason": run["not_applicable"]}
    elif missing:
        reason = f"no such file: {', '.join(missing)}; prepare-data makes it"
        status |= {"status": "failed", "reason": reason}
    else:
        try:
            build(recipe)
        except SetupError as error:
            status |= {"status": "failed", "reason": f"its environment could not be made: {error}"}
        else:
            with tempfile.TemporaryDirectory(prefix="lacuna-run-") as room:
                status |= _attempts(run, recipe, data, files, Path(room))
                for name, published in (
                    ("prediction.h5ad", task.prediction),
                    ("metadata.json", "metadata.json"),
                ):
                    made = Path(room) / name
                    # A link would make a file of the host part of the results.
                    if made.is_file() and not made.is_symlink():
                        shutil.move(made, folder / published)
    write_json(folder / "status.json", status, "status")
    return Outcome(run["id"], status["status"], status["reason"])


def _attempts(
    run: Mapping[str, Any], recipe: Recipe, data: Path, files: Mapping[str, str], room: Path
) -> dict[str, Any]:
    resources = run["resources"]
    shutil.copyfile(data / files["input"], room / "input.h5ad")
    (room / "params.json").write_text(json.dumps(run["params"]))
    command = [str(recipe.env / "bin/lacuna-supervise"), "--entry", json.dumps(run["entry"])]
    command += ["--input", "input.h5ad", "--params", "params.json"]
    command += ["--timeout", str(number(resources["time"]))]
    if run["control"] == "ceiling":
        shutil.copyfile(data / files["truth"], room / "truth.h5ad")
        command += ["--truth", "truth.h5ad"]
    # The environment's own packages, not those that this process found its way by.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    for attempt in range(1, ATTEMPTS + 1):
        limits = {"attempt": attempt, "max_attempts": ATTEMPTS, "cpus": resources["cpus"]}
        limits["memory_bytes"] = int(number(resources["memory"]) * attempt)
        (room / ".limits.json").write_text(json.dumps(limits))
        done = subprocess.run(command, cwd=room, env=env, capture_output=True, text=True)
        if done.returncode != OUT_OF_MEMORY:
            break
    if (room / "status.json").is_file():
        return read_json(room / "status.json", "status")
    last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
    return {"reason": f"the supervisor ended with code {done.returncode}: {last}"}


def records(results: Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[Outcome]]:
    """(folder, run identity) of every run that left a record under `results`, and what became of
    the records that cannot be read."""
    found, broken = [], []
    for path in sorted(results.glob("*/*/*/status.json")):
        try:
            status = read_json(path, "status")
        except ContractError as error:
            broken.append(Outcome(str(path.parent.relative_to(results)), "lost", str(error)))
            continue
        if "run" in status:
            found.append((path.parent, status["run"]))
    return found, broken


def evaluate(
    folder: Path, run: Mapping[str, Any], data: Path, names: str, picked: Callable[[dict], bool]
) -> Outcome | None:
    """Score one run in place; None when `picked` does not want the arguments of its condition."""
    task = tasks.load(run["task"])
    truth = data / task.files(run["dataset"], run["condition"])["truth"]
    known = list(metrics.of_task(run["task"]))
    asked = known if names == "all" else parameters.words(names)
    try:
        with open_h5ad(truth) as file:
            if not picked(read_uns(file).get("arguments", {})):
                return None
        chosen = [name for name in known if name in asked]
        status = evaluate_run(run, truth, folder, chosen, folder)
    except ContractError as error:
        return Outcome(run["id"], "failed", f"{error}; prepare-data makes the truth")
    return Outcome(run["id"], status["status"], status["reason"])
