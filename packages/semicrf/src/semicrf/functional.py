"""The public functions. All take the same scores; see `partition` for shapes and meaning."""

from __future__ import annotations

import numbers

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import _ops, _segments, backends, reference
from ._inputs import Scores, blank_padding, check, check_form, check_values
from ._segments import Segmentation
from .results import Decoded, Marginals

# torch.compile leaves these to Python: they loop over positions, or make lists of segments.
_eager = torch.compiler.disable
_rows_of_lists = _eager(_segments.rows_of)
_reference_partition = _eager(lambda scores: reference.partition(check_values(*scores)))
_reference_marginals = _eager(lambda scores: reference.marginals(check_values(*scores)))
_reference_entropy = _eager(lambda scores: reference.entropy(check_values(*scores)))


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
        (B,) of the scores' dtype, differentiable in all scores, twice on "cpu" and "triton", any
        number of times on "reference".

    Raises:
        ValueError: shapes, devices or lengths do not fit, a score is NaN or +inf, an emission is
            infinite, the emissions of a sequence are too large to be summed (`MOST_SUMMED`: 1e11
            over its positions), or every segmentation of a sequence is forbidden.
        TypeError: a dtype does not fit.
        RuntimeError: the backend asked for cannot run; the message says why.
    """
    scores = check_form(emissions, transitions, durations, lengths, start, end, begin, finish)
    return _partition(scores, backend).to(emissions.dtype)


def _differentiable(scores: Scores) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in scores)


def _refuse_forward_mode(scores: Scores) -> None:
    """RuntimeError where a score is a dual tensor: torch would drop what an operator lacks."""
    if torch.compiler.is_compiling():
        return
    if any(x is not None and forward_ad.unpack_dual(x).tangent is not None for x in scores):
        raise RuntimeError(
            "the kernels have no forward-mode derivatives (torch.func.jvp, dual tensors); use "
            'backward(), or for partition and log_prob backend="reference"'
        )


def _partition(scores: Scores, backend: str) -> Tensor:
    """log Z, (B,) float64."""
    backend = backends.resolve(backend, scores[0].device.type)
    if backend == "reference":
        return _reference_partition(scores)
    _refuse_forward_mode(scores)
    if _differentiable(scores):
        return _ops.posteriors(*scores, False, backend)[0]
    return _ops.log_partition(*scores, backend)


def score(
    segments: list[Segmentation] | Tensor,
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
        segments: for each sequence a list of (start, end, label), end exclusive, that tiles it;
            or all of them as one tensor, as `pack_segments` gives it.
        too_long: what to do with a segment longer than K, which the model gives probability 0:
            "error", or "split" it from its left into pieces of K and a rest (its pieces then score
            as self-transitions).
        (others): as in `partition`; every backend scores by the same indexing.

    Returns:
        (B,) of the scores' dtype, differentiable in all scores.

    Raises:
        ValueError: a segmentation does not tile its sequence, a segment is longer than K, or as in
            `partition`; but a forbidden segmentation merely scores -inf.
        TypeError: as in `partition`, or segments hold something else than integers.
    """
    scores = check_form(emissions, transitions, durations, lengths, start, end, begin, finish)
    backends.resolve(backend, emissions.device.type)
    found = tiling(segments, scores, too_long)
    return _segments.score(scores, *found).to(emissions.dtype)


def log_prob(
    segments: list[Segmentation] | Tensor,
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

    exp(log_prob) sums to 1 over all segmentations; a forbidden one has -inf. With too_long="split"
    it is the probability of the split segmentation. Arguments and errors as in `score`.
    """
    scores = check_form(emissions, transitions, durations, lengths, start, end, begin, finish)
    return log_prob_of_tiling(tiling(segments, scores, too_long), scores, backend)


def log_prob_of_tiling(found: tuple[Tensor, Tensor], scores: Scores, backend: str) -> Tensor:
    """`log_prob` of what `tiling` gives, from checked scores."""
    difference = _segments.score(scores, *found) - _partition(scores, backend)
    return difference.to(scores[0].dtype)


def mean_loss(found: tuple[Tensor, Tensor], scores: Scores, backend: str) -> Tensor:
    """Minus the mean `log_prob` of what `tiling` gives; ValueError where one is -inf."""
    log_prob = log_prob_of_tiling(found, scores, backend)
    plain = [x if x is None else x.detach() for x in scores]
    if torch.compiler.is_compiling():  # only an operator's own code sees values then
        return -_ops.check_allowed(log_prob, *found, *plain).mean()
    _segments.check_allowed(log_prob.detach(), *found, plain)
    return -log_prob.mean()


def check_too_long(too_long: str) -> None:
    if too_long not in ("error", "split"):
        raise ValueError(f"too_long={too_long!r}; there are: 'error', 'split'")


def tiling(
    segments: list[Segmentation] | Tensor, scores: Scores, too_long: str
) -> tuple[Tensor, Tensor]:
    """Labels and durations of a batch's segmentations, as `_ops.tiling` gives them."""
    check_too_long(too_long)
    emissions = scores[0]
    rows_of = _segments.rows_of if isinstance(segments, Tensor) else _rows_of_lists
    rows = rows_of(segments, emissions.shape[0], emissions.device)
    return _ops.tiling(rows, *(x if x is None else x.detach() for x in scores), too_long)


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
    as in `partition`. Differentiable in all scores but for `before`, `after` and what comes from
    them, `segments()`, which are so on backend="reference" only.
    """
    scores = check_form(emissions, transitions, durations, lengths, start, end, begin, finish)
    backend = backends.resolve(backend, emissions.device.type)
    if backend == "reference":
        return _reference_marginals(scores)
    _refuse_forward_mode(scores)
    total, positions, begins, ends, transitions, counts, before, after = _ops.posteriors(
        *scores, True, backend
    )
    if scores[3] is None:
        lengths = torch.full_like(total, emissions.shape[1], dtype=torch.int64)
    else:
        lengths = scores[3]
    return Marginals(
        log_partition=total.to(emissions.dtype),
        positions=positions,
        begins=begins,
        ends=ends,
        transitions=transitions.to(emissions.dtype),
        durations=counts,
        lengths=lengths,
        before=before.detach(),
        after=(after - total[:, None, None]).detach(),
        duration_scores=durations.detach().double(),
    )


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
    return marginals(
        emissions,
        transitions,
        durations,
        lengths,
        start=start,
        end=end,
        begin=begin,
        finish=finish,
        backend=backend,
    ).expected_durations


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
    if not isinstance(count, numbers.Integral):
        raise TypeError(f"count must be an integer, not {type(count).__name__}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, not {type(generator).__name__}")
    if count < 1:
        raise ValueError(f"count={count}; it must be at least 1")
    p = check(emissions, transitions, durations, lengths, start, end, begin, finish)
    shape = (emissions.shape[0], count)
    seeds = torch.randint(0, 2**63 - 1, shape, generator=generator, dtype=torch.int64)
    return backends.choose(backend, p).sample(p, seeds)


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

    In float64 throughout. Differentiable in all scores, at a few times the cost of the value.
    Arguments and errors as in `partition`.
    """
    scores = check_form(emissions, transitions, durations, lengths, start, end, begin, finish)
    backend = backends.resolve(backend, emissions.device.type)
    if backend == "reference":
        return _reference_entropy(scores)
    _refuse_forward_mode(scores)
    # The difference of two large numbers; smaller ones once the largest emission of a position is
    # taken out of every segmentation's score, and so out of both.
    emissions, transitions, durations, lengths, *others = (
        x if x is None or x is scores[3] else x.double() for x in scores
    )
    start, end, begin, finish = others
    if lengths is not None:  # what lies past them may be NaN, also times 0 occurrences
        emissions, begin, finish = (
            x if x is None else blank_padding(x, lengths) for x in (emissions, begin, finish)
        )
    emissions = emissions - torch.nan_to_num(emissions.detach()).amax(2, keepdim=True)
    exact = (emissions, transitions, durations, lengths, start, end, begin, finish)
    total, positions, begins, ends, joined, counts, _, _ = _ops.posteriors(*exact, False, backend)
    expected = _expected(_without_noise(emissions, positions), positions)
    expected = expected + _expected(transitions, joined)
    expected = expected + _expected(durations, counts)
    if begin is not None:
        expected = expected + _expected(begin, begins)
    if finish is not None:
        expected = expected + _expected(finish, ends)
    if start is not None:
        expected = expected + _expected(start, begins[:, 0])
    if end is not None:
        last = emissions.shape[1] - 1 if lengths is None else lengths - 1
        rows = torch.arange(len(total), device=total.device)
        expected = expected + _expected(end, ends[rows, last])
    return (total - expected).to(scores[0].dtype)


def _without_noise(centred: Tensor, positions: Tensor) -> Tensor:
    """Centred emissions, 0 for a label buried at its position but for rounding.

    `positions` are differences of sums whose logs are as large as the summed emissions, which
    leaves something where the truth is 0: nothing, until it is multiplied by -1e9.
    """
    rounding = 2.0**-48 * centred.detach().amin(2).sum(1).neg()[:, None, None]
    buried = (centred.detach() < -1e5) & (positions.detach() < rounding)
    return torch.where(buried, 0.0, centred)


def _expected(scores: Tensor, counts: Tensor) -> Tensor:
    """(B,) sums of scores times expected counts (B, ...); -inf times 0 occurrences is 0."""
    terms = torch.where(torch.isneginf(scores), 0.0, scores) * counts
    return _segments.ordered_sum(terms.flatten(1))
