"""Segmentations: lists of (start, end, label), end exclusive, checked and turned into tensors."""

from __future__ import annotations

import itertools

import numpy
import torch
from torch import Tensor

from ._inputs import Scores

Segmentation = list[tuple[int, int, int]]


def split_segments(segmentation: Segmentation, longest: int) -> Segmentation:
    """Cut each segment longer than `longest` from its left into pieces of `longest` and a rest.

    >>> split_segments([(0, 5, 1)], 2)
    [(0, 2, 1), (2, 4, 1), (4, 5, 1)]
    """
    if longest < 1:
        raise ValueError(f"longest={longest}; it must be at least 1")
    pieces: Segmentation = []
    for start, end, label in segmentation:
        cuts = [*range(start, end, longest), end]
        pieces += [(s, e, label) for s, e in itertools.pairwise(cuts)]
    return pieces


def merge_segments(segmentation: Segmentation) -> Segmentation:
    """Join neighbours of one label: what to report as durations where labels may follow themselves.

    >>> merge_segments([(0, 2, 1), (2, 3, 1), (3, 4, 0)])
    [(0, 3, 1), (3, 4, 0)]
    """
    merged: Segmentation = []
    for start, end, label in segmentation:
        if merged and merged[-1][2] == label and merged[-1][1] == start:
            start = merged.pop()[0]
        merged.append((start, end, label))
    return merged


def pack_segments(segments: list[Segmentation]) -> Tensor:
    """Segmentations as one (N, 4) int64 tensor of rows (sequence, start, end, label).

    Every function that takes segmentations takes this form as well: it is quicker where the same
    ones are used again and again, and torch.compile does not look at each of its numbers.

    >>> pack_segments([[(0, 3, 1)], [(0, 1, 0), (1, 3, 1)]]).tolist()
    [[0, 0, 3, 1], [1, 0, 1, 0], [1, 1, 3, 1]]
    """
    for b, segmentation in enumerate(segments):
        if not hasattr(segmentation, "__iter__"):
            raise TypeError(
                f"segments of sequence {b} must be a list of (start, end, label), "
                f"not {type(segmentation).__name__}"
            )
        for segment in segmentation:
            if not hasattr(segment, "__len__") or len(segment) != 3:
                raise ValueError(
                    f"sequence {b} has {segment!r} for a segment; it must be (start, end, label), "
                    "in a list for each sequence"
                )
    rows = [(b, *segment) for b, segmentation in enumerate(segments) for segment in segmentation]
    if not rows:
        return torch.zeros(0, 4, dtype=torch.int64)
    try:
        packed = numpy.array(rows)
    except ValueError as error:  # sequences among the numbers
        raise TypeError("segments hold more than start, end and label, integers") from error
    if packed.dtype.kind not in "iu":
        raise TypeError(f"segments hold {packed.dtype}; start, end and label must be integers")
    return torch.as_tensor(packed.astype(numpy.int64))


def rows_of(segments: list[Segmentation] | Tensor, batch: int, device: torch.device) -> Tensor:
    """The packed form of either form, (N, 4) int64."""
    if not isinstance(segments, list | tuple | Tensor):
        raise TypeError(
            "segments must be a list of segmentations, or a tensor as pack_segments makes it, "
            f"not {type(segments).__name__}"
        )
    if not isinstance(segments, Tensor):
        if len(segments) != batch:
            raise ValueError(f"{len(segments)} segmentations for a batch of {batch} sequences")
        segments = pack_segments(segments)
    if segments.dim() != 2 or segments.shape[1] != 4:
        raise ValueError(
            f"segments have shape {tuple(segments.shape)} but must be (N, 4), rows of "
            "(sequence, start, end, label) as pack_segments makes them"
        )
    if segments.is_floating_point() or segments.dtype == torch.bool:
        raise TypeError(f"segments are {segments.dtype}; they must be integers")
    return segments.to(device=device, dtype=torch.int64)


def check_rows(
    rows: Tensor, lengths: Tensor, sizes: tuple[int, int, int, int], *, tile: bool
) -> None:
    """ValueError that names the first segment that does not fit.

    Args:
        rows: (N, 4) as `pack_segments` makes them.
        sizes: (B, T, C, K).
        tile: whether the segments must cover 0..length-1 without gap or overlap, in order.
    """
    batch, _, classes, longest = sizes
    owner, start, end, label = rows.unbind(1)
    foreign = (owner < 0) | (owner >= batch)
    length = lengths[owner.clamp(0, batch - 1)]
    same = owner[1:] == owner[:-1]
    at = torch.cat([end.new_zeros(1), torch.where(same, end[:-1], 0)])[: len(rows)]
    before = torch.cat([owner.new_zeros(1), owner[:-1]])[: len(rows)]
    problems = {
        "belongs to no sequence: there are {batch}": foreign,
        "comes after those of a later sequence": owner < before,
        "is not inside 0..{length} or is empty": (start < 0) | (start >= end) | (end > length),
        "has a label outside 0..{last_label}": (label < 0) | (label >= classes),
        "lasts {duration} positions but durations end at K = {longest}; raise K, or cut it with "
        + ("too_long='split'" if tile else "split_segments"): end - start > longest,
    }
    if tile:
        problems["begins at {start} where {at} is expected: not a tiling"] = start != at
    wrong = torch.stack(list(problems.values()))
    if wrong.any():
        row = int(wrong.any(0).nonzero()[0])
        what = list(problems)[int(wrong[:, row].nonzero()[0])]
        b, s, e, c = rows[row].tolist()
        text = what.format(
            batch=batch, length=int(length[row]), last_label=classes - 1, duration=e - s,
            longest=longest, start=s, at=int(at[row]),
        )  # fmt: skip
        raise ValueError(f"segment ({s}, {e}, {c}) of sequence {b} {text}")
    if tile:
        reached = torch.zeros_like(lengths)
        reached = reached.scatter_reduce(0, owner, end, "amax")
        short = (reached != lengths).nonzero().flatten().tolist()
        if short:
            b = short[0]
            at, length = int(reached[b]), int(lengths[b])
            raise ValueError(f"segments of sequence {b} end at {at}, its length is {length}")


def tiling(
    rows: Tensor,
    lengths: Tensor,
    sizes: tuple[int, int, int, int],
    *,
    too_long: str = "error",
) -> tuple[Tensor, Tensor]:
    """A batch's segmentations position by position.

    Args:
        rows, sizes: as in `check_rows`.
        lengths: (B,) in 1..T.
        too_long: what to do with a segment longer than K: "error" or "split".

    Returns:
        The label of each position, (B, T) int64, -1 past a length, and the duration of the segment
        that begins at each position, (B, T) int64, 0 where none does.
    """
    batch, longest, _, most = sizes
    device = rows.device
    if too_long == "split":
        owner, start, end, label = rows.unbind(1)
        pieces = ((end - start + most - 1) // most).clamp(min=1)
        index = torch.arange(int(pieces.sum()), device=device)
        index = index - torch.repeat_interleave(pieces.cumsum(0) - pieces, pieces)
        rows = torch.repeat_interleave(rows, pieces, 0)
        start = rows[:, 1] + index * most
        end = torch.minimum(start + most, rows[:, 2])
        rows = torch.stack([rows[:, 0], start, end, rows[:, 3]], 1)
    check_rows(rows, lengths, sizes, tile=True)
    owner, start, end, label = rows.unbind(1)
    durations = torch.zeros(batch, longest, dtype=torch.int64, device=device)
    durations[owner, start] = end - start
    # Segments tile: positions of a sequence come one after another.
    labels = torch.full((batch, longest), -1, dtype=torch.int64, device=device)
    inside = torch.arange(longest, device=device) < lengths[:, None]
    labels[inside] = torch.repeat_interleave(label, end - start)
    return labels, durations


def tiling_of_labels(labels: Tensor, lengths: Tensor | None, classes: int) -> tuple[Tensor, Tensor]:
    """`tiling` of segments of one position each, from labels (B, T) that count within lengths."""
    labels = labels.to(torch.int64)
    inside = torch.ones_like(labels, dtype=torch.bool)
    if lengths is not None:
        inside = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
    wrong = inside & ((labels < 0) | (labels >= classes))
    if wrong.any():
        b, t = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"label {int(labels[b, t])} at position {t} of sequence {b} is outside 0..{classes - 1}"
        )
    return torch.where(inside, labels, -1), inside.to(torch.int64)


def check_allowed(log_prob: Tensor, labels: Tensor, spans: Tensor, scores: Scores) -> None:
    """ValueError that names the first forbidden segment where log_prob (B,) is -inf."""
    impossible = torch.isneginf(log_prob)
    if not impossible.any():
        return
    b = int(impossible.nonzero()[0])
    _, transitions, durations, _, start, end, begin, finish = scores
    label, span = labels[b].tolist(), spans[b].tolist()
    length = sum(c >= 0 for c in label)
    for s in range(length):
        if span[s] == 0:
            continue
        e, c = s + span[s], label[s]
        counted = {f"durations[{e - s - 1}, {c}]": durations[e - s - 1, c]}
        if begin is not None:
            counted[f"begin[{b}, {s}, {c}]"] = begin[b, s, c]
        if finish is not None:
            counted[f"finish[{b}, {e - 1}, {c}]"] = finish[b, e - 1, c]
        if s > 0:
            counted[f"transitions[{label[s - 1]}, {c}]"] = transitions[label[s - 1], c]
        if s == 0 and start is not None:
            counted[f"start[{c}]"] = start[c]
        if e == length and end is not None:
            counted[f"end[{c}]"] = end[c]
        culprit = next((name for name, x in counted.items() if torch.isneginf(x)), None)
        if culprit:
            again = s > 0 and label[s - 1] == c and culprit.startswith("transitions")
            raise ValueError(
                f"segment ({s}, {e}, {c}) of sequence {b} is forbidden: {culprit} is -inf"
                + ("; join neighbours of one label with merge_segments" if again else "")
            )


def score(scores: Scores, labels: Tensor, spans: Tensor) -> Tensor:
    """Score of one segmentation per sequence, (B,), in float64; differentiable.

    Args:
        scores: emissions, transitions, durations, lengths, start, end, begin, finish.
        labels, spans: of `tiling`.
    """
    emissions, transitions, durations, _, start, end, begin, finish = scores
    inside, opens = labels >= 0, spans > 0
    label = labels.clamp(min=0)
    goes_on = torch.nn.functional.pad(inside[:, 1:] & ~opens[:, 1:], (0, 1))

    def at(x: Tensor) -> Tensor:
        return x.gather(2, label[:, :, None])[:, :, 0].double()

    # What is indexed more than once is so in float64, where torch sums gradients in one order.
    parts = [
        torch.where(inside, at(emissions), 0.0),
        torch.where(opens, durations.double()[(spans - 1).clamp(min=0), label], 0.0),
    ]
    if emissions.shape[1] > 1:
        inner = transitions.double()[label[:, :-1], label[:, 1:]]
        parts.append(torch.nn.functional.pad(torch.where(opens[:, 1:], inner, 0.0), (1, 0)))
    if begin is not None:
        parts.append(torch.where(opens, at(begin), 0.0))
    if finish is not None:
        parts.append(torch.where(inside & ~goes_on, at(finish), 0.0))
    total = ordered_sum(sum(parts))
    if start is not None:
        total = total + start.double()[label[:, 0]]
    if end is not None:
        last = inside.sum(1) - 1
        total = total + end.double()[label.gather(1, last[:, None])[:, 0]]
    return total


def ordered_sum(x: Tensor) -> Tensor:
    """(B,) sums of (B, T), in one order whatever the number of threads.

    torch shares a sum among its threads where it has one result and many terms.
    """
    x = torch.nn.functional.pad(x, (0, -x.shape[1] % 4096))
    return x.reshape(x.shape[0], -1, 4096).sum(2).sum(1)
