"""Exact semi-Markov conditional random fields for long sequences and long segments."""

from ._segments import Segmentation, merge_segments, pack_segments, split_segments
from .durations import Durations
from .functional import (
    entropy,
    expected_durations,
    log_prob,
    marginals,
    partition,
    sample,
    score,
    viterbi,
)
from .modules import LinearCRF, SemiCRF
from .results import Decoded, Marginals

__version__ = "0.1.0"

__all__ = [
    "Decoded",
    "Durations",
    "LinearCRF",
    "Marginals",
    "Segmentation",
    "SemiCRF",
    "entropy",
    "expected_durations",
    "log_prob",
    "marginals",
    "merge_segments",
    "pack_segments",
    "partition",
    "sample",
    "score",
    "split_segments",
    "viterbi",
]
