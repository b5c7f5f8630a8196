"""Which cells keep which modalities, which are there twice, and what is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lacuna.mock import scenarios
from lacuna.mock.assign import assign
from lacuna_contract.errors import ContractError
from lacuna_contract.tasks.multimodal import MODALITIES, Asked

#: As much of a modality is scored at most, so that predictions stay small: drawn by the seed.
MOST_CELLS, MOST_FEATURES = 2_000, 1_000
#: Part of the cells that are there twice, where that is possible, and the least number of them.
TWINS, FEWEST_TWINS = 0.1, 10


@dataclass(frozen=True)
class Cells:
    """Some cells. `measured` and `keep` (cells, 3): which of RNA, ATAC and ADT there is, and which
    stays visible; `shifted`: whether batches differ in more than their modalities."""

    measured: np.ndarray
    keep: np.ndarray
    batch: np.ndarray
    dataset: np.ndarray
    split: np.ndarray
    shifted: bool


@dataclass(frozen=True)
class Question:
    """The rows of an input.

    source
        The cell of each row, int (rows,).
    keep, batch, dataset, split
        As in `Cells`, by row.
    twin
        The row of the same cell with another modality, -1 for none.
    no_twins
        Why there are none, where there are none.
    asked
        By modality, rows and columns to predict. Twins are asked for like others, since what is
        left out would name them; but they are not scored, as the other row shows what this hides.
    """

    source: np.ndarray
    keep: np.ndarray
    batch: np.ndarray
    dataset: np.ndarray
    split: np.ndarray
    twin: np.ndarray
    no_twins: str | None
    asked: dict[str, Asked]

    @property
    def n_hidden(self) -> int:
        """How many values are to be predicted."""
        return sum(one.cells.size * one.features.size for one in self.asked.values())


def hide_scenario(
    cells: Cells, name: str, target: str | None, rng: np.random.Generator
) -> tuple[Cells, str | None, str | None]:
    """Cells that were measured whole, hidden as a scenario does; the modality that it hides from
    test cells, if it does, which is `target` where there is one; and what a person should know of
    it."""
    available = tuple(m for m, some in zip(MODALITIES, cells.measured.any(0), strict=True) if some)
    for modality in available:
        have = int(cells.measured[:, MODALITIES.index(modality)].sum())
        if have < len(cells.split):
            raise ContractError(
                f"expected cells that have everything, and {have} of {len(cells.split)} have "
                f"{modality}; for a mosaic there is the scenario 'holdout', and else the others "
                "have to be left out"
            )
    usual = scenarios.customise(name, target=target)
    scenario = scenarios.fitted(usual, name, available)
    note = None
    if scenario.target != usual.target:
        note = f"{scenario.target} is what test cells hide, as there is no {usual.target}"
    dealt = assign(scenario, len(cells.split), rng, available, shuffle=True)
    words = np.array(["train", "test"], dtype=object)
    hidden = replace(
        cells,
        keep=dealt.has & cells.measured,
        dataset=np.array(dealt.dataset_names, dtype=object)[dealt.dataset],
        split=words[dealt.test.astype(int)],
    )
    return hidden, scenario.target, note


def hide_part(cells: Cells, rng: np.random.Generator) -> Cells:
    """Every second batch in which cells have several modalities is split: each of its cells keeps
    one of them. With one such batch alone, half of its cells."""
    several = cells.measured.sum(axis=1) > 1
    if not several.any():
        raise ContractError(
            "no cell has more than one modality; scenario 'holdout' hides one of several, and "
            "what it hides is the truth"
        )
    batches = np.unique(cells.batch[several])
    chosen = several & np.isin(cells.batch, rng.permutation(batches)[: max(1, len(batches) // 2)])
    if len(batches) == 1:
        rows = np.flatnonzero(chosen)
        chosen[rng.permutation(rows)[: len(rows) // 2]] = False
    keep = cells.measured.copy()
    for row in np.flatnonzero(chosen):
        keep[row] = False
        keep[row, rng.choice(np.flatnonzero(cells.measured[row]))] = True
    return replace(cells, keep=keep)


def pose(cells: Cells, widths: Mapping[str, int], rng: np.random.Generator) -> Question:
    """Add twins, and choose what is asked for. `widths` are the numbers of features."""
    n = len(cells.split)
    first, second, why = _twins(cells, rng)
    rows, keep = np.arange(n), cells.keep
    batch, dataset, split = cells.batch, cells.dataset, cells.split
    if len(first):
        flags = np.zeros((len(first), len(MODALITIES)), dtype=bool)
        flags[:, second.modality] = True
        # In the place of a cell that has the modality anyway, unless the batches differ.
        model = first if cells.shifted else rng.choice(second.others, len(first))
        # In any order, so that its place says of no row whether it was added: mock cells come
        # cohort after cohort.
        order = rng.permutation(n + len(first))
        rows = np.concatenate([rows, first])[order]
        keep = np.vstack([keep, flags])[order]
        batch = np.concatenate([batch, batch[model]])[order]
        dataset = np.concatenate([dataset, dataset[model]])[order]
        split = np.concatenate([split, split[model]])[order]
        place = np.argsort(order)
        twin = np.full(len(rows), -1)
        twin[place[first]], twin[place[n:]] = place[n:], place[first]
    else:
        twin = np.full(n, -1)
    asked = _asked(cells.measured[rows], keep, split, widths, rng)
    return Question(rows, keep, batch, dataset, split, twin, why, asked)


def ask_all(cells: Cells, widths: Mapping[str, int]) -> Question:
    """The cells as they are, asked for all that they lack: nothing is hidden on purpose."""
    n, asked = len(cells.split), {}
    for column, modality in enumerate(MODALITIES):
        lacking = np.flatnonzero(~cells.keep[:, column])
        # Of a modality that no cell shows, nothing can be learned.
        if modality in widths and 0 < len(lacking) < n:
            asked[modality] = Asked(lacking, np.arange(widths[modality]))
    twin, why = np.full(n, -1), "no cell was added"
    return Question(
        np.arange(n), cells.keep, cells.batch, cells.dataset, cells.split, twin, why, asked
    )


@dataclass(frozen=True)
class _Second:
    """The modality that twins get, and the cells that have it alone."""

    modality: int
    others: np.ndarray


def _twins(cells: Cells, rng: np.random.Generator) -> tuple[np.ndarray, _Second | None, str | None]:
    """Cells that have one modality alone and get another row with a second one alone; or why there
    are none."""
    alone = cells.keep.sum(axis=1) == 1
    best: tuple[np.ndarray, _Second | None] = (np.array([], dtype=int), None)
    for a in range(len(MODALITIES)):
        for b in range(len(MODALITIES)):
            if a == b:
                continue
            with_a, with_b = (np.flatnonzero(alone & cells.keep[:, m]) for m in (a, b))
            sources = with_a[cells.measured[with_a, b]]
            if cells.shifted:
                sources = sources[np.isin(cells.batch[sources], cells.batch[with_b])]
            if len(with_b) and min(len(sources), len(with_b)) > min(
                len(best[0]), len(best[1].others) if best[1] else 0
            ):
                best = sources, _Second(b, with_b)
    sources, second = best
    if second is None:
        return sources, None, "no two modalities have cells (of one batch) with that one alone"
    count = min(max(FEWEST_TWINS, round(TWINS * len(cells.split))), len(sources) // 2)
    if count < FEWEST_TWINS:
        few = f"{len(sources)} cells could be there twice, too few to tell"
        return np.array([], dtype=int), None, few
    return np.sort(rng.choice(sources, count, replace=False)), second, None


def _asked(
    measured: np.ndarray,
    keep: np.ndarray,
    split: np.ndarray,
    widths: Mapping[str, int],
    rng: np.random.Generator,
) -> dict[str, Asked]:
    asked = {}
    for column, modality in enumerate(MODALITIES):
        # Of a modality that no cell shows, nothing can be learned.
        if modality not in widths or not keep[:, column].any():
            continue
        hidden = measured[:, column] & ~keep[:, column]
        if (hidden & (split == "test")).any():
            hidden &= split == "test"
        rows, columns = np.flatnonzero(hidden), np.arange(widths[modality])
        if len(rows) > MOST_CELLS:
            rows = np.sort(rng.choice(rows, MOST_CELLS, replace=False))
        if len(columns) > MOST_FEATURES:
            columns = np.sort(rng.choice(columns, MOST_FEATURES, replace=False))
        if len(rows):
            asked[modality] = Asked(rows, columns)
    return asked
