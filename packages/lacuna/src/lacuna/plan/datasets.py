"""The datasets of a plan: those that Lacuna knows, and those of a sheet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacuna import datasets, parameters, tasks
from lacuna.tasks.base import raw_file
from lacuna_contract.errors import suggest


def choose_datasets(
    given: Mapping[str, Any],
    chosen_tasks: Sequence[str],
    sheet: Path | None,
    problems: parameters.Problems,
) -> list[dict[str, Any]]:
    """The datasets that are asked for (schema `dataset`)."""
    built_in = [
        {"task": task, "dataset": name, "source": None, "file": raw_file(name)}
        for task in chosen_tasks
        for name in tasks.load(task).datasets
    ]
    own: list[dict[str, Any]] = []
    if sheet is not None:
        with problems.catch():
            own = [_own(row) for row in datasets.read_sheet(sheet)]
    for row in own:
        only = _only_task(row["source"])
        if only not in (None, row["task"]):
            problems.add(
                f"dataset '{row['dataset']}': {row['source']} is for the task {only}, and the "
                f"sheet says {row['task']}"
            )
        if row["task"] not in tasks.names():
            problems.add(
                f"dataset '{row['dataset']}': {suggest(row['task'], tasks.names(), 'task')}"
            )
        if row["dataset"] in (other["dataset"] for other in built_in):
            problems.add(
                f"dataset '{row['dataset']}' of the sheet has the name of a dataset that Lacuna "
                "knows; rename it"
            )
    of_sheet = sorted({row["task"] for row in own})
    own = [row for row in own if row["task"] in chosen_tasks]
    there = built_in + own
    asked = parameters.words(given.get("datasets"))
    if not asked and sheet is not None:
        chosen = own
    elif not asked:
        default = {(t, name) for t in chosen_tasks for name in tasks.load(t).default_datasets}
        chosen = [row for row in built_in if (row["task"], row["dataset"]) in default]
    else:
        names = {row["dataset"] for row in there} | ({"all"} if sheet is not None else set())
        for word in asked:
            if word not in names:
                problems.add(suggest(word, names, "dataset"))
        chosen = own if "all" in asked else []
        chosen = [r for r in there if r in chosen or r["dataset"] in asked]
    for row in chosen:
        sharing = sorted({r["task"] for r in chosen if r["dataset"] == row["dataset"]})
        if len(sharing) > 1:
            problems.add(
                f"dataset '{row['dataset']}' is one of several tasks: {', '.join(sharing)}. Their "
                "results would share a folder; rename one, or run one task at a time"
            )
    if not chosen and not problems.found:
        said = f"no dataset for the tasks: {', '.join(chosen_tasks)}"
        if of_sheet:
            said += f". The sheet's are for {', '.join(of_sheet)}; its column 'task' says which"
        problems.add(said)
    return chosen


def _only_task(path: str) -> str | None:
    """The one task that a file of this name can be for, if there is but one."""
    name = path.partition("?")[0].lower()  # it may be an address
    return next((t for t in tasks.names() if name.endswith(tuple(tasks.load(t).endings))), None)


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: row[name] for name in ("symbol", "organism") if name in row}
    given |= {name: int(row[name]) for name in ("subsample", "subsample_seed") if name in row}
    task = row.get("task") or _only_task(row["path"])
    if task is None:
        task, given["task_assumed"] = tasks.DEFAULT, True
    return {
        "task": task,
        "dataset": row["dataset"],
        "source": row["path"],
        "layer": row.get("layer"),
        "cell_type": row.get("cell_type"),
        **given,
        "file": raw_file(row["dataset"]),
    }
