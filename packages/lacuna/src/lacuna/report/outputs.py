"""The report's other files: results.csv, strata.csv, results.json, provenance.json, summary.txt,
verdict.json."""

import csv
import io
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence

import lacuna
import lacuna_contract
from lacuna.records import FAILURES, IDENTITY, MEASURED

from .advice import purposes
from .intervals import Interval
from .leaderboard import Board
from .numerals import align, count, seconds, size, spell_score
from .records import Run
from .words import compared, exposure, findings, impossible, outcome

WHOSE = (
    "id", "task", "dataset", "condition", "seed", "model", "variant", "name", "control", "tier",
)  # fmt: skip
STRATUM = ("by", "stratum", "n", "metric", "value")
COLUMNS = (
    *WHOSE, "status", "reason", "metric", "value", "undefined", "seconds", "peak_memory_bytes",
    "attempts", "input_sha256", "image",
)  # fmt: skip


def results_csv(runs: Sequence[Run], metrics: Mapping[str, Sequence[str]]) -> str:
    """One row per run and metric of its task; `value` is empty where there is none."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in runs:
        row = {key: getattr(run, key) for key in COLUMNS if hasattr(run, key)}
        planned = metrics.get(run.task, [])
        for metric in [*planned, *(name for name in run.metrics if name not in planned)]:
            row |= {
                "metric": metric,
                "value": run.metrics.get(metric),
                "undefined": run.undefined.get(metric),
            }
            writer.writerow(row)
    return out.getvalue()


def strata_csv(runs: Sequence[Run]) -> str | None:
    """One row per run, stratum and metric; None where no task has strata."""
    out = io.StringIO()
    writer = csv.DictWriter(out, (*WHOSE, *STRATUM), lineterminator="\n")
    writer.writeheader()
    for run in runs:
        own = {key: getattr(run, key) for key in WHOSE}
        writer.writerows(own | row for row in run.strata)
    return out.getvalue() if any(run.strata for run in runs) else None


def results_json(created: str, runs: Sequence[Run], boards: Sequence[Board]) -> dict:
    """The content of results.json (schema `results`)."""
    rows = []
    for run in runs:
        row = {key: getattr(run, key) for key in (*IDENTITY, "status", "reason", *MEASURED)}
        row |= {"stderr_tail": run.stderr_tail, "metrics": run.metrics, "undefined": run.undefined}
        for key in ("tier", "machine"):
            if row[key] is None:
                del row[key]
        rows.append(row)
    board = [_entry(board, entry) for board in boards for entry in board.entries]
    return {"created": created, "runs": rows, "leaderboard": board}


def _entry(board: Board, entry) -> dict:
    return {
        "task": board.task,
        "name": entry.name,
        "model": entry.model,
        "variant": entry.variant,
        "control": entry.control,
        "rank": entry.rank,
        "tied": entry.tied,
        "score": _interval(entry.score),
        "scale": "floor_to_ceiling" if board.scaled else "share_beaten",
        "comparisons": entry.done,
        "comparisons_expected": entry.expected,
        "seconds": entry.seconds,
        "peak_memory_bytes": entry.peak_memory_bytes,
        "metrics": _placed(board.by_metric, entry.name),
        "datasets": _placed(board.parts(0), entry.name),
        "conditions": _placed(board.parts(1), entry.name),
    }


def _placed(parts: Mapping[str, Mapping], name: str) -> dict[str, dict]:
    """Score and rank of a model on each part of the comparisons on which it has a score."""
    return {
        part: {
            "rank": rows[name].rank, "tied": rows[name].tied, "score": _interval(rows[name].score)
        }
        for part, rows in parts.items()
        if name in rows
    }  # fmt: skip


def _interval(interval: Interval | None) -> dict | None:
    if interval is None:
        return None
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "seeds": interval.n}


def verdict(runs: Sequence[Run]) -> dict:
    """Counts by status; `failed` is every run that should have worked and did not."""
    tally = Counter(run.status for run in runs)
    return {
        "runs": len(runs),
        "ok": tally["ok"],
        "failed": sum(tally[key] for key in FAILURES),
        "not_applicable": tally["not_applicable"],
        "statuses": dict(sorted(tally.items())),
    }


def provenance(
    created: str, plan: dict, runs: Sequence[Run], pipeline: dict
) -> tuple[dict, list[str]]:
    """provenance.json: what the pipeline said and what the report can see, and remarks on it."""
    inputs, remarks = [], [remark for remark in [exposure(pipeline)] if remark]
    by_key: dict[str, set[str]] = {}
    keys = {row["id"]: row["key"] for row in plan["runs"]}
    for run in runs:
        own = by_key.setdefault(keys[run.id], set())
        if run.input_sha256:
            own.add(run.input_sha256)
    for key, hashes in by_key.items():
        inputs.append({"key": key, "sha256": sorted(hashes)})
        if len(hashes) > 1:
            remarks.append(f"the runs of {key} did not all read the same input: "
                           f"{len(hashes)} different hashes")  # fmt: skip
    document = {
        "created": created,
        "pipeline": pipeline,
        "report": {
            "python": platform.python_version(),
            "lacuna": lacuna.__version__,
            "lacuna-contract": lacuna_contract.__version__,
            "machine": {
                "system": f"{platform.system()} {platform.release()} {platform.machine()}",
                "cpus": os.cpu_count(),
            },
        },
        "seeds": sorted({run.seed for run in runs}),
        "metrics": plan["metrics"],
        "datasets": plan["datasets"],
        "machines": sorted({run.machine for run in runs if run.machine}),
        "models": _models(runs),
        "inputs": inputs,
    }
    return document, remarks


def _models(runs: Sequence[Run]) -> list[dict]:
    rows = []
    for name in dict.fromkeys(run.name for run in runs):
        own = [run for run in runs if run.name == name]
        params = {
            key: value if all(run.params.get(key) == value for run in own) else "by run"
            for key, value in own[0].params.items()
        }
        versions: dict[str, str] = {}
        for run in own:
            versions |= run.metadata.get("versions", {})
        devices = sorted({run.metadata["device"] for run in own if "device" in run.metadata})
        rows.append({"name": name, "image": own[0].image, "params": params, "devices": devices,
                     "versions": versions})  # fmt: skip
    return rows


def summary(runs: Sequence[Run], boards: Sequence[Board]) -> str:
    """The report for a terminal: a leaderboard per task, and the failures with their reasons."""
    lines = [compared(runs), outcome(runs), *impossible(runs), ""]
    for board in boards:
        advice = purposes(board)
        lines += [findings(board)[0], *advice, "", *_board_lines(board), ""]
        lines += [*absent, ""] if (absent := _never_defined(runs, board)) else []
    failed = [run for run in runs if run.failed]
    if failed:
        lines.append("Did not work:")
        seen: dict[tuple[str, str | None], list[str]] = {}
        for run in failed:
            seen.setdefault((run.status, run.reason), []).append(run.name)
        for (status, reason), names in list(seen.items())[:20]:
            first = (reason or "").splitlines()[0] if reason else ""
            whose = ", ".join(dict.fromkeys(names))
            lines.append(f"  {whose}: {status} ({count(len(names), 'run')}): {first[:300]}")
        if len(seen) > 20:
            lines.append(f"  and {len(seen) - 20} more; see report.html")
        lines.append("")
    return "\n".join(lines)


def _never_defined(runs: Sequence[Run], board: Board) -> list[str]:
    """A line for each reason for which ranking metrics have a value in no run of the task."""
    done = [run for run in runs if run.task == board.task and run.ok]
    by_reason: dict[str, list[str]] = {}
    for metric in (metric.name for metric in board.metrics if metric.ranked):
        why = done[0].undefined.get(metric) if done else None
        if why and all(run.undefined.get(metric) == why for run in done):
            by_reason.setdefault(why, []).append(metric)
    return [f"Undefined in all runs: {', '.join(m)}: {why}" for why, m in by_reason.items()]


def _board_lines(board: Board) -> list[str]:
    entries = board.entries
    means = (entry.score.mean if entry.score else None for entry in entries)
    scores = align(map(spell_score, means), terminal=True)
    rows = [("rank", board.task, "score", "95 % interval", "time", "memory", "runs")]
    for entry, score in zip(entries, scores, strict=True):
        known = entry.score is not None and entry.score.low is not None
        rank = f"{entry.rank}{'=' if entry.tied else ''}" if entry.rank else "-"
        rows.append((
            rank,
            entry.name + (f" ({entry.control})" if entry.control else ""),
            score,
            f"{spell_score(entry.score.low)} to {spell_score(entry.score.high)}" if known else "–",
            seconds(entry.seconds),
            size(entry.peak_memory_bytes),
            f"{entry.ok}/{entry.runs}",
        ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [text.ljust(w) if i < 2 else text.rjust(w)
                 for i, (text, w) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return lines
