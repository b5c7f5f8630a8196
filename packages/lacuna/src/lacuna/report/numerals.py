"""Numbers as people read them: three significant digits, decimal points under each other."""

import math
from collections.abc import Iterable

#: Below this, a metric of single-precision values is rounding.
NOTHING = 1e-12
FIGURE_SPACE, PUNCTUATION_SPACE = "\u2007", "\u2008"

MB = 2**20


def sig(value: float | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits with a real minus sign; a dash for None."""
    if value is None:
        return "–"
    if abs(value) < NOTHING:
        return "0"
    if not math.isfinite(value):
        return str(value)
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if exponent < -4 or exponent > 6:
        mantissa, power = f"{rounded:.{digits - 1}e}".split("e")
        text = f"{mantissa}e{int(power)}"
    else:
        text = f"{rounded:,.{max(digits - 1 - exponent, 0)}f}"
    return text.replace("-", "−")


def spell_score(value: float | None) -> str:
    """A scaled score: three decimals, since it is read against 0 and 1."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return sig(value)
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text.replace("-", "−")


def align(texts: Iterable[str], *, terminal: bool = False) -> list[str]:
    """Right-pad with digit-wide spaces so that right-aligned decimal points fall in one line."""
    texts = list(texts)
    tails = [_tail(text) for text in texts]
    longest = max(tails, default=0)
    padded = [text + _pad(text, tail, longest) for text, tail in zip(texts, tails, strict=True)]
    plain = str.maketrans({FIGURE_SPACE: " ", PUNCTUATION_SPACE: " "})
    return [text.translate(plain) for text in padded] if terminal else padded


def _tail(text: str) -> int:
    return len(text) - text.index(".") - 1 if "." in text else 0


def _pad(text: str, tail: int, longest: int) -> str:
    if longest == 0 or text == "–":
        return ""
    point = "" if "." in text else PUNCTUATION_SPACE
    return point + FIGURE_SPACE * (longest - tail)


def seconds(value: float | None) -> str:
    """A duration: 850 ms, 3.21 s, 4 min 10 s, 2 h 05 min."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{sig(value)} s"
    if value < 7200:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60):02d} min"


def size(value: float | None) -> str:
    """Bytes in the units of the limits, in which a GB is 2**30 bytes: 412 MB, 1.31 GB."""
    if value is None:
        return "–"
    for unit, factor in (("GB", 1024 * MB), ("MB", MB), ("kB", MB / 1024)):
        if value >= factor:
            return f"{sig(value / factor)} {unit}"
    return f"{value:.0f} B"


def count(n: int, one: str, many: str | None = None) -> str:
    """A number and its noun: 1 run, 12 runs."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(words: Iterable[str], most: int = 6) -> str:
    """Words in a sentence: a, b and c; past `most` of them: a, b and 9 more."""
    words = list(words)
    if len(words) > most:
        return f"{', '.join(words[: most - 1])} and {len(words) - most + 1} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
