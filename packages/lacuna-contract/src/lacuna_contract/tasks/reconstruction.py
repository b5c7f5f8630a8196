"""Reconstruction: visible counts and the hidden entries go in, values of the hidden entries out.

Of thinned counts no entry is hidden, and every entry is to be predicted.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna_contract.authoring import Chunk, Model
from lacuna_contract.descriptor import HIDDEN
from lacuna_contract.errors import InvalidOutput, NotApplicable, need_memory
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_column, read_names, read_uns
from lacuna_contract.tables import by_name

FILLED = ("genes", "symbols", "cells", "kind", "organism")
#: Entries of a piece of thinned counts: a model's answer is dense, however sparse the counts are.
DENSE_ENTRIES = 2_000_000
#: What an entry takes while a whole input is split: value and index, read, flagged and copied.
ENTRY_BYTES = 18


def given(file: h5py.File) -> dict[str, Any]:
    """Names of cells and genes, the genes' symbols, how values were hidden, and the organism (None
    where it is not known)."""
    genes, about = read_names(file, "var"), read_uns(file)
    return {
        "genes": genes,
        "symbols": read_column(file, "var", "symbol") if "var/symbol" in file else genes,
        "cells": read_names(file, "obs"),
        "kind": about.get("kind"),
        "organism": about.get("organism"),
    }


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


class Output:
    """Predictions as they come: arrays go to a dense X, vectors to a CSR of the hidden entries.
    `InvalidOutput` for what is neither."""

    def __init__(
        self,
        writer: H5adWriter,
        names: tuple[list[str], list[str]],
        value_space: str,
        thinned: bool = False,
    ):
        self._writer, self._space, self._slot = writer, value_space, None
        (self._cells, self._genes), self._thinned = names, thinned
        self._dense = False

    def append(self, values: Any, chunk: Chunk) -> None:
        """Check and write the prediction of some cells."""
        hidden, own = chunk.hidden, self._cells[chunk.cells.start : chunk.cells.stop]
        values = by_name(values, own, self._genes, "gene")
        dense, cells = values.ndim == 2, hidden.shape
        expected = cells if dense else (hidden.nnz,)
        if self._thinned and values.shape != cells:
            raise InvalidOutput(
                f"the model returned shape {values.shape}; of thinned counts every entry is to be "
                f"predicted: expected {cells} (cells, genes)"
            )
        if values.shape != expected:
            raise InvalidOutput(
                f"the model returned shape {values.shape}; expected {cells} (cells, genes), or "
                f"({hidden.nnz},), the hidden entries in CSR order"
            )
        if values.dtype.kind not in "biuf":
            raise InvalidOutput(
                f"the model returned values of type {values.dtype}; expected floats"
            )
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise InvalidOutput(f"the model returned {bad} NaN or infinite values of {values.size}")
        if self._slot is None:
            make = self._writer.dense if dense else self._writer.csr
            self._slot, self._dense = make("X", np.float32), dense
            self._writer.uns({"entries": "all" if dense else "hidden", "value_space": self._space})
        if dense != self._dense:
            raise InvalidOutput("the model returned arrays for some cells and vectors for others")
        self._slot.append(
            values
            if dense
            else sparse.csr_matrix((values, hidden.indices, hidden.indptr), shape=cells)
        )


def run(
    declared: Model,
    keywords: Mapping[str, Any],
    input: Path,
    output: Path,
    mark: Callable[[str], None],
) -> dict[str, Any]:
    """Run a function on the whole input, or a class on chunks of it.

    Thinned counts go to models that ask for ``kind`` alone: others were written for hidden entries.
    """
    with open_h5ad(input) as file:
        cells, genes = read_names(file, "obs"), read_names(file, "var")
        thinned = read_uns(file).get("kind") == "thinned"
    if thinned and "kind" not in declared.parameters:
        raise NotApplicable(
            "predicts hidden entries, and these counts are thinned (it has no parameter `kind`)"
        )
    pieces = Chunks(input, max(1, DENSE_ENTRIES // len(genes)) if thinned else None)
    with H5adWriter(output, cells, genes) as writer:
        written = Output(writer, (cells, genes), declared.value_space, thinned)
        if inspect.isclass(declared.implementation):
            instance = declared(**keywords)
            mark("read")
            instance.fit(pieces)
            mark("fit")
            for chunk in pieces:
                written.append(instance.predict(chunk), chunk)
            mark("predict")
            return dict(getattr(instance, "details", {}))
        with open_h5ad(input) as file:
            stored = Matrix(file["X"])
            need_memory(
                ENTRY_BYTES * stored.stored,
                f"this model takes all {len(cells)} cells x {len(genes)} genes at once",
            )
            whole = split(stored.rows(0, len(cells)), 0)
        mark("read")
        values = declared(whole.counts, whole.hidden, **keywords)
        values, details = values if isinstance(values, tuple) else (values, {})
        mark("predict")
        written.append(values, whole)
        return details
