"""What a model chooses by: entries that it does not learn from, and the epoch that was best on what
it does not learn from. No library that trains is imported."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse


def hold_out(
    hidden: sparse.csr_matrix, fraction: float, rng: np.random.Generator
) -> sparse.csr_matrix:
    """A random set of visible entries, CSR bool (cells, genes): draws of a `fraction` of all
    entries, and of 100 at least, less those that are `hidden`."""
    draw = rng.integers(hidden.shape, size=(max(100, round(fraction * np.prod(hidden.shape))), 2))
    held = sparse.csr_matrix((np.ones(len(draw), bool), draw.T), shape=hidden.shape)
    return (held > hidden).tocsr()


class BestEpoch:
    """Keeps the weights of the epoch with the lowest loss of what is held out: cells or entries.

    losses
        Of every epoch so far.
    epoch
        The best one, from 1 on.
    weights
        A copy of its weights.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.losses: list[float] = []
        self.epoch = 0
        self.weights: Mapping[str, Any] = {}

    def add(self, loss: float, weights: Mapping[str, Any]) -> bool:
        """One more epoch, and its weights as a torch module's ``state_dict()`` has them. Whether to
        stop: the best one was `patience` epochs ago. FloatingPointError where `loss` is no number.
        """
        if not math.isfinite(loss):
            raise FloatingPointError(f"the fit diverged: held-out loss {loss}")
        self.losses.append(loss)
        if not self.epoch or loss < self.losses[self.epoch - 1]:
            self.epoch, self.weights = len(self.losses), copy.deepcopy(weights)
        return len(self.losses) - self.epoch >= self.patience

    def after_validation(self, trainer: Any, plan: Any) -> None:
        """`add` the evidence lower bound of held-out cells that scvi-tools has just found, as
        ``on_validation_end`` of a Lightning callback."""
        if not trainer.sanity_checking:
            loss = float(trainer.callback_metrics["elbo_validation"])
            trainer.should_stop = self.add(loss, plan.module.state_dict())
