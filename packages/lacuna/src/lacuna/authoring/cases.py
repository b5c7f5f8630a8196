"""The small inputs on which a model is checked. Each task has a module of its own beside this."""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lacuna_contract.errors import ContractError


@dataclass(frozen=True)
class Case:
    """One input with its truth.

    what
        What is special about it, for a person.
    alike
        Whether scores must be about those of the first case.
    level
        Whether so much is hidden that the mean of a prediction shows if that is taken for zeros.
    """

    name: str
    what: str
    folder: Path
    arguments: dict[str, Any]
    alike: bool = False
    level: bool = False

    @property
    def input(self) -> Path:
        return self.folder / "input.h5ad"

    @property
    def truth(self) -> Path:
        return self.folder / "truth.h5ad"

    def condition(self, task: str) -> dict[str, Any]:
        """The case as a condition of a plan (schema `condition`)."""
        files = {"raw": "none", "input": str(self.input), "truth": str(self.truth)}
        return {
            "key": f"{task}/check/{self.name}_seed_0",
            "task": task,
            "dataset": "check",
            "condition": f"{self.name}_seed_0",
            "seed": 0,
            "arguments": self.arguments,
            "files": files,
        }


def of_task(task: str) -> ModuleType:
    """The module of a task's cases: `cases(folder)`, `read(file)`, and, where they have a
    meaning for the task,

    - `in_other_space(file, copy)` with the name of a metric SPACE_METRIC,
    - `level(file, truth)` for cases with `level`, and LEVEL_TODO for those that fail,
    - ERROR_METRIC for cases that are `alike`,
    - `metric_names()` where not all metrics are computed,
    - `part_of(metric)` where a prediction has parts, each to be better than nothing clever,
    - LUCK, the share of the gap from floor to ceiling that is no win on these data,
    - MAY_DECLINE where a model may decline some inputs, the first too."""
    name = f"{__package__}.{task}"
    if importlib.util.find_spec(name) is None:
        raise ContractError(f"there are no checks for models of task '{task}' yet")
    return importlib.import_module(name)
