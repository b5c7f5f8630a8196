"""The public functions. All take the same scores; see `partition` for shapes and meaning."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from . import _segments, backends
from ._inputs import check
from ._segments import Segmentation
from .results import Decoded, Marginals


def _eager(function):
    """Keep torch.compile out: arguments are checked by value, kernels run outside the graph.

    A compiled model calls the function as it is, with a graph break before and after.
    """
    return functools.wraps(function)(torch.compiler.disable(function))


@_eager
def partition(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """log Z: the log of the summed exponentiated scores of all segmentations.

    The score of a segmentation of positions 0..L-1 into segments [s, e) with labels c is the sum
    of the emissions of each position's label, `durations[e - s - 1, c]`, `begin[s, c]` and
    `finish[e - 1, c]` of each segment, `transitions[c, c']` of neighbours, `start` of the first
    and `end` of the last label. Scores are natural logarithms of unnormalised weights. Semi-Markov
    CRFs: Sarawagi & Cohen, NIPS 2004.

    Args:
        emissions: (B, T, C), finite, float32 or float64; the dtype and device of all scores.
        transitions: (C, C) as [from, to]. Here and below -inf forbids.
        durations: (K, C), row d - 1 for segments of d positions; K is the longest duration and
            may be above T.
        lengths: (B,) integers in 1..T; T for all where None. What lies past a length is ignored.
        start, end: (C,) for the first and the last label.
        begin, finish: (B, T, C), scored where a segment of a label begins or has its last position.
        backend: "auto", or "reference" (plain torch), "cpu" (compiled kernel), "triton" (GPU).

    Returns:
        (B,) of the scores' dtype, differentiable in all scores, once on "cpu" and "triton", any
        number of times on "reference".

    Raises:
        ValueError: shapes, devices or lengths do not fit, a score is NaN or +inf, an emission is
            infinite, or every segmentation of a sequence is forbidden.
        TypeError: a dtype does not fit.
        RuntimeError: the backend asked for cannot run; the message says why.
    """
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    return backends.choose(backend, p).partition(p).to(emissions.dtype)


@_eager
def score(
    segments: list[Segmentation],
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    too_long: str = "error",
    backend: str = "auto",
) -> Tensor:
    """Score of one segmentation per sequence.

    Args:
        segments: for each sequence a list of (start, end, label), end exclusive, that tiles it.
        too_long: what to do with a segment longer than K, which the model gives probability 0:
            "error", or "split" it from its left into pieces of K and a rest (its pieces then score
            as self-transitions).
        (others): as in `partition`; every backend scores by the same indexing.

    Returns:
        (B,) of the scores' dtype, differentiable in all scores.

    Raises:
        ValueError: a segmentation does not tile its sequence, or a segment is longer than K.
    """
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    backends.choose(backend, p)
    return _score(segments, p, too_long).to(emissions.dtype)


@_eager
def log_prob(
    segments: list[Segmentation],
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    too_long: str = "error",
    backend: str = "auto",
) -> Tensor:
    """Log probability of one segmentation per sequence, (B,): `score` - `partition`.

    exp(log_prob) sums to 1 over all segmentations. With too_long="split" it is the probability of
    the split segmentation. Arguments and errors as in `score`.
    """
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    log_partition = backends.choose(backend, p).partition(p)
    return (_score(segments, p, too_long) - log_partition).to(emissions.dtype)


def _score(segments: list[Segmentation], p, too_long: str) -> Tensor:
    t = _segments.table(segments, p.lengths, p.sizes, too_long=too_long)
    return _segments.score(p, t.to(p.emissions.device))


@_eager
def marginals(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    backend: str = "auto",
) -> Marginals:
    """Posteriors of positions, boundaries, segments, transitions and durations.

    Exact, by forward and backward recurrences, never a softmax of a gradient. Arguments and errors
    as in `partition`. The result is differentiable on backend="reference" and detached elsewhere.
    """
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    return backends.choose(backend, p).marginals(p)


@_eager
def expected_durations(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """(B, C) expected positions per expected segment of each label, NaN where it is impossible.

    Arguments and errors as in `partition`.
    """
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    return backends.choose(backend, p).marginals(p).expected_durations


@_eager
def viterbi(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    backend: str = "auto",
) -> Decoded:
    """The segmentation of highest score of each sequence, and that score (B,).

    Among equals the one with the lowest last label, then the shortest last segment, and so on to
    the left. Neighbours of one label stay apart: `merge_segments` joins them for reporting. The
    score carries no gradient: call `score` on the result. Arguments and errors as in `partition`.
    """
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    segments, best = backends.choose(backend, p).viterbi(p)
    return Decoded(segments, best.to(emissions.dtype))


@_eager
def sample(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    count: int = 1,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> list[list[Segmentation]]:
    """`count` independent exact draws from the posterior of each sequence: result[b][i].

    Args:
        generator: a CPU generator that the draws' seeds come from; torch's default where None.
            Backends draw the same segmentations from the same state, up to float rounding.
        (others): as in `partition`.
    """
    if count < 1:
        raise ValueError(f"count={count}; it must be at least 1")
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    shape = (emissions.shape[0], count)
    seeds = torch.randint(0, 2**63 - 1, shape, generator=generator, dtype=torch.int64)
    return backends.choose(backend, p).sample(p, seeds)


@_eager
def entropy(
    emissions: Tensor,
    transitions: Tensor,
    durations: Tensor,
    lengths: Tensor | None = None,
    *,
    start: Tensor | None = None,
    end: Tensor | None = None,
    begin: Tensor | None = None,
    finish: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """(B,) Shannon entropy in nats of the distribution over segmentations: log Z - E[score].

    The value costs a forward and a backward recurrence in float64 on "cpu". Its gradient is a
    second derivative of log Z and is always computed by the reference: exact, but at O(T K C) time
    and memory in torch. Arguments and errors as in `partition`.
    """
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    return backends.choose(backend, p).entropy(p)
