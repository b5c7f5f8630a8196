"""The conditions of the task: scenarios, sizes of mock data, seeds."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from lacuna import parameters
from lacuna.mock.scenarios import SCENARIOS
from lacuna.tasks.base import Condition, Option
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.tasks.multimodal import MODALITIES

DATASETS = {
    "mock": "cells with RNA, ATAC and ADT that are made for each scenario and seed",
    "pbmc_mosaic": "1,600 PBMC with RNA, ADT or both in four batches, there offline: a smoke set, "
    "which its authors do not mean for benchmarks",
}
#: Of data that were measured as a mosaic: cells with several modalities lose one of them.
HOLDOUT = "holdout"
#: Datasets for which a scenario is not. Mock cells have the six scenarios; what is a mosaic already
#: cannot be made one.
ELSEWHERE = {HOLDOUT: ("mock",)} | {name: ("pbmc_mosaic",) for name in SCENARIOS}


def scenario(word: str) -> str:
    """The name of a scenario, or "all"."""
    if word not in (*ELSEWHERE, "all"):
        raise ContractError(suggest(word, [*ELSEWHERE, "all"], "scenario"))
    return word


def target(word: str) -> str:
    """The name of a modality."""
    if word not in MODALITIES:
        raise ContractError(suggest(word, MODALITIES, "target modality"))
    return word


def size(what: str, least: int) -> Callable[[str], int]:
    """Reads a number of `what`, `least` or more."""
    return functools.partial(parameters.whole, what=what, least=least)


#: Scenarios in which test cells hide one modality.
TARGETED = [name for name, row in SCENARIOS.items() if row.target]
#: Of mock data: how many there are by default, and at least.
SIZES = {"cells": (600, 40), "genes": (500, 20), "peaks": (2000, 20), "proteins": (30, 2)}
OPTIONS = (
    Option(
        "scenarios",
        "--scenarios",
        "scenario",
        scenario,
        "all",
        f"which modalities are hidden: {', '.join(ELSEWHERE)}, or all that a dataset can have",
    ),
    Option(
        "target",
        "--target",
        "target",
        target,
        None,
        f"what test cells hide in {' and '.join(TARGETED)}, where that is not the usual (atac, or "
        f"adt of data without): {', '.join(MODALITIES)}",
    ),
    *(
        Option(name, f"--{name}", name, size(name, least), str(usual), f"{name} of mock data")
        for name, (usual, least) in SIZES.items()
    ),
)


def conditions(given: Mapping[str, Any]) -> list[Condition]:
    """Every scenario with every seed. Reads ``scenarios`` (default all), ``scenario_seeds`` (by
    default ``seeds``, by default 42), ``target`` and the sizes of mock data, ``cells``, ``genes``,
    ``peaks`` and ``proteins``."""
    problems = parameters.Problems()
    asked = parameters.each(given.get("scenarios", "all"), scenario, "scenario", problems)
    seeds = parameters.each(
        own if (own := given.get("scenario_seeds")) is not None else given.get("seeds", 42),
        parameters.seed,
        "seed",
        problems,
    )
    settings = {}
    for option in OPTIONS[1:]:
        value = given.get(option.parameter, option.default)
        found = parameters.each(value, option.read, option.parameter, problems)
        if option.default is not None and not parameters.words(value):
            problems.add(f"no number of {option.parameter} is given; expected one")
        if len(found) > 1:
            problems.add(f"{option.parameter} is {value}; expected one for all conditions")
        settings[option.argument] = found[0] if found else None
    for found, what in ((asked, "scenario"), (seeds, "seed")):
        if not found and not problems.found:
            problems.add(f"no {what} is given; expected at least one")
    problems.check()
    chosen = [name for name in ELSEWHERE if name in asked or "all" in asked]
    hidden = settings.pop("target")
    if hidden and not set(chosen) & set(TARGETED):
        raise ContractError(
            f"target {hidden} is for {', '.join(TARGETED)}, and the scenarios are "
            f"{', '.join(chosen)}"
        )
    aimed = TARGETED if hidden else []
    return [
        Condition(
            f"{name}_{hidden}_seed_{seed}" if name in aimed else f"{name}_seed_{seed}",
            seed,
            {"scenario": name, **settings} | ({"target": hidden} if name in aimed else {}),
            elsewhere=ELSEWHERE[name],
            if_possible=name not in asked,
        )
        for name in chosen
        for seed in seeds
    ]
