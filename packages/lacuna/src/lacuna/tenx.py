"""Counts as Cell Ranger writes them: an .h5 file, or a folder with an .mtx and two .tsv files.

Both are matrices of features x barcodes, read here by barcode, in pieces. Of several kinds of
features, such as genes and antibodies, only "Gene Expression" is taken.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import read_strings
from lacuna_contract.matrix import Matrix

EXPRESSION = "Gene Expression"
BLOCK = 1 << 22  # bytes of text at a time
WINDOW_ENTRIES = 4_000_000  # of an .mtx that is not in the order of barcodes; one pass each

Rows = Iterator[tuple[int, sparse.csr_matrix]]


@dataclass(frozen=True)
class Table:
    """What a 10x file holds: `rows()` yields (first cell, CSR of cells x genes)."""

    cells: list[str]
    genes: list[str]
    symbols: list[str]
    rows: Callable[[], Rows]


def is_tenx(file: h5py.File) -> bool:
    """Whether an open HDF5 file is laid out as Cell Ranger does."""
    return bool(_groups(file))


def _groups(file: h5py.File) -> list[str]:
    """The groups that hold a matrix: `matrix`, or before Cell Ranger 3 one for each genome."""
    items = [(k, v) for k, v in file.items() if isinstance(v, h5py.Group)]
    return [k for k, v in items if {"barcodes", "indptr", "indices", "data", "shape"} <= set(v)]


def read_h5(file: h5py.File) -> Table:
    """The genes of an open .h5 file of any Cell Ranger."""
    where, groups = file.filename, _groups(file)
    if len(groups) > 1:
        raise ContractError(
            f"{where} holds several genomes: {', '.join(groups)}; expected one, because a dataset "
            "is of one organism"
        )
    group = file[groups[0]]
    features = group.get("features")
    if features is None:
        ids, names, kinds = group["genes"], group["gene_names"], None
    else:
        ids, names = features["id"], features["name"]
        kinds = read_strings(features["feature_type"]) if "feature_type" in features else None
    ids, names, cells = read_strings(ids), read_strings(names), read_strings(group["barcodes"])
    shape = tuple(map(int, group["shape"][:]))
    _check_shape(where, shape, (len(ids), len(cells)))
    # Features x barcodes by column is barcodes x features by row.
    matrix = Matrix(group, "csr_matrix", (len(cells), len(ids)))
    keep = _expression(kinds, len(ids), where)

    def rows() -> Rows:
        for first, block in matrix.chunks():
            yield first, _columns(block, keep)

    return Table(cells, [ids[i] for i in keep], [names[i] for i in keep], rows)


def read_mtx(path: Path) -> Table:
    """The genes of a folder with matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv), each
    perhaps with a common prefix, and perhaps gzipped. `path` is the folder, or the .mtx in it."""
    matrix = _find_mtx(path)
    prefix = matrix.name.removesuffix(".gz").removesuffix("matrix.mtx")
    cells = [line[0] for line in _table(matrix, prefix, "barcodes")]
    features = _table(matrix, prefix, "features", "genes")
    ids = [line[0] for line in features]
    names = [line[1] if len(line) > 1 else line[0] for line in features]
    kinds = [line[2] for line in features] if all(len(line) > 2 for line in features) else None
    entries = Entries(matrix)
    turned = entries.shape == (len(cells), len(ids)) != (len(ids), len(cells))
    if not turned:
        _check_shape(matrix, entries.shape, (len(ids), len(cells)))
    keep = _expression(kinds, len(ids), matrix)

    def rows() -> Rows:
        for first, block in entries.by_cell(len(cells), len(ids), turned):
            yield first, _columns(block, keep)

    return Table(cells, [ids[i] for i in keep], [names[i] for i in keep], rows)


def _find_mtx(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(p for p in path.iterdir() if p.name.endswith(("matrix.mtx", "matrix.mtx.gz")))
    if len(found) != 1:
        there = ", ".join(sorted(p.name for p in path.iterdir())) or "nothing"
        raise ContractError(
            f"{path} has {len(found)} files that end in matrix.mtx or matrix.mtx.gz, expected one; "
            f"there is: {there}"
        )
    return found[0]


def _table(matrix: Path, prefix: str, *stems: str) -> list[list[str]]:
    names = [f"{prefix}{stem}.tsv{end}" for stem in stems for end in ("", ".gz")]
    path = next((p for name in names if (p := matrix.with_name(name)).is_file()), None)
    if path is None:
        there = ", ".join(sorted(p.name for p in matrix.parent.iterdir()))
        raise ContractError(f"{matrix}: expected {' or '.join(names)} beside it; there is: {there}")
    try:
        with _open(path) as file:
            text = file.read().decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ContractError(f"{path} cannot be read: {error}") from None
    return [line.split("\t") for line in text.splitlines() if line]


def _open(path: Path):
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _check_shape(where: object, found: tuple[int, ...], expected: tuple[int, int]) -> None:
    if found != expected:
        raise ContractError(
            f"{where}: the matrix is {' x '.join(map(str, found))}, but there are {expected[0]} "
            f"features and {expected[1]} barcodes"
        )


def _expression(kinds: list[str] | None, n: int, where: object) -> np.ndarray:
    if kinds is None:
        return np.arange(n)
    keep = np.flatnonzero([kind == EXPRESSION for kind in kinds])
    if not len(keep):
        raise ContractError(
            f"{where} has no features of the type '{EXPRESSION}'; there are: "
            f"{', '.join(sorted(set(kinds)))}"
        )
    return keep


def _columns(rows: sparse.csr_matrix, keep: np.ndarray) -> sparse.csr_matrix:
    return rows if len(keep) == rows.shape[1] else rows[:, keep]


class Entries:
    """The entries of an .mtx file, a few megabytes of text at a time."""

    def __init__(self, path: Path):
        self.path = path
        with self._reading() as lines:
            self.shape, self.stored = self._header(lines)

    def _header(self, file) -> tuple[tuple[int, int], int]:
        words = file.readline().decode("latin1").lower().split()
        kind = words[:3] == ["%%matrixmarket", "matrix", "coordinate"] and words[3:]
        if kind not in (["integer", "general"], ["real", "general"]):
            raise ContractError(
                f"{self.path} begins with '{' '.join(words)[:80]}'; expected "
                "'%%MatrixMarket matrix coordinate integer general'"
            )
        line = file.readline()
        while line.startswith(b"%") or line.strip() == b"" != line:
            line = file.readline()
        numbers = self._numbers(line)
        if len(numbers) != 3:
            raise ContractError(f"{self.path}: expected a line with rows, columns and entries")
        rows, columns, stored = (int(number) for number in numbers)
        return (rows, columns), stored

    def _numbers(self, text: bytes) -> np.ndarray:
        try:
            return np.array(text.split(), dtype=np.float64)
        except ValueError as error:
            raise ContractError(f"{self.path} is damaged: {error}") from None

    def _reading(self):
        return _Readable(self.path)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(row, column, value) from 0, in the order of the file."""
        seen = 0
        with self._reading() as file:
            self._header(file)
            while text := file.read(BLOCK):
                values = self._numbers(text + file.readline())
                if len(values) % 3:
                    raise ContractError(f"{self.path} is damaged: a line has not three numbers")
                row, column, value = values.reshape(-1, 3).T
                for index, size in ((row, self.shape[0]), (column, self.shape[1])):
                    bad = (index < 1) | (index > size) | (index != np.rint(index))
                    if bad.any():
                        raise ContractError(
                            f"{self.path} is damaged: an index is {index[bad][0]:g}, expected 1 to "
                            f"{size}"
                        )
                seen += len(value)
                yield row.astype(np.int64) - 1, column.astype(np.int64) - 1, value
        if seen != self.stored:
            raise ContractError(
                f"{self.path} is damaged: it has {seen} entries, and its header says {self.stored}"
            )

    def by_cell(self, cells: int, genes: int, turned: bool) -> Rows:
        """The entries as CSR of cells x genes; `turned`, the file has the cells in its rows.

        One pass where they are in the order of cells, as Cell Ranger writes them, after one that
        counts; else a pass for each four million.
        """

        def triplets() -> Iterator[np.ndarray]:
            for row, column, value in self.blocks():
                cell, gene = (row, column) if turned else (column, row)
                yield np.stack([cell, gene, value])

        per_cell, last, ordered = np.zeros(cells, dtype=np.int64), -1, True
        for cell, _, _ in triplets():
            cell = cell.astype(np.int64)
            per_cell += np.bincount(cell, minlength=cells)
            if len(cell):
                ordered &= cell[0] >= last and bool((np.diff(cell) >= 0).all())
                last = cell[-1]
        yield from (_in_order if ordered else _in_windows)(triplets, per_cell, genes)


class _Readable:
    """An open file whose damage is a `ContractError`."""

    def __init__(self, path: Path):
        self._path, self._file = path, _open(path)

    def __enter__(self) -> "_Readable":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _try(self, call: Callable[..., bytes], *arguments: int) -> bytes:
        try:
            return call(*arguments)
        except (OSError, EOFError, zlib.error) as error:
            raise ContractError(f"{self._path} is damaged: {error}") from None

    def read(self, size: int) -> bytes:
        return self._try(self._file.read, size)

    def readline(self) -> bytes:
        return self._try(self._file.readline)


def _csr(part: np.ndarray, first: int, stop: int, genes: int) -> sparse.csr_matrix:
    cell, gene, value = part
    indices = (cell - first).astype(np.int64), gene.astype(np.int32)
    return sparse.csr_matrix((value, indices), shape=(stop - first, genes))


def _in_order(triplets: Callable, per_cell: np.ndarray, genes: int) -> Rows:
    first, rest = 0, np.empty((3, 0))
    for block in triplets():
        rest = np.concatenate([rest, block], axis=1)
        last = int(rest[0, -1]) if rest.shape[1] else first
        if last > first:
            cut = int(np.searchsorted(rest[0], last))
            yield first, _csr(rest[:, :cut], first, last, genes)
            first, rest = last, rest[:, cut:]
    yield first, _csr(rest, first, len(per_cell), genes)


def _in_windows(triplets: Callable, per_cell: np.ndarray, genes: int) -> Rows:
    ends = np.concatenate([[0], np.cumsum(per_cell)])
    first = 0
    while first < len(per_cell):
        stop = int(np.searchsorted(ends, ends[first] + WINDOW_ENTRIES, side="right")) - 1
        stop = min(len(per_cell), max(stop, first + 1))
        parts = [b[:, (b[0] >= first) & (b[0] < stop)] for b in triplets()]
        yield first, _csr(np.concatenate(parts, axis=1), first, stop, genes)
        first = stop
