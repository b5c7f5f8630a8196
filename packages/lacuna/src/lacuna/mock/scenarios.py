"""Which cells keep which modalities: the scenarios, as rows of data.

A scenario is a list of cohorts. A cohort is a share of the cells, and for each of its cells one
combination of modalities, such as "rna+adt", drawn with the weights of `keeps`. A new scenario is a
new row of `SCENARIOS`; no other line of the generator knows their names.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.tasks.multimodal import MODALITIES


@dataclass(frozen=True)
class Cohort:
    """Cells that were measured alike.

    share: part of all cells, 0 to 1; keeps: weight of each combination of modalities;
    batches: number of batches within the cohort; split: "train" or "test"; hides_target: its cells
    lose the scenario's target modality; dataset: name in obs, by default the cohort's. It is not
    the scenario's name, as an input does not say what it is a test of.
    """

    name: str
    share: float
    keeps: Mapping[str, float]
    batches: int = 1
    split: str = "train"
    hides_target: bool = False
    dataset: str | None = None


@dataclass(frozen=True)
class Scenario:
    """Cohorts, the modality that test cells hide (`target`, or `fallback` where data lack it), and
    the sizes of the shifts between datasets and between their batches (standard deviations on the
    log or logit scale)."""

    title: str
    cohorts: tuple[Cohort, ...]
    target: str | None = None
    fallback: str | None = None
    study_shift: float = 0.0
    batch_shift: float = 0.0


ANY = dict.fromkeys(["rna", "atac", "adt", "rna+atac", "rna+adt", "atac+adt", "rna+atac+adt"], 1.0)

SCENARIOS: dict[str, Scenario] = {
    "paired": Scenario(
        "RNA and ADT of every cell",
        (Cohort("paired", 1.0, {"rna+adt": 1}, dataset="citeseq"),),
    ),
    "unpaired": Scenario(
        "one cohort with RNA only, one with ATAC only",
        (Cohort("rna_only", 0.5, {"rna": 1}), Cohort("atac_only", 0.5, {"atac": 1})),
    ),
    "bridge": Scenario(
        "large cohorts with RNA or ATAC only, and a few cells with both",
        (
            Cohort("rna_only", 0.475, {"rna": 1}),
            Cohort("atac_only", 0.475, {"atac": 1}),
            Cohort("bridge", 0.05, {"rna+atac": 1}, dataset="multiome"),
        ),
    ),
    "mosaic": Scenario(
        "each cell keeps a random combination of RNA, ATAC and ADT, never none",
        (Cohort("mosaic", 1.0, ANY, dataset="mixed"),),
    ),
    "prediction": Scenario(
        "training cells with everything, test cells without the target modality",
        (
            Cohort("train", 0.8, {"rna+atac+adt": 1}, dataset="trimodal"),
            Cohort(
                "test",
                0.2,
                {"rna+atac+adt": 1},
                split="test",
                hides_target=True,
                dataset="trimodal",
            ),
        ),
        target="atac",
        fallback="adt",
    ),
    "hierarchical": Scenario(
        "three studies of two batches, each with its own mix of modalities and its own shift",
        (
            Cohort("study_a", 0.4, {"rna+adt": 0.8, "rna": 0.2}, batches=2),
            Cohort("study_b", 0.35, {"rna+atac": 0.7, "atac": 0.3}, batches=2),
            Cohort("study_c", 0.25, {"rna+atac+adt": 0.4, "rna": 0.3, "adt": 0.3}, batches=2),
        ),
        study_shift=0.4,
        batch_shift=0.2,
    ),
}


def get(name: str) -> Scenario:
    """A scenario by its name; the error says which there are."""
    if name not in SCENARIOS:
        raise ContractError(suggest(name, SCENARIOS, "scenario"))
    return SCENARIOS[name]


def fitted(scenario: Scenario, name: str, available: tuple[str, ...]) -> Scenario:
    """The scenario for cells that were measured in the modalities `available` alone: its target is
    one of these. `ContractError` where they cannot have it: a cohort would keep nothing, there is
    no target to hide, or one modality is all that would be left of several."""
    if scenario.target not in available and scenario.fallback in available:
        scenario = replace(scenario, target=scenario.fallback)
    there = f"these data have {' and '.join(available) or 'no modality'}"
    kept: set[str] = set()
    for cohort in scenario.cohorts:
        asked = {m for text, w in cohort.keeps.items() if w > 0 for m in _parts(text)}
        if not asked & set(available):
            raise ContractError(
                f"scenario '{name}' has cells that keep {' or '.join(sorted(asked))} alone; {there}"
            )
        kept |= asked
    if scenario.target is not None and scenario.target not in available:
        raise ContractError(f"scenario '{name}' hides {scenario.target}; {there}")
    left = kept & set(available)
    if len(left) == 1 < len(kept):
        raise ContractError(
            f"scenario '{name}' is about {' and '.join(m for m in MODALITIES if m in kept)}, of "
            f"which only {left.pop()} would be left; {there}"
        )
    return scenario


def _parts(text: str) -> list[str]:
    return [part.strip() for part in str(text).split("+") if part.strip()]


def combination(text: str, available: tuple[str, ...] = MODALITIES) -> tuple[bool, ...]:
    """ "rna+adt" as one flag per modality. Those not in `available` are off."""
    parts = _parts(text)
    for part in parts:
        if part not in MODALITIES:
            raise ContractError(suggest(part, MODALITIES, f"modality in '{text}'"))
    if not parts:
        raise ContractError(
            f"the combination '{text}' keeps no modality; expected one or more of "
            f"{', '.join(MODALITIES)}, joined by +"
        )
    return tuple(m in parts and m in available for m in MODALITIES)


def customise(
    name: str,
    shares: Mapping[str, float] | None = None,
    keeps: Mapping[str, Mapping[str, float]] | None = None,
    target: str | None = None,
    study_shift: float | None = None,
    batch_shift: float | None = None,
) -> Scenario:
    """A row of the table with some of its values replaced.

    shares: new share of some cohorts, 0 to 1; the others keep their proportions and fill the rest.
    keeps: new weights of combinations, by cohort. None leaves a value as the row has it; a target
    that is given has no fallback.
    """
    row, shares, keeps = get(name), shares or {}, keeps or {}
    known = [cohort.name for cohort in row.cohorts]
    for word in [*shares, *keeps]:
        if word not in known:
            raise ContractError(suggest(word, known, f"cohort of scenario '{name}'"))
    for word, share in shares.items():
        if not isinstance(share, Real) or not 0 <= share <= 1:
            raise ContractError(f"the share of cohort '{word}' is {share!r}; expected 0 to 1")
    others = sum(c.share for c in row.cohorts if c.name not in shares)
    rest = 1 - sum(shares.values())
    if rest < -1e-9 or (others == 0 and abs(rest) > 1e-9):
        raise ContractError(
            f"the shares of scenario '{name}' add up to {1 - rest:g}; expected "
            + ("at most 1" if others else "1, as every cohort is given")
        )
    if target is not None and row.target is None:
        having = [n for n, s in SCENARIOS.items() if s.target]
        raise ContractError(
            f"scenario '{name}' has no target modality; 'target' is for {', '.join(having)}"
        )
    cohorts = tuple(
        replace(
            c,
            share=shares.get(c.name, c.share / others * max(rest, 0.0) if others else 0.0),
            keeps=keeps.get(c.name, c.keeps),
        )
        for c in row.cohorts
    )
    scenario = replace(
        row,
        cohorts=tuple(c for c in cohorts if c.share > 0),
        target=target or row.target,
        fallback=None if target else row.fallback,
        study_shift=row.study_shift if study_shift is None else study_shift,
        batch_shift=row.batch_shift if batch_shift is None else batch_shift,
    )
    for cohort in scenario.cohorts:
        weights(cohort, scenario.target)
    return scenario


def weights(
    cohort: Cohort, target: str | None, available: tuple[str, ...] = MODALITIES
) -> tuple[np.ndarray, np.ndarray]:
    """The combinations that a cohort's cells may keep, and their probabilities.

    Returns flags (combinations, 3) and probabilities (combinations,). Modalities that are not
    `available`, and the hidden target, are taken away; a combination of which nothing is left by
    what is available cannot occur. `ContractError` when a cell would keep no modality at all.
    """
    given = cohort.keeps.values()
    if not any(given) or not all(0 <= weight < math.inf for weight in given):
        raise ContractError(
            f"cohort '{cohort.name}' weighs its combinations {dict(cohort.keeps)}; expected "
            "finite weights of 0 or more, one of them above 0"
        )
    if target is not None and target not in MODALITIES:
        raise ContractError(suggest(target, MODALITIES, "target modality"))
    found: dict[tuple[bool, ...], float] = {}
    for text, weight in cohort.keeps.items():
        flags = combination(text, available)
        if any(flags) and weight > 0:
            found[flags] = found.get(flags, 0.0) + weight
    flags = np.array(list(found), dtype=bool).reshape(-1, len(MODALITIES))
    if cohort.hides_target:
        flags[:, MODALITIES.index(target)] = False
    if not len(flags) or not flags.any(axis=1).all():
        hidden = f", its target '{target}' is hidden" if cohort.hides_target else ""
        raise ContractError(
            f"a cell of cohort '{cohort.name}' would keep no modality: it keeps one of "
            f"{list(cohort.keeps)}{hidden}, and there is {', '.join(available) or 'nothing'}"
        )
    chances = np.array(list(found.values()))
    return flags, chances / chances.sum()
