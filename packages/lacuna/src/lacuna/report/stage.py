"""`lacuna report`: read the records, write every output."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

from lacuna import tasks
from lacuna.records import IDENTITY, NO_STATUS
from lacuna_contract.schema import read_json, write_json

from . import outputs
from .leaderboard import Board, build_board
from .metrics import describe
from .page import page
from .picture import picture
from .records import Run, load
from .style import Look, looks
from .svg import Figure, Series
from .words import impossible

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
    missing: Path | None = None,
) -> dict:
    """Write results.csv and .json, strata.csv, report.html, leaderboard.svg, provenance.json,
    summary.txt, verdict.json, and <run>/status.json of the runs that have none of their own.

    Args:
        plan: plan.json.
        records: folder with status.json, metrics.json and metadata.json of each run, at any depth.
        provenance: what the pipeline knows (schema `pipeline`), or None.
        output: folder to write to; made where it is missing.
        refusals: what could not be prepared (schema `refusals`), or None.
        missing: folder of the records of runs that have none; `output`/records when None.

    Returns:
        The verdict: {"runs", "ok", "failed", "not_applicable", "statuses"}.

    Raises:
        ContractError: plan.json breaks its schema. A broken record is a `lost` run instead.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    planned = read_json(plan, "plan")
    runs, remarks = load(planned, records, read_json(refusals, "refusals") if refusals else [])
    pipeline = read_json(provenance, "pipeline") if provenance else {}
    facts = {task: describe(task, names) for task, names in planned["metrics"].items()}
    posed = [run for run in runs if run.posed]
    by_task = {task: [run for run in posed if run.task == task] for task in _order(posed)}
    boards = [build_board(task, own, facts[task]) for task, own in by_task.items()]
    origin, doubts = outputs.provenance(created, planned, runs, pipeline)

    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "results.json", outputs.results_json(created, runs, boards), "results")
    (output / "results.csv").write_text(
        outputs.results_csv(runs, planned["metrics"]), encoding="utf-8", newline=""
    )
    if (strata := outputs.strata_csv(runs)) is not None:
        (output / "strata.csv").write_text(strata, encoding="utf-8", newline="")
    write_json(output / "provenance.json", origin, "provenance")
    (output / "summary.txt").write_text(outputs.summary(runs, boards), encoding="utf-8")
    html = page(
        created=created,
        runs=runs,
        boards=boards,
        facts=facts,
        arguments=_arguments(planned),
        known={task: _known(task, own) for task, own in by_task.items()},
        figures={board.task: _task_figures(board, by_task[board.task]) for board in boards},
        provenance=origin,
        remarks=[*impossible(runs), *remarks, *doubts],
    )
    (output / "report.html").write_text(html, encoding="utf-8")
    if drawn := picture(boards):
        (output / "leaderboard.svg").write_text(drawn, encoding="utf-8")
    for run in runs:
        if not run.recorded:
            _write_record(run, (missing or output / "records") / run.id)
    verdict = outputs.verdict(runs)
    # Last: whoever waits for the verdict finds everything else written.
    write_json(output / "verdict.json", verdict, "verdict")
    return verdict


def _write_record(run: Run, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    identity = {key: getattr(run, key) for key in IDENTITY}
    record = NO_STATUS | {"status": run.status, "reason": run.reason, "run": identity}
    write_json(folder / "status.json", record, "status")


def _order(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.task for run in runs))


def _known(task: str, runs: Sequence[Run]) -> dict[str, str]:
    """The task's own datasets among those of the runs, each with what it is."""
    told = tasks.load(task).datasets if task in tasks.names() else {}
    there = {run.dataset for run in runs}
    return {name: what for name, what in told.items() if name in there}


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
    plots = import_module(name)
    look = looks(board)
    place = {entry.name: i for i, entry in enumerate(board.entries)}
    groups: dict[tuple[str, str], dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: (run.seed, place[run.name])):
        if run.ok and run.details:
            groups[run.dataset, run.setting][run.seed].append(run)
    drawn, shown = [], {}
    for (dataset, setting), by_seed in list(groups.items())[:MOST_GROUPS]:
        # One seed for all, so that every model is seen on the same data: the first with most runs.
        seed, own = max(by_seed.items(), key=lambda item: len(item[1]))
        series = [_series(run, look[run.name]) for run in own[:MOST_SERIES]]
        shown[dataset, setting] = series
        if figures := plots.figures(series):
            drawn.append((f"In detail: {dataset}, {setting}, seed {seed}", figures))
    if hasattr(plots, "overview") and (figures := plots.overview(shown, _by_setting(board))):
        drawn.insert(0, ("All conditions", figures))
    return drawn


def _series(run: Run, look: Look) -> Series:
    """A run as plots get it: with the history of its training, where the model wrote one."""
    history = run.metadata.get("details", {}).get("history")
    details = run.details | ({"history": history} if isinstance(history, dict) else {})
    return Series(run.name, look.css, look.marker, run.control, details)


def _by_setting(board: Board) -> dict[str, dict[tuple[str, str], float]]:
    """By model, its score between floor and ceiling on each (dataset, condition): the mean over
    metrics and seeds. Empty where scores are not scaled."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for name, units in board.cells.items() if board.scaled else ():
        values = defaultdict(list)
        for (_, (dataset, setting, _)), value in units.items():
            values[dataset, setting].append(value)
        found[name] = {key: fmean(own) for key, own in values.items()}
    return found
