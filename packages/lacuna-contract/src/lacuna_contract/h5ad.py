"""Reading and writing h5ad files in pieces, so that no matrix has to fit into memory.

Only the parts of the on-disk format that the contract uses (AnnData's specification 0.1.0): CSR or
dense X, names and columns of obs and var, nested dictionaries of scalars in uns. Anything that
`anndata` writes can be read; what is written here, `anndata.read_h5ad` reads.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.matrix import Matrix

__all__ = [
    "H5adWriter", "Matrix", "node", "open_h5ad", "read_column", "read_names", "read_strings",
    "read_uns",
]  # fmt: skip
TEXT = h5py.string_dtype()
BLOCK = 1 << 16  # entries of one HDF5 chunk of a sparse matrix; written in multiples of 16


def open_h5ad(path: str | Path) -> h5py.File:
    """Open for reading. A missing, truncated or foreign file is a `ContractError`."""
    if not Path(path).is_file():
        raise ContractError(f"{path}: no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ContractError(f"{path} is not a readable HDF5 file ({error})") from None


def node(file: h5py.File, name: str) -> h5py.Group | h5py.Dataset:
    """A node of the file by its path, such as ``layers/counts``; the error says what there is."""
    if name in file:
        return file[name]
    folder, _, leaf = name.rpartition("/")
    parent = file.get(folder, file)
    raise ContractError(f"{file.filename}: {suggest(leaf, parent, f'slot of /{folder}')}")


def read_strings(data: h5py.Dataset | h5py.Group) -> list[str]:
    """A string column in any of its encodings: plain, nullable, or categorical."""
    if isinstance(data, h5py.Dataset):
        values = data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:]
        return [str(v) for v in values]
    if "categories" in data:
        categories = read_strings(data["categories"])
        return [categories[code] if code >= 0 else "" for code in data["codes"][:]]
    return read_strings(data["values"])


def read_names(file: h5py.File, axis: str) -> list[str]:
    """The names of the cells (`axis` "obs") or of the genes ("var"), in the file's order."""
    frame = node(file, axis)
    if isinstance(frame, h5py.Dataset):
        raise ContractError(
            f"{file.filename}: /{axis} has the layout of anndata < 0.7; read and write the file "
            "once with a current anndata"
        )
    return read_strings(node(file, f"{axis}/{frame.attrs.get('_index', '_index')}"))


def read_column(file: h5py.File, axis: str, name: str) -> np.ndarray | list[str]:
    """A column of obs or var: numbers as an array, everything else as a list of str."""
    data = node(file, f"{axis}/{name}")
    if isinstance(data, h5py.Dataset) and not h5py.check_string_dtype(data.dtype):
        return data[:]
    nullable = isinstance(data, h5py.Group) and "values" in data
    if nullable and not h5py.check_string_dtype(data["values"].dtype):
        return data["values"][:]
    return read_strings(data)


def read_uns(file: h5py.File, name: str = "lacuna") -> dict[str, Any]:
    """A dictionary of scalars from uns, nested as it was written; empty where there is none."""

    def plain(item: h5py.Group | h5py.Dataset) -> Any:
        if isinstance(item, h5py.Group):
            return {key: plain(item[key]) for key in item}
        value = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
        return value.item() if isinstance(value, np.generic) else value

    path = f"uns/{name}"
    return plain(file[path]) if path in file else {}


class _Stream:
    """A one-dimensional dataset that grows. Writes blocks of one size, so that the bytes of the
    file do not depend on the sizes in which the caller delivers."""

    def __init__(self, group: h5py.Group, name: str, dtype: Any, compression: str | None):
        # Shuffling the bytes makes sorted column numbers a third smaller and twice as fast to pack.
        self._data = group.create_dataset(
            name,
            (0,),
            dtype,
            maxshape=(None,),
            chunks=(BLOCK,),
            compression=compression,
            shuffle=compression is not None,
        )
        self._data.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        self._pending: list[np.ndarray] = []
        self._waiting = 0

    def append(self, values: np.ndarray) -> None:
        self._pending.append(np.asarray(values, dtype=self._data.dtype))
        self._waiting += len(values)
        if self._waiting >= 16 * BLOCK:
            self._write(self._waiting // (16 * BLOCK) * 16 * BLOCK)

    def _write(self, count: int) -> None:
        values = np.concatenate(self._pending) if self._pending else np.empty(0)
        # One resize per block keeps the sequence of file operations the same for any delivery.
        for start in range(0, count, 16 * BLOCK):
            block = values[start : min(start + 16 * BLOCK, count)]
            size = self._data.shape[0]
            self._data.resize((size + len(block),))
            self._data[size:] = block
        # A copy: a view would keep all that was just written in memory.
        self._pending, self._waiting = [values[count:].copy()], self._waiting - count

    def close(self) -> None:
        self._write(self._waiting)


class CsrSlot:
    """A CSR matrix that is being written, rows in order. Get one from `H5adWriter.csr`."""

    def __init__(self, group: h5py.Group, columns: int, dtype: Any, compression: str | None):
        self._group, self._columns, self._compression = group, columns, compression
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        self._data = _Stream(group, "data", dtype, compression)
        self._indices = _Stream(group, "indices", np.int32, compression)
        self._counts: list[np.ndarray] = []

    def append(self, rows: sparse.csr_matrix) -> None:
        """Add rows. Explicit zeros are kept."""
        if rows.shape[1] != self._columns:
            raise ContractError(f"rows have {rows.shape[1]} columns, expected {self._columns}")
        if not rows.has_sorted_indices:
            rows = rows.sorted_indices()
        self._data.append(rows.data)
        self._indices.append(rows.indices)
        self._counts.append(np.diff(rows.indptr))

    def close(self) -> int:
        """Finish, and return the number of rows that were written."""
        self._data.close()
        self._indices.close()
        counts = np.concatenate([[0], *self._counts]).astype(np.int64)
        starts = np.cumsum(counts)
        # Of the indices' own type wherever it suffices: scipy cannot slice where they differ.
        if starts[-1] <= np.iinfo(np.int32).max:
            starts = starts.astype(np.int32)
        self._group.create_dataset("indptr", data=starts, compression=self._compression)
        self._group["indptr"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        self._group.attrs["shape"] = np.array([len(counts) - 1, self._columns], dtype=np.int64)
        return len(counts) - 1


class DenseSlot:
    """A dense matrix that is being written, rows in order. Get one from `H5adWriter.dense`."""

    def __init__(self, group: h5py.Group, name: str, shape: tuple[int, int], dtype: Any):
        self._data = group.create_dataset(name, shape, dtype)
        self._data.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        self._row = 0

    def append(self, rows: np.ndarray) -> None:
        """Add rows."""
        if rows.ndim != 2 or rows.shape[1] != self._data.shape[1]:
            raise ContractError(
                f"rows have shape {rows.shape}, expected (n, {self._data.shape[1]})"
            )
        self._data[self._row : self._row + len(rows)] = rows
        self._row += len(rows)

    def close(self) -> int:
        """Finish, and return the number of rows that were written."""
        return self._row


class H5adWriter:
    """Write an h5ad in pieces::

        with H5adWriter(path, cells, genes) as out:
            x = out.csr("X", np.float32)
            for rows in chunks:
                x.append(rows)
            out.uns({"task": "reconstruction"})

    On leaving, each matrix must have as many rows as there are cells, else `ContractError`.
    The file appears under its name only when it is complete.
    """

    def __init__(self, path: str | Path, obs_names: Sequence[str], var_names: Sequence[str]):
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._file = h5py.File(self._partial, "w")
        self._file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        self.shape = (len(obs_names), len(var_names))
        self._slots: dict[str, CsrSlot | DenseSlot] = {}
        self._columns: dict[str, list[str]] = {"obs": [], "var": []}
        for axis, names in (("obs", obs_names), ("var", var_names)):
            frame = self._group(axis, "dataframe", "0.2.0")
            frame.attrs["_index"] = "_index"
            self._array(frame, "_index", names)
        for slot in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            self._group(slot, "dict", "0.1.0")

    def _group(self, name: str, kind: str, version: str) -> h5py.Group:
        group = self._file.require_group(name)
        group.attrs.update({"encoding-type": kind, "encoding-version": version})
        return group

    def _array(self, group: h5py.Group, name: str, values: Sequence[Any]) -> None:
        data = np.asarray(values)
        text = data.dtype.kind in "OUS" or not len(data)
        data = data.astype(object) if text else data
        stored = group.create_dataset(name, data=data, dtype=TEXT if text else data.dtype)
        kind = "string-array" if text else "array"
        stored.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})

    def column(self, axis: str, name: str, values: Sequence[Any]) -> None:
        """Add a column of numbers or strings to "obs" or "var"."""
        expected = self.shape[0 if axis == "obs" else 1]
        if len(values) != expected:
            raise ContractError(
                f"column {axis}/{name} has {len(values)} values, expected {expected}"
            )
        self._array(self._file[axis], name, values)
        self._columns[axis].append(name)

    def csr(self, name: str, dtype: Any, columns: int | None = None, compression=None) -> CsrSlot:
        """Begin a CSR matrix at `name`: "X", or e.g. "obsm/X_atac" with `columns` of its own."""
        width = self.shape[1] if columns is None else columns
        self._slots[name] = CsrSlot(self._file.create_group(name), width, dtype, compression)
        return self._slots[name]

    def dense(self, name: str, dtype: Any, columns: int | None = None) -> DenseSlot:
        """Begin a dense matrix at `name`."""
        shape = (self.shape[0], self.shape[1] if columns is None else columns)
        self._slots[name] = DenseSlot(self._file, name, shape, dtype)
        return self._slots[name]

    def array(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Write an array, or a list of strings, at a path such as ``uns/adt_names`` or ``obsm/z``.

        It is written at once: for what is small. Folders on the way become dictionaries.
        """
        folder, _, leaf = name.rpartition("/")
        parts = folder.split("/")
        for depth in range(1, len(parts) + 1):
            group = self._group("/".join(parts[:depth]), "dict", "0.1.0")
        self._array(group, leaf, values)

    def link(self, name: str, target: str) -> None:
        """Let `name` (e.g. ``layers/counts``) be the same stored matrix as `target` (e.g. ``X``).

        A hard link: readers see two matrices, the file holds one.
        """
        self._file[name] = self._file[target]

    def uns(self, values: Mapping[str, Any], name: str = "lacuna") -> None:
        """Write a dictionary of scalars, strings and further dictionaries to uns."""
        group = self._group(f"uns/{name}", "dict", "0.1.0")
        for key, value in values.items():
            if isinstance(value, Mapping):
                self.uns(value, f"{name}/{key}")
                continue
            text = isinstance(value, str)
            stored = group.create_dataset(key, data=value, dtype=TEXT if text else None)
            kind = "string" if text else "numeric-scalar"
            stored.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})

    def __enter__(self) -> "H5adWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for name, slot in self._slots.items():
                    if (rows := slot.close()) != self.shape[0]:
                        raise ContractError(
                            f"{self.path}: {name} has {rows} rows, expected {self.shape[0]} cells"
                        )
                for axis, columns in self._columns.items():
                    order = (
                        np.array(columns, dtype=object) if columns else np.array([], dtype=float)
                    )
                    dtype = TEXT if columns else None
                    self._file[axis].attrs.create("column-order", order, dtype=dtype)
            self._file.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)
