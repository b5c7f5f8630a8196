"""metrics.json of ``synthetic-benchmark run``: what it holds, and how it is written and read.

version     of this layout
data        generated.json of the folder of sequences
settings    what the models were given
models      by name: status, reason, control, metrics, undefined, details (what plots are drawn
            from: `lacuna.tasks.segmentation.details`), training (curves), seconds
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacuna import metrics, tasks
from lacuna_contract.errors import ContractError

VERSION = 1
TASK = "segmentation"
#: Metrics of the line that a terminal shows.
SHOWN = (
    "boundary_f1", "boundary_f1_near", "segment_f1", "position_f1", "duration_kl_exon",
    "duration_kl_intron", "learned_kl_exon", "learned_kl_intron",
)  # fmt: skip

#: Settings that no result depends on.
PASSING = ("models", "resume", "log_every")


def failed(reason: str, control: str | None, status: str = "failed") -> dict[str, Any]:
    """The record of a model without a score."""
    empty = {"metrics": {}, "undefined": {}, "details": {}, "training": {}, "seconds": {}}
    return {"status": status, "reason": reason, "control": control, **empty}


def scored(
    prediction: Path, truth: Path, metadata: Mapping[str, Any], control: str | None
) -> dict[str, Any]:
    """The record of a model that wrote a prediction."""
    try:
        scores = tasks.load(TASK).evaluate(truth, prediction, list(metrics.of_task(TASK)))
    except ContractError as error:
        return failed(str(error), control, "invalid_output")
    return {
        "status": "ok",
        "reason": None,
        "control": control,
        "metrics": dict(scores.metrics),
        "undefined": dict(scores.undefined),
        "details": scores.details,
        "training": metadata.get("details", {}).get("training", {}),
        "seconds": metadata.get("seconds", {}),
    }


def write(path: Path, about: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    """Write the document and return it."""
    document = {"version": VERSION, **about, "models": dict(models)}
    half = path.with_suffix(".half")
    half.write_text(json.dumps(document, indent=1) + "\n")
    half.replace(path)
    return document


def read(path: Path) -> dict[str, Any]:
    """A document; `ContractError` where it is none, or of another version."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ContractError(f"{path} is not readable as JSON: {error}") from None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ContractError(
            f"{path} is no metrics.json of synthetic-benchmark run, version {VERSION}"
        )
    return document


def kept(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """The records at `path`, where there are any and of the same data and settings."""
    if not path.is_file():
        return {}
    document = read(path)
    fixed = {k: v for k, v in about["settings"].items() if k not in PASSING}
    same = all(document["settings"].get(k) == v for k, v in fixed.items())
    return dict(document["models"]) if same and document["data"] == about["data"] else {}


def line(name: str, record: Mapping[str, Any]) -> str:
    """A model in a line."""
    if record["status"] != "ok":
        return f"{name}: {record['status']}: {record['reason']}"
    values = record["metrics"]
    return f"{name}: " + ", ".join(
        f"{k} {values[k]:.3f}" for k in SHOWN if values.get(k) is not None
    )
