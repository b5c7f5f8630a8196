"""Where a model is run for its check: its virtual environment, or a container of its image."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lacuna.local import number
from lacuna.setup import environments, images
from lacuna.setup.registry import Recipe
from lacuna_contract.schema import read_json

NOBODY = 10001  # the user in a container, where root starts it


class Place(Protocol):
    """What a check needs of an engine."""

    def prepare(self, recipe: Recipe) -> None:
        """Make the environment or image unless it is there; `SetupError` when that fails."""

    def command(self, recipe: Recipe, room: Path, limits: Mapping[str, Any]) -> list[str]:
        """What comes before the supervisor's arguments, to run it with `room` as its folder."""


class Venv:
    """The model's virtual environment."""

    what = "its virtual environment"

    def prepare(self, recipe: Recipe) -> None:
        environments.build(recipe)

    def command(self, recipe: Recipe, room: Path, limits: Mapping[str, Any]) -> list[str]:
        return [str(recipe.env / "bin/lacuna-supervise")]


@dataclass(frozen=True)
class Container:
    """A container as the pipeline's profile `docker` makes it."""

    engine: images.Engine
    what = "a container of its image"

    def prepare(self, recipe: Recipe) -> None:
        images.build_all([recipe], self.engine)

    def command(self, recipe: Recipe, room: Path, limits: Mapping[str, Any]) -> list[str]:
        user, group = os.getuid(), os.getgid()
        if user == 0:
            user = group = NOBODY
            for path in (room, *room.iterdir()):
                os.chown(path, user, group)
        return [
            self.engine.program, "run", "--rm", "--network", "none", "--read-only",
            "--tmpfs", "/tmp:rw,exec,mode=1777", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--pids-limit", "4096",
            "--user", f"{user}:{group}", "--cpus", str(limits["cpus"]),
            "--memory", str(limits["memory_bytes"]),
            "--volume", f"{room}:{room}", "--workdir", str(room),
            recipe.image(), "lacuna-supervise",
        ]  # fmt: skip


def place(engine: str) -> Place:
    """The place of an engine: "venv", "docker" or "podman"; `SetupError` where none answers."""
    return Venv() if engine == "venv" else Container(images.Engine(engine))


def run(
    where: Place, recipe: Recipe, planned: Mapping[str, Any], files: Mapping[str, str], room: Path
) -> dict[str, Any]:
    """Run a model as the pipeline would, once; its files stay in `room`.

    Parameters
    ----------
    planned
        A run of a plan (schema `plan`).
    files
        Those of its condition: "input" and "truth", as paths.

    Returns
    -------
    dict
        The supervisor's record, or one with status "lost" when it left none.
    """
    resources = planned["resources"]
    room.mkdir(parents=True)
    shutil.copyfile(files["input"], room / "input.h5ad")
    (room / "params.json").write_text(json.dumps(planned["params"]))
    limits = {"attempt": 1, "max_attempts": 1, "cpus": resources["cpus"]}
    limits["memory_bytes"] = int(number(resources["memory"]))
    (room / ".limits.json").write_text(json.dumps(limits))
    words = ["--entry", json.dumps(planned["entry"]), "--input", "input.h5ad"]
    words += ["--params", "params.json", "--timeout", str(number(resources["time"]))]
    if planned["control"] == "ceiling":
        shutil.copyfile(files["truth"], room / "truth.h5ad")
        words += ["--truth", "truth.h5ad"]
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [*where.command(recipe, room, limits), *words]
    done = subprocess.run(command, cwd=room, env=env, capture_output=True, text=True, check=False)
    if (room / "status.json").is_file():
        return read_json(room / "status.json", "status")
    last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
    return {"status": "lost", "reason": f"no record, exit code {done.returncode}: {last}"}
