"""Runs of multimodal models on mock cells, kept in a folder: what some benchmarks share.

What is finished is kept, so a benchmark can be stopped and started again; other parameters of a
model or other sizes need another folder. Models run in their own environments, and are scored by
the metrics of the task, as are the floor and the ceiling of the same cells.
"""

import functools
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from lacuna import local, plan
from lacuna.cli.extra import give, model_parameters
from lacuna.evaluation import evaluate_run
from lacuna.mock import Settings
from lacuna.report.intervals import over_seeds
from lacuna.setup.environments import build
from lacuna_contract.schema import read_json

FLOOR, CEILING = "modality_mean", "multimodal_oracle"
# By column: a metric, and the power in which errors are compared.
GAPS = {
    "RNA r": ("rna_pearson_gene", 1),
    "ATAC peak": ("atac_auroc_peak", 1),
    "ATAC pooled": ("atac_auroc", 1),
    "ADT r": ("adt_pearson", 1),
    "ADT MSE": ("adt_rmse_log", 2),
}


def planned(
    given: Mapping[str, Any], words: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan of all runs on mock cells, and the model folders by name. `words` are parameters of
    models such as ``--mosaic_vae.batch 64``."""
    recipes, discovered = local.discover([])
    usual = {"tasks": "multimodal", "datasets": "mock", "engine": "venv"}
    made = plan.make_plan(usual | dict(given), discovered)
    give(made["runs"], recipes, model_parameters(words))
    return made, recipes


def prepare(made: Mapping[str, Any], folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the inputs that are not there yet, with some `settings` of the generator replaced."""
    data = folder / "data"
    left = [c for c in made["conditions"] if not (data / c["files"]["truth"]).is_file()]
    changed = functools.partial(Settings, **settings)
    with mock.patch("lacuna.tasks.multimodal.prepare.Settings", changed):
        outcomes = list(local.prepare(made["datasets"], left, data)) if left else []
    if wrong := [f"{o.what}: {o.reason}" for o in outcomes if o.failed]:
        sys.exit("; ".join(wrong))


def run(
    made: Mapping[str, Any],
    recipes: Mapping[str, Any],
    folder: Path,
    metrics: Sequence[str],
    **settings: Any,
) -> None:
    """Run what is not there yet, and score it by `metrics`, if there are any. The processor seconds
    of a run are kept as cpu_seconds. Ends with what failed, if something did."""
    prepare(made, folder, settings)
    data, wrong = (folder / "data").absolute(), []
    files = {c["key"]: c["files"] for c in made["conditions"]}
    for one in made["runs"]:
        place = folder / one["id"]
        if finished(place, metrics):
            continue
        build(recipes[one["model"]])
        before = processor()
        outcome = local.run_model(one, recipes[one["model"]], data, files[one["key"]], folder)
        (place / "cpu_seconds").write_text(f"{processor() - before:.1f}\n")
        status, reason = outcome.status, outcome.reason
        if status == "ok" and metrics:
            truth = data / files[one["key"]]["truth"]
            found = evaluate_run(one, truth, place, metrics, place, drawn=False)
            status, reason = found["status"], found["reason"]
        print(f"{one['id']}: {status}", file=sys.stderr, flush=True)
        if status not in ("ok", "not_applicable"):
            wrong.append(f"{one['id']} {status}: {reason}")
    if wrong:
        sys.exit("\n".join(wrong))


def finished(place: Path, metrics: Sequence[str]) -> bool:
    """Whether a run was declined, or has the scores that it is to have."""
    if not (place / "status.json").is_file():
        return False
    status = read_json(place / "status.json", "status")["status"]
    if status != "ok":
        return status == "not_applicable"
    return not metrics or (place / "metrics.json").is_file()


def processor() -> float:
    """Processor seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def scores(place: Path) -> dict[str, float | None]:
    """The metrics of a run; none where the model declined."""
    path = place / "metrics.json"
    return read_json(path, "metrics")["metrics"] if path.is_file() else {}


def covered(
    own: Mapping[str, float | None], low: Mapping[str, float], high: Mapping[str, float]
) -> dict[str, float]:
    """Share of the gap between floor and ceiling, by column; those that there are none of are left
    out."""
    found = {}
    for column, (name, power) in GAPS.items():
        if own.get(name) is not None:
            mine, least, most = (some[name] ** power for some in (own, low, high))
            found[column] = (mine - least) / (most - least)
    return found


def shown(values: Sequence[float], digits: int = 2) -> str:
    """The mean over seeds, and half of its 95 % interval (Student's t) where there are several."""
    found = over_seeds(values)
    half = "" if found.half is None else f" ±{found.half:.{digits}f}"
    return f"{found.mean:.{digits}f}{half}"
