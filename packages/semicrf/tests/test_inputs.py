"""Bad input is an error that names what was wrong, what was expected and what there is."""

import functools
import math

import pytest
import torch
from problems import make, with_gradients

import semicrf

FUNCTIONS = [
    semicrf.partition,
    semicrf.marginals,
    semicrf.expected_durations,
    semicrf.viterbi,
    semicrf.sample,
    semicrf.entropy,
]
BACKENDS = ["reference", "cpu"]


def changed(**changes):
    return {**make(0, batch=2, length=4, classes=3, longest=2, ragged=False), **changes}


def with_value(name, value):
    x = changed()[name].clone()
    x.view(-1)[1] = value
    return {name: x}


BAD = {
    "K = 0": ({"durations": torch.zeros(0, 3).double()}, r"durations .*\(0, 3\).*\(K, C\)"),
    "T = 0": ({"emissions": torch.zeros(2, 0, 3).double()}, r"emissions .*\(2, 0, 3\)"),
    "two dimensions": ({"emissions": torch.zeros(4, 3).double()}, r"emissions .*\(B, T, C\)"),
    "transitions": ({"transitions": torch.zeros(3, 2).double()}, r"transitions .*\(3, 2\).*3, 3"),
    "durations": ({"durations": torch.zeros(2, 4).double()}, r"durations .*\(2, 4\)"),
    "start": ({"start": torch.zeros(2).double()}, r"start .*\(2,\).*\(3,\)"),
    "begin": ({"begin": torch.zeros(2, 5, 3).double()}, r"begin .*\(2, 5, 3\).*\(2, 4, 3\)"),
    "length 0": ({"lengths": torch.tensor([0, 4])}, r"lengths .*1\.\.4.*\[0, 4\]"),
    "length over T": ({"lengths": torch.tensor([5, 4])}, r"lengths .*\[5, 4\]"),
    "lengths of another batch": ({"lengths": torch.tensor([4])}, r"lengths .*\(1,\).*\(2,\)"),
    "NaN": (with_value("emissions", math.nan), r"emissions .*NaN, first at \(0, 0, 1\)"),
    "NaN duration": (with_value("durations", math.nan), "durations .*NaN"),
    "+inf": (with_value("transitions", math.inf), r"transitions .*\+inf"),
    "-inf emission": (with_value("emissions", -math.inf), "emissions .*-inf.*emission of -1e4"),
    "huge emission": (
        with_value("emissions", -1e15),
        r"sequence 0 reach 1e\+15 .* above 1e\+11 .*-1e4 is enough",
    ),
    "lowest emission": (
        with_value("emissions", torch.finfo(torch.float64).min),
        r"sequence 0 reach 1\.8e\+308",
    ),
    "all forbidden": (
        {"durations": torch.full((2, 3), -math.inf).double()},
        r"every segmentation of sequence\(s\) \[0, 1\]",
    ),
    "one forbidden": (
        {
            "transitions": torch.full((3, 3), -math.inf).double(),
            "lengths": torch.tensor([4, 2]),
        },
        r"every segmentation of sequence\(s\) \[0\]",
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", BAD)
def test_values(function, case, backend):
    changes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        function(**changed(**changes), backend=backend)


@pytest.mark.parametrize("function", [semicrf.score, semicrf.log_prob])
@pytest.mark.parametrize("case", [name for name in BAD if "forbidden" not in name])
def test_values_beside_a_segmentation(function, case):
    """Also those that the segmentation given does not touch, and a length that it goes up to."""
    changes, message = BAD[case]
    for last in ([], [(4, 5, 0)]):
        with pytest.raises(ValueError, match=message):
            function([[(0, 2, 0), (2, 4, 1), *last], [(0, 2, 2), (2, 4, 1)]], **changed(**changes))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_types(function):
    with pytest.raises(TypeError, match=r"durations is torch\.float32 but emissions are .*float64"):
        function(**changed(durations=torch.zeros(2, 3)))
    with pytest.raises(TypeError, match=r"emissions is torch\.float16"):
        function(**{k: x.half() if x is not None else x for k, x in changed().items()})
    with pytest.raises(TypeError, match=r"transitions must be a torch\.Tensor, not list"):
        function(**changed(transitions=[[0.0]]))
    for name in ("emissions", "transitions", "durations"):
        with pytest.raises(TypeError, match=rf"{name} must be a torch\.Tensor, not NoneType"):
            function(**changed(**{name: None}))
    with pytest.raises(TypeError, match=r"lengths are torch\.float32"):
        function(**changed(lengths=torch.ones(2)))
    for lengths in ("ab", [None, 4]):
        with pytest.raises(TypeError, match=r"lengths must be \(B,\) integers, not"):
            function(**changed(lengths=lengths))
    assert function(**changed(lengths=[4, 3])) is not None
    with pytest.raises(ValueError, match="start is on meta but emissions are on cpu"):
        function(**changed(start=torch.zeros(3, device="meta").double()))


def test_draws():
    for name, wrong in (("count", 2.5), ("generator", 3)):
        with pytest.raises(TypeError, match=f"{name} must be an? .*, not {type(wrong).__name__}"):
            semicrf.sample(**changed(), **{name: wrong})
    with pytest.raises(ValueError, match="count=0; it must be at least 1"):
        semicrf.sample(**changed(), count=0)


def test_backends():
    with pytest.raises(ValueError, match="there are: auto, reference, cpu, triton"):
        semicrf.partition(**changed(), backend="gpu")


def test_cpu_without_its_kernel_says_why(monkeypatch):
    from semicrf import cpu

    monkeypatch.setattr(cpu, "_library", lambda: None)
    for backend in ("cpu", "auto"):
        with pytest.raises(RuntimeError, match=r"kernel was not built .* C\+\+17 compiler"):
            semicrf.partition(**changed(), backend=backend)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([(0, 2, 0), (3, 4, 1)], "begins at 3 where 2 is expected"),
        ([(0, 2, 0), (1, 3, 1)], "begins at 1 where 2 is expected"),
        ([(0, 2, 0)], "end at 2, its length is 4"),
        ([(0, 2, 0), (2, 5, 1)], r"\(2, 5, 1\) of sequence 0 is not inside 0\.\.4"),
        ([(0, 2, 0), (2, 4, 3)], r"label outside 0\.\.2"),
        ([(0, 1, 0), (1, 4, 2)], r"\(1, 4, 2\) .* lasts 3 positions .* K = 2; .*split"),
        ([], "end at 0, its length is 4"),
    ],
)
def test_segmentations(segments, message):
    fine = [(0, 2, 0), (2, 4, 1)]
    for function in (semicrf.score, semicrf.log_prob):
        with pytest.raises(ValueError, match=message):
            function([segments, fine], **changed())
    with pytest.raises(ValueError, match="1 segmentations for a batch of 2"):
        semicrf.score([fine], **changed())


def test_segmentations_of_a_wrong_form():
    fine = [(0, 2, 0), (2, 4, 1)]
    with pytest.raises(ValueError, match=r"sequence 0 has \(0, 3\) for a segment"):
        semicrf.score([[(0, 3)], fine], **changed())
    with pytest.raises(ValueError, match=r"sequence 0 has 0 for a segment; .* list for each"):
        semicrf.score(fine, **changed())
    with pytest.raises(TypeError, match="must be integers"):
        semicrf.score([[(0, 2.5, 0)], fine], **changed())
    for wrong in (math.nan, None, "a"):
        with pytest.raises(TypeError, match="must be integers"):
            semicrf.score([[(wrong,) * 3]], **make(0, length=1))
    with pytest.raises(TypeError, match="more than start, end and label"):
        semicrf.score([[(0, 2, 0), (2, 4, [1])], fine], **changed())
    with pytest.raises(ValueError, match=r"shape \(2, 3\) but must be \(N, 4\)"):
        semicrf.score(torch.zeros(2, 3, dtype=torch.int64), **changed())
    packed = semicrf.pack_segments([fine, fine])
    with pytest.raises(ValueError, match="belongs to no sequence: there are 2"):
        semicrf.score(packed + torch.tensor([1, 0, 0, 0]), **changed())
    with pytest.raises(ValueError, match="comes after those of a later sequence"):
        semicrf.score(packed[[2, 3, 0, 1]], **changed())
    assert torch.equal(semicrf.score(packed, **changed()), semicrf.score([fine, fine], **changed()))


@pytest.mark.parametrize("longest", [0, -1])
def test_split_segments_into_nothing(longest):
    with pytest.raises(ValueError, match=f"longest={longest}; it must be at least 1"):
        semicrf.split_segments([(0, 5, 1)], longest)


def test_split_is_the_score_of_the_pieces():
    long, pieces = [(0, 1, 0), (1, 4, 2)], [(0, 1, 0), (1, 3, 2), (3, 4, 2)]
    split = semicrf.log_prob([long, long], **changed(), too_long="split")
    assert torch.equal(split, semicrf.log_prob([pieces, pieces], **changed()))
    with pytest.raises(ValueError, match="'error', 'split'"):
        semicrf.score([long, long], **changed(), too_long="cut")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("padding", [1e30, math.nan, math.inf, -math.inf])
def test_padding_is_ignored(padding, backend):
    problem = make(1, batch=3, length=9, longest=4)
    other = {k: None if x is None else x.clone() for k, x in problem.items()}
    for b, n in enumerate(problem["lengths"].tolist()):
        for name in ("emissions", "begin", "finish"):
            other[name][b, n:] = padding
    segments = semicrf.viterbi(**problem, backend=backend).segments
    assert semicrf.viterbi(**other, backend=backend).segments == segments
    for function in (
        semicrf.partition,
        semicrf.entropy,
        functools.partial(semicrf.log_prob, segments),
        lambda **p: semicrf.marginals(**p).positions.square().sum((1, 2)),
    ):
        function = functools.partial(function, backend=backend)
        value, gradients = with_gradients(function, problem)
        another, others = with_gradients(function, other)
        assert torch.equal(value, another)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("huge", [-1e8, -9.9e10])
def test_the_largest_emissions_taken_lose_nothing(backend, huge):
    """Just below the limit everything is as with -1e4; what is above it is refused."""
    problem = make(2, batch=2, length=40, classes=3, longest=9, ragged=False)
    other = {**problem, "emissions": problem["emissions"].clone()}
    problem["emissions"][:, 10, 0], other["emissions"][:, 10, 0] = -1e4, huge
    a, b = (semicrf.marginals(**p, backend=backend) for p in (problem, other))
    for name in ("log_partition", "positions", "begins", "durations"):
        torch.testing.assert_close(getattr(b, name), getattr(a, name), rtol=1e-4, atol=1e-4)
    function = functools.partial(semicrf.entropy, backend=backend)
    value, gradients = with_gradients(function, problem)
    another, others = with_gradients(function, other)
    torch.testing.assert_close(another, value, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-3)
    segments = semicrf.viterbi(**problem, backend=backend).segments
    assert semicrf.viterbi(**other, backend=backend).segments == segments


def test_emissions_of_1e4_pass_at_any_length():
    emissions = torch.full((1, 1_000_000, 2), 1e4)
    emissions[:, ::2, 0] = -1e4
    zeros = torch.zeros(2, 2)
    assert semicrf.partition(emissions, zeros, zeros).isfinite()
