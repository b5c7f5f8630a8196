"""Which parameters a Python model takes, read from its main.py without importing it: its packages
are in its own environment."""

import ast

from lacuna.setup.registry import Recipe
from lacuna_contract import harness, tasks


def parameters(recipe: Recipe, task: str) -> list[str] | None:
    """The parameters of a model's own for a task. None where that cannot be seen: its entry is not
    the harness, or its main.py has no function (or class) with ``@model(task)`` to read.
    """
    main = recipe.folder / "main.py"
    if "entry" in recipe.manifest or not main.is_file():
        return None
    try:
        module = ast.parse(main.read_text())
    except SyntaxError:  # its run says so
        return None
    for found in module.body:
        if isinstance(found, ast.FunctionDef | ast.ClassDef) and _declares(found, task):
            filled = filled_for(task)
            return [name for name in _keywords(found) if name not in filled]
    return None


def filled_for(task: str) -> set[str]:
    """What the harness fills, and any model may be given."""
    own = tasks.load(task).FILLED if task in tasks.names() else ()
    return {*harness.GIVEN, *own}


def _declares(found: ast.FunctionDef | ast.ClassDef, task: str) -> bool:
    calls = [d for d in found.decorator_list if isinstance(d, ast.Call) and d.args]
    return any(
        ast.unparse(call.func).rpartition(".")[2] == "model"
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value == task
        for call in calls
    )


def _keywords(found: ast.FunctionDef | ast.ClassDef) -> list[str]:
    if isinstance(found, ast.ClassDef):
        made = [f for f in found.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
        return _keywords(made[0]) if made else []
    return [argument.arg for argument in found.args.kwonlyargs]
