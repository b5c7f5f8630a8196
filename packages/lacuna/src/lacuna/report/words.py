"""The findings in words: computed from the leaderboards, never more than the intervals allow."""

from collections import Counter
from collections.abc import Sequence

from .advice import NEAR, spent
from .intervals import Interval
from .leaderboard import Board
from .numerals import count, listed, spell_score
from .records import Run


def compared(runs: Sequence[Run]) -> str:
    """One sentence: what was set against what."""
    runs = [run for run in runs if run.posed] or runs
    models = {run.name for run in runs if run.control is None}
    controls = {run.name for run in runs if run.control}
    parts = [count(len(models), "model")]
    if controls:
        parts.append(count(len(controls), "control"))
    datasets = sorted({run.dataset for run in runs})
    settings = sorted({run.setting for run in runs})
    tasks = sorted({run.task for run in runs})
    return (
        f"{' and '.join(parts)} on {listed(tasks)}: {count(len(datasets), 'dataset')} "
        f"({listed(datasets)}), {count(len(settings), 'condition')} ({listed(settings)}), "
        f"{count(len({run.seed for run in runs}), 'seed')}."
    )


def outcome(runs: Sequence[Run]) -> str:
    """One sentence: how many runs gave a score, and what became of the others."""
    runs = [run for run in runs if run.posed] or runs
    tally = Counter(run.status for run in runs)
    total = count(len(runs), "run")
    if tally["ok"] == len(runs):
        return "The run gave a score." if len(runs) == 1 else f"All {total} gave a score."
    failed = sum(run.failed for run in runs)
    parts = [f"{tally['ok']} of {total} gave a score"]
    if failed:
        kinds = [
            f"{tally[key]} {key.replace('_', ' ')}"
            for key in tally
            if key not in ("ok", "not_applicable")
        ]
        parts.append(f"{failed} that should have worked did not ({listed(kinds)})")
    if tally["not_applicable"]:
        were = "was" if tally["not_applicable"] == 1 else "were"
        parts.append(f"{tally['not_applicable']} {were} not applicable")
    return "; ".join(parts) + "."


def impossible(runs: Sequence[Run]) -> list[str]:
    """A sentence for each reason for which a dataset cannot have some of the conditions."""
    found: dict[tuple[str, str | None], dict[str, None]] = {}
    for run in runs:
        if not run.posed:
            found.setdefault((run.dataset, run.reason), {})[run.setting] = None
    return [
        f"{dataset} cannot have {listed(list(settings), most=20)}: {reason}"
        for (dataset, reason), settings in found.items()
    ]


#: Engines that keep a model from everything but its input, and places where they cannot: there all
#: tasks share one volume or bucket.
SEALING = ("docker", "podman", "apptainer")
SHARING = ("k8s", "awsbatch", "google-batch")


def exposure(pipeline: dict) -> str | None:
    """A sentence when nothing kept models from the truth; None when something did, or when the
    pipeline did not say what ran it."""
    engine, executor = pipeline.get("engine"), pipeline.get("executor", "local")
    if engine is None or (engine in SEALING and executor not in SHARING):
        return None
    where = f"{engine} on {executor}" if engine in SEALING else engine
    return f"models were not isolated ({where}): nothing kept one from reading the truth"


def findings(board: Board) -> list[str]:
    """What the leaderboard says, the most important sentence first."""
    if not board.models:
        return ["Only controls ran, so there is nothing to rank."]
    if not board.placed:
        if not any(entry.score for entry in board.models):
            nothing = "No model has a score on a metric that ranks, so nothing can be ranked."
            return [f"{nothing} {_unscaled(board)}".strip()]
        return ["No model completed every comparison, so none is ranked."]
    # The terminal shows the first of these alone, and has to say what a score is not.
    first = f"{_leader(board)} {_unscaled(board)}".strip()
    lines = [first, _separation(board), _cost(board), _below(board), _by_metric(board)]
    lines += [_by_dataset(board), *_ceilings(board), _left_out(board)]
    return [line for line in lines if line]


#: From here on, a ceiling's score is 1 but for rounding.
PERFECT = 0.999


def _by_dataset(board: Board) -> str:
    parts = board.parts(0)
    firsts = {
        part: listed([name for name, row in rows.items() if row.rank == 1], most=3)
        for part, rows in parts.items()
        if any(row.rank == 1 for row in rows.values())
    }
    if len(firsts) < 2 or len(board.placed) < 2:
        return ""
    return "First by dataset: " + "; ".join(f"{n} on {part}" for part, n in firsts.items()) + "."


def _ceilings(board: Board) -> list[str]:
    """Where a ceiling other than perfection is known: how near to it models come."""
    controls = {entry.name for entry in board.entries if entry.control == "ceiling"}
    models = {entry.name for entry in board.models}
    sentences = []
    for dataset, rows in board.parts(0).items():
        scores = {name: row.score.mean for name, row in rows.items()}
        best = max(sorted(models & scores.keys()), key=scores.get, default=None)
        for name in sorted(controls & scores.keys()):
            if board.scaled and best is not None and scores[name] < PERFECT:
                sentences.append(
                    f"On {dataset}, the ceiling control {name} scores {spell_score(scores[name])}, "
                    f"which is as far as a model can come; the best of them, {best}, scores "
                    f"{spell_score(scores[best])}."
                )
    return sentences


def rule(board: Board) -> list[str]:
    """How scores, intervals and ranks came about, for the reader who wants to know."""
    metrics = listed([metric.title for metric in board.metrics], most=20)
    seeds = count(len(board.seeds), "seed")
    if board.scaled:
        top = {
            "control": "the ceiling control is 1",
            "range": "the metric's best possible value is 1 (no ceiling control was scored)",
            "mixed": "the ceiling control is 1, or the metric's best possible value where that "
            "control has no score",
        }[board.ceiling]
        first = (
            "In each comparison (one metric on one dataset, condition and seed) the best floor "
            f"control is 0 and {top}; a model's value is placed linearly between them, and is not "
            "clipped: below 0 is worse than the best floor."
        )
    else:
        first = (
            "No floor control has a score here, so values cannot be scaled between controls. The "
            "score is instead the share of the other models that a model beats in each comparison "
            "(one metric on one dataset, condition and seed), an equal value counting half."
        )
    lines = [first, f"A score is the mean over the metrics that rank ({metrics}), then over "
             "datasets and conditions."]  # fmt: skip
    if board.unscaled and board.scaled:
        lines.append(
            f"Left out where floor and ceiling were missing or equal: {listed(board.unscaled)}."
        )
    if len(board.seeds) > 1:
        lines.append(
            f"Intervals are Student's t, 95 %, over {seeds}: they tell how far a score moves when "
            "what is hidden and the model's own seed change, not how it would be on other data. "
            "Models share a rank (1=) when the interval of their difference from the best of the "
            "group, paired by seed, includes 0; no correction for the number of comparisons."
        )
    else:
        lines.append("One seed gives no interval, and ties cannot be told.")
    lines.append("A model is ranked when it has every comparison that any model has.")
    lines.append(
        "For each purpose those models are named that are first on its metrics, alone or shared, "
        "with their mean score on these and their cost; and one that reaches "
        f"{100 * NEAR:.0f} % of that score in a third of the time."
    )
    return lines


def spelled(interval: Interval) -> str:
    """A mean with its interval, as in 0.412 (0.391 to 0.433); without one, the mean alone."""
    if interval.low is None:
        return spell_score(interval.mean)
    mean, low, high = map(spell_score, (interval.mean, interval.low, interval.high))
    return f"{mean} ({low} to {high})"


def _leader(board: Board) -> str:
    first = board.placed[0]
    top = "the ceiling control" if board.ceiling == "control" else "the best possible value"
    what = f"of the way from the best floor control to {top}"
    if not board.scaled:
        what = "of the other models beaten (no floor control to scale by)"
    together = [entry for entry in board.placed if entry.rank == first.rank]
    if len(together) > 1 and first.score.low is not None:
        # Few by name: the leaderboard, right below, has them all.
        names = listed([entry.name for entry in together], most=4)
        scores = listed([spell_score(entry.score.mean) for entry in together], most=4)
        seeds = count(first.score.n, "seed")
        return (
            f"{names} lead together, at {scores} {what}: paired over {seeds}, the intervals of "
            f"their differences from {first.name} include 0."
        )
    role = "is the only ranked model, at" if len(board.placed) == 1 else "leads, at"
    low, high = map(spell_score, (first.score.low, first.score.high))
    known = first.score.low is not None
    interval = f" (95 % interval over seeds {low} to {high})"
    interval = interval if known else " (one seed, so no interval)"
    return f"{first.name} {role} {spell_score(first.score.mean)} {what}{interval}."


def _unscaled(board: Board) -> str:
    if board.scaled or any(entry.control == "floor" for entry in board.entries):
        return ""
    if len(board.models) == 1:
        name = board.models[0].name
        return f"No floor control ran and no other model: there is nothing to score {name} against."
    return (
        "No floor control ran: scores set these models against one another, not against a simple "
        "baseline."
    )


def _separation(board: Board) -> str:
    first, *others = board.placed
    if not others:
        return ""
    beyond = next((entry for entry in others if entry.rank != first.rank), None)
    if first.score.low is None:
        after = f"Next is {beyond.name} at {spell_score(beyond.score.mean)}. " if beyond else ""
        return f"{after}Whether this order would hold on another seed is not known."
    if beyond is None:
        return ""
    gap = board.gap(first, beyond)
    return (
        f"{first.name} separates from {beyond.name} ({spell_score(beyond.score.mean)}): paired by "
        f"seed, the difference is {spelled(gap)}."
    )


def _cost(board: Board) -> str:
    first = board.placed[0]
    if first.seconds is None:
        return ""
    lines = [f"A run of {first.name} took {spent(first)} (medians)"]
    equal = [entry for entry in board.placed if entry.rank == first.rank and entry.seconds]
    fastest = min(equal, key=lambda entry: entry.seconds, default=first)
    if fastest is not first:
        lines.append(f"of those tied with it, {fastest.name} is the fastest at {spent(fastest)}")
    else:
        quicker = [entry for entry in board.placed if entry.seconds and entry is not first]
        other = min(quicker, key=lambda entry: entry.seconds, default=None)
        if other and other.seconds < first.seconds / 2 and other.score.mean > 0:
            lines.append(f"{other.name}, at {spell_score(other.score.mean)}, took {spent(other)}")
    return "; ".join(lines) + "."


def _below(board: Board) -> str:
    if not board.scaled:
        return ""
    below = [entry.name for entry in board.models if entry.score and entry.score.mean < 0]
    if not below:
        return ""
    verb = "scores" if len(below) == 1 else "score"
    return f"{listed(below)} {verb} below the best floor control."


def _by_metric(board: Board) -> str:
    firsts = Counter()
    contested = 0
    for rows in board.by_metric.values():
        winners = [name for name, row in rows.items() if row.rank == 1]
        contested += bool(winners)
        firsts.update(winners)
    if contested < 2 or len(board.placed) < 2:
        return ""
    parts = [f"{name} on {n}" for name, n in firsts.most_common(4)]
    return f"By single metric, first place alone or shared goes to {listed(parts)} of {contested}."


def _left_out(board: Board) -> str:
    rest = [entry for entry in board.models if not entry.ranked]
    if not rest:
        return ""
    parts = [f"{entry.name} ({entry.done} of {entry.expected} comparisons)" for entry in rest]
    return f"Not ranked for missing scores: {listed(parts)}."
