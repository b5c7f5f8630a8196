"""prepare-data, run-models, run-evaluation and run-benchmark: the stages without Nextflow."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

import lacuna
from lacuna import datasets, local, metrics, parameters, plan, signature, tasks
from lacuna.local import Outcome
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.schema import read_json, write_json


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
    conditions, broken = local.conditions_on_disk(args.data_dir, args.dataset, args.file)
    recipes, discovered = local.discover(args.models_dir, args.checkpoints)
    given = _given(args)
    problems = parameters.Problems()
    there = sorted({condition["task"] for condition in conditions})
    variants = plan.choose_variants(given, discovered, there, problems)
    problems.check("the models cannot be run")
    runs = plan.plan_runs(conditions, variants, given)
    give(runs, recipes, model_parameters(args.extra))
    return broken + _run(args, runs, recipes, {c["key"]: c["files"] for c in conditions})


def _run(
    args: argparse.Namespace,
    runs: Sequence[dict[str, Any]],
    recipes: Mapping[str, Any],
    files: Mapping[str, Mapping[str, str]],
) -> list[Outcome]:
    outcomes = []
    with _bar(runs, len(runs), "models") as bar:
        for run in bar:
            bar.set_postfix_str(run["id"])
            recipe = recipes[run["model"]]
            data, results = args.data_dir.absolute(), args.results_dir
            outcomes.append(local.run_model(run, recipe, data, files[run["key"]], results))
    return outcomes


def run_evaluation(args: argparse.Namespace) -> list[Outcome]:
    """Score predictions that are there."""
    problems = parameters.Problems()
    seeds = parameters.each(args.seed, parameters.seed, "seed", problems)
    picks = {
        option: parameters.each(getattr(args, option.name), option.read, option.flag, problems)
        for option in OPTIONS
    }
    known = [name for task in tasks.names() for name in metrics.of_task(task)]
    if args.metrics != "all":
        for word in parameters.words(args.metrics):
            if word not in known:
                problems.add(suggest(word, known, "metric"))
    there, outcomes = local.records(args.results_dir)
    for option, fields in (("model", ("name", "model")), ("dataset", ("dataset",))):
        names = {run[field] for _, run in there for field in fields}
        for word in parameters.words(getattr(args, option)):
            if word not in names:
                text = f"no prediction of {option} '{word}' in {args.results_dir}"
                problems.add(f"{text}. There are: {', '.join(sorted(names)) or 'none'}")
    problems.check("nothing can be evaluated")
    names, sets = parameters.words(args.model), parameters.words(args.dataset)

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
    for folder, run in _bar(chosen, len(chosen), "evaluate"):
        found = local.evaluate(folder, run, args.data_dir, args.metrics, picked)
        outcomes += [found] if found else []
    return outcomes


def run_benchmark(args: argparse.Namespace) -> list[Outcome]:
    """Prepare data, run models, score them, and write the report."""
    from lacuna.report import build

    recipes, discovered = local.discover(args.models_dir, args.checkpoints)
    made = plan.make_plan(_given(args), discovered, args.sheet)
    if args.extra and args.skip_models:
        raise ContractError("parameters for models after --, and --skip-models: none would be run")
    give(made["runs"], recipes, model_parameters(args.extra))
    problems = parameters.Problems()
    _find_files(made["datasets"], args.sheet, problems)
    problems.check("the benchmark cannot be run")
    results = args.results_dir
    results.mkdir(parents=True, exist_ok=True)
    prepared = []
    if not args.skip_prepare_data:
        prepared = _prepare(args, made["datasets"], made["conditions"])
    refusals = [o.source | {"reason": o.reason} for o in prepared if o.failed]
    refused = {row.get("key") or row.get("dataset") for row in refusals}
    runs = [run for run in made["runs"] if not {run["key"], run["dataset"]} & refused]
    for run in made["runs"]:
        if run not in runs:
            local.forget(run, results)
    if not args.skip_models:
        _run(args, runs, recipes, {c["key"]: c["files"] for c in made["conditions"]})
    scored = {}
    if not args.skip_evaluation:
        left = [run for run in runs if (results / run["id"] / "status.json").is_file()]
        for run in _bar(left, len(left), "evaluate"):
            folder = results / run["id"]
            scored[run["id"]] = local.evaluate(folder, run, args.data_dir, args.metrics, _all)
    write_json(results / "plan.json", made, "plan")
    documents = {"refusals": refusals, "pipeline": _pipeline(args, made, recipes)}
    with tempfile.TemporaryDirectory(prefix="lacuna-report-") as room:
        for name, document in documents.items():
            write_json(Path(room, f"{name}.json"), document, name)
        said, refused_file = Path(room, "pipeline.json"), Path(room, "refusals.json")
        build(results / "plan.json", results, said, results, refused_file, missing=results)
    found = read_json(results / "results.json", "results")["runs"]
    reported = [Outcome(run["id"], run["status"], run["reason"]) for run in found]
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


def model_parameters(words: Sequence[str]) -> dict[str, Any]:
    """What followed ``--`` as parameters: ``--rank 5 --fast`` is ``{"rank": 5, "fast": True}``."""
    found: dict[str, Any] = {}
    name = None
    for word in words:
        if word.startswith("--"):
            name, is_given, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = _value(value) if is_given else True
            name = None if is_given else name
        elif name is None:
            raise ContractError(f"after -- expected parameters such as --rank 5; found '{word}'")
        else:
            found[name], name = _value(word), None
    return found


def give(
    runs: Sequence[dict[str, Any]], recipes: Mapping[str, Any], params: Mapping[str, Any]
) -> None:
    """Put parameters into the runs that they are for: ``rank`` into all, ``svd.rank`` into those of
    a model, or of a variant such as ``svd.wide.rank``.

    Raises `ContractError` naming the models that do not take one, which would all fail.
    """
    problems = parameters.Problems()
    own = {(run["model"], run["task"]): None for run in runs}
    own = {key: signature.parameters(recipes[key[0]], key[1]) for key in own}
    for key, value in params.items():
        whose, _, name = key.rpartition(".")
        there = {run[field] for run in runs for field in ("model", "name")}
        if whose and whose not in there:
            problems.add(f"--{key}: {suggest(whose, there, 'model in this run')}")
            continue
        meant = [run for run in runs if whose in ("", run["model"], run["name"])]
        unable, able = {}, []
        for model, task in dict.fromkeys((run["model"], run["task"]) for run in meant):
            takes = own[model, task]
            if takes is None:
                able.append(model)
            elif name in takes or name in signature.filled_for(task):
                able.insert(0, model)
            else:
                unable[model] = takes
        if unable and not able:
            there = {name for takes in unable.values() for name in takes}
            problems.add(suggest(name, there, f"parameter of {', '.join(unable)}:"))
        elif unable:
            problems.add(
                f"--{key} is no parameter of {', '.join(unable)}. Choose those that take it, "
                f"--models {','.join(able)}, or say whose it is: --{able[0]}.{name} {value}"
            )
        for run in meant:
            run["params"][name] = value
    problems.check("what follows -- cannot be given to the models")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


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


OPTIONS = [option for task in tasks.names() for option in tasks.load(task).options]
DATA: dict[str, dict[str, Any]] = {
    "--tasks": {"help": f"names, or all; without it, those of the datasets, or {tasks.DEFAULT}"},
    "--dataset": {"help": "names, joined by commas"},
    "--sheet": {"type": Path, "help": "a CSV of your own datasets"},
    **{o.flag: {"default": o.default, "help": f"{o.help} (%(default)s)"} for o in OPTIONS},
    "--seed": {"default": "42", "help": "seeds, joined by commas (%(default)s)"},
    "--salt": {"default": "", "help": "a secret, for a blind evaluation"},
}
MODELS: dict[str, dict[str, Any]] = {
    "--models": {"default": "all", "help": "all, core, or names: svd,knn.wide (%(default)s)"},
    "--models-dir": {
        "type": Path, "action": "append", "default": [],
        "help": "another folder of model folders; containers/models is always one",
    },
    "--checkpoints": {
        "type": Path, "metavar": "DIR",
        "help": "a folder that holds models' checkpoints, each in a folder of the model's name",
    },
    "--allow-controls": {"action": "store_true", "help": "give the truth to any ceiling"},
    "--gpu": {"action": "store_true", "help": "let models that can use a GPU use it"},
}  # fmt: skip
FOLDERS: dict[str, dict[str, Any]] = {
    "--data-dir": {"type": Path, "default": Path("data"), "help": "(%(default)s)"},
    "--results-dir": {"type": Path, "default": Path("results"), "help": "(%(default)s)"},
}
METRICS = {"--metrics": {"default": "all", "help": "all, or names (%(default)s)"}}
SKIP = {
    f"--skip-{name}": {"action": "store_true", "help": "take what is there already"}
    for name in ("prepare-data", "models", "evaluation")
}
COMMANDS: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "prepare-data": (prepare_data, DATA | {"--data-dir": FOLDERS["--data-dir"]}),
    "run-models": (
        run_models,
        {
            "--dataset": {"help": "a name; without it, all that are prepared"},
            "--file": {"type": Path, "help": "one input instead of all of the dataset"},
        }
        | MODELS
        | FOLDERS,
    ),
    "run-evaluation": (
        run_evaluation,
        {
            "--model": {"help": "names; without it, all that have predictions"},
            "--dataset": {"help": "names; without it, all"},
            **{o.flag: {"help": f"{o.help}; without it, all"} for o in OPTIONS},
            "--seed": {"help": "seeds; without it, all"},
        }
        | METRICS
        | FOLDERS,
    ),
    "run-benchmark": (run_benchmark, DATA | MODELS | METRICS | FOLDERS | SKIP),
}


def run(command: str, arguments: Sequence[str]) -> int:
    """Run a command; 1 when something that should have worked did not."""
    function, options = COMMANDS[command]
    parser = argparse.ArgumentParser(prog=command, description=function.__doc__)
    for option, how in options.items():
        parser.add_argument(option, **how)
    words, extra = list(arguments), []
    if "--models" in options:
        parser.epilog = (
            "What follows -- goes as parameters to every variant of every chosen model: -- --rank "
            "5; it is an error when one of them does not take it. -- --svd.rank 5 is for the "
            "variants of svd alone, -- --svd.wide.rank 5 for one variant."
        )
    if "--" in words and "--models" in options:
        at = words.index("--")
        words, extra = words[:at], words[at + 1 :]
    args = parser.parse_args(words)
    args.extra = extra
    try:
        outcomes = function(args)
    except ContractError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    code = summary(outcomes)
    if function is run_benchmark:
        print(f"\n{(args.results_dir / 'summary.txt').read_text().strip()}\n")
        print(f"Report: {(args.results_dir / 'report.html').absolute()}")
    return code


def summary(outcomes: Sequence[Outcome]) -> int:
    """Print what passed and what failed; 1 if anything failed."""
    for outcome in outcomes:
        reason = f": {outcome.reason}" if outcome.reason else ""
        word = "FAIL" if outcome.failed else "pass" if outcome.status == "ok" else "skip"
        label = "" if outcome.status == "ok" else f"{outcome.status}"
        print(f"{word}  {outcome.what}{'  ' + label if label else ''}{reason}")
    counts = Counter(outcome.status for outcome in outcomes)
    print(", ".join(f"{n} {status}" for status, n in counts.most_common()) or "nothing to do")
    return int(any(outcome.failed for outcome in outcomes))
