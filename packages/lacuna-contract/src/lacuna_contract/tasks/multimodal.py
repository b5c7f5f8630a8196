"""Multimodal: cells of which some modalities are hidden go in, a joint embedding of all cells and
the hidden values that are asked for come out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna_contract.authoring import Model
from lacuna_contract.errors import ContractError, InvalidOutput, suggest
from lacuna_contract.h5ad import (
    H5adWriter,
    Matrix,
    open_h5ad,
    read_column,
    read_names,
    read_strings,
)
from lacuna_contract.tables import array, by_name, cells_by_name

FILLED = ()
MODALITIES = ("rna", "atac", "adt")
#: Where the measurements of a modality lie in an h5ad.
SLOTS = {"rna": "X", "atac": "obsm/X_atac", "adt": "obsm/X_adt"}
#: What entries of uns about features begin with.
UNITS = {"atac": "peak", "adt": "adt"}
#: What a prediction of a modality is: the space of its values, and the lowest and highest of them.
SPACES = {
    "rna": ("counts", 0.0, np.inf),
    "atac": ("probability", 0.0, 1.0),
    "adt": ("log", -np.inf, np.inf),
}
#: No more than this much above 1 or below 0 is taken for rounding, and clipped.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Asked:
    """What is to be predicted of a modality: positions of cells (rows) and features (columns)."""

    cells: np.ndarray
    features: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the prediction."""
        return len(self.cells), len(self.features)


@dataclass(frozen=True)
class Mosaic:
    """An input: cells of which each has one or more of the modalities "rna", "atac" and "adt".

    counts
        By modality, CSR float32 (cells, features): RNA counts, open peaks (1), ADT intensities. The
        rows of cells that lack the modality are empty. A modality that no cell has is not here.
    has
        By modality, bool (cells,): which cells have it.
    batch, study
        Codes, int (cells,): batches, and the studies (datasets) that they belong to.
    split
        Text (cells,), "train" or "test": the hidden values of test cells are what is scored, where
        there are any. All cells may be learned from.
    features
        By modality, the names of the features.
    asked
        By modality, what is to be predicted. A modality of which nothing is asked is not here.
    gene_of
        For "atac" and "adt", where it is known: int (features,), the position of the gene that a
        peak lies near, or that encodes a protein; -1 for none.
    cells
        Names of the cells.
    """

    counts: dict[str, sparse.csr_matrix]
    has: dict[str, np.ndarray]
    batch: np.ndarray
    study: np.ndarray
    split: np.ndarray
    features: dict[str, list[str]]
    asked: dict[str, Asked]
    gene_of: dict[str, np.ndarray]
    cells: list[str]

    @property
    def n_cells(self) -> int:
        return len(self.cells)

    def joined(self, by_genes: bool = False) -> bool:
        """Whether all modalities can be held in one space: by cells that have two of them or, if
        `by_genes`, by knowing which gene a peak or a protein belongs to."""
        names = list(self.counts)
        pairs = [{a, b} for a in names for b in names if (self.has[a] & self.has[b]).any()]
        if by_genes and "rna" in names:
            pairs += [{"rna", name} for name, gene in self.gene_of.items() if (gene >= 0).any()]
        reached = set(names[:1])
        for _ in names:
            reached = reached.union(*(pair for pair in pairs if pair & reached))
        return reached == set(names)


def given(file: h5py.File) -> dict[str, Any]:
    """Nothing: a model gets all there is as one `Mosaic`."""
    return {}


def read(path: str | Path) -> Mosaic:
    """An input as a model gets it. `ContractError` for masks and sizes that do not fit together.

    Takes files of the mock generator, too, which do not say what is asked for: that is then every
    hidden value of a modality.
    """
    with open_h5ad(path) as file:
        cells = read_names(file, "obs")
        counts, has, gene_of = {}, {}, {}
        for modality, slot in SLOTS.items():
            if slot not in file:
                continue
            flag = f"has_{modality}"
            if flag not in file["obs"]:
                there = sorted(key for key in file["obs"] if not key.startswith("_"))
                raise ContractError(f"{path}: {suggest(flag, there, 'column of obs')}")
            rows = sparse.csr_matrix(Matrix(file[slot]).rows(0, len(cells)), dtype=np.float32)
            found = np.asarray(read_column(file, "obs", flag), dtype=bool)
            if not found.any():
                continue
            _check_mask(path, modality, found, np.diff(rows.indptr) > 0, cells)
            counts[modality], has[modality] = rows, found
        for modality, key in UNITS.items():
            if modality in counts and f"uns/{key}_gene" in file:
                gene_of[modality] = file[f"uns/{key}_gene"][:].astype(np.int64)
        asked = _asked(file, counts, has)
        return Mosaic(
            counts=counts,
            has=has,
            batch=_codes(file, "batch", cells),
            study=_codes(file, "dataset", cells),
            split=np.array(read_column(file, "obs", "split"), dtype=str),
            features={modality: feature_names(file, modality) for modality in counts},
            asked=asked,
            gene_of=gene_of,
            cells=cells,
        )


def _check_mask(
    path: str | Path, modality: str, has: np.ndarray, filled: np.ndarray, cells: list[str]
) -> None:
    for wrong, said, there in (
        (has & ~filled, "true", "all zero"),
        (~has & filled, "false", "not zero"),
    ):
        if wrong.any():
            first = cells[int(wrong.argmax())]
            raise ContractError(
                f"{path}: has_{modality} is {said}, but {modality} is {there}, in "
                f"{int(wrong.sum())} cells (the first is '{first}')"
            )


def feature_names(file: h5py.File, modality: str) -> list[str]:
    """Of a modality that is there: its names, or peak_0, adt_0 and so on. `ContractError` where
    there are more or fewer than columns."""
    if modality == "rna":
        return read_names(file, "var")
    key, width = f"{UNITS[modality]}_names", Matrix(file[SLOTS[modality]]).shape[1]
    if f"uns/{key}" not in file:
        return [f"{UNITS[modality]}_{i}" for i in range(width)]
    found = read_strings(file[f"uns/{key}"])
    if len(found) != width:
        raise ContractError(
            f"{file.filename}: uns['{key}'] has {len(found)} names for {width} columns"
        )
    return found


def read_asked(file: h5py.File) -> dict[str, Asked]:
    """What an input or a truth says that is asked for, by modality."""
    stored = file.get("uns/asked", {})
    return {
        m: Asked(*(stored[m][part][:].astype(np.int64) for part in ("cells", "features")))
        for m in MODALITIES
        if m in stored
    }


def _codes(file: h5py.File, name: str, cells: list[str]) -> np.ndarray:
    labels = read_column(file, "obs", name)
    return np.unique(np.asarray(labels), return_inverse=True)[1].reshape(len(cells))


def _asked(
    file: h5py.File, counts: Mapping[str, sparse.csr_matrix], has: Mapping[str, np.ndarray]
) -> dict[str, Asked]:
    if "uns/asked" not in file:
        every = {
            m: Asked(np.flatnonzero(~has[m]), np.arange(x.shape[1])) for m, x in counts.items()
        }
        return {m: one for m, one in every.items() if len(one.cells)}
    return read_asked(file)


def run(
    declared: Model,
    keywords: Mapping[str, Any],
    input: Path,
    output: Path,
    mark: Callable[[str], None],
) -> dict[str, Any]:
    """Run a function ``predict(data, **keywords)`` on a `Mosaic`.

    It returns (embedding, imputed) or (embedding, imputed, details): an array (cells, dimensions)
    for all cells, and by modality an array (asked cells, asked features).
    """
    data = read(input)
    mark("read")
    found = declared(data, **keywords)
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        raise InvalidOutput(
            f"the model returned {type(found).__name__}; expected a tuple (embedding, imputed) or "
            "(embedding, imputed, details)"
        )
    embedding, imputed, details = (*found, {})[:3]
    mark("predict")
    embedding = check_embedding(cells_by_name(embedding, data.cells), data.n_cells)
    if isinstance(imputed, Mapping):
        imputed = {m: _in_order(data, m, values) for m, values in imputed.items()}
    write(output, data, embedding, check_imputed(imputed, data.asked))
    return dict(details)


def _in_order(data: Mosaic, modality: str, values: Any) -> Any:
    """Values of a table in the order of what is asked for; others as they are."""
    if modality not in data.asked:
        return values
    one, names = data.asked[modality], data.features[modality]
    cells, features = [data.cells[i] for i in one.cells], [names[j] for j in one.features]
    return by_name(values, cells, features, f"{modality} feature")


def check_embedding(embedding: np.ndarray, cells: int) -> np.ndarray:
    """The embedding as float32; `InvalidOutput` where it is none of these cells."""
    if embedding.ndim != 2 or len(embedding) != cells or embedding.shape[1] == 0:
        raise InvalidOutput(
            f"the embedding has shape {embedding.shape}; expected ({cells}, dimensions)"
        )
    return check_finite("the embedding", embedding)


def check_finite(what: str, values: np.ndarray) -> np.ndarray:
    """Values as float32; `InvalidOutput` where they are no numbers, NaN, or infinite there."""
    if values.dtype.kind not in "biuf":
        raise InvalidOutput(f"{what} holds values of type {values.dtype}; expected floats")
    with np.errstate(over="ignore"):
        found = values.astype(np.float32, copy=False)
    if bad := int(np.count_nonzero(~np.isfinite(found))):
        raise InvalidOutput(f"{what} holds {bad} NaN or infinite values of {values.size}")
    return found


def check_imputed(imputed: Any, asked: Mapping[str, Asked]) -> dict[str, np.ndarray]:
    """Predictions by modality as float32; `InvalidOutput` for what was not asked for, what is
    missing, and values that cannot be."""
    if not isinstance(imputed, Mapping):
        raise InvalidOutput(
            f"the imputed values are {type(imputed).__name__}; expected a dictionary by modality"
        )
    check_modalities(imputed, asked)
    return {m: check_values(m, array(imputed[m]), one.shape) for m, one in asked.items()}


def check_modalities(imputed: Mapping[str, Any], asked: Mapping[str, Asked]) -> None:
    """Raise `InvalidOutput` unless exactly the modalities that are asked for were predicted."""
    what = ", ".join(asked) or "nothing"
    if more := [m for m in imputed if m not in asked]:
        raise InvalidOutput(f"the model predicted {', '.join(more)}; asked for: {what}")
    if missing := [m for m in asked if m not in imputed]:
        raise InvalidOutput(f"the model did not predict {', '.join(missing)}; asked for: {what}")


def check_values(modality: str, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The prediction of a modality as float32; `InvalidOutput` where it cannot be one."""
    space, low, high = SPACES[modality]
    if values.shape != shape:
        raise InvalidOutput(
            f"the prediction of {modality} has shape {values.shape}; expected {shape} (asked "
            "cells, asked features)"
        )
    values = check_finite(f"the prediction of {modality}", values)
    if values.size and (values.min() < low - ROUNDING or values.max() > high + ROUNDING):
        raise InvalidOutput(
            f"the prediction of {modality} reaches from {values.min():.4g} to {values.max():.4g}; "
            f"expected {space}, from {low:g} to {high:g}"
        )
    return np.clip(values, low, high)


def write(
    path: str | Path, data: Mosaic, embedding: np.ndarray, imputed: Mapping[str, np.ndarray]
) -> None:
    """Write a prediction: rows and columns carry names, and are matched by them."""
    with H5adWriter(path, data.cells, []) as out:
        out.csr("X", np.float32).append(sparse.csr_matrix((data.n_cells, 0), dtype=np.float32))
        out.dense("obsm/X_embedding", np.float32, embedding.shape[1]).append(embedding)
        out.uns({"task": "multimodal"})
        for modality, values in imputed.items():
            one, folder = data.asked[modality], f"uns/imputed/{modality}"
            out.array(f"{folder}/cells", [data.cells[i] for i in one.cells])
            out.array(f"{folder}/features", [data.features[modality][j] for j in one.features])
            out.array(f"{folder}/values", values)
