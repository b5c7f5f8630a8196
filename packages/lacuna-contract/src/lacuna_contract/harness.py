"""What turns a function into a model: the reading, checking, timing and writing around it.

``python -m lacuna_contract.harness main.py --input ... --output ... --metadata ... --params ...``
imports ``main.py`` and runs the function (or class) in it that carries ``@model`` for the task of
the input. What is particular to a task is in its module of `lacuna_contract.tasks`.
"""

import argparse
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lacuna_contract import tasks
from lacuna_contract.authoring import Model
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, InvalidOutput, NotApplicable, suggest
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.supervise import sha256

#: Keyword parameters that are filled for every task.
GIVEN = ("seed", "device", "threads", "truth", "checkpoint")
DEVICES = ("cpu", "cuda")


def load(path: str | Path, task: str) -> Model:
    """Import a model's main.py and return what it declared for a task."""
    path = Path(path).resolve()
    if not path.is_file():
        raise ContractError(f"{path}: no such file")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("lacuna_model", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lacuna_model"] = module
    spec.loader.exec_module(module)
    declared = [value for value in vars(module).values() if isinstance(value, Model)]
    found = [one for one in declared if one.task == task]
    if len(found) != 1:
        others = ", ".join(sorted({one.task for one in declared} - {task}))
        raise ContractError(
            f'{path} has {len(found)} functions with @model("{task}"), expected exactly one'
            + (f"; it has @model for: {others}" if others else "")
        )
    return found[0]


def arguments_for(
    declared: Model, params: dict[str, Any], filled: dict[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """The keyword arguments of a call: the variant's parameters, and those named `names`, which
    the harness fills."""
    known = declared.parameters
    own = [k for k in known if k not in names]
    for name in params:
        if name not in known and name not in names:
            raise ContractError(suggest(name, own, "parameter of the model"))
    if missing := [
        k for k in own if known[k].default is inspect.Parameter.empty and k not in params
    ]:
        raise ContractError(f"model.json gives no value for: {', '.join(missing)}")
    given = {k: v for k, v in (filled | params).items() if k in known}
    if "truth" in known and given.get("truth") is None:
        raise ContractError("the model asks for the truth, which only a ceiling is given")
    return given


def versions() -> dict[str, str]:
    """Versions of Python and of every distribution of which something has been imported."""
    owners = importlib.metadata.packages_distributions()
    imported = {name.partition(".")[0] for name in sys.modules}
    names = {owner for top in imported for owner in owners.get(top, ()) if owner}
    found = {"python": sys.version.split()[0]}
    return found | {name: importlib.metadata.version(name) for name in sorted(names)}


def check_device(asked: str | None) -> str | None:
    """`asked`, if it is None or a device; `ContractError` otherwise."""
    if asked not in (None, *DEVICES):
        raise ContractError(suggest(asked, DEVICES, "device"))
    return asked


def pick_device(asked: str | None) -> str:
    """The device to compute on. Asking for a GPU that is not there is an error, not a fallback."""
    if asked != "cuda":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise ContractError("device 'cuda' was asked for, but torch sees no GPU")
    return "cuda"


def task_of(path: str | Path) -> str:
    """The task that an input is for."""
    with open_h5ad(path) as file:
        task = read_uns(file).get("task")
    if not isinstance(task, str):
        raise ContractError(f"{path} does not say its task in uns['lacuna']; is it an input?")
    return task


class Clock:
    """Seconds of each part of a run, by the name of the mark at its end."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = round(now - self._last, 4), now


def execute(main_py: str | Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run the model on an input, write its prediction, and return the metadata."""
    clock = Clock()
    params = json.loads(Path(args.params).read_text())
    name = task_of(args.input)
    task = tasks.load(name)
    declared = load(main_py, name)
    check_h5ad(args.input, f"{name}_input")
    with open_h5ad(args.input) as file:
        filled = task.given(file)
    asked = check_device(params.pop("device", None))
    device = pick_device(asked) if "device" in declared.parameters else "cpu"
    filled |= {"threads": int(os.environ.get("LACUNA_CPUS", 1)), "seed": 0}
    checkpoint = Path(args.checkpoint) if args.checkpoint else None
    # Before the model can change it.
    trained = (
        {path.name: sha256(path) for path in sorted(checkpoint.iterdir())} if checkpoint else {}
    )
    filled |= {"device": device, "truth": args.truth, "checkpoint": checkpoint}
    keywords = arguments_for(declared, params, filled, (*GIVEN, *task.FILLED))
    details = task.run(declared, keywords, args.input, args.output, clock.mark)
    clock.mark("write")
    return {
        "seconds": clock.seconds,
        "versions": versions(),
        "device": device,
        "details": details,
    } | ({"checkpoint": trained} if trained else {})


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line that every model has."""
    parser = argparse.ArgumentParser(prog="lacuna_contract.harness", description=__doc__)
    parser.add_argument("main", help="the model's main.py")
    parser.add_argument("--input", required=True, help="h5ad to read")
    parser.add_argument("--output", required=True, help="h5ad to write")
    parser.add_argument("--metadata", required=True, help="JSON to write")
    parser.add_argument("--params", required=True, help="JSON of parameters to read")
    parser.add_argument("--truth", help="the hidden values; ceilings only")
    parser.add_argument("--checkpoint", help="a folder of files that were trained elsewhere")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a model; 1 and a sentence on stderr when it breaks the contract."""
    args = parse(arguments)
    code = 0
    try:
        metadata = execute(args.main, args)
    except InvalidOutput as error:
        # Said in the file, too: a model that crashes ends with 1 and words on stderr as well.
        print(f"error: {error}", file=sys.stderr)
        metadata, code = {"invalid_output": str(error)}, 1
    except NotApplicable as reason:
        metadata = {"not_applicable": str(reason)}
    except ContractError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Path(args.metadata).write_text(json.dumps(metadata, indent=1, default=float) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
