"""Read plan.json and the records of its runs; what has no usable record is `lost`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lacuna.records import FAILURES, IDENTITY, MEASURED
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import read_json

NO_RECORD = (
    "no record of this run reached the report: the run, or the preparation of its input, ended "
    "before one could be written"
)


@dataclass
class Run:
    """One expected run: its identity from the plan, and what its record says, if it left one."""

    id: str
    task: str
    dataset: str
    condition: str
    seed: int
    model: str
    variant: str
    name: str
    control: str | None
    tier: str | None
    image: str
    params: dict
    status: str = "lost"
    reason: str | None = NO_RECORD
    attempts: int = 0
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    exit_code: int | None = None
    input_sha256: str | None = None
    cpus: int | None = None
    machine: str | None = None
    stderr_tail: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    n_hidden: int | None = None
    details: dict = field(default_factory=dict)
    strata: list[dict] = field(default_factory=list)
    metadata: dict = field(default_factory=dict)
    recorded: bool = False
    #: Whether there is such a condition: no, where its dataset cannot have it.
    posed: bool = True

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def failed(self) -> bool:
        return self.status in FAILURES

    @property
    def setting(self) -> str:
        """The condition without its seed: what the runs of several seeds have in common."""
        return self.condition.removesuffix(f"_seed_{self.seed}")


def load(plan: dict, folder: Path, refusals: Sequence[Mapping] = ()) -> tuple[list[Run], list[str]]:
    """Every run of the plan in the plan's order, and remarks on records that could not be used.

    `refusals` say what could not be prepared: {"dataset" or "key" (of a condition), "reason", and
    maybe "not_applicable"}.
    """
    runs: dict[str, Run] = {}
    refused = {row.get("key") or row.get("dataset"): row for row in refusals}
    for row in plan["runs"]:
        run = Run(**{key: row.get(key) for key in IDENTITY})
        if row["not_applicable"]:
            run.status, run.reason = "not_applicable", row["not_applicable"]
        elif why := refused.get(row["key"]) or refused.get(row["dataset"]):
            run.reason = f"its input could not be prepared: {why['reason']}"
            if why.get("not_applicable"):
                run.status, run.reason, run.posed = "not_applicable", why["reason"], False
        runs[run.id] = run
    remarks: list[str] = []
    seen: dict[str, str] = {}
    strangers = 0
    for path in _statuses(folder):
        where = str(path.parent.relative_to(folder))
        try:
            status = _read(path, "status")
        except ContractError as error:
            _spoil(runs.get(_id_of_path(path, runs)), str(error))
            remarks.append(f"{where}: {error}")
            continue
        key = status["run"]["id"] if "run" in status else _id_of_path(path, runs)
        if key not in runs:
            strangers += 1
        elif key in seen:
            remarks.append(
                f"two records say that they are the run {key}: used the one in {seen[key]}, left "
                f"out the one in {where}"
            )
        else:
            seen[key] = where
            _fill(runs[key], status, path.parent)
    if strangers:
        belong = "record belongs" if strangers == 1 else "records belong"
        remarks.append(f"{strangers} {belong} to no run of this plan; left out")
    return list(runs.values()), remarks


def _statuses(folder: Path) -> list[Path]:
    # Nextflow stages a record as a link to its folder, which rglob would not enter.
    walk = os.walk(folder, followlinks=True)
    return sorted(Path(place, "status.json") for place, _, files in walk if "status.json" in files)


def _fill(run: Run, status: dict, folder: Path) -> None:
    run.recorded, run.status, run.reason = True, status["status"], status["reason"]
    for key in MEASURED:
        setattr(run, key, status.get(key))
    run.stderr_tail = status["stderr_tail"]
    try:
        if (folder / "metadata.json").is_file():
            run.metadata = _read(folder / "metadata.json", "metadata")
        if run.ok:
            scores = _read(folder / "metrics.json", "metrics")
            run.metrics, run.undefined = scores["metrics"], scores["undefined"]
            run.n_hidden, run.details = scores.get("n_hidden"), scores.get("details", {})
            run.strata = scores.get("strata", [])
    except ContractError as error:
        _spoil(run, str(error))


def _read(path: Path, schema: str) -> dict:
    try:
        return read_json(path, schema)
    except ContractError as error:
        # The reason is published; the folder that the report happened to read from is not.
        raise ContractError(str(error).replace(str(path), path.name)) from None


def _spoil(run: Run | None, why: str) -> None:
    if run is not None:
        run.recorded = True
        run.status, run.reason = "lost", f"its record cannot be used: {why}"


def _id_of_path(path: Path, known: dict) -> str | None:
    """The run whose id ends the folder's path: how a record without an identity is placed."""
    parts = path.parent.parts
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((tail for tail in tails if tail in known), None)
