"""Segmentation: sequences with classes, hidden in some, go in; a class for each position out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lacuna_contract.authoring import Model
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, InvalidOutput, suggest
from lacuna_contract.h5ad import (
    H5adWriter,
    open_h5ad,
    read_column,
    read_names,
    read_uns,
)
from lacuna_contract.sequences import (
    DECODINGS,
    HIDDEN,
    SPLITS,
    UNKNOWN,
    Segmentation,
    Sequences,
)
from lacuna_contract.tables import array

FILLED = ()


def given(file: h5py.File) -> dict[str, Any]:
    """Nothing: all there is is in the data."""
    return {}


def read(path: str | Path) -> Sequences:
    """The input as a model gets it. Checks what a schema cannot say, too."""
    check_h5ad(path, "segmentation_input")
    with open_h5ad(path) as file:
        found = Sequences(
            file["X"][:],
            file["layers/labels"][:],
            np.array(read_column(file, "obs", "split")),
            tuple(read_uns(file)["classes"].split(",")),
        )
    check(found, str(path))
    return found


def check(data: Sequences, where: str) -> None:
    """`ContractError` for what cannot be segmented: an empty split, letters or labels outside."""
    unknown = sorted(set(data.split.tolist()) - set(SPLITS))
    if unknown:
        raise ContractError(f"{where}: {suggest(unknown[0], SPLITS, 'split')}")
    for split in SPLITS:
        if not len(data.rows(split)):
            there = ", ".join(f"{len(data.rows(s))} {s}" for s in SPLITS)
            raise ContractError(f"{where}: the split '{split}' is empty; there are {there}")
    if data.sequences.max() > UNKNOWN:
        raise ContractError(
            f"{where}: base code {data.sequences.max()}; expected A C G T N = 0..{UNKNOWN}"
        )
    last, names = len(data.classes) - 1, ", ".join(data.classes)
    for split in SPLITS:
        labels = data.labels[data.rows(split)]
        low, high = (HIDDEN, HIDDEN) if split == "test" else (0, last)
        outside = (labels < low) | (labels > high)
        if outside.any():
            expected = "-1, hidden" if split == "test" else f"0..{last} ({names})"
            raise ContractError(
                f"{where}: label {labels[outside][0]} in the split '{split}'; expected {expected}"
            )


def checked(answer: Any, data: Sequences) -> Segmentation:
    """What a model returned, as arrays of the right types; `InvalidOutput` where it is none."""
    if not isinstance(answer, Segmentation):
        raise InvalidOutput(
            f"the model returned a {type(answer).__name__}; expected a "
            "lacuna_contract.sequences.Segmentation"
        )
    shape = (len(data.test), data.sequences.shape[1])
    answer.labels = _labels(answer.labels, shape, data, "labels")
    if answer.boundaries is not None:
        answer.boundaries = _floats(answer.boundaries, shape, "boundaries")
        low, high = answer.boundaries.min(), answer.boundaries.max()
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            raise InvalidOutput(
                f"boundaries from {low} to {high}; expected probabilities without NaN"
            )
        answer.boundaries = np.clip(answer.boundaries, 0, 1)
    if answer.durations is not None:
        answer.durations = _durations(answer.durations, data)
    made = {}
    for name, values in answer.decodings.items():
        if name not in DECODINGS:
            raise InvalidOutput(suggest(name, DECODINGS, "decoding"))
        columns = DECODINGS[name]
        if columns is None:
            made[name] = _labels(values, shape, data, f"decoding '{name}'")
        else:
            made[name] = _table(values, columns, shape, len(data.classes), name)
    answer.decodings = made
    return answer


def _labels(values: Any, shape: tuple[int, int], data: Sequences, what: str) -> np.ndarray:
    values = array(values)
    if values.shape != shape or values.dtype.kind not in "iu":
        raise InvalidOutput(
            f"{what}: {values.dtype} of shape {values.shape}; expected integers of shape {shape} "
            "(test sequences, positions)"
        )
    if values.min() < 0 or values.max() >= len(data.classes):
        raise InvalidOutput(
            f"{what}: classes from {values.min()} to {values.max()}; expected "
            f"0..{len(data.classes) - 1} ({', '.join(data.classes)})"
        )
    return values.astype(np.int8)


def _floats(values: Any, shape: tuple[int, int], what: str) -> np.ndarray:
    values = array(values)
    if values.shape != shape or values.dtype.kind != "f":
        raise InvalidOutput(
            f"{what}: {values.dtype} of shape {values.shape}; expected floats of shape {shape}"
        )
    return values.astype(np.float32)


def _durations(values: Any, data: Sequences) -> np.ndarray:
    values = array(values)
    columns = len(data.classes)
    if values.ndim != 2 or values.shape[1] != columns or values.dtype.kind != "f":
        raise InvalidOutput(
            f"durations: {values.dtype} of shape {values.shape}; expected floats (K, {columns})"
        )
    total = np.exp(values.astype(np.float64)).sum(axis=0)
    if not np.allclose(total, 1, atol=1e-3):
        raise InvalidOutput(
            f"durations: probabilities that sum to {total.round(4).tolist()}; expected "
            "log-probabilities, each class normalised over 1..K"
        )
    return values.astype(np.float32)


def _table(
    values: Any, columns: tuple[str, ...], shape: tuple[int, int], classes: int, name: str
) -> np.ndarray:
    values = array(values)
    what = f"decoding '{name}'"
    if values.ndim != 2 or values.shape[1] != len(columns) or values.dtype.kind not in "iu":
        raise InvalidOutput(
            f"{what}: {values.dtype} of shape {values.shape}; expected integers (n, "
            f"{len(columns)}): {', '.join(columns)}"
        )
    highest = {"sequence": shape[0] - 1, "label": classes - 1, "end": shape[1]}
    for column, found in zip(columns, values.T, strict=True):
        low = 1 if column in ("position", "end") else 0
        high = highest.get(column, shape[1] - 1)
        if len(found) and not low <= found.min() <= found.max() <= high:
            raise InvalidOutput(
                f"{what}: {column} from {found.min()} to {found.max()}; expected {low}..{high}"
            )
    if len(np.unique(values, axis=0)) != len(values):
        raise InvalidOutput(f"{what}: a row is there twice")
    return values.astype(np.int32)


def write(path: str | Path, answer: Segmentation, names: list[str], data: Sequences) -> None:
    """Write a prediction (schema `segmentation_prediction`) of the sequences called `names`."""
    positions = [str(i) for i in range(data.sequences.shape[1])]
    with H5adWriter(path, names, positions) as out:
        out.dense("X", np.int8).append(answer.labels)
        if answer.boundaries is not None:
            out.dense("layers/boundaries", np.float32).append(answer.boundaries)
        if answer.durations is not None:
            out.array("uns/durations", answer.durations)
        for name, values in answer.decodings.items():
            if DECODINGS[name] is None:
                out.dense(f"layers/{name}", np.int8).append(values)
            else:
                out.array(f"uns/{name}", values)
        out.uns({"classes": ",".join(data.classes)})


def run(
    declared: Model,
    keywords: Mapping[str, Any],
    input: Path,
    output: Path,
    mark: Callable[[str], None],
) -> dict[str, Any]:
    """Run a function on the whole input."""
    data = read(input)
    with open_h5ad(input) as file:
        names = read_names(file, "obs")
    mark("read")
    answer = checked(declared(data, **keywords), data)
    mark("predict")
    write(output, answer, [names[i] for i in data.test], data)
    return dict(answer.details)
