"""Prove a model's folder before any pipeline run: a verdict for each thing that can go wrong."""

import argparse
import itertools
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lacuna import choice, metrics
from lacuna.authoring import cases
from lacuna.authoring.cases import Case
from lacuna.authoring.places import Place, place
from lacuna.evaluation import evaluate_run
from lacuna.plan import plan_runs, wrong
from lacuna.records import NO_STATUS
from lacuna.setup.common import SetupError, relative
from lacuna.setup.locks import of_folder
from lacuna.setup.registry import Recipe, listing, model, models
from lacuna.supervised import number, supervise
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import read_json
from lacuna_contract.supervise import sha256

# A model that draws at random may do a little worse on the same data in another order.
ALIKE = 0.25
# Where half is hidden, who takes that for zeros predicts half of the level, or a quarter.
LEVEL = (0.65, 1.5)


@dataclass(frozen=True)
class Check:
    """One verdict. `todo` says what to do about a failure."""

    name: str
    passed: bool
    said: str
    todo: str = ""


@dataclass
class Subject:
    """The model that is being checked."""

    recipe: Recipe
    where: Place
    task: str
    inputs: ModuleType
    scratch: Path
    engine: str
    checkpoints: Path | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    names: Sequence[str] = ()  # of the metrics to compute; empty: those of the task's cases

    @property
    def plain(self) -> str:
        """The variant that is checked in every way: the default one, or the first."""
        variants = choice.variants(self.recipe.manifest)
        return "default" if "default" in variants else variants[0]

    def planned(self, recipe: Recipe, case: Case, variant: str) -> dict[str, Any]:
        """The run that a plan would hold."""
        model = listing([recipe], room=self.checkpoints)["models"][0]
        manifest = {k: v for k, v in model["manifest"].items() if k != "datasets"}
        pair = (model | {"manifest": manifest}, variant)
        return plan_runs([case.condition(self.task)], [pair], {"engine": self.engine})[0]

    def run(
        self, case: Case, variant: str | None = None, recipe: Recipe | None = None
    ) -> tuple[dict[str, Any], Path]:
        """Run and score it: the final status, and the folder that holds all files."""
        recipe = recipe or self.recipe
        variant = variant or (self.plain if recipe is self.recipe else "default")
        planned = self.planned(recipe, case, variant)
        room = self.scratch / f"{recipe.name}-{variant}-{case.name}-{len(self.records)}"
        room.mkdir(parents=True)
        if planned["not_applicable"]:
            reason = planned["not_applicable"]
            return NO_STATUS | {"status": "not_applicable", "reason": reason}, room
        files = case.condition(self.task)["files"]

        def command(limits: Mapping[str, Any]) -> list[str]:
            return self.where.command(recipe, room, limits)

        status = supervise(planned, files, room, command, attempts=1)
        if status["status"] == "ok":
            every = list(metrics.of_task(self.task))
            names = self.names or getattr(self.inputs, "metric_names", lambda: every)()
            status = evaluate_run(planned, case.truth, room, names, room, drawn=False)
        if recipe is self.recipe:
            changed = sha256(room / "input.h5ad") != sha256(case.input)
            self.records.append(status | {"changed": changed})
        return status, room


def check(folder: Path, engine: str = "venv", checkpoints: Path | None = None) -> Iterator[Check]:
    """Every verdict on a model's folder, as it is reached. Ends early when nothing more can be.

    Raises `SetupError` when the engine does not answer, or there is no folder of checkpoints.
    """
    try:
        recipe = model(folder)
    except SetupError as error:
        yield Check("manifest", False, str(error))
        return
    if found := wrong(recipe.manifest):
        yield Check("manifest", False, "; ".join(found), "docs/contract.md#model lists every field")
        return
    yield Check("manifest", True, "model.json fits its schema")
    yield (lock := _lock(recipe, engine))
    if not lock.passed:
        return
    where = place(engine)
    try:
        where.prepare(recipe)
    except SetupError as error:
        yield Check("installation", False, str(error), _lacks(recipe, str(error)))
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
        yield _outcome(plain.what, status, may_decline=True)
        plain, *others = others
        status, room = subject.run(plain)
    verdict = _outcome(plain.what, status, may_decline=False)
    if status["status"] == "failed" and (todo := _lacks(subject.recipe, status["stderr_tail"])):
        verdict = replace(verdict, todo=f"{todo}; {verdict.todo}")
    yield verdict
    if status["status"] != "ok":
        return
    best = read_json(room / "metrics.json", "metrics")
    space = getattr(subject.inputs, "SPACE_METRIC", None)
    if best["metrics"].get(space) is not None:
        yield _value_space(subject, plain, room, best)
    yield _repeated(subject, plain, room)
    for variant in choice.variants(subject.recipe.manifest):
        if variant != subject.plain:
            yield _outcome(f"variant {variant}", subject.run(plain, variant)[0], may_decline=True)
    for case in others:
        status, room = subject.run(case)
        if case.alike and status["status"] == "ok":
            found = read_json(room / "metrics.json", "metrics")
            yield _alike(case, subject.inputs.ERROR_METRIC, best["metrics"], found["metrics"])
        elif case.level and status["status"] == "ok" and not subject.recipe.manifest.get("control"):
            yield _level(case, *subject.inputs.level(room / "prediction.h5ad", case.truth))
        else:
            yield _outcome(case.what, status, may_decline=True)
    yield from _footprint(subject)
    if subject.recipe.manifest.get("control") is None:
        yield _against_floors(subject, plain, best["metrics"])


def _outcome(what: str, status: dict[str, Any], may_decline: bool) -> Check:
    """Whether a run ended as it may."""
    reason = status["reason"]
    if status["status"] == "ok":
        return Check(what, True, f"a valid prediction in {status['seconds']:.1f} s")
    if status["status"] == "not_applicable" and may_decline:
        return Check(what, True, f"declined: {reason}")
    todo = {
        "not_applicable": "a model has to serve plain data",
        "failed": "the end of its standard error:\n" + _tail(status),
        "out_of_memory": "raise resources.memory in model.json, or need less",
        "timed_out": "raise resources.time in model.json, or be faster",
        "invalid_output": "docs/contract.md describes a prediction, under <task>_prediction",
    }.get(status["status"], "")
    return Check(what, False, f"{status['status']}: {reason}", todo)


def _lacks(recipe: Recipe, said: str) -> str:
    """What to do about an import that failed, or a package of R that is not there; else nothing."""
    found = re.search(
        r"No module named '([\w.]+)'|cannot import name '(\w+)'|no package called .([\w.]+).", said
    )
    if found is None:
        return ""
    what, where = next(filter(None, found.groups())), relative(recipe.folder)
    if recipe.stack is None:
        return f"install what has '{what}' in {where}/Dockerfile"
    return (
        f"add the package that has '{what}' to dependencies in {where}/pyproject.toml (the stack "
        f"{recipe.stack} is there already), then run bin/lock {where}"
    )


def _tail(status: dict[str, Any]) -> str:
    lines = (status.get("stderr_tail") or "").strip().splitlines()[-15:]
    return "\n".join(f"    {line}" for line in lines) or "    (nothing)"


def _value_space(subject: Subject, case: Case, room: Path, found: dict[str, Any]) -> Check:
    """Whether the values would make far more sense in the value space that was not declared."""
    other_room = room.with_name(f"{room.name}-other")
    other_room.mkdir()
    said, other = subject.inputs.in_other_space(
        room / "prediction.h5ad", other_room / "prediction.h5ad"
    )
    (other_room / "status.json").write_bytes((room / "status.json").read_bytes())
    planned = subject.planned(subject.recipe, case, subject.plain)
    name = subject.inputs.SPACE_METRIC
    status = evaluate_run(planned, case.truth, other_room, [name], other_room, drawn=False)
    mine = found["metrics"][name]
    if status["status"] == "ok":
        theirs = read_json(other_room / "metrics.json", "metrics")["metrics"][name]
        if theirs < 0.5 * mine:
            text = (
                f"declared {said}, but as {other} the error is {theirs:.3g} instead of {mine:.3g}"
            )
            return Check("value space", False, text, f'write value_space="{other}" in @model')
    return Check("value space", True, f"{said}, {name} {mine:.3g}")


def _repeated(subject: Subject, case: Case, room: Path) -> Check:
    what = "same seed, same prediction"
    status, again = subject.run(case)
    if status["status"] != "ok":
        return Check(what, False, f"the second time {status['status']}: {status['reason']}")
    first, second = (subject.inputs.read(r / "prediction.h5ad")[2] for r in (room, again))
    if np.array_equal(first, second):
        return Check(what, True, "two runs are equal to the last bit")
    gap = float(np.abs(first - second).max()) if first.shape == second.shape else np.inf
    todo = "draw only from generators seeded with the parameter `seed`, in a fixed order"
    return Check(what, False, f"two runs differ, by up to {gap:.3g}", todo)


def _alike(case: Case, name: str, best: dict[str, Any], found: dict[str, Any]) -> Check:
    """Whether errors are about those of the plain case, in which the same is to be predicted."""
    before, now = best[name], found[name]
    said = f"{name} {now:.3g}, and {before:.3g} in the first order"
    if now <= before * (1 + ALIKE) + 1e-9:
        return Check(case.what, True, said)
    todo = "match cells and genes by their names, and return them in the order of the input"
    return Check(case.what, False, said, todo)


def _level(case: Case, mine: float, true: float) -> Check:
    """Whether what is hidden is predicted as high as it is."""
    said = f"the mean of the prediction is {mine:.3g}, of the truth {true:.3g}"
    if LEVEL[0] * true < mine < LEVEL[1] * true:
        return Check(case.what, True, said)
    todo = (
        "take no hidden entry for a zero, in means or in depths; predict thinned counts at the "
        "depth at which they are given; look at the value space"
    )
    return Check(case.what, False, said, todo)


def _footprint(subject: Subject) -> Iterator[Check]:
    resources = subject.planned(subject.recipe, _any_case(), subject.plain)["resources"]
    runs = [r for r in subject.records if r.get("seconds") is not None]
    seconds = max(r["seconds"] for r in runs)
    peak = max(r["peak_memory_bytes"] or 0 for r in runs)
    said = f"at most {seconds:.1f} s of {resources['time']}, {peak / 2**30:.2f} of "
    said += resources["memory"]
    within = seconds <= number(resources["time"]) and peak <= number(resources["memory"])
    yield Check("within its limits", within, said, "raise what model.json says under resources")
    changed = sum(r["changed"] for r in subject.records)
    said = f"left as it was in {len(runs) - changed} of {len(runs)} runs"
    yield Check("input", not changed, said, "open the input for reading only")


def _any_case() -> Case:
    return Case("none", "", Path(), {})


def _against_floors(subject: Subject, case: Case, mine: dict[str, Any]) -> Check:
    """Whether the model beats every floor in at least one of the metrics that rank."""
    what = "better than doing nothing clever"
    scores: dict[str, dict[str, Any]] = {}
    for recipe in models():
        floor = recipe.manifest.get("control") == "floor"
        if floor and subject.task in recipe.manifest["tasks"]:
            subject.where.prepare(recipe)
            status, room = subject.run(case, recipe=recipe)
            if status["status"] != "ok":
                return Check(what, False, f"the control {recipe.name}: {status['reason']}")
            scores[recipe.name] = read_json(room / "metrics.json", "metrics")["metrics"]
    rows, wins = [], 0
    for metric in metrics.of_task(subject.task).values():
        if not metric.rank or mine.get(metric.name) is None:
            continue
        sign = 1 if metric.direction == "max" else -1
        values = {n: s[metric.name] for n, s in scores.items() if s[metric.name] is not None}
        name, value = max(values.items(), key=lambda item: sign * item[1])
        better = sign * mine[metric.name] > sign * value
        wins += better
        rows.append(
            f"{metric.name} {mine[metric.name]:.3g} ({'+' if better else '-'} {name} {value:.3g})"
        )
    said = f"ahead of every floor in {wins} of {len(rows)} metrics: " + ", ".join(rows)
    todo = "a score below the floor is most often a bug: value space, order of genes, depth"
    return Check(what, wins > 0, said, todo)


def show(verdict: Check) -> str:
    """A verdict as lines for a terminal."""
    text = f"{'PASS' if verdict.passed else 'FAIL'}  {verdict.name}: {verdict.said}"
    return text if verdict.passed or not verdict.todo else f"{text}\n      -> {verdict.todo}"


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/check-model``; 1 when a check failed."""
    cli = argparse.ArgumentParser(
        prog="bin/check-model", description="Run a model's folder on small simulated data."
    )
    cli.add_argument("folder", type=Path, metavar="DIR", help="e.g. containers/models/svd")
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
    failed = [v.name for v in itertools.filterfalse(lambda v: v.passed, verdicts)]
    if failed:
        print(f"{folder.name} fails {len(failed)} of {len(verdicts)} checks: {'; '.join(failed)}")
        return 1
    print(f"{folder.name} passes all {len(verdicts)} checks")
    return 0
