"""Whether an AnnData is what the multimodal task expects: masks, zeros and names that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from lacuna.mock.layout import PLACES, Keys
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.tasks.multimodal import MODALITIES

if TYPE_CHECKING:
    from anndata import AnnData


def keys_there(data: AnnData) -> Keys:
    """The usual places of the modalities, those that this AnnData has."""
    return {m: w for m, w in PLACES.items() if "obsm" not in w or w["obsm"] in data.obsm}


def matrix_of(data: AnnData, name: str, where: dict[str, str]) -> Any:
    """The matrix of a modality, from an entry of `keys` such as ``{'obsm': 'X_atac'}``."""
    if name not in MODALITIES:
        raise ContractError(suggest(name, MODALITIES, "modality in keys"))
    if where == {"X": "X"}:
        return data.X
    (slot, key), *more = where.items()
    holders = {"obsm": data.obsm, "layer": data.layers}
    if more or slot not in holders:
        raise ContractError(f"keys['{name}'] is {where}; expected X, or a name in layer or obsm")
    if key not in holders[slot]:
        raise ContractError(f"{name}: " + suggest(key, holders[slot].keys(), f"name in {slot}"))
    return holders[slot][key]


def nonzero_rows(matrix: Any) -> np.ndarray:
    """Which rows hold anything but zeros, bool (rows,)."""
    if sparse.issparse(matrix):
        return np.asarray((matrix != 0).sum(axis=1)).ravel() > 0
    return np.asarray(matrix != 0).any(axis=1)


def _cells(data: AnnData, rows: np.ndarray) -> str:
    where = np.flatnonzero(rows)
    return f"{len(where)} cells (the first is '{data.obs_names[where[0]]}')"


def check_dataset(data: AnnData, keys: Keys | None = None) -> None:
    """Raise `ContractError` listing all that is wrong with a multimodal dataset.

    Each modality of `keys` (by default those that are there) needs a boolean obs["has_<name>"]; a
    cell that has it must not be all zero there, one that has not must be; each cell keeps a
    modality; uns["adt_names"] names the columns of the ADT, each once.
    """
    keys = keys or keys_there(data)
    wrong = []
    has_any = np.zeros(data.n_obs, dtype=bool)
    for name, where in keys.items():
        matrix, flag = matrix_of(data, name, where), f"has_{name}"
        if flag not in data.obs:
            wrong.append(f"obs lacks '{flag}'; there are: {', '.join(data.obs) or 'none'}")
            continue
        if data.obs[flag].dtype != bool:
            wrong.append(f"obs['{flag}'] is {data.obs[flag].dtype}; expected bool")
            continue
        has, filled = data.obs[flag].to_numpy(), nonzero_rows(matrix)
        has_any |= has
        for rows, said, there in (
            (has & ~filled, "true", "all zero"),
            (~has & filled, "false", "not zero"),
        ):
            if rows.any():
                wrong.append(f"{flag} is {said}, but {name} is {there}, in {_cells(data, rows)}")
        if name == "adt":
            wrong += _wrong_names(data, matrix.shape[1])
    if not wrong and not has_any.all():
        wrong.append(f"no modality is observed in {_cells(data, ~has_any)}; expected one or more")
    if wrong:
        raise ContractError("this is no multimodal dataset:\n  " + "\n  ".join(wrong))


def _wrong_names(data: AnnData, width: int) -> list[str]:
    if "adt_names" not in data.uns:
        return [f"uns lacks 'adt_names'; expected the names of the {width} proteins"]
    found = list(map(str, data.uns["adt_names"]))
    if len(found) != width:
        return [f"uns['adt_names'] has {len(found)} names, but the ADT has {width} columns"]
    if len(set(found)) != width:
        return ["uns['adt_names'] names a protein twice; expected each once"]
    return []
