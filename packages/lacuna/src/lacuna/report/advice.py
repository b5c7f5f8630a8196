"""Which model to take for which purpose, and what it costs: computed from the leaderboard."""

from collections.abc import Sequence
from statistics import fmean

from .leaderboard import Board, Entry
from .numerals import listed, seconds, size, spell_score

#: A model is named as a cheap choice when it reaches this share of the best score ...
NEAR = 0.9
#: ... in at most this share of its time.
CHEAP = 1 / 3
NONE = "no model here beats the best floor control"


def purposes(board: Board) -> list[str]:
    """Which model to take for which purpose, and what it costs; a sentence for each answer.

    Purposes are those of the metrics that rank. A model that shares the first place of a metric, by
    the intervals over seeds, is as good an answer as the one with the higher mean.
    """
    answers: dict[tuple[tuple[str, ...], bool], list] = {}
    for fact in board.metrics:
        rows = board.by_metric.get(fact.name, {})
        first = tuple(sorted(name for name, row in rows.items() if row.rank == 1))
        if fact.purpose and first:
            good = not board.scaled or max(rows[name].score.mean for name in first) > 0
            answers.setdefault((first, good), []).append(fact)
    if len(board.models) == 1 and all(good for _, good in answers):
        return []  # there is nothing to choose from, and the words above say how good it is
    sentences = []
    for (names, good), facts in answers.items():
        what = listed([f"to {fact.purpose}" for fact in facts], most=9)
        answer = _answer(board, names, facts) if good else NONE
        sentences.append(f"{what[0].upper()}{what[1:]}: {answer}.")
    return sentences


def _answer(board: Board, names: Sequence[str], facts: Sequence) -> str:
    entries = {entry.name: entry for entry in board.entries}

    def mean(name: str) -> float:
        rows = (board.by_metric[fact.name].get(name) for fact in facts)
        return fmean(row.score.mean if row else 0.0 for row in rows)

    best = max(names, key=mean)
    # Few by name: the tables have them all.
    order = sorted(names, key=lambda name: (entries[name].seconds or 0, name))
    text = listed([_with_cost(entries[name], mean(name)) for name in order], most=3)
    if len(names) > 1:
        return f"{text}, which their intervals do not tell apart" if len(board.seeds) > 1 else text
    cheap = [
        entry
        for entry in board.models
        if entry.ranked and entry.seconds and entries[best].seconds
        and entry.seconds <= CHEAP * entries[best].seconds
        and mean(entry.name) >= NEAR * mean(best)
    ]  # fmt: skip
    if cheap:
        other = min(cheap, key=lambda entry: entry.seconds)
        text += f"; {_with_cost(other, mean(other.name))} comes near for less"
    return text


def _with_cost(entry: Entry, score: float) -> str:
    cost = spent(entry)
    return f"{entry.name} ({spell_score(score)}{'; ' if cost else ''}{cost})"


def spent(entry: Entry) -> str:
    """What a run of a model takes, as in "3.2 s and 210 MB"; empty where that is not known."""
    parts = [seconds(entry.seconds) if entry.seconds is not None else ""]
    parts.append(size(entry.peak_memory_bytes) if entry.peak_memory_bytes is not None else "")
    return " and ".join(part for part in parts if part)
