"""The metrics of segmentation. `lacuna.metrics.comparison` says how each is counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lacuna.metrics.comparison import TOLERANCE, Comparison
from lacuna.metrics.registry import Undefined, metric
from lacuna_contract.sequences import CLASSES

TASK = "segmentation"


@dataclass(frozen=True)
class Both:
    """Needs the truth and the prediction beside each other."""

    def view(self, found: Comparison) -> Comparison:
        """What the metric's function gets."""
        return found


def _metric(
    title: str,
    direction: str = "max",
    top: float | None = 1,
    rank: bool = False,
    purpose: str = "",
) -> Any:
    return metric(
        TASK, direction=direction, range=(0, top), needs=Both(), title=title, rank=rank,
        purpose=purpose,
    )  # fmt: skip


@_metric("Boundary F1, exact", rank=True, purpose="find exactly where segments begin")
def boundary_f1(found: Comparison) -> float:
    """F1 of the positions at which segments begin, whatever their class; the ends of a sequence are
    none."""
    return found.boundary_f1().score


@_metric(
    f"Boundary F1, within {TOLERANCE} positions",
    rank=True,
    purpose="find about where segments begin",
)
def boundary_f1_near(found: Comparison) -> float:
    """The same, where a boundary may be off by 10 positions; each true one is matched with one
    predicted one at most."""
    return found.boundary_f1(TOLERANCE).score


@_metric("Segment F1", rank=True, purpose="find whole segments")
def segment_f1(found: Comparison) -> float:
    """F1 of segments whose start, end and class are all right. Segments that the sequence's ends
    cut are among them."""
    return found.segment_f1().score


@_metric("Position F1, mean over classes", rank=True, purpose="label single positions")
def position_f1(found: Comparison) -> float:
    """Mean over classes of the F1 of their positions. A class that is neither in the truth nor in
    the prediction is left out."""
    scores = []
    for name in found.classes:
        try:
            scores.append(found.position_f1(name).score)
        except Undefined:
            continue
    return float(np.mean(scores))


@_metric("Position accuracy")
def position_accuracy(found: Comparison) -> float:
    """The share of positions whose class is right. Not ranked by: two thirds are introns."""
    return float(np.trace(found.confusion) / found.confusion.sum())


@_metric("Log loss of boundaries", "min", None)
def boundary_log_loss(found: Comparison) -> float:
    """-log P(a boundary here, or none) of a position, mean, in nats. Not ranked by: not every model
    has probabilities."""
    return found.boundary_log_loss()


@_metric("Miscalibration of boundaries", "min", None)
def boundary_calibration(found: Comparison) -> float:
    """Sum over bins of the predicted probability of |expected - true boundaries|, divided by the
    true ones. Not ranked by: who predicts the base rate everywhere is calibrated."""
    return found.boundary_calibration()


def _by_class(
    function: Callable[[Comparison, str], float],
    title: str,
    direction: str,
    top: float | None,
    rank: Sequence[str] = (),
) -> None:
    """Register a metric once for each class."""
    for name in CLASSES:

        def of_class(found: Comparison, name: str = name) -> float:
            return function(found, name)

        of_class.__name__ = f"{function.__name__}_{name}"
        of_class.__doc__ = (function.__doc__ or "").replace("a class", f"class {name}")
        purpose = f"learn how long {name}s are" if name in rank else ""
        _metric(f"{title}, {name}", direction, top, name in rank, purpose)(of_class)


def position_f1_of(found: Comparison, name: str) -> float:
    """F1 of the positions of a class."""
    return found.position_f1(name).score


def duration_kl(found: Comparison, name: str) -> float:
    """KL divergence, in nats, of the lengths of the predicted complete segments of a class from
    their law within a window; up to 4.6, for a class that is never predicted."""
    return found.duration_kl(name)


def duration_wasserstein(found: Comparison, name: str) -> float:
    """Wasserstein distance, in positions, between the lengths of the predicted complete segments of
    a class and their law within a window. Not ranked by: as the KL divergence."""
    return found.duration_wasserstein(name)


def learned_kl(found: Comparison, name: str) -> float:
    """KL divergence, in nats, of the learned durations of a class from the law that drew them. Not
    ranked by: not every model learns any."""
    return found.learned_kl(name)


position_f1_of.__name__ = "position_f1"
_by_class(position_f1_of, "Position F1", "max", 1)
_by_class(duration_kl, "KL of durations", "min", None, rank=("exon", "intron"))
_by_class(duration_wasserstein, "Wasserstein distance of durations", "min", None)
_by_class(learned_kl, "KL of learned durations", "min", None)
