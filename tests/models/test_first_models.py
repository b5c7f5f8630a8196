"""The controls against plain formulas, and the first models against the controls."""

import inspect

import numpy as np
import pytest
from scipy import sparse

from lacuna.authoring.reconstruction import world
from lacuna.setup.common import ROOT
from lacuna_contract.authoring import Chunk
from lacuna_contract.harness import load

CONTROLS = ROOT / "containers/controls"
MODELS = ROOT / "containers/models"


@pytest.fixture
def data():
    """Counts (cells, genes), what is hidden, and both as a model gets them."""
    counts = world(200, 80, seed=3, hidden=0).counts
    hidden = np.random.default_rng(4).random(counts.shape) < 0.3
    visible = sparse.csr_matrix(np.where(hidden, 0, counts))
    return counts, hidden, Chunk(visible, sparse.csr_matrix(hidden), range(200))


def in_pieces(whole: Chunk, size: int) -> list[Chunk]:
    starts = range(0, whole.counts.shape[0], size)
    parts = (range(s, min(s + size, whole.counts.shape[0])) for s in starts)
    return [Chunk(whole.counts[p.start : p.stop], whole.hidden[p.start : p.stop], p) for p in parts]


def streamed(name: str, chunks: list[Chunk]) -> np.ndarray:
    instance = load(CONTROLS / name / "main.py", "reconstruction")()
    instance.fit(chunks)
    return np.concatenate([instance.predict(chunk) for chunk in chunks])


def predicted(name: str, visible, hidden, **parameters) -> np.ndarray:
    """What a model, a function or a class, makes of a whole input."""
    declared = load(MODELS / name / "main.py", "reconstruction")
    hidden = sparse.csr_matrix(hidden)
    if inspect.isclass(declared.implementation):
        whole = Chunk(visible, hidden, range(visible.shape[0]))
        instance = declared(**parameters)
        instance.fit([whole])
        return instance.predict(whole)
    found = declared(visible, hidden, **parameters)
    return found[0] if isinstance(found, tuple) else found


def test_gene_mean_divides_by_what_is_visible(data):
    counts, hidden, whole = data
    expected = np.nanmean(np.where(hidden, np.nan, counts), axis=0)
    rows, columns = np.nonzero(hidden)
    np.testing.assert_allclose(streamed("gene_mean", [whole]), expected[columns], rtol=1e-6)


def test_depth_scaled_mean_is_the_maximum_of_its_likelihood(data):
    """At the maximum, expected and visible counts have the same sums by cell and by gene."""
    counts, hidden, whole = data
    instance = load(CONTROLS / "depth_scaled_mean/main.py", "reconstruction")(passes=30)
    instance.fit([whole])
    fitted = np.where(hidden, 0, np.outer(instance.depth(whole), instance.rate))
    visible = np.where(hidden, 0, counts)
    np.testing.assert_allclose(fitted.sum(axis=0), visible.sum(axis=0), rtol=1e-4)
    np.testing.assert_allclose(fitted.sum(axis=1), visible.sum(axis=1), rtol=1e-4)


def test_three_passes_are_enough(data):
    *_, whole = data
    depth = CONTROLS / "depth_scaled_mean/main.py"
    few, many = (load(depth, "reconstruction")(passes=n) for n in (3, 30))
    for instance in (few, many):
        instance.fit([whole])
    np.testing.assert_allclose(few.predict(whole), many.predict(whole), rtol=0.01)


@pytest.mark.parametrize("name", ["zeros", "gene_mean", "depth_scaled_mean"])
def test_controls_do_not_depend_on_the_size_of_chunks(name, data):
    *_, whole = data
    once = streamed(name, [whole])
    np.testing.assert_allclose(streamed(name, in_pieces(whole, 7)), once, rtol=1e-12)


@pytest.mark.parametrize("name", ["knn_smoothing", "svd", "ridge"])
def test_models_are_far_ahead_of_the_floor_and_not_biased(name, data):
    counts, hidden, whole = data
    found = predicted(name, whole.counts, whole.hidden)
    true = counts[hidden]
    assert 0.9 < found.mean() / true.mean() < 1.1
    floor = streamed("depth_scaled_mean", [whole])
    assert np.mean((found - true) ** 2) < 0.7 * np.mean((floor - true) ** 2)


def test_the_rank_of_svd_is_that_which_predicts_held_out_counts_best(data):
    counts, hidden, whole = data
    svd = load(MODELS / "svd/main.py", "reconstruction")
    _, said = svd(whole.counts, whole.hidden)
    assert len(said["errors"]) > 2
    assert said["rank"] == min(said["errors"], key=said["errors"].get)
    # So it is nearly the best of them for what is hidden, too.
    guesses = {rank: svd(whole.counts, whole.hidden, ranks=(rank,))[0] for rank in said["errors"]}
    errors = {rank: np.mean((found - counts[hidden]) ** 2) for rank, found in guesses.items()}
    assert errors[said["rank"]] < 1.1 * min(errors.values()) < 0.9 * max(errors.values())


def tiny(cells, genes, kind="hidden"):
    """Counts of few cells and genes; one cell and one gene are hidden as a whole."""
    counts = world(cells, genes, seed=5, hidden=0).counts
    hidden = np.random.default_rng(6).random(counts.shape) < 0.2
    hidden[0], hidden[:, -1] = True, True
    hidden &= kind == "hidden"
    visible = sparse.csr_matrix(np.where(hidden, 0, counts))
    return counts, hidden, visible


@pytest.mark.parametrize("kind", ["hidden", "thinned"])
@pytest.mark.parametrize("shape", [(30, 3), (6, 40), (4, 4)])
@pytest.mark.parametrize("name", ["knn_smoothing", "svd", "ridge"])
def test_fewer_cells_and_genes_than_neighbours_and_ranks(name, shape, kind):
    _, hidden, visible = tiny(*shape, kind)
    found = predicted(name, visible, hidden, kind=kind)
    assert found.shape == (shape if kind == "thinned" else (hidden.sum(),))
    assert np.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("name", ["knn_smoothing", "svd", "ridge"])
def test_a_cell_and_a_gene_of_which_nothing_is_seen_get_what_is_usual(name):
    """Not zeros, and not the values of one odd neighbour."""
    counts, hidden, visible = tiny(80, 40)
    found = predicted(name, visible, hidden)
    dense = np.zeros(counts.shape)
    dense[hidden] = found
    usual = counts[1:, :-1].mean(axis=0)
    assert 0.3 < dense[0, :-1].sum() / usual.sum() < 3
    assert (dense[:, -1] >= 0).all()
    assert dense[:, -1].max() < 3 * counts.mean()


def test_thinned_models_are_far_ahead_of_the_floor_and_not_biased():
    rng = np.random.default_rng(7)
    counts = world(200, 80, seed=3, hidden=0).counts
    held = rng.binomial(counts.astype(int), 0.25)
    given = sparse.csr_matrix(counts - held)
    nothing = sparse.csr_matrix(counts.shape, dtype=bool)
    floor = load(CONTROLS / "depth_scaled_mean/main.py", "reconstruction")(kind="thinned")
    whole = Chunk(given, nothing, range(200))
    floor.fit([whole])
    worst = np.mean((floor.predict(whole) / 3 - held) ** 2)
    for name in ("knn_smoothing", "svd", "ridge"):
        found = predicted(name, given, nothing, kind="thinned") / 3
        assert 0.9 < found.mean() / held.mean() < 1.1
        assert np.mean((found - held) ** 2) < 0.8 * worst


def module(name: str) -> dict:
    """What a model's main.py defines."""
    space: dict = {}
    exec((MODELS / name / "main.py").read_text(), space)
    return space


def test_completion_recovers_a_matrix_of_low_rank():
    """As Troyanskaya et al. have it: filled in until it fits, what has that rank comes back."""
    rng = np.random.default_rng(8)
    expected = np.outer(rng.gamma(5, 0.2, 150), rng.gamma(1.0, 2.0, 60))
    expected *= 1 + 0.8 * np.outer(rng.choice([-1, 1], 150), rng.choice([-1, 1], 60))
    dark = rng.random(expected.shape) < 0.2
    visible = sparse.csr_matrix(np.where(dark, 0, expected))
    hidden = sparse.csr_matrix(dark)
    complete = module("svd")["complete"]
    # Two, and one more for the means that are subtracted.
    found = complete(visible, hidden, 3, 0, 300, np.random.default_rng(9))
    true = expected[dark]
    usual = complete(visible, hidden, 1, 0, 1, np.random.default_rng(9))
    assert np.mean((found - true) ** 2) < 1e-3 * np.mean((usual - true) ** 2)


def test_smoothing_pools_counts_and_lowers_their_noise():
    """As Wagner, Yan & Yanai have it: a cell alone keeps its counts, all cells together give each
    their mean, and of cells of one kind the noise falls as one over the number pooled."""
    smooth = module("knn_smoothing")["smooth"]
    rate = np.random.default_rng(10).gamma(2.0, 1.0, 400)
    counts = np.random.default_rng(11).poisson(rate, (300, 400))
    given, nothing = sparse.csr_matrix(counts), sparse.csr_matrix(counts.shape, dtype=bool)

    def smoothed(k):
        return smooth(given, nothing, k, 5, 0, True, 0)

    np.testing.assert_allclose(smoothed(1), counts, atol=1e-9)
    total = counts.sum(axis=1)
    mean = np.outer(total, counts.sum(axis=0)) / counts.sum()
    np.testing.assert_allclose(smoothed(300), mean, rtol=0.01)
    noise = ((smoothed(25) - mean) ** 2).mean() / ((counts - mean) ** 2).mean()
    assert 0.9 / 25 < noise < 2 / 25


def test_smoothing_chooses_among_numbers_of_neighbours_by_what_is_held_out(data):
    """Of four kinds of cells, some fifty each: a few pooled are noise, all of them no kind."""
    counts, hidden, whole = data
    declared = load(MODELS / "knn_smoothing/main.py", "reconstruction")
    found, about = declared(whole.counts, whole.hidden, k=[1, 16, 200])
    assert list(about["held_out"]) == [1, 16, 200]
    assert about["k"] == 16
    np.testing.assert_array_equal(
        found, predicted("knn_smoothing", whole.counts, whole.hidden, k=16)
    )
