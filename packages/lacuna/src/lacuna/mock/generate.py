"""Observations made a block of cells at a time, in constant memory, by several threads.

The block is the unit of randomness: each has its own random numbers for each modality, whoever
makes it and with how many others. So the data depend on neither the chunk size nor the workers.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lacuna.mock.latent import Cells, draw_cells, stream
from lacuna.mock.law import Law, draw_law
from lacuna.mock.settings import Settings
from lacuna_contract.errors import ContractError
from lacuna_contract.tasks.multimodal import MODALITIES

BLOCK = 128  # cells; part of what a seed means
CHUNK = 512  # cells made at a time by default; no part of it

Matrix = sparse.csr_matrix | np.ndarray


@dataclass(frozen=True)
class Plan:
    """A mock dataset before anything is measured: its settings, its cells, its features."""

    settings: Settings
    cells: Cells
    law: Law

    def design(self, name: str, start: int, stop: int, depth: bool = True) -> np.ndarray:
        """What `Response.weights` of a modality is multiplied with, for cells [start, stop).
        Without `depth`, as if the cells had been measured at the usual depth."""
        cells = self.cells
        own = cells.depth[start:stop, MODALITIES.index(name)] if depth else 0.0
        batch = cells.assignment.batch[start:stop]
        return self.law[name].response.design(cells.z[start:stop], own, batch)

    def expected(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """E[y | z, batch] of cells [start, stop), dense float32 (cells, features).

        `name` is "rna", "atac" or "adt". This is the oracle: the depth of a cell, which nothing
        but the hidden measurement itself tells, is averaged over. Ask for a part of the cells at a
        time where there are many features.
        """
        stop = len(self.cells) if stop is None else stop
        law = self.law[name]
        return law.expected(self.design(name, start, stop, depth=False) @ law.response.weights)

    def expected_log_adt(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """E[log y | z, batch] of the ADT, the oracle for errors that are measured in log."""
        stop = len(self.cells) if stop is None else stop
        adt = self.law.adt
        return adt.log_mean(self.design("adt", start, stop, depth=False) @ adt.response.weights)


@dataclass(frozen=True)
class Chunk:
    """All measurements of cells [start, stop): CSR, CSR and dense, float32 (cells, features)."""

    start: int
    stop: int
    rna: sparse.csr_matrix
    atac: sparse.csr_matrix
    adt: np.ndarray

    def __getitem__(self, name: str) -> Matrix:
        return getattr(self, name)


def make_plan(settings: Settings) -> Plan:
    """Draw all that the dataset is made from: 100 bytes a cell and a feature."""
    cells = draw_cells(settings)
    return Plan(settings, cells, draw_law(settings, cells.assignment))


def stack(parts: list[Matrix]) -> Matrix:
    """Rows below one another, CSR or dense."""
    return np.vstack(parts) if isinstance(parts[0], np.ndarray) else sparse.vstack(parts, "csr")


def _make(plan: Plan, start: int, stop: int, full: bool) -> Chunk:
    parts: dict[str, list[Matrix]] = {}
    has = plan.cells.assignment.has
    for column, name in enumerate(MODALITIES):
        law = plan.law[name]
        blocks = []
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            if full or has[first:last, column].any():
                rng = stream(plan.settings.seed, name, first // BLOCK)
                blocks.append(law.draw(rng, plan.design(name, first, last)))
            elif name == "adt":
                blocks.append(np.zeros((last - first, law.response.n_features), np.float32))
            else:
                shape = (last - first, law.response.n_features)
                blocks.append(sparse.csr_matrix(shape, dtype=np.float32))
        parts[name] = blocks
    return Chunk(start, stop, **{name: stack(blocks) for name, blocks in parts.items()})


def chunks(
    plan: Plan, full: bool = True, chunk_cells: int = CHUNK, workers: int = 1
) -> Iterator[Chunk]:
    """All cells in order, a chunk at a time.

    full: make every modality of every cell; else the ones that the scenario hides may be left
    zero, which saves time and changes nothing in the others. chunk_cells: rounded up to whole
    blocks of 128 cells. workers: threads; at most one chunk more than there are workers is held.
    """
    if chunk_cells < 1 or workers < 1:
        raise ContractError(
            f"chunk_cells is {chunk_cells} and workers {workers}; expected 1 or more of each"
        )
    # Here, as stages that make no cells import this module and lack that package.
    from threadpoolctl import threadpool_limits

    step, n = -(-chunk_cells // BLOCK) * BLOCK, len(plan.cells)
    pending: deque[Future[Chunk]] = deque()
    # The matrix products are many and small: threads of BLAS only get in each other's way.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        for start in range(0, n, step):
            pending.append(pool.submit(_make, plan, start, min(start + step, n), full))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def hide(matrix: Matrix, keep: np.ndarray) -> Matrix:
    """A copy in which the rows that are not kept are zero (in CSR: hold nothing)."""
    if isinstance(matrix, np.ndarray):
        return np.where(keep[:, None], matrix, np.zeros((), matrix.dtype))
    lengths = np.diff(matrix.indptr)
    stays = np.repeat(keep, lengths)
    indptr = np.concatenate([[0], np.cumsum(np.where(keep, lengths, 0))])
    parts = (matrix.data[stays], matrix.indices[stays], indptr)
    return sparse.csr_matrix(parts, shape=matrix.shape)
