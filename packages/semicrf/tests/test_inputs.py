"""Bad input is an error that names what was wrong, what was expected and what there is."""

import math

import pytest
import torch
from problems import make

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
    "-inf emission": (with_value("emissions", -math.inf), "emissions .*-inf"),
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
    with pytest.raises(TypeError, match=r"lengths are torch\.float32"):
        function(**changed(lengths=torch.ones(2)))
    with pytest.raises(ValueError, match="start is on meta but emissions are on cpu"):
        function(**changed(start=torch.zeros(3, device="meta").double()))


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
    with pytest.raises(ValueError, match=r"shape \(2, 3\) but must be \(N, 4\)"):
        semicrf.score(torch.zeros(2, 3, dtype=torch.int64), **changed())
    packed = semicrf.pack_segments([fine, fine])
    with pytest.raises(ValueError, match="belongs to no sequence: there are 2"):
        semicrf.score(packed + torch.tensor([1, 0, 0, 0]), **changed())
    with pytest.raises(ValueError, match="comes after those of a later sequence"):
        semicrf.score(packed[[2, 3, 0, 1]], **changed())
    assert torch.equal(semicrf.score(packed, **changed()), semicrf.score([fine, fine], **changed()))


def test_split_is_the_score_of_the_pieces():
    long, pieces = [(0, 1, 0), (1, 4, 2)], [(0, 1, 0), (1, 3, 2), (3, 4, 2)]
    split = semicrf.log_prob([long, long], **changed(), too_long="split")
    assert torch.equal(split, semicrf.log_prob([pieces, pieces], **changed()))
    with pytest.raises(ValueError, match="'error', 'split'"):
        semicrf.score([long, long], **changed(), too_long="cut")


def test_padding_is_ignored():
    problem = make(1, batch=3, length=9, longest=4)
    lengths = problem["lengths"]
    other = {k: None if x is None else x.clone() for k, x in problem.items()}
    for b, n in enumerate(lengths.tolist()):
        for name in ("emissions", "begin", "finish"):
            other[name][b, n:] = 1e30
    for backend in BACKENDS:
        assert torch.equal(
            semicrf.partition(**problem, backend=backend),
            semicrf.partition(**other, backend=backend),
        )
    assert semicrf.viterbi(**problem).segments == semicrf.viterbi(**other).segments
