"""`lacuna report`: read the records, write every output."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lacuna import tasks
from lacuna_contract.schema import read_json, write_json

from . import outputs
from .leaderboard import Board, build_board
from .metrics import describe
from .page import page
from .picture import picture
from .records import IDENTITY, Run, load
from .style import looks
from .svg import Figure, Series

#: Conditions that get the task's own plots; the page says how many have none.
MOST_GROUPS = 8
#: Models in one such group, best first.
MOST_SERIES = 12


def build(
    plan: Path,
    records: Path,
    provenance: Path | None,
    output: Path,
    refusals: Path | None = None,
) -> dict:
    """Write results.csv and .json, report.html, leaderboard.svg, provenance.json, summary.txt,
    verdict.json, and records/<run>/status.json of the runs that have none of their own.

    Args:
        plan: plan.json.
        records: folder with status.json, metrics.json and metadata.json of each run, at any depth.
        provenance: JSON of what the pipeline knows (versions, parameters, engine), or None.
        output: folder to write to; made where it is missing.
        refusals: JSON list of what could not be prepared, or None: {"dataset" or "key", "reason"}.

    Returns:
        The verdict: {"runs", "ok", "failed", "not_applicable", "statuses"}.

    Raises:
        ContractError: plan.json breaks its schema. A broken record is a `lost` run instead.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    planned = read_json(plan, "plan")
    runs, remarks = load(planned, records, _json(refusals) or [])
    pipeline = _json(provenance) or {}
    facts = {task: describe(task, names) for task, names in planned["metrics"].items()}
    by_task = {task: [run for run in runs if run.task == task] for task in _order(runs)}
    boards = [build_board(task, own, facts[task]) for task, own in by_task.items()]
    origin, doubts = outputs.provenance(created, planned, runs, pipeline)

    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "results.json", outputs.results_json(created, runs, boards), "results")
    (output / "results.csv").write_text(
        outputs.results_csv(runs, planned["metrics"]), encoding="utf-8", newline=""
    )
    _write_json(output / "provenance.json", origin)
    (output / "summary.txt").write_text(outputs.summary(runs, boards), encoding="utf-8")
    html = page(
        created=created,
        runs=runs,
        boards=boards,
        facts=facts,
        arguments=_arguments(planned),
        figures={board.task: _task_figures(board, by_task[board.task]) for board in boards},
        provenance=origin,
        remarks=[*remarks, *doubts],
    )
    (output / "report.html").write_text(html, encoding="utf-8")
    if drawn := picture(boards):
        (output / "leaderboard.svg").write_text(drawn, encoding="utf-8")
    for run in runs:
        if not run.attempts:
            _write_record(run, output / "records" / run.id)
    verdict = outputs.verdict(runs)
    # Last: whoever waits for the verdict finds everything else written.
    _write_json(output / "verdict.json", verdict)
    return verdict


def _write_record(run: Run, folder: Path) -> None:
    folder.mkdir(parents=True)
    record = {"status": run.status, "reason": run.reason, "attempts": 0, "seconds": None}
    record |= {"peak_memory_bytes": None, "exit_code": None, "stderr_tail": ""}
    record["run"] = {key: getattr(run, key) for key in IDENTITY}
    write_json(folder / "status.json", record, "status")


def _order(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.task for run in runs))


def _json(path: Path | None) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path else None


def _write_json(path: Path, document: dict) -> None:
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _arguments(plan: dict) -> dict[str, dict[tuple[str, str], dict]]:
    """By task, each condition's arguments by (dataset, condition without its seed)."""
    found: dict[str, dict[tuple[str, str], dict]] = defaultdict(dict)
    for row in plan["conditions"]:
        setting = row["condition"].removesuffix(f"_seed_{row['seed']}")
        found[row["task"]][row["dataset"], setting] = row["arguments"]
    return found


def _task_figures(board: Board, runs: Sequence[Run]) -> list[tuple[str, list[Figure]]]:
    """What the task draws from its runs' details, by dataset and condition."""
    name = f"lacuna.tasks.{board.task}.plots"
    drawable = any(run.details for run in runs) and board.task in tasks.names()
    if not drawable or find_spec(name) is None:
        return []
    draw = import_module(name).figures
    look = looks(board)
    place = {entry.name: i for i, entry in enumerate(board.entries)}
    groups: dict[tuple[str, str], dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: (run.seed, place[run.name])):
        if run.ok and run.details:
            groups[run.dataset, run.setting][run.seed].append(run)
    drawn = []
    for (dataset, setting), by_seed in list(groups.items())[:MOST_GROUPS]:
        # One seed for all, so that every model is seen on the same data: the first with most runs.
        seed, own = max(by_seed.items(), key=lambda item: len(item[1]))
        series = [
            Series(run.name, look[run.name].css, look[run.name].marker, run.control, run.details)
            for run in own[:MOST_SERIES]
        ]
        if figures := draw(series):
            drawn.append((f"In detail: {dataset}, {setting}, seed {seed}", figures))
    return drawn
