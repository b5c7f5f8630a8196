"""What the records of runs are made of, as `schemas/` says it. No list of it stands elsewhere."""

from typing import Any

from lacuna_contract.schema import load

_STATUS = load("status")["properties"]

#: The fields that say which run a record belongs to.
IDENTITY = tuple(load("run")["properties"])
#: Statuses of a run that should have given a score and did not.
FAILURES = tuple(load("status")["$defs"]["failure"]["enum"])
#: What is measured of a run, or counted.
MEASURED = tuple(name for name in _STATUS if name not in ("status", "reason", "stderr_tail", "run"))
#: The record of a run that left none.
NO_STATUS: dict[str, Any] = {
    "status": "lost",
    "reason": "the run left no status.json: it ended before its record could be written",
    "attempts": 0,
    "seconds": None,
    "peak_memory_bytes": None,
    "exit_code": None,
    "stderr_tail": "",
}
