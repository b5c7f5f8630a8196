"""What the report draws of a segmentation, from `details` (see details.py)."""

from collections.abc import Iterable, Sequence

from lacuna.report.svg import Axis, Figure, Panel, Series, axis, legend, row_names

#: Models with panels of their own, best first; the ceiling has one always.
MOST_MODELS = 7
TRUTH = "ground truth"
#: The look of each class in a strip: the colours are those of series, told apart by height, too.
CLASS_CSS = {"intergenic": "s7", "exon": "s1", "intron": "s0", "utr5": "s2", "utr3": "s3"}
HEIGHTS = {"intergenic": 0.08, "exon": 0.4, "intron": 0.2, "utr5": 0.3, "utr3": 0.3}


def figures(series: Sequence[Series]) -> list[Figure]:
    """Figures of the models' runs on one dataset, condition and seed: for each class the durations
    of the truth, the ceiling and the models; learned durations; sequences; tolerance."""
    shown = [one for one in series if "durations" in one.details]
    if not shown:
        return []
    ceilings = [one for one in shown if one.control == "ceiling"]
    models = [one for one in shown if one.control is None][:MOST_MODELS]
    floors = [one for one in shown if one.control == "floor"]
    drawn = [*ceilings, *models]
    classes = shown[0].details["classes"]
    made = [_durations(name, shown[0], drawn) for name in classes]
    made += [_learned([one for one in drawn if "learned" in _of(one, classes[0])], classes)]
    made += [_strips(drawn or shown, classes), _near([*drawn, *floors])]
    return [figure for figure in made if figure is not None]


def _of(one: Series, name: str) -> dict:
    return one.details["durations"][name]


def _middles(ends: Sequence[int]) -> list[float]:
    """The middle of each bin on a logarithmic axis; `ends` are last durations."""
    starts = [1, *(end + 1 for end in ends[:-1])]
    return [(low * (high + 1)) ** 0.5 for low, high in zip(starts, ends, strict=True)]


def _extent(ends: Sequence[int], masses: Iterable[Sequence[float]]) -> tuple[float, float, float]:
    """The durations between which there is any mass, and the largest of a bin."""
    rows = list(masses)
    used = [i for i in range(len(ends)) if any(row[i] > 1e-4 for row in rows)]
    first, last = (used[0], used[-1]) if used else (0, len(ends) - 1)
    low = ends[first - 1] + 1 if first else 1
    return float(low), float(ends[last] + 1), max(max(row) for row in rows) or 1.0


def _durations(name: str, truth: Series, drawn: Sequence[Series]) -> Figure | None:
    """A row of the plot of durations."""
    own = _of(truth, name)
    ends, reference = own["ends"], own["reference"]
    if not any(reference):
        return None
    columns = [(TRUTH, own["truth"], own["n_true"], own["floor"], "s-rest")]
    for one in drawn:
        its = _of(one, name)
        css = "s-rest" if one.control else one.css
        columns.append((one.name, its["prediction"], its["n_predicted"], its["kl"], css))
    low, high, most = _extent(ends, [reference, *(column[1] for column in columns)])
    most = min(most, 2.5 * max(*reference, *own["truth"]))
    x = Axis(f"Length of complete {name} segments (log scale)", low, high, True)
    y = Axis("Share in bin", 0, 1.08 * most)
    panels = []
    for title, masses, count, kl, css in columns:
        value = "" if kl is None else f": KL {kl:.2g}"
        panel = Panel(x, y, f"{title}{value}, n {count:,}", height=200)
        starts = [1, *(end + 1 for end in ends[:-1])]
        for start, end, mass in zip(starts, ends, masses, strict=True):
            left, right = max(start, low), min(end + 1, high)
            if mass > 0 and left < right:
                panel.area((left, 0), (right, min(mass, y.high)), f"box {css}")
        points = [
            point
            for point in zip(_middles(ends), reference, strict=True)
            if low <= point[0] <= high
        ]
        panel.line(points, "frontier")
        panels.append(panel.render(f"Durations of {name}: {title}"))
    return Figure(
        f"Durations, {name}",
        "Lengths of the segments that the window does not cut, in bins that are even on a "
        "logarithmic axis. The line is their exact law within a window of this length; the KL "
        "divergence from it, over bins of equal mass, is in each title; that of the ground truth "
        "is the floor, which a perfect prediction has.",
        panels,
    )


def _learned(drawn: Sequence[Series], classes: Sequence[str]) -> Figure | None:
    panels = []
    for name in classes:
        for one in drawn:
            own = _of(one, name)
            ends, rows = own["ends"], [own["law"], own["learned"], own["prediction"]]
            low, high, most = _extent(ends, rows[:2])
            x = Axis(f"Duration of {name} (log scale)", low, high, True)
            y = Axis("Share in bin", 0, 1.08 * most)
            panel = Panel(x, y, f"{one.name}, {name}", height=200)
            css = "s-rest" if one.control else one.css
            for masses, look in ((own["law"], "frontier"), (own["learned"], css)):
                points = [
                    (d, min(mass, y.high))
                    for d, mass in zip(_middles(ends), masses, strict=True)
                    if low <= d <= high
                ]
                panel.line(points, look)
            panels.append(panel.render(f"Learned durations: {one.name}, {name}"))
    if not panels:
        return None
    return Figure(
        "Learned durations",
        "The duration parameters themselves, where a model has any, and (dotted) the law that drew "
        "the sequences. Those of decoded segments are above.",
        panels,
    )


def _strips(drawn: Sequence[Series], classes: Sequence[str]) -> Figure | None:
    panels = []
    length = drawn[0].details["length"]
    for row, own in enumerate(drawn[0].details["strip"]):
        lines = [(TRUTH, own["truth"])]
        lines += [(one.name, one.details["strip"][row]["prediction"]) for one in drawn]
        spots = {name: len(lines) - i - 0.5 for i, (name, _) in enumerate(lines)}
        left, short = row_names(spots)
        names = tuple(zip(spots.values(), short, strict=True))
        panel = Panel(
            Axis("Position", 0, length, names=((0, "0"), (length / 2, f"{length // 2:,}"))),
            Axis("", 0, len(lines), names=names),
            f"Test sequence {row + 1}", left=left, height=70 + 24 * len(lines),
        )  # fmt: skip
        for name, strip in lines:
            start = 0
            for end, label in zip(strip["ends"], strip["classes"], strict=True):
                kind = classes[label]
                half, y = HEIGHTS[kind], spots[name]
                panel.area((start, y - half), (end, y + half), f"box {CLASS_CSS[kind]}")
                start = end
        panels.append(panel.render(f"Segments of test sequence {row + 1}"))
    return Figure(
        "Sequences, true and predicted",
        "Tall blocks are exons, lower ones introns, a thin line is intergenic.",
        panels,
        legend([(name, CLASS_CSS[name], "s") for name in classes]),
    )


def _near(drawn: Sequence[Series]) -> Figure | None:
    shown = [one for one in drawn if one.details["near"]]
    if not shown:
        return None
    tolerances = [str(at) for at, _ in shown[0].details["near"]]
    x = Axis(
        "Tolerance, positions", -0.3, len(tolerances) - 0.7,
        names=tuple(enumerate(tolerances)),
    )  # fmt: skip
    panel = Panel(x, axis("Boundary F1", [0, 1]), "Boundaries by tolerance")
    for one in reversed(shown):
        points = [(i, value) for i, (_, value) in enumerate(one.details["near"])]
        panel.line(points, one.css)
        for point in points:
            panel.point(*point, one.css, one.marker, f"{one.name}: {point[1]:.3g}")
    return Figure(
        "Boundaries by tolerance",
        "F1 of boundaries that may be off by so many positions. The ceiling is decoded for exact "
        f"boundaries, and from {shown[0].details['tolerance']} upwards for that tolerance.",
        [panel.render("Boundary F1 by tolerance")],
        legend([(one.name, one.css, one.marker) for one in shown]),
    )
