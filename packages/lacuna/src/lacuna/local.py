"""The pipeline without Nextflow: the same stages, one after the other, on this machine.

Each model runs in its own virtual environment, in a folder of its own that holds a copy of its
input. There is no isolation beyond that; the container profiles of the pipeline have it.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lacuna import tasks
from lacuna.evaluation import BROKEN, evaluate_run
from lacuna.records import FAILURES, IDENTITY, NO_STATUS
from lacuna.setup.common import SetupError
from lacuna.setup.environments import build
from lacuna.setup.registry import Recipe, listing, models
from lacuna.supervised import supervise
from lacuna_contract.errors import ContractError, NotApplicable, suggest
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.schema import read_json, write_json


@dataclass(frozen=True)
class Outcome:
    """What became of one piece of work, for the summary.

    `source` names the data that were prepared: {"dataset"} or {"key"} (of a condition).
    """

    what: str
    status: str
    reason: str | None = None
    source: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.status in FAILURES


def discover(
    models_dir: Sequence[Path], checkpoints: Path | None = None
) -> tuple[dict[str, Recipe], dict[str, Any]]:
    """The model folders by name, and what ``bin/discover`` would print of them."""
    try:
        found = models(models_dir)
        return {recipe.name: recipe for recipe in found}, listing(found, room=checkpoints)
    except SetupError as error:
        raise ContractError(str(error)) from None


def prepare(
    rows: Iterable[Mapping[str, Any]],
    conditions: Sequence[Mapping[str, Any]],
    data: Path,
    salt: str = "",
) -> Iterator[Outcome]:
    """Import datasets and hide parts of them; one outcome for each dataset and condition.

    Where that fails, nothing of an earlier preparation stays: it would be taken for this one.
    """
    for row in rows:
        raw, about = data / row["file"], {"dataset": row["dataset"]}
        raw.parent.mkdir(parents=True, exist_ok=True)
        own = [condition for condition in conditions if condition["dataset"] == row["dataset"]]
        try:
            source = None if row["source"] is None else Path(row["source"])
            note = tasks.load(row["task"]).import_dataset(row, source, raw)
        except ContractError as error:
            _remove(raw, *(data / file for c in own for file in c["files"].values()))
            yield Outcome(row["dataset"], "failed", str(error), about)
            continue
        yield Outcome(row["dataset"], "ok", note, about)
        for condition in own:
            yield _hide(condition, data, salt)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _hide(condition: Mapping[str, Any], data: Path, salt: str) -> Outcome:
    paths = {name: data / file for name, file in condition["files"].items()}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    what, about = f"{condition['dataset']}/{condition['condition']}", {"key": condition["key"]}
    try:
        task = tasks.load(condition["task"])
        note = task.prepare(condition, paths["raw"], paths["input"], paths["truth"], salt)
    except (ContractError, NotApplicable) as error:
        _remove(paths["input"], paths["truth"])
        wrong = isinstance(error, ContractError)
        return Outcome(what, "failed" if wrong else "not_applicable", str(error), about)
    return Outcome(what, "ok", note, about)


def cannot_be_had(conditions: Iterable[Mapping[str, Any]], data: Path) -> Iterator[Outcome]:
    """An outcome for each condition without an input that its dataset cannot have anyway. Nothing
    in the data folder changes."""
    for condition in conditions:
        raw, input = (data / condition["files"][name] for name in ("raw", "input"))
        if condition["if_possible"] and raw.is_file() and not input.is_file():
            with tempfile.TemporaryDirectory(prefix="lacuna-try-") as room:
                files = {"raw": str(raw.absolute()), "input": "input.h5ad", "truth": "truth.h5ad"}
                outcome = _hide({**condition, "files": files}, Path(room), "")
            if outcome.status == "not_applicable":
                yield outcome


def conditions_on_disk(
    data: Path, names: Sequence[str], file: Path | None = None, sheet: Path | None = None
) -> tuple[list[dict[str, Any]], list[Outcome]]:
    """The conditions (schema `condition`) of the datasets `names`, or of all, whose inputs lie in a
    data folder, and what is not there or cannot be used. `sheet` is where the names are from.

    Raises `ContractError` when there is none of these names, or the one `file` cannot be used.
    """
    if file is not None and not file.is_file():
        folders = [tasks.load(task).folder for task in tasks.names()]
        there = [data / name / folder / file.name for name in names or [""] for folder in folders]
        file = next((path for path in there if path.is_file()), file)
    if file is not None:
        return [condition_of(file)], []
    there = sorted(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    found, broken = [], []
    for name in (name for name in names if name not in there):
        made_by = f"--dataset {name}" if sheet is None else f"--sheet {sheet}"
        said = f"{data}: {suggest(name, there, 'dataset')}; prepare-data {made_by} makes it"
        broken.append(Outcome(name, "failed", said))
    if names and len(broken) == len(names):
        raise ContractError("\n  ".join(str(outcome.reason) for outcome in broken))
    folders = {tasks.load(name).folder for name in tasks.names()}
    paths = [
        path
        for name in names or there
        for folder in sorted(folders)
        for path in sorted((data / name / folder).glob("*.h5ad"))
    ]
    if not paths:
        where = data / names[0] if len(names) == 1 else data
        raise ContractError(f"{where} has no inputs; prepare-data makes them")
    for path in paths:
        try:
            found.append(condition_of(path))
        except ContractError as error:
            broken.append(Outcome(str(path.relative_to(data)), "failed", str(error)))
    return found, broken


def condition_of(path: Path) -> dict[str, Any]:
    """The condition that an input belongs to, from its content and its name. `ContractError` when
    it is no input, or its name does not say the seed.
    """
    with open_h5ad(path) as file:
        about = read_uns(file)
    task, dataset = about.get("task"), path.parent.parent.name
    if task not in tasks.names():
        raise ContractError(f"{path} is no input of a model: uns['lacuna'] is {about}")
    seed = re.search(r"_seed_([0-9]+)$", path.stem)
    if seed is None:
        raise ContractError(f"{path}: expected a name that ends in its seed: mask_15_seed_42.h5ad")
    return {
        "key": f"{task}/{dataset}/{path.stem}",
        "task": task,
        "dataset": dataset,
        "condition": path.stem,
        "seed": int(seed[1]),
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
    forget(run, output)
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
            there = {name: data / file for name, file in files.items()}
            command = [str(recipe.env / "bin/lacuna-supervise")]
            with tempfile.TemporaryDirectory(prefix="lacuna-run-") as room:
                status |= supervise(run, there, Path(room), lambda _: command)
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


def forget(run: Mapping[str, Any], output: Path) -> None:
    """Remove what an earlier run left."""
    prediction = tasks.load(run["task"]).prediction
    names = (prediction, "metadata.json", BROKEN, "metrics.json", "status.json")
    _remove(*(output / run["id"] / name for name in names))


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
    folder: Path,
    run: Mapping[str, Any],
    data: Path,
    names: Sequence[str],
    picked: Callable[[dict], bool],
) -> Outcome | None:
    """Score one run in place by the metrics called `names`; None when `picked` does not want the
    arguments of its condition."""
    task = tasks.load(run["task"])
    truth = data / task.files(run["dataset"], run["condition"])["truth"]
    try:
        with open_h5ad(truth) as file:
            if not picked(read_uns(file).get("arguments", {})):
                return None
        status = evaluate_run(run, truth, folder, names, folder)
    except ContractError as error:
        # A score of an earlier evaluation would pass for one of this.
        _remove(folder / "metrics.json")
        return Outcome(run["id"], "failed", f"{error}; prepare-data makes the truth")
    return Outcome(run["id"], status["status"], status["reason"])
