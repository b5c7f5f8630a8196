"""Binomial splitting of counts: every count goes to the truth with one probability, by itself.

What is left and what is held out are independent samples of the same cells when counts are Poisson,
so a denoiser is scored on counts that it never saw (molecular cross-validation, Batson, Royer &
Webber 2019, doi 10.1101/786269). No entry is hidden.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import sparse

from lacuna import seeds
from lacuna.tasks.reconstruction.masking import Block, block_rows, reblock
from lacuna_contract.errors import ContractError

NAME = "count_thinning"


def thin(
    chunks: Iterable[sparse.csr_matrix],
    shape: tuple[int, int],
    percentage: float,
    seed: np.random.SeedSequence,
) -> Iterator[Block]:
    """Split a count matrix that comes in row chunks of any size; the blocks are those of `mask`.

    Of each block, `input` and `truth` add up to the counts and store no zeros.

    Parameters
    ----------
    chunks
        Canonical CSR without stored zeros, rows in order.
    shape
        Of the whole matrix.
    percentage
        The probability in (0, 1) that a count is held out.
    """
    counts, held_out = 0.0, 0.0
    for number, rows in enumerate(reblock(chunks, block_rows(shape[1]))):
        held = seeds.generator(seed, number).binomial(rows.data.astype(np.int64), percentage)
        block = Block(
            _like(rows, rows.data - held),
            _like(rows, held),
            np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel(),
        )
        given = np.asarray(block.truth.sum(axis=1, dtype=np.float64)).ravel()
        counts, held_out = counts + block.visible_total.sum(), held_out + given.sum()
        yield Block(block.input, block.truth, block.visible_total - given)
    if held_out in (0, counts):
        which = "none" if held_out == 0 else "all"
        raise ContractError(
            f"with probability {percentage}, {which} of {counts:.0f} counts are held out; expected "
            "some in both parts"
        )


def _like(rows: sparse.csr_matrix, values: np.ndarray) -> sparse.csr_matrix:
    parts = values.astype(np.float32), rows.indices.copy(), rows.indptr.copy()
    made = sparse.csr_matrix(parts, shape=rows.shape)
    made.eliminate_zeros()
    return made
