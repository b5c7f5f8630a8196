"""The parts of the page: leaderboard, metrics, figures, failures, provenance."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape as e

from .advice import purposes
from .intervals import over_seeds
from .leaderboard import Board, Entry, MetricRow
from .metrics import MetricFacts
from .numerals import MB, align, count, seconds, sig, size, spell_score
from .records import Run
from .style import Look
from .svg import Figure, glyph
from .words import findings, rule

DASH = "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], css: str = "") -> str:
    """A table whose cells are HTML already; the first column is the rows' names."""
    top = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    body = "".join(
        f"<tr><th scope=row>{row[0]}</th>" + "".join(f"<td>{c}</td>" for c in row[1:]) + "</tr>"
        for row in rows
    )
    return (
        f'<div class=scroll><table class="{css}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def fold(title: str, inner: str, *, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{title}</summary>{inner}</details>"


def mark_of(look: Look, where: str) -> str:
    """A model's marker; `where` is the attributes that place it."""
    return (
        f'<svg {where} width=14 height=14 aria-hidden=true><path class="mark {look.css}" '
        f'd="{glyph(look.marker, 7, 7)}"/></svg>'
    )


def broken(name: str) -> str:
    """A name that may be broken after its dots and underscores, for the heads of columns."""
    return e(name).replace("_", "_<wbr>").replace(".", ".<wbr>")


def rank_text(rank: int | None, tied: bool) -> str:
    return DASH if rank is None else f"{rank}{'=' if tied else ''}"


def summary(board: Board, brief: bool = False) -> str:
    """The findings in words; `brief`, the less important ones folded away."""
    first, *others = findings(board)
    found, advice = f"<p class=lead>{e(first)}</p>", purposes(board)
    if advice:
        found += f"<p class=which>Which model for what</p>{_bullets(advice)}"
    if others and brief:
        found += fold("Besides", _bullets(others))
    elif others:
        found += ("<p class=which>Besides</p>" if advice else "") + _bullets(others)
    return found


def _bullets(lines: Sequence[str]) -> str:
    return f"<ul class=findings>{''.join(f'<li>{e(line)}</li>' for line in lines)}</ul>"


def leaderboard(board: Board, look: Mapping[str, Look]) -> str:
    """The ranking as a table whose middle column is drawn to one common scale."""
    low, high = span(board)
    zero, one = (100 * (v - low) / (high - low) for v in (0.0, 1.0))
    ends = ("floor", "ceiling") if board.scaled else ("beats none", "beats all")
    scale = (
        f'<span class=scale><i style="left:{zero:.1f}%">{ends[0]}</i>'
        f'<i class=end style="left:{one:.1f}%">{ends[1]}</i></span>'
    )
    scores = align(
        spell_score(entry.score.mean) if entry.score else DASH for entry in board.entries
    )
    rows = []
    for entry, score in zip(board.entries, scores, strict=True):
        css = "control" if entry.control else "model" if entry.ranked else "model out"
        note = f"<small>{e(entry.note)}</small>" if entry.note else ""
        rows.append(
            f'<tr class="{css}"><td class=rank>{rank_text(entry.rank, entry.tied)}</td>'
            f"<th scope=row>{mark_of(look[entry.name], 'class=key')}{e(entry.name)}{note}</th>"
            f"<td class=score>{score}</td><td class=range>{_range(entry)}</td>"
            f"<td class=track>{_track(entry, look[entry.name], low, high, zero, one)}</td>"
            f"<td class=cost>{seconds(entry.seconds)}</td>"
            f"<td class=cost>{size(entry.peak_memory_bytes)}</td>"
            f"<td class=runs>{entry.ok}/{entry.runs}</td></tr>"
        )
    return (
        "<div class=scroll><table class=board aria-label=Leaderboard><thead><tr>"
        "<th class=rank scope=col>Rank</th><th scope=col>Model</th><th scope=col>Score</th>"
        f"<th scope=col>95 % interval</th><th class=track scope=col>{scale}</th>"
        "<th scope=col>Time</th><th scope=col>Memory</th><th scope=col>Runs</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div><p class=note>The thin lines mark "
        f"{ends[0]} (0) and {ends[1]} (1); a bar is the 95 % interval. Time and memory are medians "
        "over runs.</p>"
        + fold("How scores, intervals and ranks are computed",
               "".join(f"<p>{e(line)}</p>" for line in rule(board)))
    )  # fmt: skip


def _range(entry: Entry) -> str:
    if not entry.score or entry.score.low is None or not entry.score.half:
        return f"<span class=none>{DASH}</span>"
    return f"{spell_score(entry.score.low)} to {spell_score(entry.score.high)}"


def span(board: Board) -> tuple[float, float]:
    """Ends of the scale: 0 to 1, and down to -0.5 at most where scores are below 0."""
    scores = [(entry.score.mean, entry.control) for entry in board.entries if entry.score]
    # A control far below (predicting nothing, say) would take the room of everything else.
    lows = [min(score, 0.0) for score, control in scores if score > -0.5 or not control]
    return max(min(lows, default=0.0), -0.5) - 0.03, 1.03


def _track(entry: Entry, look: Look, low: float, high: float, zero: float, one: float) -> str:
    if not entry.score:
        return ""

    def percent(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    marks = [f'<i class=tick style="left:{end:.1f}%"></i>' for end in (zero, one)]
    if entry.score.low is not None:
        a, b = percent(entry.score.low), percent(entry.score.high)
        marks.append(f'<i class="ci {look.css}" style="left:{a:.1f}%;width:{b - a:.1f}%"></i>')
    at = percent(entry.score.mean)
    if entry.score.mean < low:
        marks.append("<i class=beyond>◂</i>")
    else:
        marks.append(mark_of(look, f'class=dot style="left:{at:.1f}%"'))
    return f"<span class=line>{''.join(marks)}</span>"


def metric_ranks(board: Board) -> str:
    """Scaled score and rank of every model on every metric that ranks."""
    metrics = [metric for metric in board.metrics if metric.name in board.by_metric]
    names = [entry.name for entry in board.models if entry.score]
    if not metrics or not names:
        return ""
    rows = []
    for name in names:
        cells = []
        for metric in metrics:
            cells.append(_part_cell(board.by_metric[metric.name].get(name), len(names) > 1))
        rows.append([e(name), *cells])
    head = ["Model", *(e(metric.title) for metric in metrics)]
    note = "Score between floor and ceiling" if board.scaled else "Share of other models beaten"
    note += " on one metric at a time"
    if len(names) > 1:
        note += ", and the rank on it; <b>bold</b> is first, alone or shared"
    return f"<h3>Metric by metric</h3><p class=note>{note}.</p>" + table(head, rows, "num sortable")


def datasets(known: Mapping[str, str]) -> str:
    """What each of a task's own datasets is, such as "a smoke set"."""
    told = "; ".join(f"<b>{e(name)}</b>: {e(what)}" for name, what in known.items())
    return f"<p class=note>{told}.</p>" if told else ""


def part_ranks(board: Board) -> str:
    """Scaled score and rank of every model and control on each dataset, and on each condition."""
    found, several = "", len(board.models) > 1
    for which, title in ((0, "Dataset by dataset"), (1, "Condition by condition")):
        parts = board.parts(which)
        if len(parts) < 2:
            continue
        rows = [
            [
                f"<span class=muted>{e(entry.name)}</span>" if entry.control else e(entry.name),
                *(_part_cell(part.get(entry.name), several) for part in parts.values()),
            ]
            for entry in board.entries
            if entry.score
        ]
        found += f"<h3>{title}</h3>" + table(
            ["Model", *(broken(name) for name in parts)], rows, "num sortable"
        )
    if not found:
        return ""
    note = "Score among the runs on one alone."
    if several:
        note = "Score and rank among the runs on one alone; a model without all of them has none."
    return f"{found}<p class=note>{note}</p>"


def _part_cell(row: MetricRow | None, ranked: bool) -> str:
    if row is None:
        return DASH
    ranked = ranked and row.rank is not None
    first = " class=first" if ranked and row.rank == 1 else ""
    rank = f"<small>{rank_text(row.rank, row.tied)}</small>" if ranked else ""
    return f"<span{first}>{spell_score(row.score.mean)}</span>{rank}"


def metric_tables(runs: Sequence[Run], facts: Mapping[str, MetricFacts], order: Sequence[str]):
    """Every metric as it was measured: one table per dataset and condition."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.ok:
            groups[run.dataset, run.setting].append(run)
    place = {name: i for i, name in enumerate(order)}
    parts = []
    for (dataset, setting), own in groups.items():
        seeds = count(len({run.seed for run in own}), "seed")
        inner = _metric_table(own, facts, place)
        title = f"{e(dataset)}, {e(setting)} <small>{seeds}</small>"
        parts.append(fold(title, inner, opened=len(groups) <= 4))
    return "".join(parts)


def _metric_table(runs: Sequence[Run], facts: Mapping[str, MetricFacts], place: Mapping) -> str:
    names = sorted({run.name for run in runs}, key=lambda name: place[name])
    control = {run.name: run.control for run in runs}
    values = defaultdict(list)
    reasons = {}
    for run in runs:
        for metric, value in run.metrics.items():
            if value is None:
                reasons[run.name, metric] = run.undefined.get(metric, "undefined")
            else:
                values[run.name, metric].append(value)
    means = {key: over_seeds(own) for key, own in values.items()}
    # What nobody has a value of is named below the table, with the reason.
    known = {metric for _, metric in means}
    facts = {name: fact for name, fact in facts.items() if name in known}
    best = {}
    for name, metric in facts.items():
        own = {n: means[n, name].mean for n in names if (n, name) in means and not control[n]}
        top = metric.best(own.values())
        best[name] = {n for n, value in own.items() if value == top}

    def cell(name: str, metric: str) -> str:
        if (name, metric) not in means:
            why = reasons.get((name, metric))
            return f'<span class=none title="{e(why)}">undefined</span>' if why else DASH
        mean = means[name, metric]
        text = f"<b>{sig(mean.mean)}</b>" if name in best[metric] else sig(mean.mean)
        return text if mean.half is None else f"{text}<small>±{sig(mean.half, 2)}</small>"

    labels = {
        name: f"{e(m.title)}&nbsp;<span class=dir>{m.arrow}</span>" for name, m in facts.items()
    }
    styled = {
        n: f"<span class=muted>{broken(n)}</span>" if control[n] else broken(n) for n in names
    }
    # The shorter list goes across: fewer columns read better on a phone and in print.
    if len(names) <= max(len(facts), 8):
        rows = [[labels[m], *(cell(n, m) for n in names)] for m in facts]
        made = table(["Metric", *styled.values()], rows, "num full")
    else:
        rows = [[styled[n], *(cell(n, m) for m in facts)] for n in names]
        made = table(["Model", *labels.values()], rows, "num sortable")
    return made + _undefined(reasons)


def _undefined(reasons: Mapping[tuple[str, str], str]) -> str:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for (_, metric), why in reasons.items():
        if metric not in by_reason[why]:
            by_reason[why].append(metric)
    notes = [f"{why} ({', '.join(metrics)})" for why, metrics in list(by_reason.items())[:6]]
    return f"<p class=note>Undefined: {e('; '.join(notes))}.</p>" if notes else ""


def meanings(facts: Mapping[str, MetricFacts]) -> str:
    """What each metric measures, its range, and whether it ranks."""
    rows = []
    for fact in facts.values():
        ends = ["−∞" if not math.isfinite(fact.low) else sig(fact.low),
                "∞" if not math.isfinite(fact.high) else sig(fact.high)]  # fmt: skip
        better = "higher" if fact.higher_is_better else "lower"
        use = "ranks models" if fact.ranked else "shown, does not rank"
        rows.append(
            f"<div><dt>{e(fact.title)} <small>{e(fact.name)}</small></dt><dd>{e(fact.meaning)} "
            f"<small>{ends[0]} to {ends[1]}, {better} is better; {use}.</small></dd></div>"
        )
    return f"<dl>{''.join(rows)}</dl>"


def figure(drawn: Figure) -> str:
    """A figure: title, how to read it, and its panels in a grid."""
    panels = "".join(f"<div>{panel}</div>" for panel in drawn.panels)
    return (
        f"<figure><h3>{e(drawn.title)}</h3><figcaption>{e(drawn.reading)}</figcaption>"
        f"{drawn.legend}<div class=panels>{panels}</div></figure>"
    )


def failures(runs: Sequence[Run]) -> str:
    """What did not work, alike reasons together, with the end of the model's stderr."""
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        if not run.ok and run.posed:
            groups[run.name, run.status, run.reason].append(run)
    if not groups:
        return "<p>None: every run gave a score.</p>"
    parts = []
    for (name, status, reason), own in sorted(groups.items(), key=lambda g: not g[1][0].failed):
        first = own[0]
        facts = [count(len(own), "run")]
        if first.attempts > 1:
            facts.append(f"{first.attempts} attempts")
        if first.exit_code is not None:
            facts.append(f"exit code {first.exit_code}")
        where = ", ".join(e(run.id) for run in own[:3]) + (" …" if len(own) > 3 else "")
        tail = ""
        if first.stderr_tail.strip():
            text = "\n".join(first.stderr_tail.strip().splitlines()[-40:])[-4000:]
            tail = fold("End of standard error", f"<pre>{e(text)}</pre>", opened=len(groups) < 4)
        parts.append(
            f'<div class=failure><p><span class="status {e(status)}">{e(status.replace("_", " "))}'
            f"</span> <b>{e(name)}</b> <small>{e(', '.join(facts))}</small></p>"
            f"<p>{e(reason or '')}</p><p class=note>{where}</p>{tail}</div>"
        )
    return "".join(parts)


def all_runs(runs: Sequence[Run]) -> str:
    rows = [
        [
            e(run.name), e(run.dataset), e(run.setting), str(run.seed),
            f'<span class="status {e(run.status)}">{e(run.status.replace("_", " "))}</span>',
            sig(run.seconds), sig(run.peak_memory_bytes / MB if run.peak_memory_bytes else None),
            str(run.attempts),
        ]
        for run in runs
    ]  # fmt: skip
    head = ["Model", "Dataset", "Condition", "Seed", "Status", "Seconds", "Peak MB", "Attempts"]
    inner = table(head, rows, "sortable runs")
    return fold(f"All {count(len(runs), 'run')}", inner)


def tree(value: object, depth: int = 0) -> str:
    """Any JSON as definition lists, two levels deep; what lies below is put on one line."""
    if isinstance(value, dict) and depth < 2:
        known = {key: inner for key, inner in value.items() if inner is not None}
        rows = "".join(
            f"<div><dt>{e(str(key).replace('_', ' '))}</dt><dd>{tree(inner, depth + 1)}</dd></div>"
            for key, inner in known.items()
        )
        return f"<dl>{rows}</dl>" if known else DASH
    if isinstance(value, dict):
        known = ((key, inner) for key, inner in value.items() if inner is not None)
        return ", ".join(f"{e(str(key))} {tree(inner, depth + 1)}" for key, inner in known) or DASH
    if isinstance(value, list):
        between = "<br>" if any(isinstance(inner, dict) for inner in value) else ", "
        return between.join(tree(inner, 2) for inner in value) or DASH
    return e(value if isinstance(value, str) else json.dumps(value))
