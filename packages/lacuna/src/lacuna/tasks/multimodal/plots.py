"""What the report draws of the task, from `details` (see details.py)."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from statistics import fmean
from typing import Any

from lacuna.report.numerals import sig, spell_score
from lacuna.report.sections import table
from lacuna.report.svg import (
    MARKERS,
    SERIES,
    Axis,
    Figure,
    Panel,
    Series,
    axis,
    density_levels,
    legend,
)

PATTERNS = {1: "RNA", 2: "ATAC", 4: "ADT", 3: "RNA+ATAC", 5: "RNA+ADT", 6: "ATAC+ADT", 7: "all"}
COLOURS = {pattern: f"s{place}" for place, pattern in enumerate(PATTERNS)}
MODALITIES = (("RNA", 1, "s0"), ("ATAC", 2, "s1"), ("ADT", 4, "s2"))
#: Models whose embeddings and predictions are drawn, best first, beside the controls.
MOST_PICTURES = 5
Key = tuple[str, str]


def overview(shown: Mapping[Key, Sequence[Series]], scores: Mapping[str, Mapping[Key, float]]):
    """Figures over all conditions: which cells have what, and who is how good at which."""
    made = (_masks(shown), _table(shown, scores))
    return [figure for figure in made if figure is not None]


def figures(series: Sequence[Series]) -> list[Figure]:
    """Figures of the models' runs on one dataset, condition and seed."""
    made = (_pictures(series), _imputed(series), _calibration(series), _histories(series))
    return [figure for figure in made if figure is not None]


def _masks(shown: Mapping[Key, Sequence[Series]]) -> Figure | None:
    panels, twice = [], False
    for (dataset, setting), series in shown.items():
        found = next((s.details for s in series if s.details.get("cohorts")), None)
        if found is None:
            continue
        rows, twins = found["cohorts"], found.get("twins", 0)
        twice = twice or twins > 0
        total = sum(row["cells"] for row in rows)
        names = tuple((2.5 - i, name) for i, (name, _, _) in enumerate(MODALITIES))
        panel = Panel(
            Axis("Cells, by batch" + f" ({twins} of them twice)" * (twins > 0), 0, total),
            Axis("", 0, 3, names=names),
            f"{dataset}, {setting}", height=170, left=46,
        )  # fmt: skip
        start, batch = 0, None
        for row in sorted(rows, key=lambda r: (r["batch"], r["split"], r["pattern"])):
            stop = start + row["cells"]
            if batch not in (None, row["batch"]):
                panel.guide(start, across=False)
            batch = row["batch"]
            for i, (_, bit, css) in enumerate(MODALITIES):
                if row["pattern"] & bit:
                    panel.area((start, 2.08 - i), (stop, 2.92 - i), f"mark {css}")
            start = stop
        panels.append(panel.render(f"Which cells have what: {dataset}, {setting}"))
    if not panels:
        return None
    return Figure(
        "Which cells have what",
        "Each cell is a column; where it is filled, the cell has that modality. Dashed lines lie "
        "between batches."
        + " A cell that is there twice has a modality in the one of its columns and another in the "
        "other; nothing tells models that they are one, and FOSCTTM is told by them." * twice,
        panels,
    )


def _table(
    shown: Mapping[Key, Sequence[Series]], scores: Mapping[str, Mapping[Key, float]]
) -> Figure | None:
    keys = [key for key in shown if any(key in own for own in scores.values())]
    names = [name for name in scores if any(key in scores[name] for key in keys)]
    names.sort(key=lambda name: fmean(scores[name].values()), reverse=True)
    if not keys or not names:
        return None
    several = len({dataset for dataset, _ in keys}) > 1
    head = ["Model", *(escape(f"{d}, {s}" if several else s) for d, s in keys)]
    spelt = [
        [escape(name), *(spell_score(scores[name].get(key)) for key in keys)] for name in names
    ]
    return Figure(
        "Score by scenario",
        "Mean over the ranked metrics that are defined, each between the best floor (0) and the "
        "ceiling (1); – where a model declined or failed.",
        [table(head, spelt, "num sortable")],
    )


def _drawn(series: Sequence[Series], key: str) -> list[Series]:
    there = [one for one in series if one.details.get(key)]
    models = [one for one in there if one.control is None][:MOST_PICTURES]
    return models + [one for one in there if one.control is not None]


def _pictures(series: Sequence[Series]) -> Figure | None:
    panels, patterns, clusters = [], set(), {}
    for one in _drawn(series, "picture"):
        picture, pair = one.details["picture"], []
        clusters |= dict(enumerate(picture.get("clusters", ())))
        patterns |= set(picture["pattern"])
        for field, by in (("cluster", "By true cluster"), ("pattern", "By modalities")):
            panel = Panel(
                Axis("UMAP 1", 0, 999, names=((0, ""),)), Axis("UMAP 2", 0, 999, names=((0, ""),)),
                by, width=262, height=240, left=24,
            )  # fmt: skip
            groups: dict[str, list[tuple[int, int]]] = {}
            for x, y, value in zip(picture["x"], picture["y"], picture[field], strict=True):
                known = COLOURS[value] if field == "pattern" else f"s{value % SERIES}"
                css = known if value >= 0 else "s-rest"
                groups.setdefault(css, []).append((x, y))
            for css, points in groups.items():
                panel.dots(points, css)
            pair.append(panel.render(f"Embedding of {one.name}, coloured {by.lower()}"))
        panels.append(f"<div class=pair><h4>{escape(one.name)}</h4>{''.join(pair)}</div>")
    if not panels:
        return None
    kinds = [(PATTERNS[p], COLOURS[p], "o") for p in PATTERNS if p in patterns]
    types = [(name, f"s{place % SERIES}", "o") for place, name in clusters.items()]
    return Figure(
        "Embeddings",
        "UMAP of each joint embedding, coloured by true cluster and, once more, by the modalities "
        "that a cell has. In a good one colours part in the first and mix in the second.",
        panels,
        (legend(types, "True cluster:") if types else "") + legend(kinds, "Modalities:"),
    )


def _imputed(series: Sequence[Series]) -> Figure | None:
    panels = []
    for one in _drawn(series, "imputed"):
        for modality, label in (("rna", "RNA, log-normalised"), ("adt", "ADT, log1p")):
            table = one.details["imputed"].get(modality)
            if not table or one.control == "floor":
                continue
            counts, size = table["counts"], len(table["counts"])
            end = size * table["width"]
            panel = Panel(
                Axis(f"Truth: {label}", 0, end), Axis("Prediction", 0, end), one.name, height=280
            )
            # Stored with a row for each true value; drawn with truth across.
            grid = [[row[at] for row in counts] for at in range(size)]
            panel.squares(density_levels(grid), size, size)
            panel.segment((0, 0), (end, end))
            panels.append(panel.render(f"{label}: truth against prediction of {one.name}"))
    if not panels:
        return None
    return Figure(
        "Imputation against truth",
        "Hidden entries by true and predicted value, stronger where there are more (on a "
        "logarithmic scale). An expected count is never the count itself: compare with the oracle.",
        panels,
    )


def _calibration(series: Sequence[Series]) -> Figure | None:
    shown = [s for s in _drawn(series, "imputed") if s.details["imputed"].get("atac")]
    if not shown:
        return None
    values = [v for s in shown for v in s.details["imputed"]["atac"]["predicted"] if v > 1e-4]
    x = axis("Predicted probability (log scale)", values, log=True)
    y = axis("Share of open entries (log scale)", values, log=True)
    panel = Panel(x, y, "ATAC: calibration")
    low, high = max(x.low, y.low), min(x.high, y.high)
    panel.segment((low, low), (high, high))
    for one in reversed(shown):
        table = one.details["imputed"]["atac"]
        points = [
            p for p in zip(table["predicted"], table["open"], strict=True)
            if min(p) > 0 and panel.inside(*p)
        ]  # fmt: skip
        if points:
            panel.line(points, one.css)
        for point in points:
            panel.point(*point, one.css, one.marker, one.name)
    return Figure(
        "Are the probabilities of open peaks right?",
        "Entries in bins of the predicted probability, against the share that was open: on the "
        "dashed line a probability means what it says. Further to the right is surer.",
        [panel.render("Calibration of predicted peaks")],
        legend([(s.name, s.css, s.marker) for s in shown]),
    )


def recorded(details: Mapping[str, Any]) -> dict[str, list[float]]:
    """What can be drawn of a training, as models may record anything: lists of numbers, by name."""
    history = details.get("history")
    return {
        name: values
        for name, values in (history.items() if isinstance(history, Mapping) else ())
        if name != "epoch" and isinstance(values, list)
        and all(isinstance(v, int | float) for v in values) and any(map(isfinite, values))
    }  # fmt: skip


def _histories(series: Sequence[Series]) -> Figure | None:
    panels, colours = [], {}
    for one in series:
        curves = {name: v for name, v in recorded(one.details).items() if len(v) > 1}
        if not curves:
            continue
        longest = max(len(values) for values in curves.values())
        panel = Panel(
            Axis("Epoch", 1, longest),
            axis("", [v for values in curves.values() for v in values]),
            one.name,
        )
        for name, values in curves.items():
            place = len(colours) % SERIES
            css, marker = colours.setdefault(name, (f"s{place}", MARKERS[place]))
            step = longest / len(values)
            points = [(1 + i * step, v) for i, v in enumerate(values)]
            points = [point for point in points if panel.inside(*point)]
            panel.line(points, css)
            panel.point(*points[-1], css, marker, f"{name}: {sig(values[-1])}")
        panels.append(panel.render(f"Training of {one.name}"))
    if not panels:
        return None
    return Figure(
        "Training",
        "What each model recorded of its training, by epoch.",
        panels,
        legend([(name.replace("_", " "), *own) for name, own in colours.items()]),
    )
