"""What the report draws of a reconstruction, from `details` (see details.py)."""

import math
from collections.abc import Sequence

from lacuna.report.svg import (
    HEIGHT,
    Axis,
    Figure,
    Panel,
    Series,
    axis,
    density_levels,
    legend,
    row_names,
)

#: Models with a panel of their own, best first; lines and boxes stay readable for more.
MOST_DENSITIES = 9
MOST_MAPS = 5
MOST_TYPES = 12
#: Entries of a range of predictions that are enough for a point.
ENOUGH = 30


def figures(series: Sequence[Series]) -> list[Figure]:
    """Figures of the models' runs on one dataset, condition and seed.

    Ceilings are left out: they are the truth against itself.
    """
    drawn = [one for one in series if one.control != "ceiling"]
    made = (
        _densities(drawn), _by_count(drawn), _by_expression(drawn), _correlations(drawn),
        _calibration(drawn), _by_cell_type(drawn), _cells(drawn),
    )  # fmt: skip
    return [figure for figure in made if figure is not None]


def _densities(series: Sequence[Series]) -> Figure | None:
    panels = []
    shown = [one for one in series if "histogram" in one.details][:MOST_DENSITIES]
    if not shown:
        return None
    size = _extent(shown)
    for one in shown:
        end = size * one.details["histogram"]["width"]
        panel = Panel(
            Axis("Truth, log1p(10,000 × share)", 0, end),
            Axis("Prediction", 0, end),
            one.name,
            height=300,
        )
        panel.squares(density_levels(_grid(one, size)), size, size)
        panel.segment((0, 0), (end, end))
        panels.append(panel.render(f"Truth against prediction: {one.name}"))
    return Figure(
        "Truth against prediction",
        "Hidden entries by true and predicted value, stronger where there are more (on a "
        "logarithmic scale); a perfect model would lie on the dashed diagonal.",
        panels,
    )


def _grid(one: Series, size: int) -> list[list[int]]:
    """Entries by predicted (rows) and true (columns) value, `size` bins each way."""
    # Stored with a row for each true value, as long as it needs to be; drawn with truth across.
    counts = one.details["histogram"]["counts"]
    return [
        [row[at] if at < len(row) else 0 for row in counts[:size]] + [0] * (size - len(counts))
        for at in range(size)
    ]


def _extent(series: Sequence[Series]) -> int:
    """How many bins hold all but the last 1 in 10,000 of any model's true and predicted values."""
    most = 1
    for one in series:
        counts = one.details["histogram"]["counts"]
        truth = [sum(row) for row in counts]
        predicted = [sum(row[at] for row in counts) for at in range(len(counts[0]))]
        for values in (truth, predicted):
            spare, size = sum(values) / 10_000, len(values)
            while size > most and sum(values[size - 1 :]) <= spare:
                size -= 1
            most = max(most, size)
    return most


def _by_count(series: Sequence[Series]) -> Figure | None:
    shown = [one for one in series if one.details.get("by_count")]
    if not shown:
        return None
    groups = {row["low"]: row["high"] for one in shown for row in one.details["by_count"]}
    place = {low: i for i, low in enumerate(sorted(groups))}
    x = Axis(
        "True count, from this up to the next", -0.5, len(place) - 0.5,
        names=tuple((place[low], str(low)) for low in sorted(groups)),
    )  # fmt: skip
    panels = []
    for field, label, title in (
        ("mse", "Mean squared error (log scale)", "Error by true count"),
        ("mean_prediction", "Mean prediction (log scale)", "Prediction by true count"),
    ):
        values = [row[field] for one in shown for row in one.details["by_count"]]
        y = axis(label, [value for value in values if value > 1e-3], log=True)
        panel = Panel(x, y, title)
        if field == "mean_prediction":
            for low, at in place.items():
                high = groups[low] or low
                ends = [min(max(end, y.low), y.high) for end in (low * 0.93, high * 1.07)]
                if low > 0 and ends[0] < ends[1]:
                    panel.area((at - 0.38, ends[0]), (at + 0.38, ends[1]), "target")
        for one in reversed(shown):
            points = [(place[row["low"]], row[field]) for row in one.details["by_count"]]
            points = [point for point in points if panel.inside(*point)]
            if points:
                panel.line(points, one.css)
            for point in points:
                panel.point(*point, one.css, one.marker, one.name)
        panels.append(panel.render(title))
    return Figure(
        "By true count",
        "Error: lower is better. Prediction: the grey blocks span the true counts themselves; who "
        "predicts what is to be expected stays nearer to the mean. Values below 0.001 are not "
        "drawn.",
        panels,
        legend([(one.name, one.css, one.marker) for one in shown]),
    )


def _by_expression(series: Sequence[Series]) -> Figure | None:
    shown = [one for one in series if one.details.get("by_expression")]
    if not shown:
        return None
    rows = {row["low"]: row for one in shown for row in one.details["by_expression"]}
    place = {low: i for i, low in enumerate(sorted(rows))}
    names = tuple((place[low], f"{low:g}") for low in sorted(rows))
    x = Axis("Gene's mean true count, from this up", -0.5, len(place) - 0.5, names=names)
    error = {
        one.name: [
            (place[row["low"]], row["mse"] / row["mean"])
            for row in one.details["by_expression"]
            if row["mean"]
        ]
        for one in shown
    }
    correlation = {
        one.name: [
            (place[row["low"]], row["pearson"][1])
            for row in one.details["by_expression"]
            if row["pearson"]
        ]
        for one in shown
    }
    panels = []
    for values, label, title in (
        (error, "Squared error / mean count (log)", "Error by expression"),
        (correlation, "Pearson, median of genes", "Correlation by expression"),
    ):
        known = [v for points in values.values() for _, v in points if v > 0 or values is not error]
        y = axis(label, [*known, *([1.0] if values is error else [])], log=values is error)
        panel = Panel(x, y, title)
        panel.guide(1.0 if values is error else 0.0)
        _trace(panel, shown, values)
        panels.append(panel.render(title))
    genes = ", ".join(
        f"{rows[low]['genes']:,} from {name}" for (_, name), low in zip(names, place, strict=True)
    )
    return Figure(
        "By expression of the gene",
        "Error, lower is better: the mean squared error over the mean count; at the dashed line, "
        "1, it is the noise of Poisson counts alone. Correlation, higher is better: the median "
        f"within the genes of a range. Genes: {genes}.",
        panels,
        legend([(one.name, one.css, one.marker) for one in shown]),
    )


def _trace(
    panel: Panel, series: Sequence[Series], values: dict[str, list[tuple[float, float]]]
) -> None:
    """A line with marks for each model, the best on top."""
    for one in reversed(series):
        points = [point for point in values[one.name] if panel.inside(*point)]
        if points:
            panel.line(points, one.css)
        for x, y in points:
            panel.point(x, y, one.css, one.marker, f"{one.name}: {y:.3g}")


def _calibration(series: Sequence[Series]) -> Figure | None:
    points = {
        one.name: [
            (row["prediction"], row["truth"])
            for row in one.details.get("calibration", ())
            if row["n"] >= ENOUGH and row["prediction"] > 0 and row["truth"] > 0
        ]
        for one in series
    }
    shown = [one for one in series if points[one.name]]
    if not shown:
        return None
    ends = [v for one in shown for point in points[one.name] for v in point]
    x = axis("Mean prediction (log scale)", ends, log=True)
    panel = Panel(x, axis("Mean true count (log scale)", ends, log=True), height=300)
    panel.segment((x.low, x.low), (x.high, x.high))
    _trace(panel, shown, points)
    return Figure(
        "Calibration",
        "Entries grouped by what was predicted, by factors of 2: where 2 counts are predicted, 2 "
        "should be found on average, on the dashed diagonal. Above it, a model predicts too "
        "little.",
        [panel.render("Calibration")],
        legend([(one.name, one.css, one.marker) for one in shown]),
    )


def _by_cell_type(series: Sequence[Series]) -> Figure | None:
    shown = [one for one in series if one.details.get("by_cell_type")]
    if not shown:
        return None
    types = [row["cell_type"] for row in shown[0].details["by_cell_type"][:MOST_TYPES]]
    cells = {row["cell_type"]: row["cells"] for row in shown[0].details["by_cell_type"]}
    spots = {name: len(types) - i - 0.5 for i, name in enumerate(types)}
    names = tuple((spots[name], _shortened(name)) for name in types)
    left = min(16 + 7.6 * max(len(name) for _, name in names), 158)
    panels = []
    for field, label in (("pearson", "Pearson correlation"), ("poisson_nll", "Poisson loss")):
        found = {
            one.name: {row["cell_type"]: row[field] for row in one.details["by_cell_type"]}
            for one in shown
        }
        own = [found[one.name] for one in shown if one.control is None]
        models, every = (
            [value for rows in some for value in rows.values() if value is not None]
            for some in (own, found.values())
        )
        if not every:
            continue
        panel = Panel(
            axis(label, models or every), Axis("", 0, len(types), names=names), label, left=left,
            height=max(HEIGHT - 60, 70 + 22 * len(types)),
        )  # fmt: skip
        for one in reversed(shown):
            for name in types:
                value = found[one.name].get(name)
                if value is not None and panel.inside(value, spots[name]):
                    tip = f"{one.name}, {name}: {value:.3g}"
                    panel.point(value, spots[name], one.css, one.marker, tip)
        panels.append(panel.render(f"{label} by cell type"))
    if not panels:
        return None
    count = ", ".join(f"{name} {cells[name]:,}" for name in types)
    return Figure(
        "By cell type",
        f"The largest types first; cells of each: {count}. Correlation, higher "
        "is better; Poisson loss, lower. A control far from every model is not drawn.",
        panels,
        legend([(one.name, one.css, one.marker) for one in shown]),
    )


def _shortened(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _cells(series: Sequence[Series]) -> Figure | None:
    shown = [one for one in series if one.details.get("cells")][:MOST_MAPS]
    if not shown:
        return None
    rows = shown[0].details["cells"]
    width = max(len(row["truth"]) for row in rows)
    if not width:
        return None
    most = max(value for row in rows for value in [*row["truth"], 0.01])
    maps = [("Truth", [row["truth"] for row in rows])]
    maps += [(one.name, [row["prediction"] for row in one.details["cells"]]) for one in shown]
    panels = []
    for title, values in maps:
        panel = Panel(
            Axis("Hidden entries, highest truth first", 0, width, names=()),
            Axis("Cell", 0, len(values), names=tuple(
                (len(values) - i - 0.5, str(i + 1)) for i in range(len(values))
            )),
            title, left=34, height=90 + 14 * len(values),
        )  # fmt: skip
        panel.squares(levels(values[::-1], most), width, len(values))
        panels.append(panel.render(f"Hidden values of a few cells: {title}"))
    return Figure(
        "Hidden values of a few cells",
        f"Each row is a cell, each square one of its hidden entries, the {width} of the highest "
        "true value, in the same order in every panel; the darker, the higher (log1p(10,000 × "
        f"share), up to {most:.1f}). The nearer a panel is to the truth's, the better.",
        panels,
    )


def levels(grid: Sequence[Sequence[float]], most: float, steps: int = 8):
    """Even levels 1..`steps` of values from 0 to `most`, [row][column], as runs for `squares`."""
    out: dict[int, list[tuple[int, int, int]]] = {}
    for r, row in enumerate(grid):
        for c, value in enumerate(row):
            level = min(steps, math.ceil(max(value, 0) / most * steps - 1e-9))
            if level > 0:
                out.setdefault(level, []).append((c, r, 1))
    return out


def _correlations(series: Sequence[Series]) -> Figure | None:
    panels = []
    for key, title in (("gene_pearson", "Within genes"), ("cell_pearson", "Within cells")):
        shown = [one for one in series if one.details.get(key, {}).get("values")]
        if not shown:
            continue
        spots = {one.name: len(shown) - i - 0.5 for i, one in enumerate(shown)}
        left, short = row_names(spots)
        names = tuple(zip(spots.values(), short, strict=True))
        quantiles = {one.name: _quantiles(one.details[key]) for one in shown}
        x = axis("Pearson correlation", [v for q in quantiles.values() for v in q], zero=True)
        panel = Panel(
            x, Axis("", 0, len(shown), names=names), title, left=left,
            height=max(HEIGHT - 60, 70 + 22 * len(shown)),
        )  # fmt: skip
        panel.guide(0, across=False)
        for one in shown:
            y, (q05, q25, q50, q75, q95) = spots[one.name], quantiles[one.name]
            panel.segment((q05, y), (q95, y), f"whisker {one.css}")
            panel.area((q25, y - 0.28), (q75, y + 0.28), f"box {one.css}")
            panel.point(q50, y, one.css, one.marker, f"{one.name}: median {q50:.3g}")
        panels.append(panel.render(f"Correlations {title.lower()}"))
    if not panels:
        return None
    return Figure(
        "Correlation gene by gene and cell by cell",
        "How well the hidden values of one gene follow the truth from cell to cell, and those of "
        "one cell from gene to gene: the mark is the median, the box holds the middle half, the "
        "line 90 %.",
        panels,
    )


def _quantiles(details: dict) -> tuple[float, ...]:
    by_level = dict(zip(details["quantiles"], details["values"], strict=True))
    return tuple(by_level[level] for level in (0.05, 0.25, 0.5, 0.75, 0.95))
