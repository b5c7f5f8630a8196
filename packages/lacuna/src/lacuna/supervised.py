"""A model under its supervisor, wherever that is: in a virtual environment or in a container."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacuna.records import NO_STATUS
from lacuna_contract.schema import read_json

ATTEMPTS = 3
OUT_OF_MEMORY = 137
CHECKPOINT = "checkpoint"  # the folder that a model finds it in
# As Nextflow has it: its GB is 2**30 bytes.
UNITS = {"MB": 2**20, "GB": 2**30, "TB": 2**40, "s": 1, "min": 60, "h": 3600, "d": 86400}


def number(text: str) -> float:
    """A size in bytes or a time in seconds, as manifests write them.

    >>> number("2 GB"), number("10 min")
    (2147483648.0, 600.0)
    """
    value, unit = re.fullmatch(r"([0-9.]+) ?([A-Za-z]+)", text).groups()
    return float(value) * UNITS[unit]


def supervise(
    run: Mapping[str, Any],
    files: Mapping[str, str | Path],
    room: Path,
    command: Callable[[Mapping[str, Any]], Sequence[str]],
    attempts: int = ATTEMPTS,
) -> dict[str, Any]:
    """Run a model as the pipeline would; what it wrote stays in `room`.

    Parameters
    ----------
    run
        A run of a plan (schema `plan`).
    files
        Those of its condition: "input" and, for a ceiling, "truth".
    room
        An empty folder, the model's own.
    command
        Given the limits (``cpus``, ``memory_bytes``), what starts the supervisor in `room`.
    attempts
        How often to try while the model runs out of memory, each time with more of it.

    Returns
    -------
    dict
        The supervisor's record (schema `status`), or one with status "lost" when it left none.
    """
    resources = run["resources"]
    words = ["--entry", json.dumps(run["entry"]), "--input", "input.h5ad"]
    words += ["--params", "params.json", "--timeout", str(number(resources["time"]))]
    if run["control"] == "ceiling":
        words += ["--truth", "truth.h5ad"]
    if run.get("checkpoint"):
        words += ["--checkpoint", CHECKPOINT]
    # The environment's own packages, not those that this process found its way by.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    for attempt in range(1, attempts + 1):
        limits = {"attempt": attempt, "max_attempts": attempts, "cpus": resources["cpus"]}
        limits["memory_bytes"] = int(number(resources["memory"]) * attempt)
        # What an attempt left, an input that it changed too, is not the next one's.
        _furnish(room, run, files)
        (room / ".limits.json").write_text(json.dumps(limits))
        done = subprocess.run(
            [*command(limits), *words], cwd=room, env=env, capture_output=True, text=True
        )
        if done.returncode != OUT_OF_MEMORY:
            break
    if (room / "status.json").is_file():
        return read_json(room / "status.json", "status")
    last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
    reason = f"the supervisor ended with code {done.returncode}: {last}"
    return NO_STATUS | {"reason": reason}


def _furnish(room: Path, run: Mapping[str, Any], files: Mapping[str, str | Path]) -> None:
    """Put what a model is given into `room`, and nothing else."""
    for path in room.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.copyfile(files["input"], room / "input.h5ad")
    (room / "params.json").write_text(json.dumps(run["params"]))
    if run["control"] == "ceiling":
        shutil.copyfile(files["truth"], room / "truth.h5ad")
    if trained := run.get("checkpoint"):
        (room / CHECKPOINT).mkdir()
        for name in trained["files"]:
            shutil.copyfile(Path(trained["folder"], name), room / CHECKPOINT / name)
