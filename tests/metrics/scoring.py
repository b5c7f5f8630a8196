"""Scores of plain matrices, for the tests."""

import numpy as np

from lacuna import metrics
from lacuna.metrics.pieces import Piece
from lacuna.metrics.registry import Undefined


def pieces(truth, prediction, hidden, visible, space="counts", step=None):
    """The hidden entries of dense (cells, genes) matrices, `step` cells at a time."""
    step = step or len(truth)
    for start in range(0, len(truth), step):
        here = slice(start, start + step)
        mask = hidden[here]
        indptr = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
        yield Piece(
            indptr,
            np.nonzero(mask)[1],
            truth[here][mask],
            prediction[here][mask],
            visible[here],
            truth.shape[1],
            space,
        )


def score(name, truth, prediction, hidden=None, visible=None, space="counts", step=None):
    """One metric's value. Raises `Undefined` where it has none."""
    hidden = np.ones(truth.shape, dtype=bool) if hidden is None else hidden
    visible = np.full(len(truth), 1000.0) if visible is None else visible
    metric = metrics.of_task("reconstruction")[name]
    accumulator = metric.needs.shared.accumulator()
    for piece in pieces(truth, prediction, hidden, visible, space, step):
        accumulator.update(piece)
    return metric.function(metric.needs.view(accumulator.result()))


def defined(name, *args, **kwargs):
    """As `score`, None where it is undefined."""
    try:
        return score(name, *args, **kwargs)
    except Undefined:
        return None
