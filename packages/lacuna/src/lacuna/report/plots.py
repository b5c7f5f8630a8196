"""Plots that every task has: quality against cost, and against a condition's numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from .intervals import over_seeds
from .leaderboard import Board, Entry
from .metrics import MetricFacts
from .numerals import MB, seconds, sig, size, spell_score
from .records import Run
from .style import Look
from .svg import Axis, Figure, Panel, axis, legend

#: Beyond this many panels of single metrics a figure stops being looked at.
MOST_PANELS = 8
#: Beyond this many figures, too.
MOST_SWEEPS = 6
#: Numbers that span this factor are drawn on a logarithmic axis.
WIDE = 20

#: A panel, and the names of what it shows.
Drawn = tuple[str, set[str]]


def cost(board: Board, look: Mapping[str, Look]) -> Figure | None:
    """Score against seconds and against peak memory."""
    entries = [entry for entry in board.entries if entry.score and entry.control != "ceiling"]
    kinds = (
        ("Seconds a run (log scale)", "seconds", lambda v: v, seconds),
        ("Peak memory, MB (log scale)", "peak_memory_bytes", lambda v: v / MB, size),
    )
    quality = axis(
        "Score (0 floor, 1 ceiling)" if board.scaled else "Score (share beaten)",
        _near(
            [v for entry in entries if entry.control is None for v in _reach(entry)],
            [entry.score.mean for entry in entries if entry.control],
        ),
    )
    panels = []
    for label, field, unit, spell in kinds:
        known = [entry for entry in entries if getattr(entry, field)]
        if not known:
            continue
        panel = Panel(axis(label, [unit(getattr(e, field)) for e in known], log=True), quality)
        if quality.low < 0 < quality.high:
            panel.guide(0)
        panel.line(_frontier([(unit(getattr(e, field)), e.score.mean) for e in known
                              if e.ranked], panel.x), "frontier")  # fmt: skip
        # Models last, so that their marks lie on top and are labelled first.
        for entry in sorted(known, key=lambda e: e.control is None):
            x, y, own = unit(getattr(entry, field)), entry.score.mean, look[entry.name]
            if not panel.inside(x, y):
                continue
            if entry.score.low is not None:
                low, high = max(entry.score.low, quality.low), min(entry.score.high, quality.high)
                panel.whisker(x, low, high, own.css)
            tip = f"{entry.name}: {spell_score(y)}, {spell(getattr(entry, field))}"
            panel.point(x, y, own.css, own.marker, tip)
        for entry in known:
            x = unit(getattr(entry, field))
            if look[entry.name].named and panel.inside(x, entry.score.mean):
                panel.label(x, entry.score.mean, entry.name, look[entry.name].css)
        panels.append(panel.render(f"Score against {label.lower()}"))
    if not panels:
        return None
    return Figure(
        "Quality against cost",
        "Up and to the left is better. The line joins the ranked models that no other of them "
        "beats at less cost; seconds and memory are medians over runs of the model's whole "
        "command, as measured from outside. A control far from every model is not drawn.",
        panels,
    )


def _reach(entry: Entry) -> list[float]:
    score = entry.score
    # A wide interval of a few seeds would flatten everything else: the axis follows the means,
    # and shows an interval as far as it goes.
    if score.low is None:
        return [score.mean]
    return [score.mean, max(score.low, score.mean - 0.1), min(score.high, score.mean + 0.1)]


def _near(models: Sequence[float], controls: Sequence[float]) -> list[float]:
    """The models' values, and those of controls that do not squeeze them together in a plot."""
    if not models:
        return list(controls)
    low, high = min(models), max(models)
    if controls:
        nearest = min(controls, key=lambda v: max(low - v, v - high))
        low, high = min(low, nearest), max(high, nearest)
    room = 0.75 * (high - low)
    return [low, high, *(v for v in controls if low - room <= v <= high + room)]


def _frontier(points: Sequence[tuple[float, float]], x: Axis) -> list[tuple[float, float]]:
    steps: list[tuple[float, float]] = []
    for cost_, quality in sorted(points, key=lambda p: (p[0], -p[1])):
        if not steps:
            steps.append((cost_, quality))
        elif quality > steps[-1][1]:
            steps += [(cost_, steps[-1][1]), (cost_, quality)]
    return [*steps, (x.high, steps[-1][1])] if steps else [(x.low, 0), (x.low, 0)]


def by_argument(
    board: Board, runs: Sequence[Run], arguments: Mapping[tuple[str, str], dict],
    look: Mapping[str, Look], facts: Mapping[str, MetricFacts],
) -> list[Figure]:  # fmt: skip
    """Quality against each number that differs between conditions, such as a percentage.

    `arguments` are the conditions' arguments by (dataset, condition without its seed).
    """
    figures = []
    for key, among, at in _sweeps(arguments):
        label = key.replace("_", " ").capitalize()
        drawn = [_score_panel(board, at, label, look)] if board.scaled else []
        ranked = [metric for metric in facts.values() if metric.ranked][:MOST_PANELS]
        drawn += [_metric_panel(metric, runs, at, label, look) for metric in ranked]
        panels = [panel for panel, _ in drawn if panel]
        if panels:
            seen = set().union(*(names for _, names in drawn))
            named = [(e.name, look[e.name].css, look[e.name].marker) for e in board.entries
                     if e.name in seen]  # fmt: skip
            figures.append(Figure(
                f"Quality against {key.replace('_', ' ')}{among}",
                "Each point is a mean over datasets and seeds, with its interval over seeds; an "
                "arrow in a title says in which direction the metric is better. A control far from "
                "every model is not drawn.",
                panels, legend(named),
            ))  # fmt: skip
    return figures


def _sweeps(arguments: Mapping[tuple[str, str], dict]) -> list[tuple[str, str, dict]]:
    """(argument, words for what the others are, its value by condition) for each number that
    differs between conditions which are alike in everything else."""
    found = []
    keys = dict.fromkeys(key for values in arguments.values() for key in values)
    for key in keys:
        alike: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
        for cell, values in arguments.items():
            number = values.get(key)
            if isinstance(number, int | float) and not isinstance(number, bool):
                others = [f"{k.replace('_', ' ')} {v}" for k, v in values.items() if k != key]
                alike[", ".join(others)][cell] = number
        swept = {words: at for words, at in alike.items() if len(set(at.values())) > 1}
        found += [(key, f", {w}" if w and len(alike) > 1 else "", at) for w, at in swept.items()]
    return found[:MOST_SWEEPS]


def _score_panel(board: Board, at: Mapping, label: str, look: Mapping[str, Look]) -> Drawn:
    values: dict[str, list] = defaultdict(list)
    for name, units in board.cells.items():
        for (_, (dataset, setting, seed)), value in units.items():
            if (dataset, setting) in at and look[name].css != "ceiling":
                values[name].append((at[dataset, setting], seed, value))
    controls = {entry.name for entry in board.entries if entry.control}
    return _lines("Score (0 floor, 1 ceiling) ↑", values, label, look, controls)


def _metric_panel(metric: MetricFacts, runs, at: Mapping, label: str, look) -> Drawn:
    values: dict[str, list] = defaultdict(list)
    for run in runs:
        value = run.metrics.get(metric.name)
        if value is not None and (run.dataset, run.setting) in at and run.control != "ceiling":
            values[run.name].append((at[run.dataset, run.setting], run.seed, value))
    controls = {run.name for run in runs if run.control}
    return _lines(f"{metric.title} {metric.arrow}", values, label, look, controls)


def _lines(title: str, values: Mapping[str, list], x_label: str, look, controls) -> Drawn:
    curves = {}
    for name, triples in values.items():
        if not look[name].named:
            continue
        grouped: dict[float, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for x, seed, value in triples:
            grouped[x][seed].append(value)
        curves[name] = [
            (x, over_seeds([fmean(own) for own in seeds.values()]))
            for x, seeds in sorted(grouped.items())
        ]
    models = [mean.mean for name, curve in curves.items() for _, mean in curve
              if name not in controls]  # fmt: skip
    rest = [mean.mean for name, curve in curves.items() for _, mean in curve if name in controls]
    if not curves:
        return "", set()
    levels = sorted({x for curve in curves.values() for x, _ in curve})
    x = axis(x_label, levels, log=0 < WIDE * levels[0] <= levels[-1])
    named = tuple((v, f"{v:,g}" if v < 1e6 else f"{v:g}") for v in levels[:8])
    x = Axis(x.label, x.low, x.high, x.log, named)
    y = axis("", _near(models, rest))
    panel, drawn = Panel(x, y, title), set()
    for name, curve in reversed(curves.items()):
        own = look[name]
        if not all(panel.inside(at, mean.mean) for at, mean in curve):
            continue
        drawn.add(name)
        panel.line([(at, mean.mean) for at, mean in curve], own.css)
        for at, mean in curve:
            if mean.low is not None:
                panel.whisker(at, max(mean.low, y.low), min(mean.high, y.high), own.css)
            panel.point(at, mean.mean, own.css, own.marker, f"{name}: {sig(mean.mean)} at {at:g}")
    return panel.render(f"{title} against {x_label.lower()}"), drawn
