"""What `marginals` and `viterbi` return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ._segments import Segmentation, check_rows, rows_of


class Decoded(NamedTuple):
    """The best segmentation of each sequence and its score, (B,)."""

    segments: list[Segmentation]
    score: Tensor


@dataclass(frozen=True)
class Marginals:
    """Exact posteriors of a batch. Entries past a sequence's length are 0.

    Attributes:
        log_partition: (B,) log Z.
        positions: (B, T, C) probability that position t has label c.
        begins: (B, T, C) probability that a segment of label c begins at t.
        ends: (B, T, C) probability that a segment of label c has its last position at t.
        transitions: (B, C, C) expected number of neighbouring segments labelled (from, to).
        durations: (B, K, C) expected number of segments of duration d = row + 1 and label c.
        lengths: (B,).
        before, after: (B, T, C) float64 log weights of everything left of a segment that begins
            at t and, over Z, right of one that has its last position at t, its own emissions
            included: before + duration score + after is the log posterior of a segment.
            Undefined past a sequence's length.
        duration_scores: (K, C) float64.
    """

    log_partition: Tensor
    positions: Tensor
    begins: Tensor
    ends: Tensor
    transitions: Tensor
    durations: Tensor
    lengths: Tensor
    before: Tensor
    after: Tensor
    duration_scores: Tensor

    @property
    def boundaries(self) -> Tensor:
        """(B, T) probability that a segment of any label begins at t."""
        return self.begins.sum(-1)

    @property
    def duration_distribution(self) -> Tensor:
        """(B, K, C) posterior of the duration of a segment of label c; 0 where c is impossible."""
        count = self.durations.sum(1, keepdim=True)
        return torch.where(count > 0, self.durations / count, 0.0)

    @property
    def expected_durations(self) -> Tensor:
        """(B, C) expected positions per expected segment of each label; NaN where impossible."""
        d = torch.arange(1, self.durations.shape[1] + 1, device=self.durations.device)
        counts = self.durations.double()
        mean = (counts * d[:, None]).sum(1) / counts.sum(1)
        return mean.to(self.durations.dtype)

    def segments(self, segments: list[Segmentation] | Tensor) -> list[Tensor]:
        """Posterior probability of each given segment, a vector per sequence.

        Args:
            segments: for each sequence a list of (start, end, label), end exclusive, or all of
                them as `pack_segments` gives them; they need not tile it.
        """
        sizes = (*self.before.shape, self.duration_scores.shape[0])
        rows = rows_of(segments, sizes[0], self.before.device)
        check_rows(rows, self.lengths, sizes, tile=False)
        owner, start, end, label = rows.unbind(1)
        log_probability = (
            self.before[owner, start, label]
            + self.after[owner, end - 1, label]
            + self.duration_scores[end - start - 1, label]
        )
        probability = log_probability.exp().to(self.log_partition.dtype)
        return list(probability.split(torch.bincount(owner, minlength=sizes[0]).tolist()))
