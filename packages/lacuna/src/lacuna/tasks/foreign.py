"""What every task does with a prediction's file, which others wrote."""

import h5py
import numpy as np

from lacuna_contract.errors import ContractError, InvalidOutput

#: What h5py, numpy and scipy raise for files that others wrote.
FOREIGN = (
    ContractError, OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError,
    AttributeError,
)  # fmt: skip


def check_self_contained(file: h5py.File) -> None:
    """`ContractError` if any part of the file lies in another: such as, by a link, in the truth,
    which is within reach here and was not for the model."""

    def walk(group: h5py.Group) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = type(link).__name__
                raise ContractError(f"{group.name}/{name} is an {kind}; expected the data itself")
            item = group[name]
            if isinstance(item, h5py.Group):
                walk(item)
            elif isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
                raise ContractError(f"{item.name} is stored in another file; expected it in this")

    walk(file)


def match(found: list[str], expected: list[str], what: str) -> np.ndarray | None:
    """Where each expected name is among those found; None when the order is the same.

    `InvalidOutput` when the names are not the same.
    """
    if found == expected:
        return None
    where = {name: i for i, name in enumerate(found)}
    missing = [name for name in expected if name not in where]
    known = set(expected)
    extra = [name for name in found if name not in known]
    if missing or extra:
        parts = [
            f"{len(names)} {how}, such as {', '.join(map(repr, names[:3]))}"
            for how, names in (("are missing", missing), ("are not in the input", extra))
            if names
        ]
        raise InvalidOutput(
            f"the prediction's {what} names are not those of the input: {'; '.join(parts)}. "
            f"Expected the {len(expected)} {what}s of the input, in any order"
        )
    return np.array([where[name] for name in expected])
