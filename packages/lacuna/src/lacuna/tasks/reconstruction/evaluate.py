"""Scoring a prediction against the hidden values, some cells at a time."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna import metrics
from lacuna.metrics.needs import Calibration, PerCell, PerGene
from lacuna.metrics.pieces import Piece
from lacuna.metrics.ranks import Ranks
from lacuna.metrics.registry import Undefined
from lacuna.tasks.base import Scores
from lacuna.tasks.foreign import FOREIGN, check_self_contained, match
from lacuna.tasks.reconstruction import details
from lacuna_contract.descriptor import describe
from lacuna_contract.errors import InvalidOutput
from lacuna_contract.h5ad import Matrix, open_h5ad, read_column, read_names, read_uns
from lacuna_contract.schema import validate

CHUNK_ENTRIES = 250_000
DENSE_ENTRIES = 4_000_000
#: No share of a cell's counts is larger than about e**20 / 10,000 visible totals.
LARGEST_LOGNORM = 30.0
#: What plots are drawn from, whatever the metrics.
DRAWN = (PerGene(), PerCell(), Ranks(), Calibration())


def evaluate(truth: Path, prediction: Path, names: Sequence[str], drawn: bool = True) -> Scores:
    """Score `prediction` (schema `reconstruction_prediction`) by the metrics called `names`; where
    it is to be `drawn`, with the details and strata for that.

    Cells and genes are matched by name. The prediction is checked as it is read: what is wrong with
    it raises `InvalidOutput`, and no score is returned.
    """
    chosen = metrics.get("reconstruction", names)
    needs = {metric.needs.shared for metric in chosen} | (set(DRAWN) if drawn else set())
    accumulators = {need: need.accumulator() for need in needs}
    n_hidden = 0
    with ExitStack() as stack:
        answer = Truth(stack.enter_context(open_h5ad(truth)), truth)
        given = Prediction(stack, prediction, answer)
        summaries = [details.Summary(), details.Cells(answer.cells)] if drawn else []
        if drawn and answer.cell_types:
            summaries.append(details.CellTypes(answer.cell_types))
        for piece in answer.pieces(given):
            n_hidden += len(piece.gene)
            for accumulator in (*accumulators.values(), *summaries):
                accumulator.update(piece)

    @functools.cache
    def result(need: Any) -> Any:
        return accumulators[need].result()

    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for metric in chosen:
        try:
            needed = metric.needs.view(result(metric.needs.shared))
            values[metric.name] = _finite(metric.function(needed))
        except Undefined as reason:
            values[metric.name], undefined[metric.name] = None, str(reason)
    if not drawn:
        return Scores(values, undefined, n_hidden, given.space)
    kept = {key: value for summary in summaries for key, value in summary.result().items()}
    kept["by_expression"] = details.by_expression(*accumulators[PerGene()].by_gene())
    kept["gene_pearson"] = details.quantiles(result(PerGene()))
    kept["cell_pearson"] = details.quantiles(result(PerCell()))
    kept["spearman_bound"] = result(Ranks()).bound
    kept["calibration"] = details.calibration(result(Calibration()))
    return Scores(values, undefined, n_hidden, given.space, kept, details.strata(kept))


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise Undefined(f"it is {value} for these values")
    return float(value)


class Truth:
    """The hidden values. A file that breaks the contract here is a bug of ours, and raises.

    Of thinned counts every entry is to be predicted, at the depth of what the model was given;
    `ratio` is that of the held-out counts to those, 1 where entries are hidden.
    """

    def __init__(self, file: h5py.File, path: Path):
        _check_header(path, "reconstruction_truth")
        self.cells, self.genes = read_names(file, "obs"), read_names(file, "var")
        self.x = Matrix(file["X"])
        known = "obs/cell_type" in file
        self.cell_types = read_column(file, "obs", "cell_type") if known else None
        self._visible = read_column(file, "obs", "visible_total")
        about = read_uns(file)
        self.thinned = about["kind"] == "thinned"
        share = about["arguments"].get("percentage", 0)
        self.ratio = share / (1 - share) if self.thinned else 1.0

    def pieces(self, given: "Prediction") -> Iterator[Piece]:
        """Truth and prediction of some cells at a time, in the truth's order."""
        n_cells, n_genes = self.x.shape
        start = 0
        while start < n_cells:
            stop = self._stop(start)
            rows = self.x.rows(start, stop)
            rows = _all_entries(rows) if self.thinned else rows
            yield Piece(
                rows.indptr,
                rows.indices,
                rows.data,
                given.values(start, rows, self._visible[start:stop]),
                self._visible[start:stop],
                n_genes,
                given.space,
                self.ratio,
            )
            start = stop

    def _stop(self, start: int) -> int:
        n_cells, n_genes = self.x.shape
        if self.thinned:
            return min(n_cells, start + max(1, CHUNK_ENTRIES // n_genes))
        limit = self.x.indptr[start] + CHUNK_ENTRIES
        stop = int(np.searchsorted(self.x.indptr, limit, side="right")) - 1
        return min(n_cells, max(stop, start + 1), start + max(1, DENSE_ENTRIES // n_genes))


def _all_entries(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same values, with every entry stored."""
    cells, genes = rows.shape
    indices = np.tile(np.arange(genes, dtype=np.int32), cells)
    parts = rows.toarray().ravel(), indices, np.arange(cells + 1) * genes
    return sparse.csr_matrix(parts, shape=rows.shape)


class Prediction:
    """A model's output, read beside the truth. Whatever is wrong with it is `InvalidOutput`."""

    def __init__(self, stack: ExitStack, path: Path, truth: Truth):
        try:
            file = stack.enter_context(open_h5ad(path))
            check_self_contained(file)
            header = _check_header(path, "reconstruction_prediction")
            cells, genes = read_names(file, "obs"), read_names(file, "var")
            self._x = Matrix(file["X"])
        except FOREIGN as error:
            raise InvalidOutput(_unreadable(error, path)) from None
        self.space: str = header["uns"]["value_space"]
        entries = header["uns"]["entries"]
        self._dense = self._x.format == "array"
        if self._dense != (entries == "all"):
            raise InvalidOutput(
                f"uns['lacuna']['entries'] is '{entries}' and X is {self._x.format}; expected "
                "'all' with a dense X, or 'hidden' with a csr_matrix"
            )
        if truth.thinned and not self._dense:
            raise InvalidOutput(
                f"the input was thinned, so that every entry is to be predicted, and X is "
                f"{self._x.format}; expected a dense X"
            )
        self._rows = match(cells, truth.cells, "cell")
        columns = match(genes, truth.genes, "gene")
        self._column = columns
        self._gene = None if columns is None else np.argsort(columns)
        self._names, self._path = truth, path

    def values(self, start: int, hidden: sparse.csr_matrix, visible: np.ndarray) -> np.ndarray:
        """The predicted values of some cells' hidden entries, in the order of `hidden`."""
        stop = start + hidden.shape[0]
        try:
            if self._rows is None:
                block = self._x.rows(start, stop)
            else:
                block = self._x.take(self._rows[start:stop])
        except FOREIGN as error:
            raise InvalidOutput(_unreadable(error, self._path)) from None
        found = self._take(block, hidden) if self._dense else self._same(block, hidden, start)
        low, high = (found.min(), found.max()) if len(found) else (0, 0)
        if not (np.isfinite(low) and np.isfinite(high)):
            self._refuse("NaN or infinite values", ~np.isfinite(found), found, hidden, start)
        if self.space == "counts" and low < 0:
            self._refuse("negative counts (clip at 0)", found < 0, found, hidden, start)
        if self.space == "lognorm" and high > LARGEST_LOGNORM:
            what = f"lognorm values above {LARGEST_LOGNORM}; are they counts?"
            self._refuse(what, found > LARGEST_LOGNORM, found, hidden, start)
        return found

    def _take(self, block: np.ndarray, hidden: sparse.csr_matrix) -> np.ndarray:
        # Minimum and maximum see NaN and infinity everywhere, and are the fastest way to.
        if not np.isfinite([block.min(), block.max()]).all():
            bad = int(np.count_nonzero(~np.isfinite(block)))
            raise InvalidOutput(
                f"the prediction holds NaN or infinite values: {bad} of {block.size} in the first "
                "cells that have any"
            )
        columns = hidden.indices if self._column is None else self._column[hidden.indices]
        offsets = np.repeat(np.arange(len(block)) * block.shape[1], np.diff(hidden.indptr))
        return block.reshape(-1)[offsets + columns]

    def _same(self, block: sparse.csr_matrix, hidden: sparse.csr_matrix, start: int) -> np.ndarray:
        if self._gene is not None:
            parts = (block.data, self._gene[block.indices], block.indptr)
            block = sparse.csr_matrix(parts, shape=block.shape)
        if not block.has_sorted_indices:
            block = block.sorted_indices()
        if np.array_equal(block.indptr, hidden.indptr) and np.array_equal(
            block.indices, hidden.indices
        ):
            return block.data
        row = next(
            i for i in range(hidden.shape[0]) if not np.array_equal(_row(block, i), _row(hidden, i))
        )
        stored, expected = _row(block, row), _row(hidden, row)
        raise InvalidOutput(
            f"X's stored entries are not exactly the hidden ones: cell "
            f"'{self._names.cells[start + row]}' has {len(stored)} stored, "
            f"{len(np.intersect1d(stored, expected))} of its {len(expected)} hidden ones. Keep "
            "explicit zeros, or write a dense X with entries 'all'"
        )

    def _refuse(
        self,
        what: str,
        bad: np.ndarray,
        found: np.ndarray,
        hidden: sparse.csr_matrix,
        start: int,
    ) -> None:
        at = int(np.flatnonzero(bad)[0])
        cell = start + int(np.searchsorted(hidden.indptr, at, side="right")) - 1
        raise InvalidOutput(
            f"the prediction holds {what}: {found[at]} at cell '{self._names.cells[cell]}', gene "
            f"'{self._names.genes[hidden.indices[at]]}', the first of {int(bad.sum())} among "
            f"{len(bad)} hidden entries"
        )


def _unreadable(error: Exception, path: Path) -> str:
    # The reason is published: the folder that the file happened to lie in is no part of it.
    return f"the prediction cannot be read: {str(error).replace(str(path), path.name)}"


def _row(rows: sparse.csr_matrix, i: int) -> np.ndarray:
    return rows.indices[rows.indptr[i] : rows.indptr[i + 1]]


def _check_header(path: Path, schema: str) -> dict[str, Any]:
    """Hold everything but the values against a schema; those are checked while they are read."""
    header = describe(path, with_content=False)
    fine = {"finite": True, "whole": True, "hidden": 0, "negative": 0, "min": None, "max": None}
    validate(header | {"content": fine}, schema, where=path.name)
    return header
