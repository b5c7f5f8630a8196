"""The stage EVALUATE: from what a run left behind to its record, whatever the task."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacuna import tasks
from lacuna.records import IDENTITY, NO_STATUS
from lacuna_contract.errors import ContractError, InvalidOutput
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.schema import read_json, write_json

#: What a model wrote as its metadata.json, and is none: kept, so that a later evaluation finds the
#: same.
BROKEN = "metadata.broken.json"


def evaluate_run(
    run: Mapping[str, Any],
    truth: Path,
    folder: Path,
    names: Sequence[str],
    output: Path,
    drawn: bool = True,
) -> dict[str, Any]:
    """Write the final ``status.json``, ``metadata.json`` where the model wrote one (under another
    name, `BROKEN`, where it cannot be read), and ``metrics.json`` where the run could be scored,
    into `output`. Returns the status.

    Parameters
    ----------
    run
        An entry of the plan's runs.
    truth
        The truth of its condition.
    folder
        Where the run left ``status.json`` and, perhaps, ``prediction.h5ad`` (or its published
        name) and ``metadata.json``.
    names
        Metrics to compute.
    drawn
        Whether plots are going to be drawn from it.
    """
    output.mkdir(parents=True, exist_ok=True)
    for stale in ("metrics.json", "status.json", "metadata.json"):
        if output != folder:
            (output / stale).unlink(missing_ok=True)
    (output / "metrics.json").unlink(missing_ok=True)
    identity = {key: run[key] for key in IDENTITY if key in run}
    status = _status(folder / "status.json")
    said = folder / "metadata.json"
    if status["status"] == "invalid_output" and not said.is_file():
        said = folder / BROKEN
    metadata, broken = _metadata(said)
    # An earlier evaluation may have judged a prediction that is still there.
    stated = (metadata or {}).get("invalid_output")
    judged = status["status"] == "invalid_output" and not stated and _find(run, folder) is not None
    if status["status"] == "ok" or judged:
        status |= {"status": "ok", "reason": None}
        try:
            if broken:
                raise InvalidOutput(broken)
            _same_input(status, truth)
            prediction = _find(run, folder)
            if prediction is None:
                raise InvalidOutput("the model ended well and wrote no prediction")
            scores = tasks.load(run["task"]).evaluate(truth, prediction, names, drawn)
        except InvalidOutput as reason:
            status |= {"status": "invalid_output", "reason": str(reason)}
        else:
            record = {
                "run": identity,
                "metrics": scores.metrics,
                "undefined": scores.undefined,
                "n_hidden": scores.n_hidden,
                "value_space": scores.value_space,
                "details": scores.details,
            }
            record |= {"strata": list(scores.strata)} if scores.strata else {}
            write_json(output / "metrics.json", record, "metrics")
    if broken and said != output / BROKEN:
        shutil.copyfile(said, output / BROKEN)
        (output / "metadata.json").unlink(missing_ok=True)
    if metadata is not None:
        write_json(output / "metadata.json", metadata, "metadata")
    if not broken:
        (output / BROKEN).unlink(missing_ok=True)
    write_json(output / "status.json", status | {"run": identity}, "status")
    return status


def _status(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return dict(NO_STATUS)
    try:
        return read_json(path, "status")
    except ContractError as error:
        return NO_STATUS | {"reason": f"the run's record cannot be used: {error}"}


def _metadata(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """What the model said, or what is wrong with it."""
    if not path.is_file():
        return None, None
    try:
        return read_json(path, "metadata"), None
    except ContractError as error:
        reason = str(error).replace(str(path), "metadata.json")
        return None, f"{reason}; what the model wrote is kept as {BROKEN}"


def _same_input(status: Mapping[str, Any], truth: Path) -> None:
    with open_h5ad(truth) as file:
        expected = read_uns(file).get("input_sha256")
    found = status.get("input_sha256")
    if found is None:
        raise InvalidOutput("the run's record does not say which input the model was given")
    if found != expected:
        raise InvalidOutput(
            f"the model was given an input with SHA-256 {found}; this truth belongs to {expected}. "
            "Prepare the data and run the model again"
        )


def _find(run: Mapping[str, Any], folder: Path) -> Path | None:
    published = tasks.load(run["task"]).prediction
    paths = (folder / name for name in ("prediction.h5ad", published))
    return next((path for path in paths if path.is_file()), None)
