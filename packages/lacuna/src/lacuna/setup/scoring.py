"""Commands that score, in the environment in which the pipeline does.

They start with whatever Python there is, so this imports nothing that it may lack.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lacuna.setup import environments
from lacuna.setup.common import ROOT, SetupError
from lacuna.setup.registry import stages


def start(module: str) -> NoReturn:
    """A command in ``bin/``: `main` of a module, in the environment in which most tasks are
    scored."""
    try:
        enter(module, sys.argv[1:])
    except SetupError as error:
        sys.exit(f"bin/{Path(sys.argv[0]).name}: {error}")
    # This is that environment already: its python may be the first on PATH.
    sys.exit(importlib.import_module(module).main())


def enter(module: str, words: Sequence[str], task: str | None = None) -> None:
    """Go on with `main` of a module in the environment of the stage that scores a task; returns
    where this is it. Raises SetupError where the environment cannot be made."""
    there = {stage.name: stage for stage in stages()}
    stage = there.get(f"evaluate_{task}", there["evaluate"])
    if Path(sys.prefix) == stage.env:
        return
    environments.build(stage)
    sources = [str(ROOT / "packages" / name / "src") for name in ("lacuna", "lacuna-contract")]
    os.environ["PYTHONPATH"] = os.pathsep.join(sources)
    python = str(stage.env / "bin/python")
    program = f"import sys; from {module} import main; sys.exit(main())"
    os.execv(python, [python, "-P", "-c", program, *words])
