"""The tasks. A task is a folder here with a `TASK` in it (`lacuna.tasks.base.Task`); nothing else
names it."""

import importlib
import pkgutil

from lacuna.tasks.base import Task
from lacuna_contract.errors import ContractError, suggest

#: The task of those who name neither a task nor a dataset, as nextflow_schema.json has it.
DEFAULT = "reconstruction"


def names() -> list[str]:
    """The tasks that there are."""
    found = (m.name for m in pkgutil.iter_modules(__path__) if m.ispkg)
    return sorted(name for name in found if not name.startswith("_"))


def load(name: str) -> Task:
    """A task by its folder's name."""
    if name not in names():
        raise ContractError(suggest(name, names(), "task"))
    return importlib.import_module(f"{__name__}.{name}").TASK
