"""What a model returns as an array, be it lists or a table that carries names (a data frame of
pandas)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lacuna_contract.errors import InvalidOutput


def array(values: Any) -> np.ndarray:
    """An array of any type; `InvalidOutput` for what is none, such as rows of several lengths."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InvalidOutput(
            f"the model returned a {type(values).__name__} that is no array: {error}"
        ) from None


def by_name(values: Any, cells: Sequence[str], features: Sequence[str], unit: str) -> np.ndarray:
    """An array; of a table, in the order of `cells` and `features`, whatever its own order is.

    `InvalidOutput` where a table's names are not these. `unit` is what its columns are: "gene".
    """
    if not (hasattr(values, "index") and hasattr(values, "columns")):
        return array(values)
    rows = _places(values.index, cells, "cell")
    columns = _places(values.columns, features, unit)
    return np.asarray(values)[np.ix_(rows, columns)]


def cells_by_name(values: Any, cells: Sequence[str]) -> np.ndarray:
    """An array; of a table, its rows in the order of `cells`. Its columns have no names of ours.

    `InvalidOutput` where the rows' names are not these.
    """
    if not (hasattr(values, "index") and hasattr(values, "columns")):
        return array(values)
    return np.asarray(values)[_places(values.index, cells, "cell")]


def _places(found: Any, expected: Sequence[str], unit: str) -> list[int]:
    """Where each expected name is among those found."""
    names = [str(name) for name in found]
    where = {name: place for place, name in enumerate(names)}
    missing = [name for name in expected if name not in where]
    if missing or len(names) != len(expected):
        some = f": {len(missing)} are missing, such as '{missing[0]}'" if missing else ""
        raise InvalidOutput(
            f"the model returned a table with {len(names)} {unit} names that are not the "
            f"{len(expected)} of the input{some}. Return an array, or a table with its names"
        )
    return [where[name] for name in expected]
