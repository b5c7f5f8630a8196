"""What an h5ad file is, as JSON: read with h5py, without loading a matrix.

The descriptor is what a JSON Schema can speak about. Its `content` part needs the stored values of
X, which are streamed; everything else is in the file's header.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import Matrix, node, open_h5ad, read_names, read_uns
from lacuna_contract.schema import validate

HIDDEN = -1


def content(matrix: Matrix) -> dict[str, Any]:
    """Facts of the stored values: `finite`, `whole` (no fractions), `hidden` (how many are -1),
    `negative` (how many others are below zero), `min` and `max` of the finite ones (null if none).
    """
    finite, whole, hidden, negative = True, True, 0, 0
    low, high = np.inf, -np.inf
    for values in matrix.values():
        if values.dtype.kind == "f":
            good = np.isfinite(values)
            if not good.all():
                finite, values = False, values[good]
            whole = whole and bool((values == np.rint(values)).all())
        if not len(values):
            continue
        low, high = min(low, values.min()), max(high, values.max())
        if low < 0:
            flagged = int(np.count_nonzero(values == HIDDEN))
            hidden += flagged
            negative += int(np.count_nonzero(values < 0)) - flagged
    bounds = {"min": float(low), "max": float(high)} if low <= high else {"min": None, "max": None}
    return {"finite": finite, "whole": whole, "hidden": hidden, "negative": negative, **bounds}


def _slot(stored: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    if isinstance(stored, h5py.Group) and stored.attrs.get("encoding-type") == "dataframe":
        return {"format": "dataframe"}
    matrix = Matrix(stored)
    shape = list(matrix.shape)
    entry = {"format": matrix.format, "dtype": str(matrix.dtype), "shape": shape}
    return {**entry, "stored": matrix.stored}


def _axis(file: h5py.File, axis: str) -> dict[str, Any]:
    names = read_names(file, axis)
    frame = file[axis]
    columns = sorted(set(frame) - {frame.attrs.get("_index", "_index")})
    return {"n": len(names), "unique": len(set(names)) == len(names), "columns": columns}


def describe(path: str | Path, with_content: bool = True) -> dict[str, Any]:
    """The descriptor of an h5ad file (schema `descriptor`); `ContractError` if it is none."""
    with open_h5ad(path) as file:
        x = _slot(node(file, "X"))
        found = {
            "format": "h5ad",
            "shape": x["shape"],
            "X": x,
            "obs": _axis(file, "obs"),
            "var": _axis(file, "var"),
            "raw": "raw" in file,
            "uns": read_uns(file),
            "uns_keys": sorted(file["uns"]) if "uns" in file else [],
        }
        for slot in ("layers", "obsm"):
            found[slot] = {k: _slot(v) for k, v in file[slot].items()} if slot in file else {}
        for slot in ("varm", "obsp", "varp"):
            found[slot] = sorted(file[slot]) if slot in file else []
        if with_content:
            found["content"] = content(Matrix(file["X"]))
    for axis, length in (("obs", x["shape"][0]), ("var", x["shape"][1])):
        if found[axis]["n"] != length:
            raise ContractError(
                f"{path}: {found[axis]['n']} names in {axis}, but X is {x['shape']}"
            )
    return found


def check_h5ad(path: str | Path, schema: str) -> dict[str, Any]:
    """Describe `path` and hold it against an h5ad schema, e.g. "reconstruction_input".

    Returns the descriptor. Raises `ContractError` with every way in which the file breaks it.
    """
    found = describe(path)
    validate(found, schema, where=path)
    return found
