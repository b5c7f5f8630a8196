"""Counts out of anybody's file, in pieces: an h5ad (CSR, CSC or dense, of any numeric type), a 10x
.h5, or a folder with an .mtx.

What is not counts is refused with what was found. Nothing is rounded, clipped or exponentiated to
make it fit.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from lacuna import seeds, tenx
from lacuna.sources import Source, checked, problem
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.h5ad import (
    H5adWriter,
    Matrix,
    node,
    open_h5ad,
    read_column,
    read_names,
    read_strings,
)

CHUNK_ENTRIES = 2_000_000
CSC_ENTRIES = 4_000_000  # of one window of rows; each window costs a pass over the file
SAMPLE = 100_000
SYMBOLS = ("symbol", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name")


@dataclass(frozen=True)
class Frame:
    """Names and columns of obs or var. Files from before anndata 0.7 have a compound table."""

    file: h5py.File
    axis: str

    @property
    def _old(self) -> np.ndarray | None:
        stored = node(self.file, self.axis)
        return stored[:] if isinstance(stored, h5py.Dataset) else None

    def names(self) -> list[str]:
        """Names in the file's order."""
        table = self._old
        if table is None:
            return read_names(self.file, self.axis)
        key = next((k for k in ("index", "_index") if k in table.dtype.names), None)
        if key is None:
            raise ContractError(f"{self.file.filename}: /{self.axis} has no column of names")
        return _text(table[key])

    def columns(self) -> list[str]:
        """The columns that there are."""
        table = self._old
        if table is not None:
            return [name for name in table.dtype.names if name not in ("index", "_index")]
        frame = self.file[self.axis]
        return [k for k in frame if k not in (frame.attrs.get("_index", "_index"), "__categories")]

    def text(self, name: str) -> list[str]:
        """A column as strings, categories decoded."""
        if name not in self.columns():
            what = f"column of {self.axis}"
            raise ContractError(f"{self.file.filename}: {suggest(name, self.columns(), what)}")
        table = self._old
        if table is None:
            data = self.file[self.axis][name]
            if isinstance(data, h5py.Dataset) and "categories" in data.attrs:  # anndata 0.7
                labels = read_strings(self.file[data.attrs["categories"]])
                return [labels[code] if code >= 0 else "" for code in data[:]]
            return [str(value) for value in read_column(self.file, self.axis, name)]
        labels = f"uns/{name}_categories"
        if labels in self.file:
            categories = _text(self.file[labels][:])
            return [categories[code] if code >= 0 else "" for code in table[name]]
        return _text(table[name])

    def missing(self, name: str) -> np.ndarray:
        """Which values of a column are missing, bool (n,): empty, NaN, or masked."""
        missing = np.array([value in ("", "nan") for value in self.text(name)], dtype=bool)
        stored = None if self._old is not None else self.file[self.axis][name]
        if isinstance(stored, h5py.Group) and "mask" in stored:
            missing |= stored["mask"][:]
        return missing

    def labels(self, name: str) -> list[str]:
        """A column as strings; `ContractError` where one is missing, which would be a class."""
        found = self.text(name)
        if (missing := self.missing(name)).any():
            first, n = self.names()[int(missing.argmax())], int(missing.sum())
            raise ContractError(
                f"{self.file.filename}: {self.axis}['{name}'] is missing in {n} of {len(found)} "
                f"cells (the first is '{first}'); fill it in, or leave these cells out"
            )
        return found


def _text(values: np.ndarray) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]


def find_matrix(file: h5py.File, layer: str | None) -> str:
    """The path of the matrix that holds the counts: X, or a layer; ``raw/X`` by that name."""
    if layer in (None, "", "X"):
        if "X" not in file:
            there = ", ".join(f"layers/{k}" for k in file.get("layers", {})) or "none"
            raise ContractError(
                f"{file.filename} has no X; expected counts there, or the name of a layer in the "
                f"dataset sheet's column 'layer'. Layers: {there}"
            )
        return "X"
    layers = list(file.get("layers", {}))
    if layer in layers:
        return f"layers/{layer}"
    if layer == "raw/X" and layer in file:
        return layer
    raise ContractError(f"{file.filename}: {suggest(layer, layers, 'layer')}")


def whole_alternatives(file: h5py.File) -> list[str]:
    """Matrices of the file that look like counts, judged by their first stored values."""
    candidates = ["X", *(f"layers/{k}" for k in file.get("layers", {})), "raw/X"]
    found = []
    for path in candidates:
        if path not in file or isinstance(file[path], h5py.Datatype):
            continue
        stored = file[path]
        data = stored.get("data") if isinstance(stored, h5py.Group) else stored
        if data is None or data.dtype.kind not in "fiu":
            continue
        sample = data[: max(1, SAMPLE // int(np.prod(data.shape[1:], initial=1)))].ravel()
        if len(sample) and problem(sample) is None:
            found.append(path)
    return found


def open_counts(file: h5py.File, layer: str | None = None) -> Source:
    """Find the counts of an open h5ad, and check names and shape; the values are checked later."""
    path = find_matrix(file, layer)
    stored = file[path]
    encoding = stored.attrs.get("encoding-type", "array")
    if encoding == "dataframe":
        raise ContractError(f"{file.filename}: {path} is a dataframe; expected a matrix of counts")
    matrix = Matrix(stored)
    genes_axis = Frame(file, "raw/var" if path == "raw/X" else "var")
    cells, genes = Frame(file, "obs").names(), genes_axis.names()
    if matrix.shape != (len(cells), len(genes)):
        raise ContractError(
            f"{file.filename}: {path} has shape {matrix.shape}, but there are {len(cells)} cell "
            f"names and {len(genes)} gene names"
        )

    def symbols(column: str | None) -> list[str] | None:
        there = genes_axis.columns()
        column = column or next((name for name in SYMBOLS if name in there), None)
        return genes_axis.text(column) if column else None

    def hint() -> str:
        others = [other for other in whole_alternatives(file) if other != path]
        if not others:
            return " Nothing else in the file holds whole counts, and raw counts are needed."
        return (
            f" These hold whole counts: {', '.join(others)}. Name the layer in the dataset sheet's "
            "column 'layer'."
        )

    return checked(
        Source(
            f"{file.filename}: {path}", cells, genes, lambda: _any_rows(stored), symbols,
            Frame(file, "obs").labels, hint,
        )
    )  # fmt: skip


def _of_table(where: str, table: tenx.Table, layer: str | None) -> Source:
    if layer:
        raise ContractError(f"{where} has no layers; layer '{layer}' was asked for")

    def symbols(column: str | None) -> list[str]:
        if column:
            raise ContractError(f"{where} has its symbols in a place of its own; leave '{column}'")
        return table.symbols

    def column(name: str) -> list[str]:
        raise ContractError(f"{where} has no columns of cells; column '{name}' was asked for")

    return checked(Source(where, table.cells, table.genes, table.rows, symbols, column))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError) as error:
        # h5py's words for a file whose header is whole and whose data are not.
        raise ContractError(f"{path} is damaged: {error}") from None


@contextmanager
def open_source(path: Path, layer: str | None = None) -> Iterator[Source]:
    """The counts of an h5ad, of a 10x .h5, or of a folder with an .mtx; `ContractError` for what is
    none of them, or is damaged. What goes wrong elsewhere while it is open is none of its doing."""
    with ExitStack() as stack:
        with _reading(path):
            found = _opened(path, layer, stack)

        def guarded(function: Callable) -> Callable:
            return _reading(path)(function)

        def chunks() -> Iterator[tuple[int, sparse.csr_matrix]]:
            # A generator is not told of what its caller runs into.
            with _reading(path):
                yield from found.chunks()

        yield replace(
            found, chunks=chunks, symbols=guarded(found.symbols), column=guarded(found.column),
            hint=guarded(found.hint),
        )  # fmt: skip


def _opened(path: Path, layer: str | None, stack: ExitStack) -> Source:
    if path.is_dir() or path.name.endswith((".mtx", ".mtx.gz")):
        if not path.exists():
            raise ContractError(f"{path}: no such file")
        return _of_table(str(path), tenx.read_mtx(path), layer)
    file = stack.enter_context(open_h5ad(path))
    if tenx.is_tenx(file):
        return _of_table(str(path), tenx.read_h5(file), layer)
    if "obs" in file and "var" in file:
        return open_counts(file, layer)
    raise ContractError(
        f"{path} is neither an h5ad nor a 10x file: it holds "
        f"{', '.join(sorted(file)) or 'nothing'}; expected obs, var and X, or matrix"
    )


def _any_rows(stored: h5py.Group | h5py.Dataset) -> Iterator[tuple[int, sparse.csr_matrix]]:
    matrix = Matrix(stored)
    if matrix.format == "csc_matrix":
        yield from csc_rows(stored, matrix)
        return
    if matrix.format == "array":
        # Two million entries, all of them stored.
        for first, rows in matrix.chunks():
            nonzero = np.nonzero(rows)
            yield first, sparse.csr_matrix((rows[nonzero], nonzero), shape=rows.shape)
        return
    yield from sized_chunks(matrix, CHUNK_ENTRIES)


def sized_chunks(matrix: Matrix, entries: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """(first row, rows) with at most `entries` stored values, and at least one row."""
    start = 0
    while start < matrix.shape[0]:
        stop = int(np.searchsorted(matrix.indptr, matrix.indptr[start] + entries, side="right")) - 1
        stop = min(matrix.shape[0], max(stop, start + 1))
        yield start, matrix.rows(start, stop)
        start = stop


def csc_rows(
    group: h5py.Group, matrix: Matrix, entries: int = CSC_ENTRIES
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Rows of a matrix that is stored by columns, in bounded memory and no scratch space.

    The rows are cut into windows of at most `entries` stored values; each window is collected in
    one pass over the file.
    """
    shape, indptr = matrix.shape, matrix.indptr
    per_row = np.zeros(shape[0], dtype=np.int64)
    for start in range(0, len(group["indices"]), CHUNK_ENTRIES):
        piece = group["indices"][start : start + CHUNK_ENTRIES]
        matrix.check_indices(piece)
        per_row += np.bincount(piece, minlength=shape[0])
    ends = np.concatenate([[0], np.cumsum(per_row)])
    first = 0
    while first < shape[0]:
        last = int(np.searchsorted(ends, ends[first] + entries, side="right")) - 1
        last = min(shape[0], max(last, first + 1))
        parts = []
        for start in range(0, len(group["indices"]), CHUNK_ENTRIES):
            rows = group["indices"][start : start + CHUNK_ENTRIES]
            inside = np.flatnonzero((rows >= first) & (rows < last))
            values = group["data"][start : start + CHUNK_ENTRIES][inside]
            columns = np.searchsorted(indptr, start + inside, side="right") - 1
            parts.append((values, rows[inside] - first, columns.astype(np.int32)))
        values, rows, columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        yield first, sparse.csr_matrix((values, (rows, columns)), shape=(last - first, shape[1]))
        first = last


def import_counts(
    source: str | Path,
    output: str | Path,
    layer: str | None = None,
    cell_type: str | None = None,
    symbol: str | None = None,
    organism: str | None = None,
    subsample: int | None = None,
    seed: int = 0,
) -> str | None:
    """Write anybody's counts as the CSR float32 file that the benchmark starts from.

    Parameters
    ----------
    source
        An h5ad, a 10x .h5, or a folder with an .mtx.
    layer
        The layer of an h5ad that holds the counts; X without.
    cell_type, symbol
        Columns of obs and of var. Without `symbol`, one of the usual names is taken if it is there.
    organism
        For models that know one.
    subsample
        How many cells to take at most, in their order; drawn with `seed`.

    Returns what a person should know of it, if there is anything: see `drawn`. Raises
    `ContractError` when the file cannot be read, has no such layer or column, repeats a cell's
    name, or holds anything but counts, or none.
    """
    with open_source(Path(source), layer) as counts:
        symbols = counts.symbols(symbol)
        types = counts.column(cell_type) if cell_type else None
        keep, cells, note = None, counts.cells, None
        if subsample is not None:
            keep, note = drawn(len(counts.cells), subsample, seed)
            cells, types = (names and list(compress(names, keep)) for names in (cells, types))
        with H5adWriter(output, cells, counts.genes) as writer:
            x = writer.csr("X", np.float32)
            seen = 0
            for rows in counts.rows(keep):
                seen += rows.count_nonzero()
                x.append(rows)
            if not seen:
                raise ContractError(f"{counts.where}: every entry is zero; expected counts")
            if types:
                writer.column("obs", "cell_type", types)
            if symbols:
                writer.column("var", "symbol", symbols)
            if organism:
                writer.uns({"organism": organism})
    return note


def drawn(n: int, subsample: int, seed: int) -> tuple[np.ndarray, str | None]:
    """Which of `n` cells are taken, bool (n,), and a sentence if they are all, as there are fewer
    than `subsample`."""
    if subsample > n:
        note = f"subsample is {subsample}, and there are {n} cells: all of them are taken"
        return np.ones(n, dtype=bool), note
    chosen = seeds.generator(seeds.sequence(seed, "subsample")).choice(n, subsample, replace=False)
    keep = np.zeros(n, dtype=bool)
    keep[chosen] = True
    return keep, None
