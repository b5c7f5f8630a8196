"""A whole plan: datasets and conditions, models on them, and the metrics of the tasks of these."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacuna import metrics, parameters, tasks
from lacuna.plan.datasets import choose_datasets
from lacuna.plan.models import choose_variants
from lacuna.plan.runs import plan_runs
from lacuna.tasks.base import Condition
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.schema import validate


def make_plan(
    given: Mapping[str, Any], discovered: Mapping[str, Any], sheet: Path | None = None
) -> dict[str, Any]:
    """The plan (schema `plan`) of a benchmark: its runs, and the datasets and conditions of these.

    Parameters
    ----------
    given
        The pipeline's parameters as they came: numbers, or text with commas. Read here: ``tasks``
        (without it, those that some model does),
        ``datasets``, ``seeds``, ``models``, ``metrics``, ``allow_controls``, ``engine`` ("docker",
        "venv", ...), ``gpu``; and what each task's conditions need. Others are not looked at.
    discovered
        What ``bin/discover`` prints.
    sheet
        A dataset sheet. Without ``datasets``, all of it is taken.

    Raises
    ------
    ContractError
        Listing everything that is wrong.
    """
    problems = parameters.Problems()
    given = {"tasks": _done_by(discovered)} | dict(given)
    chosen_tasks = _tasks(given, problems)
    problems.check("the benchmark cannot be planned")
    rows, conditions = plan_data(given, sheet, problems)
    # A task of which no dataset is asked for is none of this benchmark's.
    there = {row["task"] for row in rows}
    chosen_tasks = [task for task in chosen_tasks if task in there or not there]
    variants = choose_variants(given, discovered, chosen_tasks, problems)
    chosen_metrics: dict[str, list[str]] = {}
    with problems.catch():
        chosen_metrics = metrics.choose(given.get("metrics"), chosen_tasks)
    problems.check("the benchmark cannot be planned")
    runs = plan_runs(conditions, variants, given)
    if not runs:
        names = ", ".join(model["name"] for model, _ in variants)
        raise ContractError(f"none of the models does a task of the chosen datasets: {names}")
    # What no model is run on need not be fetched, made or hidden.
    used = {run["key"] for run in runs}
    conditions = [condition for condition in conditions if condition["key"] in used]
    named = {(condition["task"], condition["dataset"]) for condition in conditions}
    rows = [row for row in rows if (row["task"], row["dataset"]) in named]
    chosen_metrics = {row["task"]: chosen_metrics[row["task"]] for row in rows}
    notes = []
    for task in [task for task, found in chosen_metrics.items() if not found]:
        # Its runs cost what they cost: a report of them without a score would be of no use.
        chosen_metrics[task] = list(metrics.of_task(task))
        asked = ", ".join(parameters.words(given["metrics"]))
        notes.append(
            f"task '{task}' has none of the metrics {asked}: it is scored by all of its own"
        )
    plan = {"datasets": rows, "conditions": conditions, "runs": runs, "metrics": chosen_metrics}
    plan |= {"notes": notes}
    validate(plan, "plan", where="the plan")
    return plan


def plan_data(
    given: Mapping[str, Any], sheet: Path | None, problems: parameters.Problems
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The datasets and conditions of a plan; what is wrong goes to `problems`."""
    chosen_tasks = _tasks(given, problems)
    rows = choose_datasets(given, chosen_tasks, sheet, problems)
    conditions: dict[str, list[Condition]] = {}
    for task in chosen_tasks:
        with problems.catch():
            conditions[task] = tasks.load(task).conditions(given)
    chosen = []
    for row in rows:
        own = conditions.get(row["task"], [])
        fitting = [condition for condition in own if row["dataset"] not in condition.elsewhere]
        if own and not fitting:
            names = ", ".join(dict.fromkeys(condition.name for condition in own))
            problems.add(f"dataset '{row['dataset']}' has none of these conditions: {names}")
        chosen += [_condition(row, condition) for condition in fitting]
    return rows, chosen


def _done_by(discovered: Mapping[str, Any]) -> str:
    """The tasks that some model does, which is what is run where none is asked for."""
    done = [model["manifest"].get("tasks", ()) for model in discovered["models"]]
    return ",".join(name for name in tasks.names() if any(name in some for some in done))


def _tasks(given: Mapping[str, Any], problems: parameters.Problems) -> list[str]:
    """The tasks that are asked for, all of them for "all"."""
    asked, known = parameters.words(given.get("tasks", tasks.DEFAULT)), tasks.names()
    if "all" in asked or not asked:
        return known
    for word in asked:
        if word not in known:
            problems.add(suggest(word, [*known, "all"], "task"))
    return [name for name in known if name in asked]


def _condition(row: Mapping[str, Any], condition: Condition) -> dict[str, Any]:
    task = row["task"]
    return {
        "key": f"{task}/{row['dataset']}/{condition.name}",
        "task": task,
        "dataset": row["dataset"],
        "condition": condition.name,
        "seed": condition.seed,
        "arguments": condition.arguments,
        "if_possible": condition.if_possible,
        "files": tasks.load(task).files(row["dataset"], condition.name),
    }
