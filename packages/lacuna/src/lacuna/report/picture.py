"""leaderboard.svg: the result as one picture, for a README or a slide."""

from collections.abc import Sequence
from html import escape

from . import plots
from .leaderboard import Board, Entry
from .numerals import spell_score
from .sections import span
from .style import looks
from .svg import BOTTOM, HEIGHT, TOP, Axis, Panel, asset, row_names
from .svg import WIDTH as PANEL

#: Of the scores without the names of their rows, a row, and the gap between the two panels.
SCORES, ROW, GAP = 305, 21, 20
MOST = 16
#: Room for those names, more than in a panel of a page.
NAMES = 240


def picture(boards: Sequence[Board]) -> str | None:
    """Each task's scores with their intervals, beside quality against time; None without scores."""
    shown = {board.task: [e for e in board.entries if e.score][:MOST] for board in boards}
    every = [_row_name(entry) for entries in shown.values() for entry in entries]
    left, _ = row_names(every, NAMES)  # the same for all tasks
    width = left + SCORES + GAP + PANEL
    parts, height = [], 8
    for board in boards:
        if not shown[board.task]:
            continue
        panel = _scores(board, shown[board.task], left)
        cost = plots.cost(board, looks(board))
        parts.append(_at(panel.render(f"Scores: {board.task}"), 0, height))
        if cost:
            parts.append(_at(cost.panels[0], left + SCORES + GAP, height))
        height += max(panel.height, HEIGHT if cost else 0) + 12
    if not parts:
        return None
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><title>Lacuna leaderboard</title>'
        f"<style>{escape(asset('drawing.css'), quote=False)}</style>"
        f'<rect width="{width}" height="{height}" fill="var(--paper)"/>{"".join(parts)}</svg>\n'
    )


def _at(panel: str, x: float, y: float) -> str:
    return panel.replace("<svg ", f'<svg x="{x:g}" y="{y:g}" ', 1)


def _scores(board: Board, entries: Sequence[Entry], left: int) -> Panel:
    low, high = span(board)
    x = Axis(
        "Score: 0 best floor control, 1 ceiling" if board.scaled else "Share of models beaten",
        low, high,
    )  # fmt: skip
    spots = {entry.name: len(entries) - place - 0.5 for place, entry in enumerate(entries)}
    _, short = row_names([_row_name(entry) for entry in entries], NAMES)
    names = tuple(zip(spots.values(), short, strict=True))
    panel = Panel(
        x, Axis("", 0, len(entries), names=names), board.task.replace("_", " ").capitalize(),
        width=left + SCORES, height=max(TOP + BOTTOM + ROW * len(entries), HEIGHT), left=left,
    )  # fmt: skip
    look = looks(board)
    for end in (0, 1):
        panel.guide(end, across=False)
    for entry in entries:
        own, y, score = look[entry.name], spots[entry.name], entry.score
        end = score.mean
        if score.low is not None:
            start, end = (min(max(v, x.low), x.high) for v in (score.low, score.high))
            panel.segment((start, y), (end, y), f"whisker {own.css}")
        text = spell_score(score.mean)
        if panel.inside(score.mean, y):
            panel.point(score.mean, y, own.css, own.marker, f"{entry.name}: {text}")
            panel.label(end, y, text, own.css)
        else:
            panel.text(left + 4, panel.at(low, y)[1] + 4, f"◂ {text}", "tick")
    return panel


def _row_name(entry: Entry) -> str:
    if entry.ranked:
        return f"{entry.rank}{'=' if entry.tied else '.'} {entry.name}"
    # A score over some of the comparisons is no score of the same thing.
    some = entry.control is None and entry.done < entry.expected
    return f"{entry.name} ({entry.done} of {entry.expected})" if some else entry.name
