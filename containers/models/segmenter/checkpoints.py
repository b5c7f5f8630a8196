"""Checkpoints: the best weights so far, and where training stands."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from settings import Settings

from lacuna_contract.errors import ContractError

VERSION = 1


class Checkpoints:
    """``<name>_best.pt`` and ``<name>_last.pt`` in a folder; without one, nothing is kept on disk.

    Both hold `version`, `settings` and `data` (a digest), and the weights under `model`; the last
    one also what training needs to go on as if it had not been interrupted.
    """

    def __init__(self, folder: str | Path | None, name: str, settings: Settings, data: str):
        self.folder = None if folder is None else Path(folder)
        self.name = name
        self._about = {"version": VERSION, "settings": asdict(settings), "data": data}
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, which: str) -> Path:
        return self.folder / f"{self.name}_{which}.pt"

    def save(self, which: str, state: Mapping[str, Any]) -> None:
        """Write "best" or "last"; the file is replaced only by a whole one."""
        if self.folder is None:
            return
        path = self.path(which)
        half = path.with_suffix(f".{os.getpid()}.half")
        torch.save(self._about | dict(state), half)
        half.replace(path)

    def load(self, which: str, device: str) -> dict[str, Any] | None:
        """What was saved, or None where nothing was. `ContractError` where it is of another shape,
        of other settings, or of other data."""
        if self.folder is None or not self.path(which).is_file():
            return None
        path = self.path(which)
        try:
            found = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # the unpickler raises whatever the damage leads it to
            raise ContractError(f"{path} is not a readable checkpoint: {error}") from None
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise ContractError(f"{path} is not a checkpoint of this version ({VERSION})")
        ours, theirs = self._about["settings"], found["settings"]
        other = [k for k in ours if theirs.get(k) != ours[k]]
        if other:
            lines = [f"{k} is {theirs.get(k)} there and {ours[k]} here" for k in other]
            raise ContractError(
                f"{path} is of another shape or training: {'; '.join(lines)}. Give the same "
                "settings, or train anew without --resume"
            )
        if found["data"] != self._about["data"]:
            raise ContractError(f"{path} was trained on other data; train anew without --resume")
        return found

    def forget(self) -> None:
        """Remove what an earlier training left under this name."""
        if self.folder is not None:
            for which in ("best", "last"):
                self.path(which).unlink(missing_ok=True)
