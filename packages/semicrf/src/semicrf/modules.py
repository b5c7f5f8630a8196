"""nn.Modules that hold transitions and durations: emissions in, loss or segmentation out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from . import _ops, backends, functional
from ._inputs import check_form
from ._segments import Segmentation, merge_segments
from .durations import Durations
from .results import Marginals


class SemiCRF(nn.Module):
    """A semi-Markov CRF layer (Sarawagi & Cohen, NIPS 2004).

    Args:
        num_labels: C.
        max_duration: K, the longest segment.
        durations: "learned", "uniform", "geometric", "poisson", "negative_binomial" or
            "lognormal"; see `Durations`.
        mean_duration: initial mean of the parametric kinds, a number or one per label, in 1..K;
            the other kinds take none.
        self_transitions: whether neighbouring segments may have the same label. Without, a
            duration is a maximal run's length; with, runs longer than K are possible, and runs to
            be reported need `merge_segments`.
        too_long: what to do with a gold segment longer than K: "error" or "split".
        backend: as in `partition`.

    Emissions are (B, T, C), lengths (B,), segmentations lists of (start, end, label); begin and
    finish are (B, T, C) scores of segment borders. All methods raise as `partition` does. For what
    the layer has no method for, such as sampling, there are the functions on `scores(emissions)`.
    """

    def __init__(
        self,
        num_labels: int,
        max_duration: int,
        *,
        durations: str = "learned",
        mean_duration: float | list[float] | None = None,
        self_transitions: bool = True,
        too_long: str = "error",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        functional.check_too_long(too_long)
        backends.resolve(backend, "cpu")  # its name
        if too_long == "split" and not self_transitions:
            raise ValueError("too_long='split' makes neighbours of one label: self_transitions")
        self.too_long, self.backend = too_long, backend
        self.self_transitions = self_transitions
        self.durations = Durations(durations, num_labels, max_duration, mean_duration)
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))
        self.start = nn.Parameter(torch.zeros(num_labels))
        self.end = nn.Parameter(torch.zeros(num_labels))

    def scores(self, emissions: Tensor) -> dict[str, Tensor]:
        """Transitions, durations, start and end in the emissions' dtype, as `partition` wants."""
        classes = len(self.start)
        if not isinstance(emissions, Tensor):
            raise TypeError(f"emissions must be a torch.Tensor, not {type(emissions).__name__}")
        if emissions.dim() != 3 or emissions.shape[2] != classes:
            raise ValueError(
                f"emissions have shape {tuple(emissions.shape)} but must be (B, T, C) with "
                f"C = {classes}, this layer's labels"
            )
        transitions = self.transitions
        if not self.self_transitions:
            same = torch.eye(classes, dtype=torch.bool, device=transitions.device)
            transitions = transitions.masked_fill(same, -math.inf)
        named = {
            "transitions": transitions,
            "durations": self.durations(),
            "start": self.start,
            "end": self.end,
        }
        return {name: x.to(emissions.dtype) for name, x in named.items()}

    def forward(
        self,
        emissions: Tensor,
        segments: list[Segmentation] | Tensor,
        lengths: Tensor | None = None,
        *,
        begin: Tensor | None = None,
        finish: Tensor | None = None,
    ) -> Tensor:
        """Negative log-likelihood of the gold segmentations, averaged over the batch: a scalar.

        A gold segmentation that is forbidden, which `log_prob` gives -inf, is a ValueError.
        """
        named = self.scores(emissions)
        scores = check_form(emissions, lengths=lengths, begin=begin, finish=finish, **named)
        tiling = functional.tiling(segments, scores, self.too_long)
        return functional.mean_loss(tiling, scores, self.backend)

    def decode(
        self,
        emissions: Tensor,
        lengths: Tensor | None = None,
        *,
        begin: Tensor | None = None,
        finish: Tensor | None = None,
        merge: bool = False,
    ) -> list[Segmentation]:
        """Best segmentation of each sequence; `merge` joins neighbours of one label."""
        with torch.no_grad():
            best = functional.viterbi(
                emissions,
                lengths=lengths,
                begin=begin,
                finish=finish,
                backend=self.backend,
                **self.scores(emissions),
            ).segments
        return [merge_segments(s) for s in best] if merge else best

    def marginals(
        self,
        emissions: Tensor,
        lengths: Tensor | None = None,
        *,
        begin: Tensor | None = None,
        finish: Tensor | None = None,
    ) -> Marginals:
        """Posteriors of the batch; see `Marginals`."""
        return functional.marginals(
            emissions,
            lengths=lengths,
            begin=begin,
            finish=finish,
            backend=self.backend,
            **self.scores(emissions),
        )


class LinearCRF(nn.Module):
    """A linear-chain CRF layer (Lafferty, McCallum & Pereira, ICML 2001): a SemiCRF of K = 1.

    Args:
        num_labels: C.
        backend: as in `partition`.

    Emissions are (B, T, C), lengths (B,), labels (B, T) integers, ignored past the lengths.
    """

    def __init__(self, num_labels: int, *, backend: str = "auto") -> None:
        super().__init__()
        self.crf = SemiCRF(num_labels, 1, durations="uniform", backend=backend)

    def forward(self, emissions: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of the labels, averaged over the batch: a scalar."""
        named = self.crf.scores(emissions)
        scores = check_form(emissions, lengths=lengths, **named)
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels must be a torch.Tensor, not {type(labels).__name__}")
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise TypeError(f"labels are {labels.dtype}; they must be integers")
        if tuple(labels.shape) != tuple(emissions.shape[:2]):
            raise ValueError(
                f"labels have shape {tuple(labels.shape)} but must be (B, T) = "
                f"{tuple(emissions.shape[:2])}"
            )
        tiling = _ops.tiling_of_labels(labels, scores[3], emissions.shape[2])
        return functional.mean_loss(tiling, scores, self.crf.backend)

    def decode(self, emissions: Tensor, lengths: Tensor | None = None) -> list[list[int]]:
        """Best label of each position, a list per sequence."""
        return [[label for _, _, label in s] for s in self.crf.decode(emissions, lengths)]

    def marginals(self, emissions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, C) posterior probability of each position's label."""
        return self.crf.marginals(emissions, lengths).positions
