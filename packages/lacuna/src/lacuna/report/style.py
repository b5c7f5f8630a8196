"""One colour and one marker per model, the same in every plot of a task."""

from dataclasses import dataclass

from .leaderboard import Board
from .svg import MARKERS, SERIES


@dataclass(frozen=True)
class Look:
    """CSS class and marker of a model; `named` when it is worth a label in a crowded plot."""

    css: str
    marker: str
    named: bool = True


def looks(board: Board) -> dict[str, Look]:
    """Looks by name: the best models get colours, those after them share a grey."""
    found: dict[str, Look] = {}
    for place, entry in enumerate(entry for entry in board.entries if entry.control is None):
        css = f"s{place}" if place < SERIES else "s-rest"
        found[entry.name] = Look(css, MARKERS[place % len(MARKERS)], place < SERIES)
    for place, entry in enumerate(entry for entry in board.entries if entry.control):
        found[entry.name] = Look(entry.control, MARKERS[place % len(MARKERS)])
    return found
