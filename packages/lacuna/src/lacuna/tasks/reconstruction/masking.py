"""Which entries of a count matrix are hidden. Exact in number, streamed, the same for any chunking.

The matrix is cut into blocks of rows whose size depends only on its number of columns. Each block
draws from a generator of its own, and learns from a sequence of hypergeometric draws how many of
the hidden entries fall into it. So the outcome is a uniform draw among all sets of the exact size,
although no more than one block is ever in memory.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from scipy import sparse

from lacuna import seeds
from lacuna_contract.errors import ContractError

HIDDEN = -1.0
BLOCK_ENTRIES = 1 << 20


def block_rows(n_genes: int) -> int:
    """Rows of a block: about a million entries, stored or not."""
    return max(1, BLOCK_ENTRIES // n_genes)


def share(percentage: float, total: int) -> int:
    """`percentage` of `total`, to the nearest whole number, a half up; in decimal arithmetic, for
    0.15 * 20 is 3.0000000000000004 in binary."""
    return int((Decimal(str(percentage)) * total).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def hypergeometric(rng: np.random.Generator, good: int, bad: int, draws: int) -> int:
    """How many of `draws` out of `good` + `bad`, without replacement, are good. Numbers of any size
    (numpy's own stops at 10**9). By inversion, over 12 standard deviations around the mode; the
    tails beyond weigh less than 1e-30."""
    low, high = max(0, draws - bad), min(draws, good)
    total = good + bad
    mode = (draws + 1) * (good + 1) // (total + 2)
    spread = math.sqrt(draws * (good / total) * (bad / total)) if total else 0.0
    reach = int(12 * spread) + 20
    low, high = max(low, mode - reach), min(high, mode + reach)
    k = np.arange(low, high, dtype=np.float64)
    ratios = np.log(good - k) + np.log(draws - k) - np.log(k + 1) - np.log(bad - draws + k + 1)
    logs = np.concatenate([[0.0], np.cumsum(ratios)])
    cumulative = np.cumsum(np.exp(logs - logs.max()))
    return low + int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def choose(rng: np.random.Generator, total: int, count: int) -> np.ndarray:
    """`count` of the numbers below `total`, sorted; every subset of that size is equally likely.

    Each number is first kept independently, a few more than needed, and what is too much is dropped
    at random. Given its size, the first set is uniform among those of its size, and dropping keeps
    that; it is several times faster than drawing one by one.
    """
    threshold = math.ceil(65536 * (count + 4 * math.sqrt(count) + 4) / max(1, total))
    # Four numbers of 16 bits out of each draw.
    drawn = rng.bit_generator.random_raw(total // 4 + 1).astype("<u8", copy=False).view("<u2")
    keep = drawn[:total] < min(65535, threshold)
    found = np.flatnonzero(keep)
    surplus = len(found) - count
    if surplus > 0:
        return np.delete(found, rng.choice(len(found), surplus, replace=False, shuffle=False))
    if surplus < 0:
        keep[rng.choice(np.flatnonzero(~keep), -surplus, replace=False, shuffle=False)] = True
        return np.flatnonzero(keep)
    return found


def choose_per_row(rng: np.random.Generator, counts: np.ndarray, width: int) -> np.ndarray:
    """A boolean matrix (len(counts), width) whose row i has exactly counts[i] True, at random."""
    # The low bits hold the column, so that no two keys of a row are equal and the count is exact.
    keys = rng.integers(0, 1 << 32, (len(counts), width), dtype=np.uint64) << np.uint64(32)
    keys |= np.arange(width, dtype=np.uint64)
    ranks = np.clip(counts, 0, width - 1)
    if (ranks == ranks[0]).all():
        bounds = np.partition(keys, ranks[0], axis=1)[:, ranks[0]]
    else:
        bounds = np.take_along_axis(np.sort(keys, axis=1), ranks[:, None], axis=1)[:, 0]
    chosen = keys < bounds[:, None]
    chosen[counts >= width] = True
    return chosen


class Uniform:
    """A fraction of all entries, zeros included."""

    def __init__(self, percentage: float, shape: tuple[int, int], n_nonzero: int):
        self._left = self._population(shape, n_nonzero)
        self._hidden = share(percentage, self._left)

    def _population(self, shape: tuple[int, int], n_nonzero: int) -> int:
        return shape[0] * shape[1]

    def _count(self, rng: np.random.Generator, size: int) -> int:
        """How many of the next `size` entries are hidden."""
        count = hypergeometric(rng, self._hidden, self._left - self._hidden, size)
        self._hidden, self._left = self._hidden - count, self._left - size
        return count

    def positions(self, rng: np.random.Generator, rows: sparse.csr_matrix) -> np.ndarray:
        """The hidden positions of the next block, sorted, counted along its rows."""
        size = rows.shape[0] * rows.shape[1]
        return choose(rng, size, self._count(rng, size))


class NonZero(Uniform):
    """A fraction of the entries that are not zero."""

    def _population(self, shape: tuple[int, int], n_nonzero: int) -> int:
        return n_nonzero

    def positions(self, rng: np.random.Generator, rows: sparse.csr_matrix) -> np.ndarray:
        """As in `Uniform`."""
        return flat(rows)[choose(rng, rows.nnz, self._count(rng, rows.nnz))]


class PerCell:
    """The same number of entries in every cell, zeros included."""

    def __init__(self, percentage: float, shape: tuple[int, int], n_nonzero: int):
        self._each = share(percentage, shape[1])

    def positions(self, rng: np.random.Generator, rows: sparse.csr_matrix) -> np.ndarray:
        """As in `Uniform`."""
        counts = np.full(rows.shape[0], self._each)
        return np.flatnonzero(choose_per_row(rng, counts, rows.shape[1]))


class PerGene:
    """The same number of entries in every gene, zeros included.

    One pass suffices: each gene goes through its own sequence of hypergeometric draws, because how
    many entries it has, and how many of them are to be hidden, is known from the start.
    """

    def __init__(self, percentage: float, shape: tuple[int, int], n_nonzero: int):
        self._left = shape[0]
        self._hidden = np.full(shape[1], share(percentage, shape[0]))

    def positions(self, rng: np.random.Generator, rows: sparse.csr_matrix) -> np.ndarray:
        """As in `Uniform`."""
        size = rows.shape[0]
        counts = rng.hypergeometric(self._hidden, self._left - self._hidden, size)
        self._hidden, self._left = self._hidden - counts, self._left - size
        return np.flatnonzero(choose_per_row(rng, counts, size).T)


STRATEGIES: dict[str, Callable[[float, tuple[int, int], int], Uniform | PerCell | PerGene]] = {
    "uniform": Uniform,
    "nonzero": NonZero,
    "per_cell": PerCell,
    "per_gene": PerGene,
}


@dataclass(frozen=True)
class Block:
    """Some masked cells.

    input
        CSR float32: visible counts that are not zero, and -1 where an entry is hidden.
    truth
        CSR float32 whose stored entries are exactly the hidden ones, true zeros among them.
    visible_total
        float64 (cells,): sum of the visible counts of each cell.
    """

    input: sparse.csr_matrix
    truth: sparse.csr_matrix
    visible_total: np.ndarray


def flat(rows: sparse.csr_matrix) -> np.ndarray:
    """Positions of the stored entries, counted along the rows."""
    return np.repeat(np.arange(rows.shape[0]) * rows.shape[1], np.diff(rows.indptr)) + rows.indices


def unflat(positions: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """The CSR matrix that has `values` stored at the sorted `positions`."""
    starts = np.arange(shape[0] + 1) * shape[1]
    indptr = np.searchsorted(positions, starts)
    indices = positions - np.repeat(starts[:-1], np.diff(indptr))
    return sparse.csr_matrix((values, indices.astype(np.int32), indptr), shape=shape)


def hide(rows: sparse.csr_matrix, positions: np.ndarray) -> Block:
    """Split counts (canonical CSR without stored zeros) at the hidden `positions` (sorted)."""
    # One block as a dense vector, 4 MB, is faster than merging two sorted lists.
    values = np.zeros(rows.shape[0] * rows.shape[1], dtype=np.float32)
    values[flat(rows)] = rows.data
    truth = unflat(positions, values[positions], rows.shape)
    values[positions] = HIDDEN
    stored = np.flatnonzero(values != 0)
    visible = rows.sum(axis=1, dtype=np.float64) - truth.sum(axis=1, dtype=np.float64)
    return Block(unflat(stored, values[stored], rows.shape), truth, np.asarray(visible).ravel())


def mask(
    chunks: Iterable[sparse.csr_matrix],
    shape: tuple[int, int],
    n_nonzero: int,
    percentage: float,
    strategy: str,
    seed: np.random.SeedSequence,
) -> Iterator[Block]:
    """Hide entries of a count matrix that comes in row chunks of any size.

    Parameters
    ----------
    chunks
        Canonical CSR (sorted, no duplicates, no stored zeros), rows in order.
    shape, n_nonzero
        Of the whole matrix.
    percentage
        A fraction in (0, 1).
    strategy
        One of `STRATEGIES`.
    """
    draw = STRATEGIES[strategy](percentage, shape, n_nonzero)
    hidden = 0
    for number, rows in enumerate(reblock(chunks, block_rows(shape[1]))):
        block = hide(rows, draw.positions(seeds.generator(seed, number), rows))
        hidden += block.truth.nnz
        yield block
    if hidden == 0:
        raise ContractError(
            f"{percentage} of {shape[0]} cells x {shape[1]} genes with strategy '{strategy}' "
            "hides no entry; expected a percentage that hides at least one"
        )


def reblock(chunks: Iterable[sparse.csr_matrix], size: int) -> Iterator[sparse.csr_matrix]:
    """The same rows in blocks of `size`; only the last may be smaller."""
    waiting: list[sparse.csr_matrix] = []
    count = 0
    for chunk in chunks:
        start = 0
        while chunk.shape[0] - start >= size - count:
            stop = start + size - count
            yield _stack([*waiting, chunk[start:stop]])
            waiting, count, start = [], 0, stop
        if start < chunk.shape[0]:
            waiting.append(chunk[start:])
            count += chunk.shape[0] - start
    if waiting:
        yield _stack(waiting)


def _stack(parts: list[sparse.csr_matrix]) -> sparse.csr_matrix:
    return parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
