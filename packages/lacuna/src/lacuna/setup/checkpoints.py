"""Checkpoints: files that were trained elsewhere, which a person puts into ``<room>/<model>/``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacuna.setup.common import SetupError
from lacuna_contract.supervise import sha256


def look(name: str, manifest: Mapping[str, Any], room: str | Path | None) -> dict[str, Any] | None:
    """What there is of a model's checkpoint: its folder, and the SHA-256 of each file that is
    there. None for a model that uses none, or where no room is named.
    """
    wanted = manifest.get("checkpoint")
    if not wanted or room is None:
        return None
    room = Path(room).expanduser().absolute()
    if not room.is_dir():
        raise SetupError(f"there is no folder of checkpoints {room}")
    folder = room / name
    there = (n for n in wanted.get("files", ()) if (folder / n).is_file())
    return {"folder": str(folder), "files": {n: _sha256(folder / n) for n in there}}


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise SetupError(f"the checkpoint cannot be read: {error}") from None
