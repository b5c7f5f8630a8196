"""Somebody's counts, whatever the file: named, checked to be counts, read in pieces."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from lacuna_contract.errors import ContractError

EXACT_FLOAT32 = 1 << 24


def check_unique(names: list[str], where: str | Path) -> None:
    """Raise `ContractError` naming the cells whose names repeat."""
    if len(set(names)) == len(names):
        return
    repeated = [(name, n) for name, n in Counter(names).items() if n > 1]
    shown = ", ".join(f"'{name}' ({n} times)" for name, n in repeated[:5])
    more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
    raise ContractError(
        f"{where}: cell names repeat: {shown}{more}. Cells are matched by name, so each must be "
        "given once, e.g. with adata.obs_names_make_unique()"
    )


def problem(values: np.ndarray) -> tuple[str, np.ndarray] | None:
    """What keeps `values` from being counts, and where; None if they are counts."""
    tests = (
        ("NaN", np.isnan),
        ("infinite values", np.isinf),
        ("negative values", lambda v: v < 0),
        ("fractional values", lambda v: v != np.rint(v)),
        (f"values above {EXACT_FLOAT32:,}, not exact in float32", lambda v: v > EXACT_FLOAT32),
    )
    if values.dtype.kind not in "fiub":
        return f"values of type {values.dtype}", np.ones(len(values), dtype=bool)
    if values.dtype.kind == "b":
        return None
    for name, test in tests:
        if values.dtype.kind in "fi" or name.startswith("values"):
            found = test(values)
            if found.any():
                return name, found
    return None


def place(
    rows: sparse.csr_matrix,
    bad: np.ndarray,
    cells: Sequence[str],
    features: Sequence[str],
    what: str = "gene",
) -> str:
    """The first of the stored values that are `bad`, its place, and how many there are."""
    at = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(rows.indptr, at, side="right")) - 1
    return (
        f"{rows.data[at]} at cell '{cells[row]}', {what} '{features[rows.indices[at]]}', the first "
        f"of {int(bad.sum())} among {len(bad)} stored values"
    )


def make_unique(names: list[str]) -> list[str]:
    """Gene names of which each is there once: repetitions get a number, as in anndata.

    >>> make_unique(["A", "B", "A", "A-1"])
    ['A', 'B', 'A-2', 'A-1']
    """
    taken, used, found = set(names), set(), []
    for name in names:
        new, number = name, 0
        while new in used or (number and new in taken):
            number += 1
            new = f"{name}-{number}"
        used.add(new)
        found.append(new)
    return found


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Source:
    """Somebody's counts: opened, named, not read yet.

    where
        For messages: file and slot.
    chunks
        Yields (first cell, CSR of any type), as the file has them.
    symbols
        The genes' symbols, given the name of the column that has them, or None for one of the usual
        names; None where there are none.
    column
        A column of obs as text, of which none may be missing.
    hint
        What to do when the values are no counts.
    """

    where: str
    cells: list[str]
    genes: list[str]
    chunks: Callable[[], Iterator[tuple[int, sparse.csr_matrix]]]
    symbols: Callable[[str | None], list[str] | None]
    column: Callable[[str], list[str]]
    hint: Callable[[], str] = _nothing

    def rows(self, keep: np.ndarray | None = None) -> Iterator[sparse.csr_matrix]:
        """Canonical CSR float32 chunks, checked to be counts; of the cells in the bool vector
        `keep` alone."""
        for first, rows in self.chunks():
            if keep is not None:
                kept = np.flatnonzero(keep[first : first + rows.shape[0]])
                where, rows = first + kept, rows[kept]
            else:
                where = range(first, first + rows.shape[0])
            found = problem(rows.data)
            if found:
                self._refuse(where, rows, *found)
            rows.sum_duplicates()
            rows.eliminate_zeros()
            yield rows.astype(np.float32)

    def _refuse(
        self, where: Sequence[int], rows: sparse.csr_matrix, name: str, bad: np.ndarray
    ) -> None:
        found = place(rows, bad, [self.cells[i] for i in where], self.genes)
        raise ContractError(
            f"{self.where} holds {name}: {found}. Expected raw counts (whole, not negative)."
            f"{self.hint()}"
        )


def checked(found: Source) -> Source:
    """The same with each gene name once; `ContractError` for no cells, no genes, or cells whose
    names repeat."""
    if not found.cells or not found.genes:
        shape = len(found.cells), len(found.genes)
        raise ContractError(f"{found.where} is empty, of shape {shape}")
    check_unique(found.cells, found.where)
    if len(set(found.genes)) == len(found.genes):
        return found
    names = found.genes
    return replace(
        found,
        genes=make_unique(names),
        symbols=lambda column: found.symbols(column) or names,
    )
