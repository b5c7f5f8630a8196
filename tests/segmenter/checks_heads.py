"""What must hold of the four heads; test_segmenter.py runs it."""

import itertools
import math

import heads
import numpy as np
import semicrf
import shared
import torch
from settings import HEADS, Settings
from shared import data


def make(head, classes=2, split=False, longest=4, seed=0):
    """A head with random scores."""
    torch.manual_seed(seed)
    made = heads.make(Settings(head, classes, max_duration=longest), split)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def check_probabilities_of_all_labellings_sum_to_one():
    for name in heads_of("softmax", "linear", "semicrf", "semicrf_uniform"):
        head, emissions, total = make(name, longest=6), torch.randn(1, 5, 2), 0.0
        for labels in itertools.product(range(2), repeat=5):
            loss = head.loss(emissions, torch.tensor([labels]))
            total += math.exp(-5 * loss.item())
        assert abs(total - 1) < 1e-5, (name, total)


def heads_of(*names):
    assert set(names) == set(HEADS)
    return names


def check_linear_decoding_against_enumeration():
    head, emissions = make("linear", 3), torch.randn(1, 6, 3)
    best, total, boundaries = (-math.inf, None), 0.0, torch.zeros(6)
    for y in itertools.product(range(3), repeat=6):
        score = head.start[y[0]] + sum(emissions[0, t, c] for t, c in enumerate(y))
        score = float(score + sum(head.transitions[a, b] for a, b in itertools.pairwise(y)))
        best, total = max(best, (score, y)), total + math.exp(score)
        for t in range(1, 6):
            boundaries[t] += math.exp(score) * (y[t] != y[t - 1])
    labels, found = head.decode(emissions)
    assert tuple(labels[0].tolist()) == best[1]
    assert torch.allclose(found[0], boundaries / total, atol=1e-5)


def tilings(length, longest):
    if length == 0:
        yield []
    for d in range(1, min(length, longest) + 1):
        yield from ([d, *rest] for rest in tilings(length - d, longest))


def check_semicrf_decoding_against_enumeration():
    """With K below the sequence, so that pieces of one class meet: they are merged."""
    for split, longest in ((True, 2), (True, 3), (False, 6)):
        head, emissions = make("semicrf", split=split, longest=longest), torch.randn(1, 6, 2)
        scores = head.scores()
        best, total, boundaries = (-math.inf, None), 0.0, torch.zeros(6)
        for sizes in tilings(6, longest):
            starts = np.cumsum([0, *sizes])
            for labels in itertools.product(range(2), repeat=len(sizes)):
                if not split and any(a == b for a, b in itertools.pairwise(labels)):
                    continue
                pieces = [
                    (int(s), int(s + d), c) for s, d, c in zip(starts, sizes, labels, strict=False)
                ]
                score = semicrf.score([pieces], emissions, **scores).item()
                y = [c for s, e, c in pieces for _ in range(s, e)]
                best, total = max(best, (score, y)), total + math.exp(score)
                for t in range(1, 6):
                    boundaries[t] += math.exp(score) * (y[t] != y[t - 1])
        labels, found = head.decode(emissions)
        assert labels[0].tolist() == best[1], (split, longest)
        assert torch.allclose(found[0, 1:], boundaries[1:] / total, atol=1e-5), (split, longest)


def check_reference_backend_agrees():
    for name in ("linear", "semicrf", "semicrf_uniform"):
        head, emissions = make(name, 3, longest=40), torch.randn(2, 30, 3)
        labels = torch.from_numpy(data(30)[0].labels[:2]).long()
        other = heads.make(Settings(name, 3, max_duration=40, backend="reference"), False)
        other.load_state_dict(head.state_dict())
        assert other.backend == "reference"
        assert head.backend == "auto"
        assert torch.allclose(head.loss(emissions, labels), other.loss(emissions, labels), 1e-5)
        (a, p), (b, q) = head.decode(emissions), other.decode(emissions)
        assert torch.equal(a, b)
        assert torch.allclose(p, q, atol=1e-5)


def check_no_triton_brings_emissions_to_the_cpu():
    class OnGpu(torch.Tensor):
        is_cuda = True
        brought = False

        def cpu(self):
            OnGpu.brought = True
            return self.as_subclass(torch.Tensor)

    for triton in (True, False):
        OnGpu.brought = False
        head = heads.make(Settings("semicrf", 2, max_duration=9, triton=triton), False)
        head.bring(torch.randn(1, 9, 2).as_subclass(OnGpu))
        assert OnGpu.brought is not triton


def check_heads_begin_with_frequencies():
    labels = torch.tensor([[0] * 6 + [1] * 3 + [2], [1] * 5 + [0] * 5])
    counts = {
        "softmax": [11, 8, 1],
        "linear": [[9, 1, 0], [1, 6, 1], [0, 0, 0]],
        "semicrf": [[0, 1, 0], [1, 0, 1], [0, 0, 0]],
    }
    for name, found in counts.items():
        head = make(name, 3, longest=9)
        head.begin(labels)
        expected = torch.tensor(found) + 0.5
        shares = head.bias if name == "softmax" else head.transitions
        assert torch.allclose(shares.exp(), expected / expected.sum(-1, keepdim=True)), name
        if name != "softmax":
            assert torch.allclose(head.start.exp(), torch.tensor([1.5, 1.5, 0.5]) / 3.5)


def check_durations_are_probabilities():
    learned = make("semicrf", 3, longest=500).durations()
    assert learned.shape == (500, 3)
    assert torch.allclose(learned.exp().sum(0), torch.ones(3), atol=1e-5)
    for name in ("softmax", "linear", "semicrf_uniform"):
        assert make(name).durations() is None
    for longest in (1, 2, 3):
        assert make("semicrf", longest=longest).durations().shape == (longest, 2)


def check_duration_scores_can_be_learned():
    """From lengths alone: constant emissions, segments of 20 or of 50 positions by class."""
    labels = torch.tensor([([0] * 20 + [1] * 50) * 6])
    head = heads.make(Settings("semicrf", 2, max_duration=100), False)
    chosen = torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(60):
        chosen.zero_grad()
        head.loss(torch.zeros(1, labels.shape[1], 2), labels).backward()
        chosen.step()
    peak = head.durations().argmax(0) + 1
    assert abs(int(peak[0]) - 20) <= 5, peak
    assert abs(int(peak[1]) - 50) <= 12, peak


def check_the_prior_finds_the_law_of_complete_segments():
    """Durations of 20 and 60, equally often, seen through windows of 100: in windows, two of three
    complete segments are short, for a long one has fewer places there."""
    rng = np.random.default_rng(0)
    sizes = rng.choice([20, 60], 20_000)
    genome = torch.from_numpy(np.repeat(np.arange(len(sizes)) % 2, sizes))
    at = torch.from_numpy(rng.integers(0, len(genome) - 100, 600))
    labels = torch.stack([genome[i : i + 100] for i in at.tolist()])
    whole = [e - s for row in labels for s, e, _ in heads.runs(row)[1:-1]]
    assert np.mean(np.array(whole) == 20) > 0.62
    head = heads.make(Settings("semicrf", 2, max_duration=100), False)
    chosen = torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(100):
        chosen.zero_grad()
        head.prior(labels).backward()
        chosen.step()
    short = head.durations()[:35].exp().sum(0)
    assert ((short - 0.5).abs() < 0.06).all(), short


def check_the_prior_is_of_learned_durations_alone():
    labels = torch.tensor([[0] * 4 + [1] * 3 + [0] * 3])
    for name in ("softmax", "linear", "semicrf_uniform"):
        assert make(name, longest=9).prior(labels) == 0
    head = make("semicrf", longest=9)
    assert abs(head.prior(labels) + 10 / 6 * head.durations()[2, 1] / 10) < 1e-6
    assert head.prior(labels[:, :7]) == 0  # no segment that is seen whole
    split = make("semicrf", longest=2, split=True)
    expected = split.durations()[1, 1] + split.durations()[0, 1]
    assert abs(split.prior(labels) + 10 / 6 * expected / 10) < 1e-6


def check_gold_longer_than_k_is_split_from_the_left():
    head = heads.make(Settings("semicrf", 2, max_duration=3), True)
    gold = head.gold(torch.tensor([[0] * 7 + [1] * 2]))
    assert gold == [[(0, 3, 0), (3, 6, 0), (6, 7, 0), (7, 9, 1)]]


if __name__ == "__main__":
    shared.report(globals())
