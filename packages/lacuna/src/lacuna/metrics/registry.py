"""The metrics that there are. A metric is one decorated function; the decorator is all that names
it."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from lacuna import parameters
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.tasks.multimodal import MODALITIES

Range = tuple[float | None, float | None]


class Undefined(Exception):
    """Raised by a metric that has no value for these data. The reason goes into metrics.json."""


class Accumulator(Protocol):
    """Takes the hidden entries in pieces, and keeps what metrics are computed from."""

    def update(self, piece: Any) -> None:
        """Add some cells."""

    def result(self) -> Any:
        """What the metric's function gets, once all cells have been added."""


class Need(Protocol):
    """What a metric is computed from: hashable, so that metrics with equal needs share one pass."""

    def accumulator(self) -> Accumulator:
        """A new, empty accumulator."""


@dataclass(frozen=True)
class Metric:
    """A metric and what it says about itself.

    direction
        "min" or "max": which end is better.
    range
        (lowest, highest) possible value, None where there is no bound.
    rank
        Whether the report may order models by it.
    purpose
        What a model that is good by it is good for, as the end of a sentence that begins with "To";
        empty where that is not said.
    """

    name: str
    task: str
    title: str
    doc: str
    direction: Literal["min", "max"]
    range: Range
    rank: bool
    needs: Any
    function: Callable[[Any], float]
    purpose: str = ""


#: Of tasks whose needs are words: values of a modality, true and imputed, or the `Space`.
WORDS = {"multimodal": (*MODALITIES, "embedding")}
_registered: dict[str, dict[str, Metric]] = {}


def metric(
    task: str,
    *,
    direction: Literal["min", "max"],
    range: Range,
    needs: Any,
    title: str,
    rank: bool = False,
    strata: Sequence[str] = (),
    purpose: str = "",
) -> Callable[[Callable[[Any], float]], Callable[[Any], float]]:
    """Register a pure function as the metric of its name.

    `strata` registers the same function once more for each stratum that `needs` can be narrowed to,
    as ``<name>_<stratum>``; those never rank, because they select entries by the truth.
    """

    def register(function: Callable[[Any], float]) -> Callable[[Any], float]:
        if task in WORDS and needs not in WORDS[task]:
            what = f"need of metric '{function.__name__}' of task '{task}':"
            raise ContractError(suggest(needs, WORDS[task], what))
        doc = " ".join((function.__doc__ or "").split())
        plain = Metric(
            function.__name__, task, title, doc, direction, range, rank, needs, function, purpose
        )
        if strata and not hasattr(needs, "narrow"):
            raise ContractError(
                f"metric '{plain.name}' has strata, but its needs, {type(needs).__name__}, cannot "
                "be narrowed to some of the entries; Moments and Ranks can"
            )
        _add(plain)
        for stratum in strata:
            where = f"among truly {stratum} entries"
            _add(
                replace(
                    plain,
                    name=f"{plain.name}_{stratum}",
                    title=f"{title}, {where}",
                    # What more is to be said of it is said of the plain one.
                    doc=f"{doc.partition('. ')[0].rstrip('.')}, {where} alone.",
                    rank=False,
                    needs=needs.narrow(stratum),
                )
            )
        return function

    return register


def _add(found: Metric) -> None:
    of_this = _registered.setdefault(found.task, {})
    if found.name in of_this:
        raise ContractError(f"two metrics of task '{found.task}' are called '{found.name}'")
    of_this[found.name] = found


@functools.cache
def _load_all() -> None:
    package = importlib.import_module("lacuna.metrics")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"lacuna.metrics.{module.name}")


def of_task(task: str) -> dict[str, Metric]:
    """The metrics of a task by name, in the order in which they are written down."""
    _load_all()
    return dict(_registered.get(task, {}))


def get(task: str, names: Sequence[str]) -> list[Metric]:
    """Metrics by name; `ContractError` with a suggestion for what is not there."""
    known = of_task(task)
    wrong = [
        suggest(name, known, f"metric of task '{task}'") for name in names if name not in known
    ]
    if wrong:
        raise ContractError("\n  ".join(wrong))
    return [known[name] for name in names]


def choose(value: Any, tasks: Sequence[str]) -> dict[str, list[str]]:
    """By task, the metrics that a list parameter asks for, such as ``"mse,ari"`` or ``"all"``: each
    of the tasks that have it, and none where a task has none of them.

    Raises `ContractError` for words that are no metric of any of the `tasks`.
    """
    there = {task: list(of_task(task)) for task in tasks}
    asked = parameters.words(value)
    if not asked or "all" in asked:
        return there
    known = {name for names in there.values() for name in names}
    problems = parameters.Problems()
    for word in asked:
        others = [task for task, names in _registered.items() if word in names]
        if word not in known and others:
            problems.add(
                f"metric '{word}' is one of {', '.join(others)}; asked for: {', '.join(tasks)}"
            )
        elif word not in known:
            problems.add(suggest(word, [*known, "all"], "metric"))
    problems.check()
    return {task: [name for name in names if name in asked] for task, names in there.items()}
