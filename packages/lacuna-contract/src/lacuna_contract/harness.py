"""What turns a function into a model: the reading, checking, timing and writing around it.

``python -m lacuna_contract.harness main.py --input ... --output ... --metadata ... --params ...``
imports ``main.py`` and runs the function (or class) in it that carries ``@model``.
"""

import argparse
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from lacuna_contract.authoring import Chunk, Model
from lacuna_contract.descriptor import HIDDEN, check_h5ad
from lacuna_contract.errors import ContractError, NotApplicable, suggest
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_column, read_names, read_uns

GIVEN = ("seed", "genes", "symbols", "cells", "device", "threads", "kind", "truth")
DEVICES = ("cpu", "cuda")


def split(rows: sparse.csr_matrix, first: int) -> Chunk:
    """Stored rows of an input into visible counts and hidden entries."""
    flags = rows.data == HIDDEN
    # Row boundaries of each part: how many of its entries come before each row's end.
    before = np.concatenate([[0], np.cumsum(flags)])[rows.indptr]
    hidden = sparse.csr_matrix(
        (np.ones(before[-1], dtype=bool), rows.indices[flags], before), shape=rows.shape
    )
    counts = sparse.csr_matrix(
        (rows.data[~flags], rows.indices[~flags], rows.indptr - before), shape=rows.shape
    )
    return Chunk(counts, hidden, range(first, first + rows.shape[0]))


class Chunks:
    """The input in pieces. Can be iterated again and again; holds one piece at a time."""

    def __init__(self, path: str | Path, rows: int | None = None):
        self._path, self._rows = path, rows

    def __iter__(self) -> Iterator[Chunk]:
        with open_h5ad(self._path) as file:
            for first, rows in Matrix(file["X"]).chunks(self._rows):
                yield split(rows, first)


def load(path: str | Path) -> Model:
    """Import a model's main.py and return what it declared."""
    path = Path(path).resolve()
    if not path.is_file():
        raise ContractError(f"{path}: no such file")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("lacuna_model", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lacuna_model"] = module
    spec.loader.exec_module(module)
    found = [value for value in vars(module).values() if isinstance(value, Model)]
    if len(found) != 1:
        raise ContractError(f"{path} has {len(found)} functions with @model, expected exactly one")
    return found[0]


def arguments_for(declared: Model, params: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a call: the variant's parameters, and what the harness fills."""
    known = declared.parameters
    own = [k for k in known if k not in GIVEN]
    for name in params:
        if name not in known and name not in GIVEN:
            raise ContractError(suggest(name, own, "parameter of the model"))
    if missing := [
        k for k in own if known[k].default is inspect.Parameter.empty and k not in params
    ]:
        raise ContractError(f"model.json gives no value for: {', '.join(missing)}")
    filled = {k: v for k, v in (given | params).items() if k in known}
    if "truth" in known and filled.get("truth") is None:
        raise ContractError("the model asks for the truth, which only a ceiling is given")
    return filled


class Output:
    """Predictions as they come: arrays go to a dense X, vectors to a CSR of the hidden entries."""

    def __init__(self, writer: H5adWriter, value_space: str):
        self._writer, self._space, self._slot = writer, value_space, None
        self._dense = False

    def append(self, values: Any, hidden: sparse.csr_matrix) -> None:
        """Check and write the prediction of some cells."""
        values = np.asarray(values)
        dense, cells = values.ndim == 2, hidden.shape
        expected = cells if dense else (hidden.nnz,)
        if values.shape != expected:
            raise ContractError(
                f"the model returned shape {values.shape}; expected {cells} (cells, genes), or "
                f"({hidden.nnz},), the hidden entries in CSR order"
            )
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise ContractError(f"the model returned {bad} NaN or infinite values of {values.size}")
        if self._slot is None:
            make = self._writer.dense if dense else self._writer.csr
            self._slot, self._dense = make("X", np.float32), dense
            self._writer.uns({"entries": "all" if dense else "hidden", "value_space": self._space})
        if dense != self._dense:
            raise ContractError("the model returned arrays for some cells and vectors for others")
        self._slot.append(
            values
            if dense
            else sparse.csr_matrix((values, hidden.indices, hidden.indptr), shape=cells)
        )


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


def execute(main_py: str | Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run the model on an input, write its prediction, and return the metadata."""
    clock = {"start": time.perf_counter()}
    params = json.loads(Path(args.params).read_text())
    declared = load(main_py)
    check_h5ad(args.input, f"{declared.task}_input")
    with open_h5ad(args.input) as file:
        cells, genes = read_names(file, "obs"), read_names(file, "var")
        symbols = read_column(file, "var", "symbol") if "var/symbol" in file else genes
        kind = read_uns(file).get("kind")
    asked = check_device(params.pop("device", None))
    device = pick_device(asked) if "device" in declared.parameters else "cpu"
    given = {"genes": genes, "symbols": symbols, "cells": cells, "kind": kind, "device": device}
    given |= {"threads": int(os.environ.get("LACUNA_CPUS", 1)), "truth": args.truth, "seed": 0}
    keywords = arguments_for(declared, params, given)
    details: dict[str, Any] = {}
    with H5adWriter(args.output, cells, genes) as writer:
        output = Output(writer, declared.value_space)
        if inspect.isclass(declared.implementation):
            instance = declared(**keywords)
            clock["read"] = time.perf_counter()
            instance.fit(Chunks(args.input))
            clock["fit"] = time.perf_counter()
            for chunk in Chunks(args.input):
                output.append(instance.predict(chunk), chunk.hidden)
            details = dict(getattr(instance, "details", {}))
            clock["predict"] = time.perf_counter()
        else:
            with open_h5ad(args.input) as file:
                whole = split(Matrix(file["X"]).rows(0, len(cells)), 0)
            clock["read"] = time.perf_counter()
            values = declared(whole.counts, whole.hidden, **keywords)
            if isinstance(values, tuple):
                values, details = values
            clock["predict"] = time.perf_counter()
            output.append(values, whole.hidden)
    clock["write"] = time.perf_counter()
    times = list(clock.items())
    seconds = {name: round(t - times[i][1], 4) for i, (name, t) in enumerate(times[1:])}
    return {"seconds": seconds, "versions": versions(), "device": device, "details": details}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line that every model has."""
    parser = argparse.ArgumentParser(prog="lacuna_contract.harness", description=__doc__)
    parser.add_argument("main", help="the model's main.py")
    parser.add_argument("--input", required=True, help="h5ad to read")
    parser.add_argument("--output", required=True, help="h5ad to write")
    parser.add_argument("--metadata", required=True, help="JSON to write")
    parser.add_argument("--params", required=True, help="JSON of parameters to read")
    parser.add_argument("--truth", help="the hidden values; ceilings only")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a model; 1 and a sentence on stderr when it breaks the contract."""
    args = parse(arguments)
    try:
        metadata = execute(args.main, args)
    except NotApplicable as reason:
        metadata = {"not_applicable": str(reason)}
    except ContractError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Path(args.metadata).write_text(json.dumps(metadata, indent=1, default=float) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
