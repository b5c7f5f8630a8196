import numpy as np

from lacuna_contract.values import to_counts, to_lognorm


def test_lognorm_is_log1p_of_counts_per_ten_thousand_visible():
    assert np.isclose(to_lognorm(np.array([3.0]), np.array([1500.0]))[0], np.log1p(20.0))


def test_there_and_back():
    rng = np.random.default_rng(0)
    counts, totals = rng.gamma(1.0, 2.0, (50, 20)), rng.integers(0, 4000, (50, 1))
    assert np.allclose(to_counts(to_lognorm(counts, totals), totals), counts)


def test_a_cell_of_which_nothing_is_visible_has_a_defined_scale():
    assert np.isfinite(to_lognorm(np.array([2.0]), np.array([0.0]))).all()
