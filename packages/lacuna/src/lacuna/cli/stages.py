"""The stages of the pipeline as commands. Each reads files, validates them, and writes files."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lacuna_contract.errors import ContractError, NotApplicable, suggest
from lacuna_contract.schema import read_json, write_json


def plan(args: argparse.Namespace) -> None:
    """Parameters and manifests to plan.json."""
    from lacuna.plan import make_plan

    given, discovered = read_json(args.params, "parameters"), read_json(args.models, "discovered")
    made = make_plan(given, discovered, args.sheet)
    write_json(args.output, made, "plan")


def import_dataset(args: argparse.Namespace) -> None:
    """A dataset to raw counts."""
    from lacuna import tasks

    row = read_json(args.dataset, "dataset")
    source = args.source
    if source is None and row["source"] is not None:
        source = Path(row["source"])
    try:
        note = tasks.load(row["task"]).import_dataset(row, source, args.output)
    except ContractError as error:
        # The pipeline stages a person's file under a path of its own.
        said = str(error).replace(str(source), str(row["source"]))
        raise ContractError(f"dataset '{row['dataset']}': {said}") from None
    _leave(args.note, f"dataset '{row['dataset']}'", note)


def _leave(path: Path | None, what: str, note: str | None) -> None:
    if note is not None and path is not None:
        path.write_text(f"{what}: {note}\n", encoding="utf-8")


def prepare(args: argparse.Namespace) -> None:
    """Raw counts to what a model gets, and what it is scored against."""
    from lacuna import tasks

    condition = read_json(args.condition, "condition")
    task = tasks.load(condition["task"])
    note = task.prepare(condition, args.raw, args.input, args.truth, args.salt)
    _leave(args.note, f"{condition['dataset']}/{condition['condition']}", note)


def evaluate(args: argparse.Namespace) -> None:
    """What a run left behind in --files to its record; with --runs, that of several runs of a
    condition, to records in folders of the runs' ids."""
    from lacuna.evaluation import evaluate_run

    names = [name for name in args.metrics.split(",") if name]
    if (args.run is None) == (args.runs is None):
        raise ContractError("expected --run or --runs, one of them")
    if args.run is not None:
        evaluate_run(read_json(args.run, "run"), args.truth, args.files, names, args.output)
        return
    for entry in read_json(args.runs, "evaluation"):
        with tempfile.TemporaryDirectory(prefix="lacuna-evaluate-") as room:
            for number in entry["files"]:
                for path in (args.files / str(number)).iterdir():
                    Path(room, path.name).symlink_to(path.absolute())
            output = args.output / entry["run"]["id"]
            evaluate_run(entry["run"], args.truth, Path(room), names, output)


def report(args: argparse.Namespace) -> None:
    """The records of all runs to tables and report.html."""
    from lacuna.report import build

    build(args.plan, args.records, args.provenance, args.output, args.refusals)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lacuna", description="The stages of the pipeline.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")

    def add(name: str, function: Any, **options: bool) -> None:
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        for option, required in options.items():
            command.add_argument(f"--{option}", type=Path, required=required)

    add("plan", plan, params=True, models=True, sheet=False, output=True)
    add("import", import_dataset, dataset=True, source=False, output=True, note=False)
    add("prepare", prepare, condition=True, raw=True, input=True, truth=True, note=False)
    add("evaluate", evaluate, run=False, runs=False, truth=True, files=True, output=True)
    add("report", report, plan=True, records=True, provenance=False, refusals=False, output=True)
    commands.choices["prepare"].add_argument("--salt", default="", help="a secret, see docs")
    commands.choices["evaluate"].add_argument("--metrics", required=True, help="names: mse,pearson")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one stage; 1 and a sentence on stderr for what is wrong with its files."""
    parser = _parser()
    stages = next(a for a in parser._actions if a.dest == "command").choices
    if arguments and not arguments[0].startswith("-") and arguments[0] not in stages:
        print(f"error: {suggest(arguments[0], stages, 'stage')}", file=sys.stderr)
        return 2
    args = parser.parse_args(arguments)
    try:
        args.function(args)
    except ContractError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except NotApplicable as reason:
        # The pipeline tells the two apart by how they begin: see lib/Sandbox.groovy.
        print(f"not applicable: {reason}", file=sys.stderr)
        return 1
    return 0
