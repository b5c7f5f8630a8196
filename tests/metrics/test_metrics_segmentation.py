"""The metrics of segmentation, against hand-made cases and brute force."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from sklearn.metrics import f1_score, log_loss

from lacuna.genome.draw import draw
from lacuna.genome.presets import preset
from lacuna.metrics import durations, of_task
from lacuna.metrics.comparison import TOLERANCE, Comparison, matches
from lacuna.metrics.registry import Undefined
from lacuna_contract.sequences import boundaries, complete, segments

LAW = preset("motifs")
METRICS = of_task("segmentation")


def rows(*texts):
    """Labels from words such as "0011": a sequence each."""
    return np.array([[int(c) for c in text] for text in texts], dtype=np.int8)


def score(name, truth, labels, **more):
    return METRICS[name].function(Comparison(LAW, truth, labels, **more))


TRUTH = rows("0001112220", "2222200011")


@pytest.mark.parametrize(
    ("labels", "exact", "near", "whole"),
    [
        (TRUTH, 1.0, 1.0, 1.0),
        # One boundary is off by one; two of seven segments are not the same.
        (rows("0000112220", "2222200011"), 4 / 5, 1.0, 5 / 7),
        # The same boundaries with another class.
        (rows("0002221110", "2222200011"), 1.0, 1.0, 5 / 7),
        # Nothing predicted.
        (rows("0000000000", "0000000000"), 0.0, 0.0, 0.0),
    ],
)
def test_by_hand(labels, exact, near, whole):
    assert score("boundary_f1", TRUTH, labels) == pytest.approx(exact)
    assert score("boundary_f1_near", TRUTH, labels) == pytest.approx(near)
    assert score("segment_f1", TRUTH, labels) == pytest.approx(whole)


def test_matching_is_the_largest_that_there_is():
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = (np.unique(rng.integers(0, 30, rng.integers(0, 6))) for _ in range(2))
        k = int(rng.integers(0, 6))
        few, many = (a, b) if len(a) <= len(b) else (b, a)
        best = max(
            sum(abs(int(x) - int(y)) <= k for x, y in zip(few, chosen, strict=True))
            for chosen in itertools.permutations(many.tolist(), len(few))
        )
        assert matches(a, b, k) == best


def test_a_boundary_is_matched_once():
    truth, labels = rows("0000011111"), rows("0001011111")
    assert score("boundary_f1_near", truth, labels) == pytest.approx(2 * 1 / (1 + 3))


def test_segments_and_which_are_complete():
    found = segments(TRUTH)
    assert found[:4].tolist() == [[0, 0, 3, 0], [0, 3, 6, 1], [0, 6, 9, 2], [0, 9, 10, 0]]
    assert complete(found, 10).tolist() == [False, True, True, False, False, True, False]
    again = np.empty_like(TRUTH)
    for row, start, end, label in found:
        again[row, start:end] = label
    assert (again == TRUTH).all()
    assert boundaries(TRUTH).sum() == 5


def test_positions_as_sklearn_has_them():
    rng = np.random.default_rng(1)
    truth, labels = rng.integers(0, 3, (2, 4, 50), dtype=np.int8)
    each = f1_score(truth.ravel(), labels.ravel(), average=None)
    assert score("position_f1", truth, labels) == pytest.approx(each.mean())
    for name, value in zip(LAW.classes, each, strict=True):
        assert score(f"position_f1_{name}", truth, labels) == pytest.approx(value)


def test_log_loss_as_sklearn_has_it_and_calibration():
    rng = np.random.default_rng(2)
    p = rng.random((40, 500)).astype(np.float32)
    truth = np.zeros(p.shape, dtype=np.int8)
    begins = rng.random(p.shape) < p
    begins[:, 0] = False
    truth[:] = begins.cumsum(axis=1) % 2
    made = {"probabilities": p}
    expected = log_loss(begins[:, 1:].ravel(), p[:, 1:].ravel().astype(float))
    assert score("boundary_log_loss", truth, truth, **made) == pytest.approx(expected, rel=1e-5)
    assert score("boundary_calibration", truth, truth, **made) < 0.03
    half = {"probabilities": p / 2}
    assert score("boundary_calibration", truth, truth, **half) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(Undefined, match="no probabilities"):
        score("boundary_log_loss", truth, truth)


@pytest.fixture(scope="module")
def drawn():
    return draw(LAW, 20_000, range(60), np.random.SeedSequence(4))[1]


def test_perfect_predictions_have_a_low_divergence(drawn):
    found = Comparison(LAW, drawn, drawn)
    for name in ("exon", "intron"):
        assert found.duration_kl(name) == found.duration_floor(name) < 0.1
        assert score(f"duration_kl_{name}", drawn, drawn) == found.duration_kl(name)


def test_divergence_by_hand(drawn):
    found = Comparison(LAW, drawn, drawn)
    law, ends = found.reference("exon")
    lengths = found.true_durations("exon") * 2
    p = np.zeros(len(ends))
    h = np.zeros(len(ends))
    for d, chance in enumerate(law, 1):
        if chance:
            p[int(np.searchsorted(ends, d))] += chance
    for d in lengths:
        if 30 <= d <= 500:
            h[int(np.searchsorted(ends, d))] += 1 / len(lengths)
    q = 0.99 * h + 0.01 * p
    expected = float((p * np.log(p / q)).sum())
    assert durations.divergence(law, durations.shares(lengths), ends) == pytest.approx(expected)
    assert p == pytest.approx(np.full(len(ends), 1 / len(ends)), abs=0.02)


def test_a_class_that_is_never_predicted_has_the_worst_divergence(drawn):
    nothing = np.zeros_like(drawn)
    assert score("duration_kl_exon", drawn, nothing) == pytest.approx(math.log(100))
    with pytest.raises(Undefined, match="no complete segment of class 'exon' is predicted"):
        score("duration_wasserstein_exon", drawn, nothing)


def test_wasserstein_as_scipy_has_it(drawn):
    found = Comparison(LAW, drawn, drawn)
    law, _ = found.reference("intron")
    lengths = found.durations("intron")
    expected = wasserstein_distance(np.arange(1, len(law) + 1), lengths, law)
    assert found.duration_wasserstein("intron") == pytest.approx(expected)


def test_learned_durations(drawn):
    law = LAW.durations["exon"].probabilities
    learned = np.zeros((len(law), 3))
    learned[:, 1] = law
    learned[:, 0] = learned[:, 2] = 1 / len(law)
    found = Comparison(LAW, drawn, drawn, learned=learned)
    assert found.learned_kl("exon") == pytest.approx(0, abs=1e-12)
    assert found.learned_kl("intron") > 1
    learned[:, 1] = 1 / len(law)
    assert found.learned_kl("exon") > 0.3


def test_the_law_within_a_window_by_brute_force():
    law = replace(LAW.durations["exon"], low=2, high=6, median=3.0)
    length, counts = 9, np.zeros(7)
    for d in range(2, 7):
        for start in range(length):
            if start >= 1 and start + d <= length - 1:
                counts[d - 1] += law.probabilities[d - 1]
    expected = counts / counts.sum()
    assert law.in_window(length) == pytest.approx(expected[: len(law.in_window(length))])


def test_decodings_are_scored_in_the_place_of_labels():
    nothing = np.zeros_like(TRUTH)
    made = {
        "boundaries": np.argwhere(boundaries(TRUTH)),
        "segments": segments(TRUTH),
        "positions": TRUTH,
    }
    found = Comparison(LAW, TRUTH, nothing, decodings=made)
    assert found.boundary_f1().score == found.segment_f1().score == 1
    assert found.position_f1("exon").score == 1
    assert found.boundary_f1(TOLERANCE).score == 0


def test_what_there_is_none_of_is_said():
    nothing = np.zeros_like(TRUTH)
    with pytest.raises(Undefined, match="neither in the truth nor in the prediction"):
        score("boundary_f1", nothing, nothing)
    with pytest.raises(Undefined, match="no class 'utr5'"):
        score("position_f1_utr5", TRUTH, TRUTH)
    with pytest.raises(Undefined, match="the truth has 1 complete segments of class 'exon'"):
        score("duration_kl_exon", TRUTH, TRUTH)
