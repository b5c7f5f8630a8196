"""Reading the matrices of an h5ad in pieces, checked to be what their headers say."""

from collections.abc import Iterator

import h5py
import numpy as np
from scipy import sparse

from lacuna_contract.errors import ContractError


class Matrix:
    """Rows of a stored matrix, a few at a time. CSR comes as CSR, dense as an array.

    `shape` is (rows, columns), `stored` the number of stored entries (rows * columns when dense),
    `format` "csr_matrix", "csc_matrix" or "array". CSC can be described, not read by rows. `kind`
    and `shape` say what a group is that does not say so itself.
    """

    def __init__(
        self,
        stored: h5py.Group | h5py.Dataset,
        kind: str | None = None,
        shape: tuple[int, int] | None = None,
    ):
        self._node = stored
        if isinstance(stored, h5py.Dataset):
            self.format = "array"
            self.shape: tuple[int, int] = tuple(map(int, stored.shape))
            self.dtype = stored.dtype
            self.stored = int(np.prod(stored.shape))
            return
        kind = kind or stored.attrs.get("encoding-type", stored.attrs.get("h5sparse_format", "?"))
        self.format = {"csr": "csr_matrix", "csc": "csc_matrix"}.get(kind, str(kind))
        shape = shape or stored.attrs.get("shape", stored.attrs.get("h5sparse_shape"))
        if self.format not in ("csr_matrix", "csc_matrix") or shape is None:
            where = f"{stored.file.filename}:{stored.name}"
            raise ContractError(f"{where} is '{kind}'; expected array, csr_matrix or csc_matrix")
        self.shape = tuple(map(int, shape))
        self.dtype = stored["data"].dtype
        self.stored = int(stored["data"].shape[0])
        # 8 bytes a row, the one thing that grows with the file.
        self.indptr = stored["indptr"][:].astype(np.int64)
        self._check_pointers(len(stored["indices"]))

    def _damaged(self, what: str) -> ContractError:
        name = self._node.name.lstrip("/")
        return ContractError(f"{self._node.file.filename}: {name} is damaged: {what}")

    def _check_pointers(self, indices: int) -> None:
        lines = self.shape[self.format == "csc_matrix"]
        if indices != self.stored:
            raise self._damaged(f"{self.stored} values, but {indices} indices")
        if len(self.indptr) != lines + 1:
            raise self._damaged(f"indptr has length {len(self.indptr)}, expected {lines + 1}")
        rises = (np.diff(self.indptr) >= 0).all()
        if not rises or self.indptr[0] != 0 or self.indptr[-1] != self.stored:
            raise self._damaged(f"indptr does not rise from 0 to the {self.stored} stored values")

    def check_indices(self, indices: np.ndarray) -> None:
        """Raise `ContractError` where an index of a sparse matrix lies outside it. scipy does not
        look: it would move the value to another place, or end the process.
        """
        size, what = (
            (self.shape[0], "cells") if self.format == "csc_matrix" else (self.shape[1], "genes")
        )
        outside = (indices < 0) | (indices >= size)
        if outside.any():
            found = indices[int(outside.argmax())]
            raise self._damaged(f"an index is {found}, but there are {size} {what}")

    def rows(self, start: int, stop: int) -> sparse.csr_matrix | np.ndarray:
        """Rows [start, stop) in the file's own format and dtype."""
        if self.format == "array":
            return self._node[start:stop]
        if self.format != "csr_matrix":
            raise ContractError(
                f"{self._node.file.filename}:{self._node.name} is {self.format}; rows come from "
                "CSR or arrays, so convert it with .tocsr()"
            )
        lo, hi = self.indptr[start], self.indptr[stop]
        indices = self._node["indices"][lo:hi]
        self.check_indices(indices)
        parts = (
            self._node["data"][lo:hi],
            indices,
            self.indptr[start : stop + 1] - lo,
        )
        return sparse.csr_matrix(parts, shape=(stop - start, self.shape[1]), copy=False)

    def take(self, rows: np.ndarray) -> sparse.csr_matrix | np.ndarray:
        """Rows by number, in the order asked for. Runs of neighbours are read in one go."""
        order = np.argsort(rows, kind="stable")
        ranks = np.asarray(rows)[order]
        breaks = np.flatnonzero(np.diff(ranks) != 1) + 1
        parts = [self.rows(run[0], run[-1] + 1) for run in np.split(ranks, breaks) if len(run)]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        if self.format == "array":
            return np.concatenate(parts)[back]
        return sparse.vstack(parts, format="csr")[back]

    def chunks(
        self, rows: int | None = None
    ) -> Iterator[tuple[int, sparse.csr_matrix | np.ndarray]]:
        """(first row, rows) over the matrix; by default about two million entries at a time."""
        per_row = max(1, self.stored // max(1, self.shape[0]))
        step = rows or max(1, 2_000_000 // per_row)
        for start in range(0, self.shape[0], step):
            yield start, self.rows(start, min(start + step, self.shape[0]))

    def values(self) -> Iterator[np.ndarray]:
        """The stored values, two million at a time, whatever the format."""
        if self.format == "array":
            for _, block in self.chunks():
                yield block.ravel()
        else:
            for start in range(0, self.stored, 2_000_000):
                yield self._node["data"][start : start + 2_000_000]
