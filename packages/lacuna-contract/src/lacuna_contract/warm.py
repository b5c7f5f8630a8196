"""Import all that a model's folder is going to: ``python -m lacuna_contract.warm FOLDER``.

What is missing shows when the folder is built, and byte code is there before the first run. A model
may import modules of its folder late, within a function, to decline before that takes its time.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

MISSING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def modules(folder: Path) -> list[str]:
    """The modules of a folder that its main.py imports, early or late, and main itself first. What
    it can do without, in a ``try`` for an ImportError, is not among them."""
    found, i = {"main": folder / "main.py"}, 0
    while i < len(found):
        name, path = list(found.items())[i]
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for imported in _imported(ast.parse(path.read_bytes(), str(path)), package):
            parts = imported.split(".")
            for end in range(1, len(parts) + 1):
                # A folder that is no package, such as one with data, has neither of them.
                stem = folder.joinpath(*parts[:end])
                there = [p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()]
                if there:
                    found.setdefault(".".join(parts[:end]), there[0])
        i += 1
    return list(found)


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """The full names of what may be modules, imported anywhere below a node of a module that lies
    in `package`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")
            base = ".".join([*above[: len(above) + 1 - node.level], base]).rstrip(".")
        if base:
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Try) and any(map(_for_missing, node.handlers)):
        for child in (*node.orelse, *node.finalbody):
            yield from _imported(child, package)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imported(child, package)


def _for_missing(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(n, ast.Name) and n.id in MISSING for n in ast.walk(handler.type))


def main(folder: Path) -> None:
    """Import them; nothing where there is no main.py."""
    if (folder / "main.py").is_file():
        sys.path.insert(0, str(folder))
        for name in modules(folder):
            importlib.import_module(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
