"""Layers: shapes of distributions, learning, decoding."""

import itertools
import math

import pytest
import torch

import semicrf
from semicrf import durations


def test_parametric_durations_are_the_named_distributions():
    d = torch.arange(1, 51, dtype=torch.float64)

    def module(kind, **parameters):
        m = semicrf.Durations(kind, 1, 50).double()
        for name, value in parameters.items():
            getattr(m, name).data.fill_(value)
        return m().exp()[:, 0]

    def inverse_softplus(x):
        return math.log(math.expm1(x))

    def logit(p):
        return math.log(p / (1 - p))

    expected = {
        "geometric": 0.2 * 0.8 ** (d - 1),
        "poisson": torch.distributions.Poisson(7.0).log_prob(d - 1).exp(),
        # torch counts the same thing with the complementary probability.
        "negative_binomial": torch.distributions.NegativeBinomial(
            torch.tensor(3.0).double(), probs=torch.tensor(0.7).double()
        )
        .log_prob(d - 1)
        .exp(),
        "lognormal": torch.distributions.LogNormal(2.0, 0.5).log_prob(d).exp(),
    }
    actual = {
        "geometric": module("geometric", logit=logit(0.2)),
        "poisson": module("poisson", rate=inverse_softplus(7.0)),
        "negative_binomial": module(
            "negative_binomial", successes=inverse_softplus(3.0), logit=logit(0.3)
        ),
        "lognormal": module("lognormal", mean=2.0, deviation=inverse_softplus(0.5)),
    }
    for kind, weights in expected.items():
        torch.testing.assert_close(actual[kind], weights / weights.sum(), msg=kind)


@pytest.mark.parametrize("kind", durations.NAMES)
def test_every_kind_is_normalised_and_starts_at_its_mean(kind):
    module = semicrf.Durations(kind, 3, 2000, mean=[5.0, 20.0, 50.0])
    torch.testing.assert_close(module().exp().sum(0), torch.ones(3))
    expected = [5.0, 20.0, 50.0]
    if kind in ("learned", "uniform"):
        expected = [1000.5] * 3
    if kind == "lognormal":  # the median is at the asked mean; the mean is exp(1/2) of it
        expected = [math.exp(0.5) * m for m in expected]
    torch.testing.assert_close(module.expected(), torch.tensor(expected), rtol=0.03, atol=0)


def make_data(durations_by_label, count, seed):
    """Alternating segments with these durations, and emissions that half give them away."""
    g = torch.Generator().manual_seed(seed)
    segments, emissions = [], []
    for _ in range(count):
        at, label, segmentation = 0, 0, []
        while at < 40:
            choices = durations_by_label[label]
            d = choices[int(torch.randint(len(choices), (1,), generator=g))]
            segmentation.append((at, at + d, label))
            at, label = at + d, 1 - label
        segments.append(segmentation)
        x = torch.randn(at, 2, generator=g)
        for s, e, c in segmentation:
            x[s:e, c] += 1.5
        emissions.append(x)
    lengths = torch.tensor([len(x) for x in emissions])
    return torch.nn.utils.rnn.pad_sequence(emissions, batch_first=True), lengths, segments


@pytest.mark.parametrize("kind", durations.NAMES)
def test_training_lowers_the_loss_to_a_likelihood(kind):
    """The loss falls and stays a negative log-likelihood: never below 0, as a peer's does."""
    emissions, lengths, segments = make_data(([3, 4], [8, 9, 10]), 6, seed=0)
    crf = semicrf.SemiCRF(2, 15, durations=kind, self_transitions=False)
    optimiser = torch.optim.Adam(crf.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = crf(emissions, segments, lengths)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < (0.95 if kind == "uniform" else 0.8) * losses[0]
    assert min(losses) > 0
    for name, parameter in crf.named_parameters():
        assert parameter.grad is not None, name
    if kind == "learned":
        posterior = crf.durations().softmax(0)
        assert posterior[2:4, 0].sum() > 0.9
        assert posterior[7:10, 1].sum() > 0.9
        again, n, truth = make_data(([3, 4], [8, 9, 10]), 20, seed=1)
        decoded = crf.decode(again, n)
        found = sum(len(set(d) & set(t)) for d, t in zip(decoded, truth, strict=True))
        assert found > 0.6 * sum(map(len, truth))


def test_self_transitions_can_be_forbidden():
    crf = semicrf.SemiCRF(2, 2, self_transitions=False)
    (segments,) = crf.decode(torch.zeros(1, 9, 2))
    assert all(a[2] != b[2] for a, b in itertools.pairwise(segments))
    with pytest.raises(ValueError, match="self_transitions"):
        semicrf.SemiCRF(2, 2, self_transitions=False, too_long="split")


def test_decode_merges_on_request():
    crf = semicrf.SemiCRF(2, 3)
    emissions = torch.zeros(1, 7, 2)
    emissions[..., 1] = 5.0
    apart, merged = crf.decode(emissions), crf.decode(emissions, merge=True)
    assert merged == [[(0, 7, 1)]]
    assert len(apart[0]) >= 3


def test_linear_crf_is_a_semi_crf_of_single_positions():
    torch.manual_seed(0)
    crf = semicrf.LinearCRF(3).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    emissions = torch.randn(2, 5, 3).double()
    lengths = torch.tensor([5, 3])
    labels = torch.randint(0, 3, (2, 5))
    # Every labelling of the shorter sequence: probabilities sum to 1.
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    total = 0.0
    for row in every:
        total += (-crf(emissions[1:, :3], row[None])).exp().item()
    assert abs(total - 1) < 1e-12
    labels[1, 3:] = 99  # padding
    loss = crf(emissions, labels, lengths)
    alone = [crf(emissions[b : b + 1, :n], labels[b : b + 1, :n]) for b, n in enumerate((5, 3))]
    torch.testing.assert_close(loss, torch.stack(alone).mean())
    assert [len(x) for x in crf.decode(emissions, lengths)] == [5, 3]
    assert crf.marginals(emissions, lengths).shape == (2, 5, 3)
    with pytest.raises(ValueError, match="labels have shape"):
        crf(emissions, labels[:, :4], lengths)


def test_unknown_durations_are_refused():
    with pytest.raises(ValueError, match="there are: learned, uniform, geometric"):
        semicrf.SemiCRF(2, 3, durations="gamma")
    with pytest.raises(ValueError, match="durations are at least 1"):
        semicrf.SemiCRF(2, 3, durations="poisson", mean_duration=0.5)


def test_state_survives_a_round_trip():
    crf = semicrf.SemiCRF(2, 4, durations="lognormal", mean_duration=[2.0, 3.0])
    other = semicrf.SemiCRF(2, 4, durations="lognormal")
    other.load_state_dict(crf.state_dict())
    assert torch.equal(other.durations(), crf.durations())
