"""Segmentations: lists of (start, end, label), end exclusive, checked and turned into indices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ._inputs import Potentials

Segmentation = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Table:
    """All segments of a batch one after another; every attribute is int64 of one length."""

    batch: Tensor
    start: Tensor
    end: Tensor
    label: Tensor

    def to(self, device: torch.device) -> Table:
        return Table(*(getattr(self, field.name).to(device) for field in fields(self)))


def split_segments(segmentation: Segmentation, longest: int) -> Segmentation:
    """Cut each segment longer than `longest` from its left into pieces of `longest` and a rest.

    >>> split_segments([(0, 5, 1)], 2)
    [(0, 2, 1), (2, 4, 1), (4, 5, 1)]
    """
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


def table(
    segments: list[Segmentation],
    lengths: Tensor,
    sizes: tuple[int, int, int, int],
    *,
    too_long: str = "error",
    tile: bool = True,
) -> Table:
    """Indices of all segments of a batch, or ValueError that names the sequence and the segment.

    Args:
        segments: a segmentation per sequence.
        sizes: (B, T, C, K).
        too_long: what to do with a segment longer than K: "error" or "split".
        tile: whether the segments must cover 0..length-1 without gap or overlap.
    """
    batch, _, classes, longest = sizes
    if too_long not in ("error", "split"):
        raise ValueError(f"too_long={too_long!r}; there are: 'error', 'split'")
    if len(segments) != batch:
        raise ValueError(f"{len(segments)} segmentations for a batch of {batch} sequences")
    rows: list[tuple[int, int, int, int]] = []
    for b, (segmentation, length) in enumerate(zip(segments, lengths.tolist(), strict=True)):
        if too_long == "split":
            segmentation = split_segments(segmentation, longest)
        at = 0
        for segment in segmentation:
            start, end, label = (int(x) for x in segment)
            where = f"segment ({start}, {end}, {label}) of sequence {b}"
            if not 0 <= start < end <= length:
                raise ValueError(f"{where} is not inside 0..{length} or is empty")
            if not 0 <= label < classes:
                raise ValueError(f"{where} has a label outside 0..{classes - 1}")
            if end - start > longest:
                raise ValueError(
                    f"{where} lasts {end - start} positions but durations end at K = {longest}; "
                    "raise K, or cut it with too_long='split'"
                )
            if tile and start != at:
                raise ValueError(f"{where} begins at {start} where {at} is expected: not a tiling")
            at = end
            rows.append((b, start, end, label))
        if tile and at != length:
            raise ValueError(f"segments of sequence {b} end at {at}, its length is {length}")
    columns = torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).unbind(1)
    return Table(*columns)


def score(p: Potentials, t: Table) -> Tensor:
    """Score of one segmentation per sequence, (B,), in float64; differentiable.

    Gathers by index only: the backward pass of indexing sums duplicates in a fixed order, so
    gradients are deterministic on a GPU as well.
    """
    batch, longest, _, _ = p.sizes
    device = p.emissions.device
    first = t.start == 0
    inner = (~first).nonzero().flatten()  # segments with a left neighbour, which is the row above
    last = torch.cat([first[1:], torch.ones_like(first[:1])])

    label_at = torch.repeat_interleave(t.label, t.end - t.start)
    batch_at = torch.repeat_interleave(t.batch, t.end - t.start)
    position = torch.arange(longest, device=device).expand(batch, longest)
    position = position[position < p.lengths[:, None]]

    parts = [
        (batch_at, p.emissions[batch_at, position, label_at]),
        (t.batch, p.durations[t.end - t.start - 1, t.label]),
        (t.batch[inner], p.transitions[t.label[inner - 1], t.label[inner]]),
    ]
    if p.begin is not None:
        parts.append((t.batch, p.begin[t.batch, t.start, t.label]))
    if p.finish is not None:
        parts.append((t.batch, p.finish[t.batch, t.end - 1, t.label]))
    if p.start is not None:
        parts.append((t.batch[first], p.start[t.label[first]]))
    if p.end is not None:
        parts.append((t.batch[last], p.end[t.label[last]]))

    total = torch.zeros(batch, dtype=torch.float64, device=device)
    for owner, values in parts:
        sizes = torch.bincount(owner, minlength=batch).tolist()
        sums = [x.sum() for x in values.double().split(sizes)]
        total = total + torch.stack(sums)
    return total
