"""Masking: exact in number, uniform among all sets of that size, the same for any chunking."""

import tracemalloc
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from lacuna import seeds
from lacuna.tasks.reconstruction import masking
from lacuna.tasks.reconstruction.masking import (
    HIDDEN,
    STRATEGIES,
    choose,
    choose_per_row,
    hypergeometric,
    mask,
    share,
)
from lacuna_contract.errors import ContractError


def counts_of(cells, genes, seed=0, rate=0.4):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(rng.poisson(rate, (cells, genes)).astype(np.float32))


def masked(counts, percentage, strategy, seed=42, step=None):
    """(input, truth, visible totals) of a whole matrix."""
    step = step or counts.shape[0]
    chunks = (counts[i : i + step] for i in range(0, counts.shape[0], step))
    stream = seeds.sequence(seed, "mask", "test")
    blocks = list(mask(chunks, counts.shape, counts.nnz, percentage, strategy, stream))
    return (
        sparse.vstack([b.input for b in blocks], format="csr"),
        sparse.vstack([b.truth for b in blocks], format="csr"),
        np.concatenate([b.visible_total for b in blocks]),
    )


def stored(rows):
    return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks in a small matrix."""
    monkeypatch.setattr(masking, "BLOCK_ENTRIES", 64)


def expected_number(counts, percentage, strategy):
    cells, genes = counts.shape
    return {
        "uniform": share(percentage, cells * genes),
        "nonzero": share(percentage, counts.nnz),
        "per_cell": cells * share(percentage, genes),
        "per_gene": genes * share(percentage, cells),
    }[strategy]


@settings(max_examples=120, deadline=None)
@given(
    cells=st.integers(1, 40),
    genes=st.integers(1, 30),
    percentage=st.sampled_from([0.01, 0.1, 0.15, 0.125, 0.5, 0.9, 0.99]),
    strategy=st.sampled_from(list(STRATEGIES)),
    block=st.sampled_from([1, 50, 1 << 20]),
    step=st.integers(1, 40),
    seed=st.integers(0, 2**31 - 1),
)
def test_exact_and_complete_whatever_the_chunks(
    cells, genes, percentage, strategy, block, step, seed
):
    counts = counts_of(cells, genes, seed)
    expected = expected_number(counts, percentage, strategy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "BLOCK_ENTRIES", block)
        if expected == 0:
            with pytest.raises(ContractError, match="hides no entry"):
                masked(counts, percentage, strategy, seed)
            return
        question, answer, visible = masked(counts, percentage, strategy, seed, step)
        whole = masked(counts, percentage, strategy, seed)

    hidden = np.zeros(counts.shape, dtype=bool)
    hidden[stored(answer)] = True
    dense = counts.toarray()
    assert answer.nnz == hidden.sum() == expected
    assert answer.data.tolist() == dense[hidden].tolist()
    assert question.toarray().tolist() == np.where(hidden, HIDDEN, dense).tolist()
    assert np.all(question.data != 0)
    assert question.has_canonical_format
    assert answer.has_canonical_format
    assert visible.tolist() == np.where(hidden, 0, dense).sum(axis=1).tolist()
    if strategy == "per_cell":
        assert (hidden.sum(axis=1) == share(percentage, genes)).all()
    if strategy == "per_gene":
        assert (hidden.sum(axis=0) == share(percentage, cells)).all()
    if strategy == "nonzero":
        assert (dense[hidden] > 0).all()
    for one, other in zip((question, answer), whole, strict=False):
        assert (one.indptr == other.indptr).all()
        assert (one.indices == other.indices).all()
        assert (one.data == other.data).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_seed_or_salt_hides_other_entries(strategy):
    counts = counts_of(60, 50)
    first, second = (masked(counts, 0.15, strategy, seed)[1] for seed in (1, 2))
    assert first.indices.tolist() != second.indices.tolist()
    assert first.indices.tolist() == masked(counts, 0.15, strategy, 1)[1].indices.tolist()
    draws = {
        str(seeds.sequence(1, "mask", "key", salt=salt).generate_state(2)) for salt in ("", "a")
    }
    assert len(draws) == 2


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("strategy", ["uniform", "per_cell", "per_gene"])
def test_every_entry_is_hidden_equally_often(strategy):
    """Drawing from the number of stored entries would leave the last rows visible."""
    counts = counts_of(40, 20, rate=0.1)
    times = sum(
        np.bincount(masking.flat(masked(counts, 0.15, strategy, s)[1]), minlength=800)
        for s in range(100)
    )
    assert abs(times.mean() - 15) < 1e-9
    # 800 binomial(100, 0.15) counts: their squared deviations add up to about chi-square(800).
    statistic = ((times - 15) ** 2 / (100 * 0.15 * 0.85)).sum()
    assert stats.chi2.cdf(statistic, 800) > 1e-4
    assert stats.chi2.sf(statistic, 800) > 1e-4
    for axis in (0, 1):
        sums = times.reshape(40, 20).sum(axis=axis)
        assert np.abs(sums / sums.mean() - 1).max() < 0.25


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("strategy", ["uniform", "nonzero"])
def test_blocks_share_the_hidden_entries_as_a_draw_from_all_would(strategy):
    """The first block's number is hypergeometric: it varies, and by the right amount."""
    counts = counts_of(32, 16, rate=1.0)
    rows = masking.block_rows(16)
    total = counts.nnz if strategy == "nonzero" else counts.shape[0] * counts.shape[1]
    inside = counts[:rows].nnz if strategy == "nonzero" else rows * 16
    law = stats.hypergeom(total, share(0.25, total), inside)
    found = [
        next(mask(iter([counts]), counts.shape, counts.nnz, 0.25, strategy, stream)).truth.nnz
        for stream in (seeds.sequence(seed, "mask") for seed in range(800))
    ]
    assert np.mean(found) == pytest.approx(law.mean(), abs=5 * law.std() / np.sqrt(800))
    assert np.var(found) == pytest.approx(law.var(), rel=0.25)


def test_choose_is_uniform_over_subsets():
    rng = np.random.default_rng(0)
    seen = {}
    for _ in range(20_000):
        key = tuple(choose(rng, 6, 3))
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 20
    assert stats.chisquare(list(seen.values())).pvalue > 1e-4


@pytest.mark.parametrize(("total", "count"), [(0, 0), (5, 0), (5, 5), (1, 1), (70_000, 1)])
def test_choose_at_its_ends(total, count):
    found = choose(np.random.default_rng(1), total, count)
    assert len(found) == len(set(found.tolist())) == count
    assert (np.diff(found) > 0).all()


def test_choose_per_row_gives_each_row_its_number():
    counts = np.array([0, 1, 5, 7, 7, 3])
    chosen = choose_per_row(np.random.default_rng(1), counts, 7)
    assert chosen.sum(axis=1).tolist() == counts.tolist()


@settings(max_examples=60, deadline=None)
@given(
    good=st.integers(0, 300), bad=st.integers(0, 300), part=st.floats(0, 1), seed=st.integers(0, 99)
)
def test_hypergeometric_stays_possible(good, bad, part, seed):
    draws = int(part * (good + bad))
    found = hypergeometric(np.random.default_rng(seed), good, bad, draws)
    assert max(0, draws - bad) <= found <= min(good, draws)


def test_hypergeometric_has_the_right_law_beyond_what_numpy_can():
    rng = np.random.default_rng(1)
    found = [hypergeometric(rng, 3 * 10**10, 17 * 10**10, 10**6) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(150_000, abs=5 * 357 / np.sqrt(2000))
    assert np.std(found) == pytest.approx(357.07, rel=0.1)
    small = [hypergeometric(rng, 30, 70, 20) for _ in range(5000)]
    law = stats.hypergeom(100, 30, 20)
    observed = np.bincount(small, minlength=21)[:13]
    expected = law.pmf(np.arange(13)) * 5000
    keep = expected > 5
    assert stats.chisquare(
        observed[keep], expected[keep] * observed[keep].sum() / expected[keep].sum()
    ).pvalue > 1e-4  # fmt: skip


@pytest.mark.parametrize(
    ("percentage", "total", "expected"),
    [
        (0.15, 535_500, 80_325),
        (0.15, 20, 3),
        (0.5, 1, 1),
        (0.125, 4, 1),
        (0.15, 10**15, 15 * 10**13),
    ],
)
def test_share_counts_in_decimal(percentage, total, expected):
    assert share(percentage, total) == expected
    exact = Decimal(str(percentage)) * total
    assert share(percentage, total) == exact.quantize(Decimal(1), ROUND_HALF_UP)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_memory_does_not_grow_with_the_number_of_cells(strategy):
    """Ten times the cells, the same peak."""

    def peak(cells):
        chunk = counts_of(2000, 500, rate=0.07)
        tracemalloc.start()
        blocks = mask(
            (chunk for _ in range(cells // 2000)),
            (cells, 500),
            chunk.nnz * (cells // 2000),
            0.15,
            strategy,
            seeds.sequence(1, "mask"),
        )
        for _ in blocks:
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(40_000) < 1.3 * peak(4000)
