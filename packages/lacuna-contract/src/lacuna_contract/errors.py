"""The errors that cross a boundary, and how they are worded."""

import difflib
import os
from collections.abc import Iterable


class ContractError(ValueError):
    """A file, a name or a value breaks the contract. The message is meant for a person."""


class InvalidOutput(ContractError):
    """What a model returned or wrote is no prediction. The message becomes the run's reason."""


class NotApplicable(Exception):
    """Raised by a model that cannot serve an input. The reason ends up in the run's record."""


def need_memory(size: float, what: str) -> None:
    """Raise MemoryError at once where a run may not use the `size` bytes that `what` takes, so that
    it ends with its figures before any work, and not in the middle of it without them. The run
    counts as out of memory, and is tried again with more where the pipeline does that.

    >>> need_memory(12e9, "the dense matrix of 1000000 cells x 1500 genes")
    """
    limit = os.environ.get("LACUNA_MEMORY_BYTES")
    if limit and size > int(limit):
        raise MemoryError(
            f"{what}: about {size / 2**30:.1f} GB expected, {int(limit) / 2**30:.1f} GB available"
        )


def suggest(word: object, known: Iterable[str], what: str) -> str:
    """One sentence for an unknown name: what it was, the likely meaning, and what there is.

    >>> suggest("mes", ["mse", "mae"], "metric")
    "unknown metric 'mes'. Did you mean 'mse'? There are: mae, mse"
    """
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    there = f"There are: {', '.join(names)}" if names else "There are none."
    return f"unknown {what} '{word}'.{hint} {there}"
