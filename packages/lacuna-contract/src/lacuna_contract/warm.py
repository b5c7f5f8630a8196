"""Import all that a model's folder is going to: ``python -m lacuna_contract.warm FOLDER``.

What is missing shows when the folder is built, and byte code is there before the first run. A model
may import modules of its folder late, within a function, to decline before that takes its time.
"""

import importlib
import sys
from modulefinder import ModuleFinder
from pathlib import Path


def modules(folder: Path) -> list[str]:
    """The modules of a folder that its main.py imports, early or late."""
    finder = ModuleFinder([str(folder)])
    finder.run_script(str(folder / "main.py"))
    return sorted(name for name, found in finder.modules.items() if found.__file__)


def main(folder: Path) -> None:
    """Import them, and main.py; nothing where there is none."""
    if (folder / "main.py").is_file():
        sys.path.insert(0, str(folder))
        for name in modules(folder):
            importlib.import_module("main" if name == "__main__" else name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
