"""The YAML configuration of a training: where the dataset lies, how to train, and of a mock dataset
what it was made with."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lacuna.mock.settings import Settings, plain
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import validate


@dataclass(frozen=True)
class Config:
    """file: the dataset; keys: where its modalities lie; mock: its settings, None for one's
    own dataset; model: parameters of the model to train, which the model itself checks."""

    file: Path
    keys: dict[str, dict[str, str]]
    mock: Settings | None = None
    model: dict[str, Any] = field(default_factory=dict)


def write_config(path: str | Path, config: Config) -> None:
    """Write it, with the dataset's path relative to the folder of the configuration."""
    path = Path(path)
    content = {
        "data": {
            "file": Path(os.path.relpath(config.file, path.parent)).as_posix(),
            "keys": config.keys,
        },
        **({"mock": config.mock.as_dict()} if config.mock else {}),
        "model": plain(config.model),
    }
    validate(content, "mock_config", where=path)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def read_config(path: str | Path) -> Config:
    """Read and check it: an unknown key, at any depth but in `model`, is a `ContractError`."""
    path = Path(path)
    if not path.is_file():
        raise ContractError(f"{path}: no such file")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} is not YAML: {error}") from None
    validate(content, "mock_config", where=path)
    file = Path(os.path.normpath(path.parent / content["data"]["file"]))
    try:
        mock = Settings.of(content["mock"]) if "mock" in content else None
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from None
    return Config(file, content["data"]["keys"], mock, content.get("model") or {})
