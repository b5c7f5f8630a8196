"""One colour and one marker per model, the same in every plot of a task."""

from dataclasses import dataclass

from .leaderboard import Board
from .svg import MARKERS, REST, SERIES


@dataclass(frozen=True)
class Look:
    """CSS class and marker of a model; `named` when it is worth a label in a crowded plot."""

    css: str
    marker: str
    named: bool = True


def looks(board: Board) -> dict[str, Look]:
    """Looks by name, to be told apart without colour too: the best models get a colour and a shape
    each, those after them share a grey and a shape; controls are open, models filled."""
    found: dict[str, Look] = {}
    for place, entry in enumerate(entry for entry in board.entries if entry.control is None):
        first = place < SERIES
        css, marker = (f"s{place}", MARKERS[place]) if first else ("s-rest", REST)
        found[entry.name] = Look(css, marker, first)
    for place, entry in enumerate(entry for entry in board.entries if entry.control):
        found[entry.name] = Look(entry.control, MARKERS[place % len(MARKERS)])
    return found
