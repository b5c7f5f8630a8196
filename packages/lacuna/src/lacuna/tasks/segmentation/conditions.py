"""The conditions of segmentation: lengths, a preset, numbers of sequences, seeds."""

from collections.abc import Mapping
from typing import Any

from lacuna import parameters
from lacuna.genome.files import SHORTEST
from lacuna.genome.law import class_names
from lacuna.genome.presets import PRESETS
from lacuna.tasks.base import Condition, Option
from lacuna_contract.errors import ContractError, suggest


def length(word: str) -> int:
    """Positions of a sequence."""
    return parameters.whole(word, "length", SHORTEST)


def preset(word: str) -> str:
    """The name of a law."""
    if word not in PRESETS:
        raise ContractError(suggest(word, PRESETS, "preset"))
    return word


def classes(word: str) -> int:
    """The number of classes."""
    return len(class_names(parameters.whole(word, "number of classes", 0)))


def count(word: str) -> int:
    """A number of sequences."""
    return parameters.whole(word, "number of sequences", 1)


OPTIONS = (
    Option("lengths", "--lengths", "length", length, "20000", "positions of each sequence"),
    Option("preset", "--preset", "preset", preset, "gene_like", f"which law: {', '.join(PRESETS)}"),
    Option("num_classes", "--num-classes", "num_classes", classes, "3", "3, or 5 with UTRs"),
    Option("num_train", "--num-train", "num_train", count, "1000", "sequences to learn from"),
    Option("num_val", "--num-val", "num_val", count, "200", "sequences to choose by"),
    Option("num_test", "--num-test", "num_test", count, "200", "sequences to segment"),
)


def name(preset: str, length: int, classes: int, seed: int) -> str:
    """The condition's name.

    >>> name("gene_like", 20000, 3, 42), name("motifs", 10000, 5, 1)
    ('gene_like_20000_seed_42', 'motifs_10000_5_classes_seed_1')
    """
    middle = "" if classes == 3 else f"_{classes}_classes"
    return f"{preset}_{length}{middle}_seed_{seed}"


def conditions(given: Mapping[str, Any]) -> list[Condition]:
    """Every preset and length with every seed. Reads the parameters of `OPTIONS`, and ``seeds``
    (42)."""
    problems = parameters.Problems()
    values: dict[str, list[Any]] = {}
    for option in OPTIONS:
        asked = given.get(option.parameter)
        words = option.default if asked is None else asked
        what = option.argument.replace("_", " ")
        values[option.argument] = parameters.each(words, option.read, what, problems)
    seeds = parameters.each(given.get("seeds", 42), parameters.seed, "seed", problems)
    if not problems.found:
        if not seeds:
            problems.add("no seed is given; expected at least one")
        for argument, found in values.items():
            if not found:
                problems.add(f"no {argument.replace('_', ' ')} is given; expected at least one")
        for argument in ("num_classes", "num_train", "num_val", "num_test"):
            if len(found := values[argument]) > 1:
                problems.add(f"{argument}: expected one number; found {len(found)}")
    problems.check()
    one = {key: found[0] for key, found in values.items() if key.startswith("num_")}
    return [
        Condition(
            name(law, size, one["num_classes"], seed),
            seed,
            {"length": size, "preset": law, **one},
        )
        for law in values["preset"]
        for size in values["length"]
        for seed in seeds
    ]
