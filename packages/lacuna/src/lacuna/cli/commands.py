"""What prepare-data, run-models, run-evaluation and run-benchmark do, given their options."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

import lacuna
from lacuna import datasets, local, metrics, parameters, plan, tasks
from lacuna.cli.extra import give, model_parameters
from lacuna.local import Outcome
from lacuna.setup.common import revision
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import read_json, write_json

OPTIONS = [option for task in tasks.names() for option in tasks.load(task).options]


def prepare_data(args: argparse.Namespace) -> list[Outcome]:
    """Import datasets and hide a part of them."""
    rows, conditions = _data(args)
    return _prepare(args, rows, conditions)


def _data(args: argparse.Namespace) -> tuple[list[dict], list[dict]]:
    problems = parameters.Problems()
    rows, conditions = plan.plan_data(_given(args), args.sheet, problems)
    _find_files(rows, args.sheet, problems)
    problems.check("the data cannot be prepared")
    return rows, conditions


def _find_files(
    rows: Iterable[dict[str, Any]], sheet: Path | None, problems: parameters.Problems
) -> None:
    """Make the sources of a sheet's rows paths; a missing file is a problem."""
    for row in rows:
        if row["source"] is not None:
            row["source"] = datasets.locate({"path": row["source"]}, sheet)
            if not Path(row["source"]).exists():
                problems.add(f"dataset '{row['dataset']}': {row['source']}: no such file or folder")


def _prepare(args: argparse.Namespace, rows: list[dict], conditions: list[dict]) -> list[Outcome]:
    work = local.prepare(rows, conditions, args.data_dir, args.salt)
    return list(_bar(work, len(rows) + len(conditions), "prepare"))


def run_models(args: argparse.Namespace) -> list[Outcome]:
    """Run models on prepared inputs."""
    named = _named(args)
    conditions, broken = local.conditions_on_disk(args.data_dir, named, args.file, args.sheet)
    recipes, discovered = local.discover(args.models_dir, args.checkpoints)
    given = _given(args)
    problems = parameters.Problems()
    there = sorted({condition["task"] for condition in conditions})
    variants = plan.choose_variants(given, discovered, there, problems)
    problems.check("the models cannot be run")
    runs = plan.plan_runs(conditions, variants, given)
    give(runs, recipes, model_parameters(args.extra))
    return broken + _run(args, runs, recipes, {c["key"]: c["files"] for c in conditions})


def _named(args: argparse.Namespace) -> list[str]:
    """The datasets that --dataset names, or the rows of --sheet; none for all that there are."""
    asked = parameters.words(args.dataset)
    if asked or args.sheet is None:
        return asked
    return [row["dataset"] for row in datasets.read_sheet(args.sheet)]


def _run(
    args: argparse.Namespace,
    runs: Sequence[dict[str, Any]],
    recipes: Mapping[str, Any],
    files: Mapping[str, Mapping[str, str]],
) -> list[Outcome]:
    data, results = args.data_dir.absolute(), args.results_dir

    def done(run: dict[str, Any]) -> Outcome:
        return local.run_model(run, recipes[run["model"]], data, files[run["key"]], results)

    return _each(runs, "model", lambda run: run["id"], done)


def run_evaluation(args: argparse.Namespace) -> list[Outcome]:
    """Score predictions that are there."""
    problems = parameters.Problems()
    seeds = parameters.each(args.seed, parameters.seed, "seed", problems)
    picks = {
        option: parameters.each(getattr(args, option.name), option.read, option.flag, problems)
        for option in OPTIONS
    }
    there, outcomes = local.records(args.results_dir)
    for option, fields in (("model", ("name", "model")), ("dataset", ("dataset",))):
        names = {run[field] for _, run in there for field in fields}
        for word in parameters.words(getattr(args, option)):
            if word not in names:
                text = f"no prediction of {option} '{word}' in {args.results_dir}"
                problems.add(f"{text}. There are: {', '.join(sorted(names)) or 'none'}")
    names, sets = parameters.words(args.model), _named(args)
    if args.sheet is not None and not {run["dataset"] for _, run in there} & set(sets):
        problems.add(f"no prediction of a dataset of {args.sheet} in {args.results_dir}")

    def wanted(run: Mapping[str, Any]) -> bool:
        return (
            (not names or run["name"] in names or run["model"] in names)
            and (not sets or run["dataset"] in sets)
            and (not seeds or run["seed"] in seeds)
        )

    def picked(arguments: Mapping[str, Any]) -> bool:
        return all(
            option.argument in arguments and option.read(str(arguments[option.argument])) in values
            for option, values in picks.items()
            if values
        )

    chosen = [(folder, run) for folder, run in there if wanted(run)]
    chosen_tasks = {run["task"] for _, run in chosen} or tasks.names()
    by_task: dict[str, list[str]] = {}
    with problems.catch():
        by_task = metrics.choose(args.metrics, sorted(chosen_tasks))
    problems.check("nothing can be evaluated")
    # The others keep the scores that they have.
    chosen = [(folder, run) for folder, run in chosen if by_task[run["task"]]]

    def scored(one: tuple[Path, dict[str, Any]]) -> Outcome | None:
        folder, run = one
        return local.evaluate(folder, run, args.data_dir, by_task[run["task"]], picked)

    found = _each(chosen, "evaluation", lambda one: one[1]["id"], scored)
    return outcomes + [outcome for outcome in found if outcome]


def run_benchmark(args: argparse.Namespace) -> list[Outcome]:
    """Prepare data, run models, score them, and write the report."""
    from lacuna.report import build

    recipes, discovered = local.discover(args.models_dir, args.checkpoints)
    made = plan.make_plan(_given(args), discovered, args.sheet)
    for note in made["notes"]:
        print(f"note: {note}", file=sys.stderr)
    if args.extra and args.skip_models:
        raise ContractError("parameters for models after --, and --skip-models: none would be run")
    give(made["runs"], recipes, model_parameters(args.extra))
    problems = parameters.Problems()
    _find_files(made["datasets"], args.sheet, problems)
    problems.check("the benchmark cannot be run")
    results = args.results_dir
    results.mkdir(parents=True, exist_ok=True)
    if args.skip_prepare_data:
        prepared = list(local.cannot_be_had(made["conditions"], args.data_dir))
    else:
        prepared = _prepare(args, made["datasets"], made["conditions"])
    impossible = {o.source["key"] for o in prepared if o.status == "not_applicable"}
    refusals = [
        o.source | {"reason": o.reason, "not_applicable": not o.failed}
        for o in prepared
        if o.status != "ok"
    ]
    refused = {row.get("key") or row.get("dataset") for row in refusals}
    runs = [run for run in made["runs"] if not {run["key"], run["dataset"]} & refused]
    for run in made["runs"]:
        if run not in runs:
            local.forget(run, results)
    if not args.skip_models:
        _run(args, runs, recipes, {c["key"]: c["files"] for c in made["conditions"]})
    left = [run for run in runs if (results / run["id"] / "status.json").is_file()]

    def score(run: dict[str, Any]) -> Outcome | None:
        names = made["metrics"][run["task"]]
        return local.evaluate(results / run["id"], run, args.data_dir, names, _all)

    chosen = [] if args.skip_evaluation else left
    ended = _each(chosen, "evaluation", lambda run: run["id"], score)
    scored = {outcome.what: outcome for outcome in ended if outcome}
    write_json(results / "plan.json", made, "plan")
    documents = {"refusals": refusals, "pipeline": _pipeline(args, made, recipes)}
    with tempfile.TemporaryDirectory(prefix="lacuna-report-") as room:
        for name, document in documents.items():
            write_json(Path(room, f"{name}.json"), document, name)
        said, refused_file = Path(room, "pipeline.json"), Path(room, "refusals.json")
        build(results / "plan.json", results, said, results, refused_file, missing=results)
    found = read_json(results / "results.json", "results")["runs"]
    # Of a condition that a dataset cannot have, one line is enough.
    needless = {run["id"] for run in made["runs"] if run["key"] in impossible}
    reported = [
        Outcome(run["id"], run["status"], run["reason"])
        for run in found
        if run["id"] not in needless
    ]
    failed = {name: outcome for name, outcome in scored.items() if outcome.failed}
    return [*prepared, *(failed.get(outcome.what, outcome) for outcome in reported)]


def _all(_: Mapping[str, Any]) -> bool:
    return True


def _pipeline(
    args: argparse.Namespace, made: Mapping[str, Any], recipes: Mapping[str, Any]
) -> dict[str, Any]:
    """What the report says of where its numbers come from (schema `pipeline`)."""
    names = dict.fromkeys(run["model"] for run in made["runs"])
    options = {name: value for name, value in vars(args).items() if name not in ("salt", "extra")}
    options = json.loads(json.dumps(options, default=str, sort_keys=True))
    return {
        "lacuna": lacuna.__version__,
        "revision": revision(),
        "command": "run-benchmark",
        "engine": "venv",
        "parameters": options | {"of models": model_parameters(args.extra)},
        "models": {
            name: {"env": recipes[name].env.name, "digest": recipes[name].digest} for name in names
        },
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
    }


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's parameters, from the options."""
    named = getattr(args, "dataset", None) or getattr(args, "sheet", None)
    found = {
        "tasks": getattr(args, "tasks", None) or ("all" if named else tasks.DEFAULT),
        "datasets": getattr(args, "dataset", None),
        "seeds": getattr(args, "seed", None),
        "models": getattr(args, "models", None),
        "metrics": getattr(args, "metrics", None),
        "allow_controls": getattr(args, "allow_controls", False),
        "gpu": getattr(args, "gpu", False),
        "engine": "venv",
    }
    found |= {option.parameter: getattr(args, option.name, None) for option in OPTIONS}
    return {name: value for name, value in found.items() if value is not None}


def _bar(work: Iterable[Any], total: int, what: str) -> tqdm:
    # disable=None: no bar where nobody watches, such as in a log file.
    return tqdm(work, total=total, desc=what, disable=None, leave=False)


def _each(
    work: Sequence[Any], what: str, name: Callable[[Any], str], do: Callable[[Any], Any]
) -> list[Any]:
    """What doing each gives; a line says each that has ended where no bar is seen."""
    found = []
    with _bar(work, len(work), f"{what}s") as bar:
        for one in bar:
            bar.set_postfix_str(name(one))
            found.append(do(one))
            if bar.disable:
                status = f" {found[-1].status}" if found[-1] else ""
                said = f"{what} {len(found)} of {len(work)}: {name(one)}{status}"
                print(said, file=sys.stderr, flush=True)
    return found
