"""What may be said of a model's runs, each thing a verdict with what to do about it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacuna import metrics
from lacuna.authoring.cases import Case
from lacuna.authoring.subject import Subject
from lacuna.evaluation import evaluate_run
from lacuna.setup.common import relative
from lacuna.setup.registry import Recipe, models
from lacuna.supervised import number
from lacuna_contract.schema import read_json

# A model that draws at random may do a little worse on the same data in another order.
ALIKE = 0.25
# Where half is hidden, who takes that for zeros predicts half of the level, or a quarter.
LEVEL = (0.65, 1.5)
# An error of so many times the floor's is no bad luck. Of values in the wrong order it is 1.2 to 3
# times, of the weakest models that are right 1.1 times.
FAR = 1.25
# Names of the checks that compare with the first run.
SPACE, REPEATED = "value space", "same seed, same prediction"
AHEAD = "better than doing nothing clever"


@dataclass(frozen=True)
class Check:
    """One verdict; `passed` is None where it could not be tried. `todo` says what to do about a
    failure."""

    name: str
    passed: bool | None
    said: str
    todo: str = ""


def show(verdict: Check) -> str:
    """A verdict as lines for a terminal."""
    word = {True: "PASS", False: "FAIL", None: "----"}[verdict.passed]
    text = f"{word}  {verdict.name}: {verdict.said}"
    return text if verdict.passed or not verdict.todo else f"{text}\n      -> {verdict.todo}"


def untried(why: str, *names: str) -> list[Check]:
    """Verdicts on what could not be tried."""
    return [Check(name, None, f"not tried: {why}") for name in names]


def outcome(what: str, status: dict[str, Any], may_decline: bool) -> Check:
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


def lacks(recipe: Recipe, said: str) -> str:
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


def value_space(subject: Subject, case: Case, room: Path, found: dict[str, Any]) -> Check:
    """Whether the values would make far more sense in the value space that was not declared."""
    other_room = room.with_name(f"{room.name}-other")
    other_room.mkdir()
    said, other, todo = subject.inputs.in_other_space(
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
            text = f"{said}, but as {other} the error is {theirs:.3g} instead of {mine:.3g}"
            return Check(SPACE, False, text, todo)
    return Check(SPACE, True, f"{said}, {name} {mine:.3g}")


def repeated(subject: Subject, case: Case, room: Path) -> Check:
    what = REPEATED
    status, again = subject.run(case)
    if status["status"] != "ok":
        return Check(what, False, f"the second time {status['status']}: {status['reason']}")
    first, second = (subject.inputs.read(r / "prediction.h5ad")[2] for r in (room, again))
    if np.array_equal(first, second):
        return Check(what, True, "two runs are equal to the last bit")
    gap = float(np.abs(first - second).max()) if first.shape == second.shape else np.inf
    todo = "draw only from generators seeded with the parameter `seed`, in a fixed order"
    return Check(what, False, f"two runs differ, by up to {gap:.3g}", todo)


def alike(case: Case, name: str, best: dict[str, Any], found: dict[str, Any]) -> Check:
    """Whether errors are about those of the plain case, in which the same is to be predicted."""
    before, now = best[name], found[name]
    said = f"{name} {now:.3g}, and {before:.3g} in the first order"
    if now <= before * (1 + ALIKE) + 1e-9:
        return Check(case.what, True, said)
    todo = "match cells and genes by their names, and return them in the order of the input"
    return Check(case.what, False, said, todo)


def level(subject: Subject, case: Case, room: Path) -> Check:
    """Whether what is hidden is predicted as high as it is."""
    mine, true = subject.inputs.level(room / "prediction.h5ad", case.truth)
    said = f"the mean of the prediction is {mine:.3g}, of the truth {true:.3g}"
    return Check(
        case.what, LEVEL[0] * true < mine < LEVEL[1] * true, said, subject.inputs.LEVEL_TODO
    )


def footprint(subject: Subject) -> Iterator[Check]:
    resources = subject.planned(subject.recipe, _any_case(), subject.plain)["resources"]
    runs = [r for r in subject.records if r.get("seconds") is not None]
    if not runs:
        yield from untried("needs a run", "within its limits", "input")
        return
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


def against_floors(subject: Subject, case: Case, mine: dict[str, Any]) -> Check:
    """Whether each part of what the model predicts beats every floor, by more than luck gives, in
    at least one of the metrics that rank, and none of its errors is far above a floor's."""
    part_of = getattr(subject.inputs, "part_of", lambda metric: "")
    luck = getattr(subject.inputs, "LUCK", 0)
    controls: dict[str, dict[str, dict[str, Any]]] = {"floor": {}, "ceiling": {}}
    for recipe in models():
        kind = recipe.manifest.get("control")
        needed = kind == "floor" or (kind == "ceiling" and luck)
        if needed and subject.task in recipe.manifest["tasks"]:
            subject.where.prepare(recipe)
            status, room = subject.run(case, recipe=recipe)
            if status["status"] != "ok":
                return Check(AHEAD, False, f"the control {recipe.name}: {status['reason']}")
            scores = read_json(room / "metrics.json", "metrics")["metrics"]
            controls[kind][recipe.name] = scores
    rows, won, far = [], {}, []
    for metric in metrics.of_task(subject.task).values():
        if not metric.rank or mine.get(metric.name) is None:
            continue
        sign = 1 if metric.direction == "max" else -1
        low, high = (
            [
                (sign * s[metric.name], name)
                for name, s in some.items()
                if s[metric.name] is not None
            ]
            for some in controls.values()
        )
        floor, name = max(low)
        gap = max(high)[0] - floor if high else 0
        own, best = f"{mine[metric.name]:.3g}", f"{sign * floor:.3g}"
        gain = sign * mine[metric.name] - floor
        # What prints as equal is level: a fit that ends up at the floor is not ahead of it.
        better = own != best and gain > max(luck * gap, 0)
        won.setdefault(part_of(metric), []).append(better)
        if metric.direction == "min" and metric.range[0] == 0 and gain < (1 - FAR) * -floor:
            far.append(metric.name)
        mark = "+" if better else "=" if own == best or gain > 0 else "-"
        rows.append(f"{metric.name} {own} ({mark} {name} {best})")
    said = f"ahead of every floor in {sum(map(sum, won.values()))} of {len(rows)} metrics: "
    todo = "a score below the floor is most often a bug: value space, order of genes, depth"
    if level := [part for part, wins in won.items() if part and not any(wins)]:
        todo += f"; no better than a guess: {', '.join(level)}; look at rows and columns"
    if far:
        todo += f"; far worse than a guess: {', '.join(far)}; look at the order of values"
    passed = bool(won) and all(map(any, won.values())) and not far
    return Check(AHEAD, passed, said + ", ".join(rows), todo)
