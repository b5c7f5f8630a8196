"""What the report needs to know of a metric; all of it comes from the registry."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lacuna.metrics import registry


@dataclass(frozen=True)
class MetricFacts:
    """One metric: its direction, the range of its values, and whether it may rank models."""

    name: str
    title: str
    higher_is_better: bool
    low: float
    high: float
    ranked: bool
    meaning: str = ""
    purpose: str = ""

    @property
    def perfect(self) -> float | None:
        """The best value that the range allows; None where the range is open on that side."""
        end = self.high if self.higher_is_better else self.low
        return end if math.isfinite(end) else None

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    def best(self, values: Iterable[float]) -> float | None:
        """The best of `values`; None where there are none."""
        return (max if self.higher_is_better else min)(values, default=None)


def describe(task: str, names: Sequence[str]) -> dict[str, MetricFacts]:
    """Facts of the metrics `names` of `task`, in that order; ContractError for an unknown one."""
    return {metric.name: _facts(metric) for metric in registry.get(task, names)}


def _facts(metric: registry.Metric) -> MetricFacts:
    low, high = metric.range
    return MetricFacts(
        metric.name,
        metric.title,
        higher_is_better=metric.direction == "max",
        low=-math.inf if low is None else low,
        high=math.inf if high is None else high,
        ranked=metric.rank,
        meaning=metric.doc,
        purpose=metric.purpose,
    )
