"""Intervals over seeds, and ties by differences paired within a seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95
#: Relative differences up to this are rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds; `low` and `high` are None when n < 2."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half(self) -> float | None:
        return None if self.high is None else self.high - self.mean


def over_seeds(values: Sequence[float]) -> Interval:
    """Student's t interval (95 %) of the mean of `values`, one value a seed."""
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    mean = math.fsum(values) / n
    if n < 2:
        return Interval(mean, None, None, n)
    # A control gives the same score at every seed, up to rounding, which is no spread.
    if max(abs(v - mean) for v in values) <= ROUNDING * max(map(abs, values)):
        return Interval(mean, mean, mean, n)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = t_quantile(0.5 + LEVEL / 2, n - 1) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, n)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Interval | None:
    """Interval of a - b over the seeds that both have; None when they share none."""
    shared = sorted(a.keys() & b.keys())
    return over_seeds([a[s] - b[s] for s in shared]) if shared else None


def separated(a: Mapping[int, float], b: Mapping[int, float]) -> bool | None:
    """Whether the paired interval excludes zero; None where one seed cannot say."""
    difference = paired(a, b)
    if difference is None or difference.low is None:
        return None
    if abs(difference.mean) <= ROUNDING * max(map(abs, (*a.values(), *b.values()))):
        return False
    return difference.low > 0 or difference.high < 0


def ranks(scores: Mapping[str, Mapping[int, float]]) -> dict[str, tuple[int, bool]]:
    """Rank names by mean score, higher first: {name: (rank, shared)}.

    A name shares the rank of the best name of its group as long as their paired difference does
    not exclude zero. With one seed nothing can be said about ties, so only equal scores share a
    rank. The rank after a shared one skips, as in 1, 1, 3.
    """
    means = {name: math.fsum(by_seed.values()) / len(by_seed) for name, by_seed in scores.items()}
    order = sorted(means, key=lambda name: (-means[name], name))
    groups: list[list[str]] = []
    for name in order:
        if groups and not _differs(scores, means, groups[-1][0], name):
            groups[-1].append(name)
        else:
            groups.append([name])
    placed: dict[str, tuple[int, bool]] = {}
    for group in groups:
        rank = len(placed) + 1
        placed.update({name: (rank, len(group) > 1) for name in group})
    return placed


def _differs(scores, means, a: str, b: str) -> bool:
    known = separated(scores[a], scores[b])
    return means[a] != means[b] if known is None else known


def t_quantile(p: float, df: int) -> float:
    # scipy.special alone loads in a fraction of the time of scipy.stats.
    from scipy.special import stdtrit

    return float(stdtrit(df, p))
