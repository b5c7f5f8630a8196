"""Reading parameters, which come as numbers, as text with commas, or as lists."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from lacuna_contract.errors import ContractError

T = TypeVar("T")
MAX_SEED = 2**31 - 1


class Problems:
    """Collects what is wrong, so that a person sees all of it at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, text: str) -> None:
        """One more problem; the same is listed once."""
        if text not in self.found:
            self.found.append(text)

    @contextmanager
    def catch(self) -> Iterator[None]:
        """A `ContractError` inside becomes a problem."""
        try:
            yield
        except ContractError as error:
            self.add(str(error))

    def check(self, what: str = "") -> None:
        """Raise `ContractError` if there is any problem."""
        if self.found:
            head = f"{what}:\n  " if what and len(self.found) > 1 else ""
            raise ContractError(head + "\n  ".join(self.found))


def words(value: Any) -> list[str]:
    """The words of a list parameter: ``"a, b"``, ``["a", "b"]`` or a single number.

    >>> words("0.15,0.3"), words(0), words(None)
    (['0.15', '0.3'], ['0'], [])
    """
    if value is None or value is True or value is False:
        return []
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return [text for part in parts if (text := str(part).strip())]


def each(value: Any, read: Callable[[str], T], what: str, problems: Problems) -> list[T]:
    """Every word of a list parameter through `read`; a value that is given twice is a problem."""
    found: list[T] = []
    for word in words(value):
        with problems.catch():
            item = read(word)
            if item in found:
                problems.add(f"{what} {word} is given twice")
                continue
            found.append(item)
    return found


def seed(word: str) -> int:
    """A whole number from 0 to 2**31 - 1."""
    return whole(word, "seed", 0, MAX_SEED)


def whole(word: str, what: str, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`; `ContractError` for any other word.

    >>> whole("12", "number of cells", 1)
    12
    """
    # A superscript two is a digit, too, but none that int() reads.
    found = int(word) if word.isascii() and word.isdigit() else None
    if found is None or found < least or (most is not None and found > most):
        end = "upwards" if most is None else f"to {most}"
        raise ContractError(f"{what} '{word}': expected a whole number from {least} {end}")
    return found


def flag(value: Any) -> bool:
    """A switch, which Nextflow may pass as text."""
    return value is True or str(value).lower() in ("true", "1", "yes")
