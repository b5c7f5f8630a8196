"""A model's side of each task: how its input is read, its code called and its prediction written.

Each task is a module here, of the task's name; nothing else names it. It has

``FILLED``
    Names of keyword parameters of a model that the harness fills for this task, beside those that
    it fills for every task (seed, device, threads, truth, checkpoint).
``given(file)``
    Their values, from the open input.
``run(declared, keywords, input, output, mark)``
    Read `input`, call the model `declared` with `keywords`, check what it returns, write `output`;
    returns the model's details. ``mark(name)`` says that a part (read, fit, predict) has ended.
"""

import importlib
import pkgutil
from types import ModuleType

from lacuna_contract.errors import ContractError, suggest


def names() -> list[str]:
    """The tasks that models can be written for in Python."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """A task's module; `ContractError` where there is none."""
    if name not in names():
        raise ContractError(suggest(name, names(), "task"))
    return importlib.import_module(f"{__name__}.{name}")
