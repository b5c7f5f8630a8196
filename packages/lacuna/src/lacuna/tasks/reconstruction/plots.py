"""What the report draws of a reconstruction, from `details` (see details.py)."""

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
)

#: Models with a density panel of their own, best first; lines and boxes stay readable for more.
MOST_DENSITIES = 9


def figures(series: Sequence[Series]) -> list[Figure]:
    """Figures of the models' runs on one dataset, condition and seed.

    Ceilings are left out: they are the truth against itself.
    """
    drawn = [one for one in series if one.control != "ceiling"]
    made = (_densities(drawn), _by_count(drawn), _correlations(drawn))
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
        "Left: lower is better. Right: the grey blocks span the true counts themselves; who "
        "predicts what is to be expected stays nearer to the mean. Values below 0.001 are not "
        "drawn.",
        panels,
        legend([(one.name, one.css, one.marker) for one in shown]),
    )


def _correlations(series: Sequence[Series]) -> Figure | None:
    panels = []
    for key, title in (("gene_pearson", "Within genes"), ("cell_pearson", "Within cells")):
        shown = [one for one in series if one.details.get(key, {}).get("values")]
        if not shown:
            continue
        spots = {one.name: len(shown) - i - 0.5 for i, one in enumerate(shown)}
        names = tuple((spots[one.name], one.name) for one in shown)
        left = min(20 + 6.5 * max(len(one.name) for one in shown), 160)
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
