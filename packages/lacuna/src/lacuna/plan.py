"""From parameters and manifests to the list of everything that is going to happen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacuna import choice, datasets, metrics, parameters, seeds, tasks
from lacuna.tasks.base import Condition, raw_file
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.schema import errors, load, validate

OWN_CONTROLS = "containers/controls/"
ENTRY = ["python", "-m", "lacuna_contract.harness", "main.py"]


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
    chosen_metrics = _metrics(given.get("metrics", "all"), chosen_tasks, problems)
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
    plan = {"datasets": rows, "conditions": conditions, "runs": runs, "metrics": chosen_metrics}
    validate(plan, "plan", where="the plan")
    return plan


def plan_data(
    given: Mapping[str, Any], sheet: Path | None, problems: parameters.Problems
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The datasets and conditions of a plan; what is wrong goes to `problems`."""
    chosen_tasks = _tasks(given, problems)
    rows = _datasets(given, chosen_tasks, sheet, problems)
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


def _done_by(discovered: Mapping[str, Any]) -> str:
    """The tasks that some model does, which is what is run where none is asked for."""
    done = [model["manifest"].get("tasks", ()) for model in discovered["models"]]
    return ",".join(name for name in tasks.names() if any(name in some for some in done))


def _tasks(given: Mapping[str, Any], problems: parameters.Problems) -> list[str]:
    return _chosen(given.get("tasks", tasks.DEFAULT), tasks.names(), "task", problems)


def _chosen(value: Any, known: Sequence[str], what: str, problems: parameters.Problems) -> list:
    """The names of a list parameter, all of them for "all"."""
    asked = parameters.words(value)
    if "all" in asked or not asked:
        return list(known)
    for word in asked:
        if word not in known:
            problems.add(suggest(word, [*known, "all"], what))
    return [name for name in known if name in asked]


def _datasets(
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
            own = [_own(row, sheet) for row in datasets.read_sheet(sheet)]
    for row in own:
        if row["task"] not in tasks.names():
            problems.add(
                f"dataset '{row['dataset']}': {suggest(row['task'], tasks.names(), 'task')}"
            )
        if row["dataset"] in (other["dataset"] for other in built_in):
            problems.add(
                f"dataset '{row['dataset']}' of the sheet has the name of a dataset that Lacuna "
                "knows; rename it"
            )
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
        problems.add(f"no dataset for the tasks: {', '.join(chosen_tasks)}")
    return chosen


def _own(row: Mapping[str, Any], sheet: Path) -> dict[str, Any]:
    given = {name: row[name] for name in ("symbol", "organism") if name in row}
    given |= {name: int(row[name]) for name in ("subsample", "subsample_seed") if name in row}
    return {
        "task": row["task"],
        "dataset": row["dataset"],
        "source": row["path"],
        "layer": row.get("layer"),
        "cell_type": row.get("cell_type"),
        **given,
        "file": raw_file(row["dataset"]),
    }


def choose_variants(
    given: Mapping[str, Any],
    discovered: Mapping[str, Any],
    chosen_tasks: Sequence[str],
    problems: parameters.Problems,
) -> list[tuple[dict[str, Any], str]]:
    """The (model, variant) pairs that ``models`` asks for; `lacuna.choice` has the rule."""
    models = []
    for model in discovered["models"]:
        found = wrong(model["manifest"])
        for text in found:
            problems.add(f"{model['path']}/model.json: {text}")
        if not found:
            models.append(model)
    asked = choice.read(given.get("models"))
    broken = {m["name"] for m in discovered["models"]} - {m["name"] for m in models}
    wanted = [word for word in asked if word.split(".")[0] not in broken]
    for text in choice.unknown(wanted, {m["name"]: m["manifest"] for m in models}):
        problems.add(text)
    chosen = []
    pairs = [(m, v) for m in models for v in choice.chosen(asked, m["name"], m["manifest"])]
    for model, variant in pairs:
        if not set(model["manifest"]["tasks"]) & set(chosen_tasks):
            if choice.named(asked, model["name"], variant):
                problems.add(
                    f"model '{model['name']}' does {', '.join(model['manifest']['tasks'])}; asked "
                    f"for: {', '.join(chosen_tasks)}"
                )
            continue
        ceiling = model["manifest"].get("control") == "ceiling"
        ours = model["path"].startswith(OWN_CONTROLS)
        if ceiling and not ours and not parameters.flag(given.get("allow_controls")):
            problems.add(
                f'{model["path"]} says "control": "ceiling" and would be given the truth; only '
                f"those in {OWN_CONTROLS} are, unless --allow_controls is given"
            )
            continue
        chosen.append((model, variant))
    if not chosen and not problems.found:
        problems.add(f"no model is chosen by '{','.join(asked)}'")
    return chosen


def wrong(manifest: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a manifest, in sentences."""
    found = errors(manifest, "model")
    if found:
        return found
    there = choice.variants(manifest)
    named = {"tiers": manifest.get("tiers", ())}
    named["checkpoint.variants"] = manifest.get("checkpoint", {}).get("variants", ())
    return [
        f"{field}: {suggest(name, there, 'variant')}"
        for field, names in named.items()
        for name in names
        if name not in there
    ]


def _metrics(
    value: Any, chosen_tasks: Sequence[str], problems: parameters.Problems
) -> dict[str, list[str]]:
    """By task, the metrics that are asked for."""
    by_task = {task: list(metrics.of_task(task)) for task in chosen_tasks}
    known = list(dict.fromkeys(name for names in by_task.values() for name in names))
    asked = _chosen(value, known, "metric", problems)
    chosen = {task: [name for name in names if name in asked] for task, names in by_task.items()}
    for task, names in chosen.items():
        if not names and not problems.found:
            there = ", ".join(by_task[task])
            problems.add(f"no metric is chosen for task '{task}'. There are: {there}")
    return chosen


def _condition(row: Mapping[str, Any], condition: Condition) -> dict[str, Any]:
    task = row["task"]
    return {
        "key": f"{task}/{row['dataset']}/{condition.name}",
        "task": task,
        "dataset": row["dataset"],
        "condition": condition.name,
        "seed": condition.seed,
        "arguments": condition.arguments,
        "files": tasks.load(task).files(row["dataset"], condition.name),
    }


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
