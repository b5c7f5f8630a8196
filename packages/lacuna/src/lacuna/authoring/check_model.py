"""Prove a model's folder before any pipeline run: a verdict for each thing that can go wrong."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lacuna import choice
from lacuna.authoring import cases
from lacuna.authoring.cases import Case
from lacuna.authoring.places import place
from lacuna.authoring.subject import Subject
from lacuna.authoring.verdicts import (
    AHEAD,
    REPEATED,
    SPACE,
    Check,
    against_floors,
    alike,
    footprint,
    lacks,
    level,
    outcome,
    repeated,
    show,
    untried,
    value_space,
)
from lacuna.plan import wrong
from lacuna.setup.common import ROOT, SetupError, relative
from lacuna.setup.locks import of_folder
from lacuna.setup.registry import Recipe, model
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import read_json

# What comes after the manifest.
STEPS = ("packages", "installation", "every run")


def check(folder: Path, engine: str = "venv", checkpoints: Path | None = None) -> Iterator[Check]:
    """Every verdict on a model's folder, as it is reached; of what cannot be tried before something
    else passes, that.

    Raises `SetupError` when the engine does not answer, or there is no folder of checkpoints.
    """
    try:
        recipe = model(folder)
    except SetupError as error:
        yield Check("manifest", False, str(error))
        yield from untried("needs a manifest", *STEPS)
        return
    if found := wrong(recipe.manifest):
        yield Check("manifest", False, "; ".join(found), "docs/contract.md#model lists every field")
        yield from untried("needs a manifest that fits", *STEPS)
        return
    yield Check("manifest", True, "model.json fits its schema")
    yield (lock := _lock(recipe, engine))
    if not lock.passed:
        yield from untried("needs the packages to be right", *STEPS[1:])
        return
    where = place(engine)
    try:
        where.prepare(recipe)
    except SetupError as error:
        yield Check("installation", False, str(error), lacks(recipe, str(error)))
        yield from untried("needs the installation", *STEPS[2:])
        return
    yield Check("installation", True, f"runs in {where.what}")
    for task in recipe.manifest["tasks"]:
        with tempfile.TemporaryDirectory(prefix="lacuna-check-") as scratch:
            try:
                inputs = cases.of_task(task)
            except ContractError as error:
                yield Check(task, False, str(error))
                continue
            runs = Path(scratch) / "runs"
            subject = Subject(recipe, where, task, inputs, runs, engine, checkpoints)
            yield from _behaviour(subject, list(inputs.cases(Path(scratch) / "cases")))


def _lock(recipe: Recipe, engine: str) -> Check:
    kind = "venv" if engine == "venv" else "container"
    if kind not in recipe.manifest.get("engines", ["venv", "container"]):
        other = "docker" if kind == "venv" else "venv"
        said = f"model.json has no '{kind}' in \"engines\""
        return Check("packages", False, said, f"check it with --engine {other}")
    if recipe.stack is None:
        if kind == "venv":
            said = "the folder has a Dockerfile: it runs in its image only"
            todo = 'check it with --engine docker, and write "engines": ["container"] in model.json'
            return Check("packages", False, said, todo)
        return Check("packages", True, "the folder's own Dockerfile says what is installed")
    lock = of_folder(recipe.folder, recipe.stack, recipe.packages)
    if lock.current:
        return Check("packages", True, "requirements.lock is current")
    there = "is not what pyproject.toml asks for" if lock.path.is_file() else "is missing"
    todo = f"run bin/lock {relative(recipe.folder)}"
    return Check("packages", False, f"requirements.lock {there}", todo)


def _behaviour(subject: Subject, inputs: list[Case]) -> Iterator[Check]:
    plain, *others = inputs
    status, room = subject.run(plain)
    while (
        status["status"] == "not_applicable"
        and getattr(subject.inputs, "MAY_DECLINE", False)
        and others
    ):
        # Then it is checked on the first input that it takes.
        yield outcome(plain.what, status, may_decline=True)
        plain, *others = others
        status, room = subject.run(plain)
    told: set[str] = set()

    def judged(what: str, status: dict[str, Any], may_decline: bool) -> Check:
        verdict = outcome(what, status, may_decline)
        if status["status"] == "failed" and (todo := lacks(subject.recipe, status["stderr_tail"])):
            verdict = replace(verdict, todo=f"{todo}; {verdict.todo}")
        # The same failure on other data needs no second traceback.
        known = verdict.said in told
        told.add(verdict.said)
        return replace(verdict, todo="") if known else verdict

    yield judged(plain.what, status, may_decline=False)
    fine = status["status"] == "ok"
    best: dict[str, Any] = read_json(room / "metrics.json", "metrics") if fine else {"metrics": {}}
    control = subject.recipe.manifest.get("control")
    space = getattr(subject.inputs, "SPACE_METRIC", None)
    compared = [SPACE] * bool(space) + [REPEATED] + [AHEAD] * (control is None)
    if status["status"] == "timed_out":
        why = f"'{plain.what}' took all the time there is"
        yield from untried(why, *compared, "variants and other data")
        return
    if fine:
        if best["metrics"].get(space) is not None:
            yield value_space(subject, plain, room, best)
        yield repeated(subject, plain, room)
    else:
        yield from untried(f"needs '{plain.what}'", *compared)
    for variant in choice.variants(subject.recipe.manifest):
        if variant != subject.plain:
            yield judged(f"variant {variant}", subject.run(plain, variant)[0], may_decline=True)
    for case in others:
        status, room = subject.run(case)
        if case.alike and fine and status["status"] == "ok":
            found = read_json(room / "metrics.json", "metrics")
            yield alike(case, subject.inputs.ERROR_METRIC, best["metrics"], found["metrics"])
        elif case.level and status["status"] == "ok" and not control:
            yield level(subject, case, room)
        else:
            yield judged(case.what, status, may_decline=True)
    yield from footprint(subject)
    if fine and control is None:
        yield against_floors(subject, plain, best["metrics"])


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/check-model``; 1 when a check failed."""
    cli = argparse.ArgumentParser(
        prog="bin/check-model", description="Run a model's folder on small simulated data."
    )
    cli.add_argument("folder", type=Path, metavar="DIR", help="e.g. containers/models/svd, or svd")
    cli.add_argument(
        "--engine", default="venv", choices=["venv", "docker", "podman"],
        help="where to run it (default: %(default)s)",
    )  # fmt: skip
    cli.add_argument(
        "--checkpoints", type=Path, metavar="DIR",
        help="a folder that holds the model's checkpoint in a folder of its name",
    )  # fmt: skip
    asked = cli.parse_args(argv)
    folder = asked.folder.absolute()
    if not folder.is_dir() and (named := ROOT / "containers/models" / asked.folder).is_dir():
        folder = named
    if not folder.is_dir():
        print(f"bin/check-model: there is no folder {asked.folder}", file=sys.stderr)
        return 1
    verdicts = []
    try:
        for verdict in check(folder, asked.engine, asked.checkpoints):
            print(show(verdict), flush=True)
            verdicts.append(verdict)
    except SetupError as error:
        print(f"bin/check-model: {error}", file=sys.stderr)
        return 1
    failed, left = ([v.name for v in verdicts if v.passed is word] for word in (False, None))
    if failed:
        tried = len(verdicts) - len(left)
        print(f"{folder.name} fails {len(failed)} of {tried} checks: {'; '.join(failed)}")
        if left:
            print(f"not tried: {'; '.join(left)}")
        return 1
    print(f"{folder.name} passes all {len(verdicts)} checks")
    return 0
