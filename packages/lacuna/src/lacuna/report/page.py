"""report.html: one file with everything in it, readable without a network or scripts."""

from collections.abc import Mapping, Sequence
from html import escape as e

from . import plots, sections
from .leaderboard import Board
from .metrics import MetricFacts
from .numerals import count
from .records import Run
from .style import Look, looks
from .svg import Figure, asset
from .words import compared, outcome

#: Nothing outside this file is ever asked for, and the browser is told to hold it to that.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(
    *, created: str, runs: Sequence[Run], boards: Sequence[Board],
    facts: Mapping[str, Mapping[str, MetricFacts]], arguments: Mapping[str, Mapping],
    known: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, Sequence[tuple[str, list[Figure]]]], provenance: dict,
    remarks: Sequence[str],
) -> str:  # fmt: skip
    """The report as HTML. `arguments`, `known` (what datasets are) and `figures` are by task."""
    bad = [run for run in runs if not run.ok]
    links = [(f"task-{board.task}", board.task.replace("_", " ").capitalize()) for board in boards]
    links += [("failures", "What did not work"), ("runs", "Runs"), ("provenance", "Provenance")]
    body = [
        "<header><h1>Lacuna benchmark report</h1>",
        f"<p class=soft>{e(created.replace('T', ' ').replace('+00:00', ' UTC'))}. "
        f"{e(compared(runs))} {e(outcome(runs))}</p>",
        "".join(_heading(board, len(boards)) for board in boards),
        "<nav class=screen aria-label=Contents>"
        + "".join(f'<a href="#{e(key)}">{e(text)}</a>' for key, text in links)
        + "</nav></header>",
    ]
    if remarks:
        items = "".join(f"<li>{e(remark)}</li>" for remark in remarks)
        body.append(f"<div class=remarks><p>Remarks</p><ul>{items}</ul></div>")
    for board in boards:
        own = [run for run in runs if run.task == board.task]
        body.append(_task(board, own, facts[board.task], arguments.get(board.task, {}),
                          known.get(board.task, {}), figures.get(board.task, ())))  # fmt: skip
    failed = count(sum(run.failed for run in bad), "run")
    note = f"<p>{failed} that should have worked did not.</p>" if any(r.failed for r in bad) else ""
    body.append(f"<section id=failures><h2>What did not work</h2>{note}"
                f"{sections.failures(runs)}</section>")  # fmt: skip
    body.append(f"<section id=runs class=screen><h2>Runs</h2>{sections.all_runs(runs)}</section>")
    body.append(_provenance(provenance))
    body.append("<footer><small>The same numbers are in results.csv and results.json, beside this "
                "file.</small></footer>")  # fmt: skip
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<title>Lacuna benchmark report</title>"
        f"<style>{asset('drawing.css')}{asset('page.css')}</style></head><body>"
        + "\n".join(body)
        + f"<script>{asset('page.js')}</script></body></html>\n"
    )


def _heading(board: Board, boards: int) -> str:
    if boards == 1:
        return sections.summary(board)
    name = e(board.task.replace("_", " ").capitalize())
    return f'<h3><a href="#task-{e(board.task)}">{name}</a></h3>' + sections.summary(board, True)


def _task(
    board: Board, runs: Sequence[Run], facts: Mapping[str, MetricFacts], arguments: Mapping,
    known: Mapping[str, str], figures: Sequence[tuple[str, list[Figure]]],
) -> str:  # fmt: skip
    look: Mapping[str, Look] = looks(board)
    drawn = [plots.cost(board, look), *plots.by_argument(board, runs, arguments, look, facts)]
    order = [entry.name for entry in board.entries]
    parts = [
        f'<section id="task-{e(board.task)}">',
        f"<h2>{e(board.task.replace('_', ' ').capitalize())}: leaderboard</h2>",
        sections.leaderboard(board, look),
        sections.datasets(known),
        sections.metric_ranks(board),
        sections.part_ranks(board),
        *(sections.figure(figure) for figure in drawn if figure),
    ]
    tables = sections.metric_tables(runs, facts, order)
    if tables:
        parts += [
            "<h3>Every metric as measured</h3><p class=note>Means over seeds, ± half the 95 % "
            "interval; ↑ higher is better, ↓ lower is better; <b>bold</b> is the best mean of a "
            "model. Controls are in grey.</p>",
            tables,
            sections.fold("What the metrics mean", sections.meanings(facts)),
        ]
    for title, group in figures:
        inner = "".join(sections.figure(figure) for figure in group)
        parts.append(sections.fold(title, inner, opened=len(figures) <= 4))
    conditions = len({(run.dataset, run.setting) for run in runs if run.details})
    if conditions > len(figures) > 0:
        scope = f"Drawn for the first {len(figures)} of {conditions} conditions"
        parts.append(f"<p class=note>{scope}; the tables have all of them.</p>")
    return "".join(parts) + "</section>"


def _provenance(provenance: dict) -> str:
    long = ("models", "inputs")
    short = {key: value for key, value in provenance.items() if key not in long}
    # The pipeline lists images too; the table of models has them beside their parameters.
    short["pipeline"] = {k: v for k, v in provenance["pipeline"].items() if k not in long}
    models = [
        [
            e(row["name"]),
            f"<span class=hash>{e(row['image'])}</span>",
            e(", ".join(f"{key}={value}" for key, value in row["params"].items()) or "–"),
            e(", ".join(row["devices"]) or "–"),
        ]
        for row in provenance["models"]
    ]
    by_versions: dict[str, list[str]] = {}
    for row in provenance["models"]:
        text = ", ".join(f"{key} {value}" for key, value in row["versions"].items())
        by_versions.setdefault(text or "–", []).append(row["name"])
    versions = "".join(
        f"<div><dt>{e(', '.join(names))}</dt><dd>{e(text)}</dd></div>"
        for text, names in by_versions.items()
    )
    inputs = [
        [e(row["key"]), f"<span class=hash>{e(', '.join(row['sha256']) or '–')}</span>"]
        for row in provenance["inputs"]
    ]
    return (
        "<section id=provenance><h2>Provenance</h2>"
        + sections.tree(short)
        + sections.fold("Models: images, parameters", sections.table(
            ["Model", "Image or environment", "Parameters", "Device"], models, "runs"))
        + sections.fold("Versions of packages", f"<dl>{versions}</dl>")
        + sections.fold("Inputs by SHA-256", sections.table(["Input", "SHA-256"], inputs, "runs"))
        + "</section>"
    )  # fmt: skip
