"""Scores scaled between the controls, their intervals over seeds, and ranks with ties.

One *comparison* is one metric on one dataset, condition and seed. In each, the best floor control
is 0 and the best ceiling control is 1; a model's value is placed linearly between them, so scores
of metrics with different units can be averaged and higher is always better. A model's score of a
seed is the mean over metrics, then over datasets and conditions; its interval is over seeds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from .intervals import Interval, over_seeds, paired, ranks
from .metrics import MetricFacts
from .records import Run

Cell = tuple[str, str, int]  # dataset, condition without its seed, seed

#: A floor and a ceiling nearer than this, relative to their size, leave nothing to scale between.
TOO_NEAR = 1e-9


@dataclass
class Entry:
    """One row of a leaderboard: a model variant or a control."""

    name: str
    model: str
    variant: str
    control: str | None
    by_seed: dict[int, float] = field(default_factory=dict)
    score: Interval | None = None
    rank: int | None = None
    tied: bool = False
    done: int = 0
    expected: int = 0
    seconds: float | None = None
    peak_memory_bytes: float | None = None
    runs: int = 0
    ok: int = 0
    note: str = ""

    @property
    def ranked(self) -> bool:
        return self.rank is not None


@dataclass
class MetricRow:
    """One model on a part of the comparisons, such as one metric: mean over the others, interval
    over seeds."""

    score: Interval
    rank: int | None = None
    tied: bool = False


@dataclass
class Board:
    """The leaderboard of one task; `entries` come best first, models before controls."""

    task: str
    metrics: list[MetricFacts]
    entries: list[Entry]
    by_metric: dict[str, dict[str, MetricRow]]
    cells: dict[str, dict[tuple[str, Cell], float]]
    scaled: bool
    ceiling: str  # "control", "range", "mixed" or "none"
    unscaled: list[str]
    seeds: list[int]

    @property
    def models(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.control is None]

    @property
    def placed(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.ranked]

    def parts(self, which: int) -> dict[str, dict[str, MetricRow]]:
        """Scores and ranks on a part of the comparisons alone: on each dataset (`which` 0) or on
        each condition (1). By its name, rows by model."""
        found = sorted({cell[which] for values in self.cells.values() for _, cell in values})
        return {
            part: _part(self.entries, self.cells, lambda unit, p=part: unit[1][which] == p)
            for part in found
        }

    def gap(self, a: Entry, b: Entry) -> Interval | None:
        """Interval of the difference of two scores, paired by seed."""
        return paired(a.by_seed, b.by_seed)


def build_board(task: str, runs: Sequence[Run], facts: Mapping[str, MetricFacts]) -> Board:
    """The leaderboard of `task` from its runs; `facts` describes each metric by name."""
    ranked = [fact for fact in facts.values() if fact.ranked]
    entries = _entries(runs)
    scaled, ceiling, unscaled = _scale(runs, ranked)
    has_scale = bool(scaled)
    cells = scaled if has_scale else _as_ranks(runs, ranked)
    wanted = {
        unit
        for entry in entries.values()
        if entry.control is None
        for unit in cells.get(entry.name, ())
    }
    for entry in entries.values():
        values = cells.get(entry.name, {})
        entry.expected = len(wanted)
        entry.done = len(wanted & values.keys())
        entry.by_seed = _by_seed(values)
        if entry.by_seed:
            score = over_seeds(list(entry.by_seed.values()))
            whole = entry.control or entry.done == entry.expected
            # Seeds that lack different comparisons differ for that reason: no interval.
            entry.score = score if whole else Interval(score.mean, None, None, score.n)
        entry.note = _why_unranked(entry, {cell[0] for _, cell in wanted}, values)
    _place(entries)
    by_metric = {
        fact.name: _part(entries.values(), cells, lambda unit, name=fact.name: unit[0] == name)
        for fact in ranked
    }
    return Board(
        task=task,
        metrics=ranked,
        entries=sorted(entries.values(), key=_order),
        by_metric={name: rows for name, rows in by_metric.items() if rows},
        cells=cells,
        scaled=has_scale,
        ceiling=ceiling,
        unscaled=unscaled,
        seeds=sorted({run.seed for run in runs}),
    )


def _entries(runs: Sequence[Run]) -> dict[str, Entry]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.name].append(run)
    entries = {}
    for name, own in groups.items():
        first, good = own[0], [run for run in own if run.ok]
        entries[name] = Entry(
            name,
            first.model,
            first.variant,
            first.control,
            seconds=_median(run.seconds for run in good),
            peak_memory_bytes=_median(run.peak_memory_bytes for run in good),
            runs=len(own),
            ok=len(good),
        )
    return entries


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _by_cell(runs: Sequence[Run]) -> dict[Cell, list[Run]]:
    cells: dict[Cell, list[Run]] = defaultdict(list)
    for run in runs:
        if run.ok:
            cells[run.dataset, run.setting, run.seed].append(run)
    return cells


def _scale(runs: Sequence[Run], metrics: Sequence[MetricFacts]):
    scaled: dict[str, dict[tuple[str, Cell], float]] = defaultdict(dict)
    sources, unscaled = set(), set()
    for cell, present in _by_cell(runs).items():
        for metric in metrics:
            values = [(run, run.metrics.get(metric.name)) for run in present]
            values = [(run, value) for run, value in values if value is not None]
            floor = metric.best(value for run, value in values if run.control == "floor")
            top = metric.best(value for run, value in values if run.control == "ceiling")
            source = "control" if top is not None else "range"
            top = metric.perfect if top is None else top
            if not values or all(run.control for run, _ in values):
                continue
            if floor is None or top is None or not _apart(floor, top, metric.higher_is_better):
                unscaled.add(metric.name)
                continue
            sources.add(source)
            for run, value in values:
                scaled[run.name][metric.name, cell] = (value - floor) / (top - floor)
    ceiling = "none" if not sources else "mixed" if len(sources) > 1 else sources.pop()
    return dict(scaled), ceiling, sorted(unscaled)


def _apart(floor: float, top: float, higher_is_better: bool) -> bool:
    gap = top - floor if higher_is_better else floor - top
    return gap > TOO_NEAR * max(abs(floor), abs(top))


def _as_ranks(runs: Sequence[Run], metrics: Sequence[MetricFacts]):
    """Where there is no floor: the share of the other models beaten in each comparison."""
    cells: dict[str, dict[tuple[str, Cell], float]] = defaultdict(dict)
    for cell, present in _by_cell(runs).items():
        models = [run for run in present if run.control is None]
        for metric in metrics:
            values = {run.name: run.metrics.get(metric.name) for run in models}
            known = {
                name: value if metric.higher_is_better else -value
                for name, value in values.items()
                if value is not None
            }
            for name, value in known.items():
                others = [other for key, other in known.items() if key != name]
                if not others:
                    continue
                beaten = sum((value > other) + 0.5 * (value == other) for other in others)
                cells[name][metric.name, cell] = beaten / len(others)
    return dict(cells)


def _by_seed(values: Mapping[tuple[str, Cell], float]) -> dict[int, float]:
    per_cell: dict[Cell, list[float]] = defaultdict(list)
    for (_, cell), value in values.items():
        per_cell[cell].append(value)
    per_seed: dict[int, list[float]] = defaultdict(list)
    for cell, own in per_cell.items():
        per_seed[cell[2]].append(fmean(own))
    return {seed: fmean(own) for seed, own in sorted(per_seed.items())}


def _why_unranked(entry: Entry, datasets: set[str], values: Iterable) -> str:
    if entry.control:
        there = {cell[0] for _, cell in values}
        where = f", on {', '.join(sorted(there))} alone" if there and datasets - there else ""
        return f"{entry.control} control{where}"
    if entry.done == entry.expected and entry.done:
        return ""
    if not entry.done:
        return "not ranked: no score"
    return f"not ranked: {entry.done} of {entry.expected} comparisons"


def _place(entries: Mapping[str, Entry]) -> None:
    full = {
        entry.name: entry.by_seed
        for entry in entries.values()
        if entry.control is None and entry.done and entry.done == entry.expected
    }
    for name, (rank, tied) in ranks(full).items():
        entries[name].rank, entries[name].tied = rank, tied


def _part(entries: Iterable[Entry], cells, inside: Callable) -> dict[str, MetricRow]:
    """Scores and ranks over those comparisons alone for which `inside` holds."""
    entries = list(entries)
    models = [entry.name for entry in entries if entry.control is None]
    need = {unit for name in models for unit in cells.get(name, ()) if inside(unit)}
    rows, full = {}, {}
    for entry in entries:
        values = {unit: v for unit, v in cells.get(entry.name, {}).items() if inside(unit)}
        if not values:
            continue
        by_seed = _by_seed(values)
        rows[entry.name] = MetricRow(over_seeds(list(by_seed.values())))
        if entry.control is None and need <= values.keys():
            full[entry.name] = by_seed
    for name, (rank, tied) in ranks(full).items():
        rows[name].rank, rows[name].tied = rank, tied
    return rows


def _order(entry: Entry):
    group = {None: 0, "floor": 1, "ceiling": 2}.get(entry.control, 1)
    score = -entry.score.mean if entry.score else 0.0
    return (group, not entry.ranked, entry.rank or 0, entry.score is None, score, entry.name)
