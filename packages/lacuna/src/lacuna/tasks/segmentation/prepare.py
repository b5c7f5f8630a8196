"""From a law to what a model gets, and what it is scored against."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lacuna import seeds
from lacuna.genome.files import Sizes, write_pair
from lacuna.genome.law import Law, from_text
from lacuna.genome.presets import PRESETS, preset
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.h5ad import H5adWriter, open_h5ad, read_column, read_names


def import_dataset(row: Mapping[str, Any], source: Path | None, output: Path) -> None:
    """The built-in laws. `ContractError` for a file of one's own: truth is known here because the
    law is."""
    if source is not None:
        raise ContractError(
            f"dataset '{row['dataset']}': segmentation has only sequences of known law, the "
            "dataset 'synthetic'"
        )
    laws = {f"{name}_{n}": preset(name, n) for name in PRESETS for n in (3, 5)}
    with H5adWriter(output, list(laws), ["classes"]) as out:
        numbers = [[len(law.classes)] for law in laws.values()]
        out.dense("X", np.uint8).append(np.array(numbers, dtype=np.uint8))
        out.column("obs", "law", [json.dumps(law.to_json()) for law in laws.values()])
        out.uns({"task": "segmentation"})


def read_laws(raw: Path) -> dict[str, Law]:
    """The laws of a dataset by name, <preset>_<classes>."""
    check_h5ad(raw, "segmentation_raw")
    with open_h5ad(raw) as file:
        texts = read_column(file, "obs", "law")
        return {
            name: from_text(text, raw)
            for name, text in zip(read_names(file, "obs"), texts, strict=True)
        }


def prepare(
    condition: Mapping[str, Any], raw: Path, input: Path, truth: Path, salt: str = ""
) -> None:
    """Draw sequences. Neither the run's seed nor the condition's name gets into `input`."""
    laws, arguments = read_laws(raw), dict(condition["arguments"])
    name = f"{arguments['preset']}_{arguments['num_classes']}"
    if name not in laws:
        raise ContractError(f"{raw}: {suggest(name, laws, 'law')}")
    sizes = Sizes(*(arguments[key] for key in ("num_train", "num_val", "num_test", "length")))
    parent = seeds.sequence(condition["seed"], "genome", condition["key"], salt=salt)
    write_pair(laws[name], sizes, parent, input, truth, arguments)
