"""Hold a metric against what it says of itself: the controls' predictions of small simulated data
are scored by it."""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacuna import metrics, tasks
from lacuna.authoring import cases
from lacuna.authoring.places import Venv
from lacuna.authoring.subject import Subject
from lacuna.authoring.verdicts import Check, show
from lacuna.metrics.registry import Metric
from lacuna.setup import scoring
from lacuna.setup.common import SetupError
from lacuna.setup.registry import Recipe, models
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.schema import read_json

#: What one control's prediction of one case is worth: the value, or why there is none.
Found = tuple[float | None, str | None]


def find(name: str) -> Metric:
    """The metric of a name, whichever its task; `ContractError` where there is none."""
    found = {n: m for task in tasks.names() for n, m in metrics.of_task(task).items()}
    if name not in found:
        raise ContractError(suggest(name, found, "metric"))
    return found[name]


def check(metric: Metric, controls: Sequence[Recipe]) -> Iterator[Check]:
    """Every verdict on a metric. `SetupError` where a control's environment cannot be made."""
    yield declared(metric)
    with tempfile.TemporaryDirectory(prefix="lacuna-check-") as scratch:
        plain: dict[str, Found] = {}
        odd: dict[tuple[str, str], Found] = {}
        inputs = list(cases.of_task(metric.task).cases(Path(scratch, "cases")))
        shown = set()  # one floor and one ceiling see every case
        for recipe in controls:
            print(f"... the environment of {recipe.name}", file=sys.stderr, flush=True)
            Venv().prepare(recipe)
            room = Path(scratch, recipe.name)
            subject = Subject(
                recipe, Venv(), metric.task, cases.of_task(metric.task), room, "venv",
                names=[metric.name],
            )  # fmt: skip
            first = recipe.manifest["control"] not in shown
            shown.add(recipe.manifest["control"])
            for case in inputs if first else inputs[:1]:
                print(f"... {recipe.name}: {case.what}", file=sys.stderr, flush=True)
                try:
                    status, folder = subject.run(case)
                except Exception as error:  # whatever a metric under construction may raise
                    traceback.print_exc()
                    said = f"the control {recipe.name}, {case.what}: {error!r}, see above"
                    yield Check("scoring", False, said)
                    return
                if status["status"] == "not_applicable":
                    continue
                if status["status"] != "ok":
                    said = f"the control {recipe.name}, {case.what}: {status['reason']}"
                    yield Check("scoring", False, said)
                    return
                record = read_json(folder / "metrics.json", "metrics")
                value = record["metrics"][metric.name]
                found = value, record["undefined"].get(metric.name)
                odd[recipe.name, case.what] = found
                if case is inputs[0]:
                    plain[recipe.name] = found
        yield in_range(metric, odd)
        yield undefined(odd)
        ceilings = {r.name for r in controls if r.manifest["control"] == "ceiling"}
        yield direction(metric, plain, ceilings)


def declared(metric: Metric) -> Check:
    """Whether the decorator and the docstring say what the report shows."""
    low, high = metric.range
    lacking = [
        what
        for what, there in (
            ("a docstring, which the report shows", metric.doc),
            ("a title", metric.title),
            ('direction="min" or "max"', metric.direction in ("min", "max")),
            ("a range whose lowest value is first", None in (low, high) or low < high),
            ("a purpose, as it may rank", metric.purpose or not metric.rank),
        )
        if not there
    ]
    ranks = "ranks" if metric.rank else "does not rank"
    said = f"{metric.name} of {metric.task}: {metric.direction}, {metric.range}, {ranks}"
    return Check("declaration", not lacking, said, f"give it {', '.join(lacking)}")


def in_range(metric: Metric, found: Mapping[Any, Found]) -> Check:
    """Whether every value lies in the declared range."""
    values = {where: value for where, (value, _) in found.items() if value is not None}
    if not values:
        why = next((reason for _, reason in found.values()), "no control was scored")
        return Check("range", False, f"it is undefined for every control: {why}")
    low, high = metric.range
    out = [
        f"{value:.6g} for {control}, {what}"
        for (control, what), value in values.items()
        if (low is not None and value < low) or (high is not None and value > high)
    ]
    said = f"{len(values)} values from {min(values.values()):.4g} to {max(values.values()):.4g}"
    if out:
        more = f", and {len(out) - 1} more" if out[1:] else ""
        said = f"{metric.range}, but {out[0]}{more}"
    return Check("range", not out, said, "mend the range of the decorator, or the function")


def undefined(found: Mapping[Any, Found]) -> Check:
    """Whether cases without a value have a reason that says more than that there is none."""
    null = {where: reason for where, (value, reason) in found.items() if value is None}
    bare = [where for where, reason in null.items() if reason and reason.startswith("it is ")]
    said = f"{len(null)} of {len(found)} values are null"
    reasons = sorted({reason for reason in null.values() if reason})
    if bare:
        control, what = bare[0]
        said += f", and of {control}, {what}, the reason is only: {null[bare[0]]}"
    elif reasons:
        said += f": {'; '.join(reasons)}"
    return Check(
        "undefined", not bare, said, "raise Undefined with a reason before it comes to that"
    )


def direction(metric: Metric, plain: Mapping[str, Found], ceilings: set[str]) -> Check:
    """Whether the ceilings are ahead of the floors. Of a metric that does not rank, one ceiling
    has to be: where expected counts lose to zeros, the truth itself does not."""
    known = {name: value for name, (value, _) in plain.items() if value is not None}
    tops = {name: value for name, value in known.items() if name in ceilings}
    floors = {name: value for name, value in known.items() if name not in ceilings}
    said = ", ".join(f"{name} {value:.4g}" for name, value in known.items())
    if not tops or not floors:
        return Check(
            "direction", True, f"cannot be told, only these have a value: {said or 'none'}"
        )
    sign = 1 if metric.direction == "max" else -1
    best = max(sign * value for value in floors.values())
    ahead = [name for name, value in tops.items() if sign * value > best]
    passed = len(ahead) == len(tops) if metric.rank else bool(ahead)
    todo = (
        "a floor that is ahead of a ceiling: direction is the wrong way round, truth and "
        "prediction are swapped, or the metric must not rank (docs/add_a_metric.md)"
    )
    return Check("direction", passed, f"{metric.direction} is better: {said}", todo)


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/check-metric``; 1 when a check failed."""
    words = list(sys.argv[1:] if argv is None else argv)
    cli = argparse.ArgumentParser(prog="bin/check-metric", description=__doc__)
    cli.add_argument("metric", metavar="NAME", help="e.g. mse")
    asked = cli.parse_args(words)
    verdicts = []
    try:
        metric = find(asked.metric)
        scoring.enter(__name__, words, metric.task)
        controls = [
            recipe
            for recipe in models()
            if recipe.manifest.get("control") and metric.task in recipe.manifest["tasks"]
        ]
        for verdict in check(metric, controls):
            print(show(verdict), flush=True)
            verdicts.append(verdict)
    except (SetupError, ContractError) as error:
        print(f"bin/check-metric: {error}", file=sys.stderr)
        return 1
    failed = [verdict.name for verdict in verdicts if not verdict.passed]
    if failed:
        print(f"{metric.name} fails {len(failed)} checks: {'; '.join(failed)}")
        return 1
    print(f"{metric.name} passes all {len(verdicts)} checks")
    return 0
