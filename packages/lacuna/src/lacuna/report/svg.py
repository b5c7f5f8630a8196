"""Plots as small hand-written SVG panels.

Written by hand rather than by matplotlib: importing matplotlib alone takes longer than building a
whole report, a panel is a few kB instead of tens, and its colours are the page's CSS variables, so
one drawing serves light, dark and print. A panel is drawn at the width of a phone and laid out in
a grid, so that its text is never scaled below reading size.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

WIDTH, HEIGHT = 340, 250
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 24, 42
#: Width of a letter in a row's name, in the wider ones of the fonts there may be, and of what is
#: between a name and its row.
GLYPH, ROW_GAP = 6.7, 14
#: Width of a digit of a tick, likewise.
DIGIT = 7
#: Room for such names in a panel of the usual width.
MOST_LEFT = 160

#: Colours of series, defined in page.css (Okabe-Ito, so that they differ to colour-blind eyes too);
#: each comes with its own marker, so that none is told by colour alone.
SERIES = 8
MARKERS = "osdtvpxc"
#: Of all that come after those: one grey, and one shape that none of them has.
REST = "b"


@dataclass(frozen=True)
class Figure:
    """A plot with what a reader needs: a title, one sentence on how to read it, and panels."""

    title: str
    reading: str
    panels: list[str]
    legend: str = ""


@dataclass(frozen=True)
class Series:
    """One model as a task's plots get it: its looks, and the `details` of its metrics.json."""

    name: str
    css: str
    marker: str
    control: str | None
    details: dict


@dataclass(frozen=True)
class Axis:
    """One axis: its label with unit, its range, and whether it is logarithmic."""

    label: str
    low: float
    high: float
    log: bool = False
    names: tuple[tuple[float, str], ...] = ()

    def place(self, value: float) -> float:
        """Position of `value` as a fraction of the axis."""
        if self.log:
            low, high, value = map(math.log10, (self.low, self.high, max(value, 1e-300)))
        else:
            low, high = self.low, self.high
        return (value - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        if self.names:
            return list(self.names)
        values = log_ticks(self.low, self.high) if self.log else even_ticks(self.low, self.high)
        if self.log:
            return [(value, tick_text(value)) for value in values]
        texts = [tick_text(value) for value in values]
        places = max((len(t.partition(".")[2]) for t in texts if "e" not in t), default=0)
        return [(v, f"{v:,.{places}f}".replace("-", "−") if places else t)
                for v, t in zip(values, texts, strict=True)]  # fmt: skip


def axis(label: str, values: Iterable[float], *, log: bool = False, zero: bool = False, pad=0.06):
    """An axis that holds all finite `values` with a margin; a log axis drops what is not > 0."""
    known = [v for v in values if v is not None and math.isfinite(v) and (v > 0 or not log)]
    if not known:
        return Axis(label, 0.1 if log else 0.0, 1.0, log)
    low, high = min(known), max(known)
    if log:
        low, high = math.log10(low), math.log10(high)
        spare = max((high - low) * pad, 0.15)
        return Axis(label, 10 ** (low - spare), 10 ** (high + spare), True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spare = (high - low) * pad or abs(high) * 0.1 or 0.5
    return Axis(label, low if zero and low == 0 else low - spare, high + spare)


def even_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, 1, 2 or 5 apart times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [0.0 if i == 0 else float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, or 1-2-5 where the axis spans less than two decades."""
    steps = (1,) if math.log10(high / low) > 3 else (1, 3) if high / low > 60 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
    return ticks if len(ticks) > 2 else even_ticks(low, high, 4)


def tick_text(value: float) -> str:
    """A tick's number, as short as it can be: 0.05, 10, 2,000, 10⁵."""
    power = math.log10(value) if value > 0 else 0.5
    if abs(power) >= 4 and abs(power - round(power)) < 1e-9:
        return "10" + str(round(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    text = f"{value:,.0f}" if value % 1 == 0 and abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def row_names(names: Iterable[str], most: float = MOST_LEFT) -> tuple[int, list[str]]:
    """Room at the left of a panel for the names of its rows, `most` or less, and those names; of a
    name that is too long the middle is left out, because variants of a model differ at the end."""
    long = int((most - ROW_GAP) / GLYPH)
    head, tail = long // 3, long - long // 3 - 1
    short = [n if len(n) <= long else f"{n[:head]}…{n[-tail:]}" for n in names]
    return math.ceil(ROW_GAP + GLYPH * max(map(len, short), default=0)), short


def asset(name: str) -> str:
    """The text of a file beside this one."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


class Panel:
    """One set of axes. Coordinates are data values; what lies outside the axes is clipped away."""

    def __init__(self, x: Axis, y: Axis, title="", *, width=WIDTH, height=HEIGHT, left=LEFT):
        self.x, self.y, self.title = x, y, title
        self.width, self.height, self.left = width, height, left
        self.marks: list[str] = []
        self.taken: list[tuple[float, float, float, float]] = []
        self.labels: list[tuple[float, float, str, str]] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        px = self.left + self.x.place(x) * (self.width - self.left - RIGHT)
        py = self.height - BOTTOM - self.y.place(y) * (self.height - TOP - BOTTOM)
        return round(px, 1), round(py, 1)

    def inside(self, x: float, y: float) -> bool:
        return all(-1e-9 <= a.place(v) <= 1 + 1e-9 for a, v in ((self.x, x), (self.y, y)))

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """A line through `points`, in order."""
        path = "L".join(f"{px:g} {py:g}" for px, py in (self.at(*point) for point in points))
        self.marks.append(f'<path class="line {css}" d="M{path}"/>')

    def guide(self, value: float, css: str = "guide", *, across: bool = True) -> None:
        """A thin reference line over the whole panel, at a y value, or an x value."""
        low, high = (self.x.low, self.x.high) if across else (self.y.low, self.y.high)
        a, b = ((low, value), (high, value)) if across else ((value, low), (value, high))
        self.segment(a, b, css)

    def segment(self, a: tuple[float, float], b: tuple[float, float], css: str = "guide") -> None:
        (x1, y1), (x2, y2) = self.at(*a), self.at(*b)
        self.marks.append(f'<path class="{css}" d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>')

    def area(self, a: tuple[float, float], b: tuple[float, float], css: str) -> None:
        """A filled rectangle between two opposite corners."""
        (x1, y1), (x2, y2) = self.at(*a), self.at(*b)
        self.marks.append(f'<path class="{css}" d="M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}z"/>')

    def whisker(self, x: float, low: float, high: float, css: str) -> None:
        self.segment((x, low), (x, high), f"whisker {css}")

    def point(self, x: float, y: float, css: str, marker: str = "o", tip: str = "") -> None:
        px, py = self.at(x, y)
        self.taken.append((px - 4, py - 4, px + 4, py + 4))
        self.marks.append(
            f'<path class="mark {css}" d="{glyph(marker, px, py)}">'
            f"<title>{escape(tip)}</title></path>"
        )

    def dots(self, points: Sequence[tuple[float, float]], css: str, size: float = 3.2) -> None:
        """Many small squares of one kind, as one mark."""
        places = (self.at(*point) for point in points)
        half = size / 2
        path = "".join(
            f"M{px - half:.1f} {py - half:.1f}h{size:g}v{size:g}h{-size:g}z" for px, py in places
        )
        self.marks.append(f'<path class="dots {css}" d="{path}"/>')

    def label(self, x: float, y: float, text: str, css: str = "") -> None:
        """Words beside a point; placed when the panel is drawn, clear of each other."""
        px, py = self.at(x, y)
        self.labels.append((px, py, text, css))

    def text(self, px: float, py: float, text: str, css: str = "", anchor: str = "start") -> None:
        self.marks.append(
            f'<text class="{css}" x="{px:g}" y="{py:g}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def squares(self, levels: dict[int, list[tuple[int, int, int]]], columns: int, rows: int):
        """A density: by level (1..8), runs of `n` equal cells from (column, row), row 0 lowest."""
        left, bottom = self.at(self.x.low, self.y.low)
        right, top = self.at(self.x.high, self.y.high)
        w, h = (right - left) / columns, (bottom - top) / rows
        for level, cells in sorted(levels.items()):
            path = "".join(
                f"M{left + c * w:.1f} {bottom - (r + 1) * h:.1f}h{n * w:.1f}v{h:.1f}h{-n * w:.1f}z"
                for c, r, n in cells
            )
            self.marks.append(f'<path class="d{level}" d="{path}"/>')

    def render(self, about: str = "") -> str:
        """The panel as an <svg> element."""
        left, bottom = self.left, self.height - BOTTOM
        right = self.width - RIGHT
        out = [
            f'<svg viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" aria-label="{escape(about or self.title)}">'
        ]
        if self.title:
            # A long title starts at the panel's edge, to have all of its width.
            start = left if len(self.title) < 38 else 4
            out.append(f'<text class="ttl" x="{start}" y="14">{escape(self.title)}</text>')
        for value, text in self.y.ticks():
            _, py = self.at(self.x.low, value)
            out.append(f'<path class="grid" d="M{left} {py:g}H{right}"/>')
            out.append(
                f'<text class="tick" x="{left - 6}" y="{py + 3.5:g}" text-anchor="end">'
                f"{escape(text)}</text>"
            )
        for value, text in self.x.ticks():
            px, _ = self.at(value, self.y.low)
            out.append(f'<path class="grid" d="M{px:g} {bottom}v4"/>')
            # A long number under the end of the axis would be cut.
            at = min(px, self.width - len(text) * DIGIT / 2)
            out.append(
                f'<text class="tick" x="{at:g}" y="{bottom + 16}" text-anchor="middle">'
                f"{escape(text)}</text>"
            )
        out.append(f'<path class="frame" d="M{left} {TOP}V{bottom}H{right}"/>')
        middle = (left + right) / 2
        out.append(
            f'<text class="axis" x="{middle:g}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(self.x.label)}</text>"
        )
        if self.y.label:
            out.append(
                f'<text class="axis" transform="translate(11 {(TOP + bottom) / 2:g}) rotate(-90)" '
                f'text-anchor="middle">{escape(self.y.label)}</text>'
            )
        out += self.marks
        out += spread(self.labels, self.taken, self.left, self.width, self.height)
        return "".join(out) + "</svg>"


def glyph(marker: str, x: float, y: float, r: float = 4.2) -> str:
    """Path of a marker centred on (x, y): circle, square, diamond, triangles, plus, cross, cup,
    bar."""
    if marker == "o":
        return f"M{x - r:g} {y:g}a{r} {r} 0 1 0 {2 * r:g} 0a{r} {r} 0 1 0 {-2 * r:g} 0z"
    corners = {
        "s": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "d": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
        "t": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        "v": ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
        "p": ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
              (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
        "x": ((0, -0.55), (0.65, -1.2), (1.2, -0.65), (0.55, 0), (1.2, 0.65), (0.65, 1.2),
              (0, 0.55), (-0.65, 1.2), (-1.2, 0.65), (-0.55, 0), (-1.2, -0.65), (-0.65, -1.2)),
        "b": ((-1.3, -0.4), (1.3, -0.4), (1.3, 0.4), (-1.3, 0.4)),
        "c": ((-1.2, -1), (1.2, -1), (0.5, 0), (1.2, 1), (-1.2, 1), (-0.5, 0)),
    }[marker]  # fmt: skip
    return "M" + "L".join(f"{x + dx * r:.1f} {y + dy * r:.1f}" for dx, dy in corners) + "z"


def spread(
    labels, marks, left: float, width: float, height: float, size: float = 11.0
) -> list[str]:
    """Place words beside their points, moving or dropping the ones that would overlap."""
    taken = list(marks)
    out = []
    for px, py, text, css in labels:
        w = len(text) * size * 0.68
        # Fonts differ between machines: the anchor keeps words clear of their point in any.
        tries = [("start", 8, 4), ("end", -8, 4), ("middle", 0, -8), ("middle", 0, 16)]
        tries += [(side, dx, dy) for dy in (-7, 15) for side, dx in (("start", 8), ("end", -8))]
        for anchor, dx, dy in tries:
            x, y = px + dx, py + dy
            start = x - {"start": 0, "middle": w / 2, "end": w}[anchor]
            box = (start, y - size * 0.8, start + w, y + 2)
            fits = box[0] >= left and box[2] <= width - 2 and box[1] >= 2 and box[3] <= height - 20
            own = (px - 4, py - 4, px + 4, py + 4)
            if fits and not any(_overlap(box, other) for other in taken if other != own):
                taken.append(box)
                at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
                out.append(f'<text class="name {css}" {at}>{escape(text)}</text>')
                break
    return out


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def legend(items: Sequence[tuple[str, str, str]], lead: str = "") -> str:
    """A line of (name, css class, marker) keys, as HTML; `lead` says what they are of."""
    said = f"<span>{escape(lead)}</span>" if lead else ""
    keys = "".join(
        f'<span><svg width="14" height="14" aria-hidden="true"><path class="mark {css}" '
        f'd="{glyph(marker, 7, 7)}"/></svg>{escape(name)}</span>'
        for name, css, marker in items
    )
    return f'<p class="legend">{said}{keys}</p>'


def density_levels(grid: Sequence[Sequence[float]], levels: int = 8):
    """Logarithmic levels 1..`levels` of a grid of counts [row][column], as runs for `squares`."""
    most = max((value for row in grid for value in row), default=0)
    out: dict[int, list[tuple[int, int, int]]] = {}
    for r, row in enumerate(grid):
        start, current = 0, 0
        for c, value in enumerate([*row, 0]):
            level = 0
            if value > 0 and c < len(row):
                share = math.log1p(value) / math.log1p(most)
                level = max(1, math.ceil(share * levels))
            if level != current:
                if current:
                    out.setdefault(current, []).append((start, r, c - start))
                start, current = c, level
    return out
