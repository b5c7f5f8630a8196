"""Layers: shapes of distributions, learning, decoding."""

import itertools
import math
import re

import numpy
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
    means, free = [5.0, 20.0, 50.0], kind in ("learned", "uniform")
    module = semicrf.Durations(kind, 3, 2000, mean=None if free else means)
    torch.testing.assert_close(module().exp().sum(0), torch.ones(3))
    expected = torch.tensor([1000.5] * 3 if free else means)
    torch.testing.assert_close(module.expected(), expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("kind", durations.NAMES)
def test_built_on_the_meta_device(kind):
    """What is not in the state is not lost on the way: constraints, uniform durations."""
    options = {"durations": kind, "self_transitions": False}
    crf = semicrf.SemiCRF(3, 5, **options)
    with torch.device("meta"):
        other = semicrf.SemiCRF(3, 5, **options)
    other = other.to_empty(device="cpu")
    for x in (*other.parameters(), *other.buffers()):
        x.data.fill_(math.nan)
    other.load_state_dict(crf.state_dict())
    emissions = torch.randn(1, 9, 3)
    for name, x in crf.scores(emissions).items():
        assert torch.equal(other.scores(emissions)[name], x), name


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


@pytest.mark.parametrize("compiled", [False, True])
def test_a_forbidden_gold_segmentation_is_an_error(compiled):
    crf = semicrf.SemiCRF(2, 5, self_transitions=False)
    function = torch.compile(crf, backend="aot_eager", fullgraph=True) if compiled else crf
    emissions, lengths = torch.zeros(2, 6, 2), torch.tensor([6, 4])
    fine, twice = [(0, 3, 0), (3, 6, 1)], [(0, 2, 1), (2, 4, 1)]
    loss = function(emissions, semicrf.pack_segments([fine, [*fine[:1], (3, 4, 1)]]), lengths)
    loss.backward()
    assert crf.transitions.grad.isfinite().all()
    with pytest.raises(
        ValueError, match=r"\(2, 4, 1\) of sequence 1 .*transitions\[1, 1\] .*merge_segments"
    ):
        function(emissions, semicrf.pack_segments([fine, twice]), lengths)
    # The function below gives it probability 0.
    scores = crf.scores(emissions)
    found = semicrf.log_prob([fine, twice], emissions, lengths=lengths, **scores)
    assert torch.isneginf(found).tolist() == [False, True]


@pytest.mark.parametrize("name", ["durations", "start", "end", "begin", "finish"])
def test_what_forbids_a_gold_segment_is_named(name):
    crf = semicrf.SemiCRF(2, 5)
    borders = {x: torch.zeros(1, 6, 2) for x in ("begin", "finish")}
    culprits = {
        "durations": (crf.durations.scores.data, (1, 1)),
        "start": (crf.start.data, (0,)),
        "end": (crf.end.data, (1,)),
        "begin": (borders["begin"], (0, 4, 1)),
        "finish": (borders["finish"], (0, 5, 1)),
    }
    x, at = culprits[name]
    x[at] = -math.inf
    segment = "(0, 4, 0)" if name == "start" else "(4, 6, 1)"
    expected = f"segment {segment} of sequence 0 is forbidden: {name}[{', '.join(map(str, at))}] is"
    with pytest.raises(ValueError, match=re.escape(expected)):
        crf(torch.zeros(1, 6, 2), [[(0, 4, 0), (4, 6, 1)]], **borders)


def test_layers_name_what_is_wrong():
    with pytest.raises(ValueError, match="too_long='splt'; there are"):
        semicrf.SemiCRF(2, 3, too_long="splt")
    with pytest.raises(ValueError, match="backend='gpu'; there are"):
        semicrf.LinearCRF(2, backend="gpu")
    crf, linear = semicrf.SemiCRF(3, 4), semicrf.LinearCRF(3)
    for layer in (crf, linear):
        with pytest.raises(ValueError, match=r"\(1, 5, 4\) .* C = 3, this layer's labels"):
            layer.decode(torch.zeros(1, 5, 4))
        for wrong, kind in (([[[0.0]]], "list"), (None, "NoneType"), (numpy.zeros(1), "ndarray")):
            with pytest.raises(TypeError, match=f"emissions must be a torch.Tensor, not {kind}"):
                layer.marginals(wrong)
        with pytest.raises(TypeError, match=r"bfloat16; .* emissions\.float\(\)"):
            layer.decode(torch.zeros(1, 5, 3, dtype=torch.bfloat16))
    emissions = torch.zeros(1, 5, 3)
    for labels in (torch.zeros(1, 5), torch.full((1, 5), math.nan), torch.ones(1, 5).bool()):
        with pytest.raises(TypeError, match=r"labels are torch\..*; they must be integers"):
            linear(emissions, labels)
    with pytest.raises(TypeError, match=r"labels must be a torch\.Tensor, not list"):
        linear(emissions, [[0] * 5])
    for wrong in (None, numpy.zeros((1, 4), int)):
        with pytest.raises(TypeError, match="segments must be a list of segmentations"):
            crf(emissions, wrong)
    with pytest.raises(TypeError, match=r"segments of sequence 0 must be a list .*NoneType"):
        crf(emissions, [None])
    with pytest.raises(ValueError, match=r"lasts 5 .* K = 4; .* with split_segments"):
        crf.marginals(emissions).segments([[(0, 5, 1)]])


def test_unknown_durations_are_refused():
    with pytest.raises(ValueError, match="there are: learned, uniform, geometric"):
        semicrf.SemiCRF(2, 3, durations="gamma")
    for mean in (0.5, math.nan, 4.0, [2.0, 5.0]):
        with pytest.raises(ValueError, match="durations are at least 1 and at most K = 3"):
            semicrf.SemiCRF(2, 3, durations="poisson", mean_duration=mean)
    with pytest.raises(ValueError, match=r"3 mean durations .* for 2 labels"):
        semicrf.SemiCRF(2, 3, durations="poisson", mean_duration=[1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="mean duration '4' must be a number"):
        semicrf.SemiCRF(2, 3, durations="poisson", mean_duration="4")
    with pytest.raises(TypeError, match=r"max_duration=3\.5, .* integers"):
        semicrf.SemiCRF(2, 3.5)
    for kind in ("learned", "uniform"):
        with pytest.raises(ValueError, match="those with a mean: geometric"):
            semicrf.SemiCRF(2, 3, durations=kind, mean_duration=2.0)


def test_state_survives_a_round_trip():
    crf = semicrf.SemiCRF(2, 4, durations="lognormal", mean_duration=[2.0, 3.0])
    other = semicrf.SemiCRF(2, 4, durations="lognormal")
    other.load_state_dict(crf.state_dict())
    assert torch.equal(other.durations(), crf.durations())
