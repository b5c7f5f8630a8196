"""Where a model is run for its check: its virtual environment, or a container of its image."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lacuna.setup import environments, images
from lacuna.setup.registry import Recipe

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
    """A container as the pipeline's profiles `docker` and `podman` make it."""

    engine: images.Engine
    what = "a container of its image"

    def prepare(self, recipe: Recipe) -> None:
        images.build_all([recipe], self.engine)

    def command(self, recipe: Recipe, room: Path, limits: Mapping[str, Any]) -> list[str]:
        user, group = os.getuid(), os.getgid()
        rootless = user != 0
        if not rootless:
            user = group = NOBODY
            for path in (room, *room.iterdir()):
                os.chown(path, user, group)
        # Without root, Podman maps its own user 0 to the caller: see conf/podman.config.
        mapped = rootless and self.engine.name == "podman"
        return [
            self.engine.program, "run", "--rm", "--network", "none", "--read-only",
            "--tmpfs", "/tmp:rw,exec,mode=1777", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--pids-limit", "4096",
            *(["--userns=keep-id"] if mapped else []),
            "--user", f"{user}:{group}", "--cpus", str(limits["cpus"]),
            "--memory", str(limits["memory_bytes"]),
            "--volume", f"{room}:{room}", "--workdir", str(room),
            recipe.image(), "lacuna-supervise",
        ]  # fmt: skip


def place(engine: str) -> Place:
    """The place of an engine: "venv", "docker" or "podman"; `SetupError` where none answers."""
    return Venv() if engine == "venv" else Container(images.Engine(engine))
