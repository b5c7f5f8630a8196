"""The conditions of reconstruction: mask percentages, strategies, seeds."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from lacuna import parameters
from lacuna.tasks.base import Condition, Option
from lacuna.tasks.reconstruction import masking, thinning
from lacuna_contract.errors import ContractError, suggest

STRATEGIES = (*masking.STRATEGIES, thinning.NAME)


def fraction(word: str) -> Decimal:
    """A mask percentage, given as a fraction: 0.15 for 15 %."""
    try:
        value = Decimal(word)
    except InvalidOperation:
        value = Decimal("NaN")
    if value.is_finite() and 0 < value < 1:
        return value.normalize()
    hint = ""
    if value.is_finite() and 1 < value < 100:
        hint = f"; for {value.normalize():f} % write {(value / 100).normalize():f}"
    raise ContractError(
        f"mask percentage '{word}': expected a fraction greater than 0 and less than 1{hint}"
    )


def strategy(word: str) -> str:
    """The name of a way to hide."""
    if word not in STRATEGIES:
        raise ContractError(suggest(word, STRATEGIES, "mask strategy"))
    return word


OPTIONS = (
    Option(
        "mask_percentages",
        "--mask-percentage",
        "percentage",
        fraction,
        "0.15",
        "how much is hidden, as fractions",
    ),
    Option(
        "mask_strategy",
        "--mask-strategy",
        "strategy",
        strategy,
        "uniform",
        f"how it is hidden, any of {', '.join(STRATEGIES)}",
    ),
)


def name(percentage: Decimal, strategy: str, seed: int) -> str:
    """The condition's name, the percentage printed short.

    >>> name(Decimal("0.125"), "uniform", 42), name(Decimal("0.15"), "per_gene", 1)
    ('mask_12.5_seed_42', 'mask_15_per_gene_seed_1')
    """
    printed = f"{(percentage * 100).normalize():f}"
    middle = "" if strategy == "uniform" else f"_{strategy}"
    return f"mask_{printed}{middle}_seed_{seed}"


def conditions(given: Mapping[str, Any]) -> list[Condition]:
    """Every strategy with every percentage and every seed. Reads ``mask_percentages`` (default
    0.15), ``mask_strategy`` (uniform) and ``seeds`` (42)."""
    problems = parameters.Problems()
    percentages = parameters.each(
        given.get("mask_percentages", 0.15), fraction, "mask percentage", problems
    )
    seeds = parameters.each(given.get("seeds", 42), parameters.seed, "seed", problems)
    strategies = parameters.each(
        given.get("mask_strategy") or "uniform", strategy, "mask strategy", problems
    )
    if not problems.found:
        for found, what in (
            (percentages, "mask percentage"), (strategies, "mask strategy"), (seeds, "seed")
        ):  # fmt: skip
            if not found:
                problems.add(f"no {what} is given; expected at least one")
    problems.check()
    return [
        Condition(
            name(percentage, how, seed),
            seed,
            {"percentage": float(percentage), "strategy": how},
        )
        for how in strategies
        for percentage in percentages
        for seed in seeds
    ]
