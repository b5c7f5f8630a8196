"""Cells dealt out to the cohorts of a scenario."""

from dataclasses import dataclass

import numpy as np

from lacuna.mock.scenarios import Scenario, weights
from lacuna_contract.errors import ContractError
from lacuna_contract.tasks.multimodal import MODALITIES


@dataclass(frozen=True)
class Assignment:
    """One entry per cell. `has` (cells, 3) says which of RNA, ATAC, ADT is kept; `batch` and
    `dataset` are numbers into `batch_names` and `dataset_names`; `test` marks the test split;
    `batch_dataset` is the dataset of each batch."""

    has: np.ndarray
    batch: np.ndarray
    dataset: np.ndarray
    test: np.ndarray
    batch_names: list[str]
    dataset_names: list[str]
    batch_dataset: list[int]

    @property
    def observed(self) -> list[str]:
        """The modalities that at least one cell keeps."""
        return [m for m, any_cell in zip(MODALITIES, self.has.any(axis=0), strict=True) if any_cell]


def split_sizes(shares: list[float], n: int) -> np.ndarray:
    """`n` in whole parts that are as near to the shares as whole numbers can be, none of them 0."""
    edges = np.rint(np.cumsum([0.0, *shares]) / sum(shares) * n).astype(int)
    sizes = np.diff(edges)
    for empty in np.flatnonzero(sizes == 0):
        sizes[np.argmax(sizes)] -= 1
        sizes[empty] = 1
    return sizes


def assign(
    scenario: Scenario,
    n_cells: int,
    rng: np.random.Generator,
    available: tuple[str, ...] = MODALITIES,
    shuffle: bool = False,
) -> Assignment:
    """Deal `n_cells` cells to the cohorts of `scenario`, in exact proportions.

    Cohorts follow one another, as in data that were put together from several; with `shuffle`, for
    cells whose order means something, each gets cells from everywhere.
    """
    cohorts = scenario.cohorts
    if n_cells < len(cohorts):
        raise ContractError(f"{n_cells} cells are too few for {len(cohorts)} cohorts")
    has = np.zeros((n_cells, len(MODALITIES)), dtype=bool)
    batch, dataset = np.zeros(n_cells, np.int32), np.zeros(n_cells, np.int32)
    test = np.zeros(n_cells, dtype=bool)
    batch_names: list[str] = []
    batch_dataset: list[int] = []
    dataset_names = list(dict.fromkeys(c.dataset or c.name for c in cohorts))
    order = rng.permutation(n_cells) if shuffle else np.arange(n_cells)
    start = 0
    for cohort, size in zip(cohorts, split_sizes([c.share for c in cohorts], n_cells), strict=True):
        rows = order[start : start + size]
        start += size
        flags, chances = weights(cohort, scenario.target, available)
        has[rows] = flags[rng.choice(len(flags), size=size, p=chances)]
        name = cohort.dataset or cohort.name
        dataset[rows] = dataset_names.index(name)
        test[rows] = cohort.split == "test"
        several = cohort.batches > 1
        labels = [f"{name}_{i + 1}" if several else name for i in range(cohort.batches)]
        new = [label for label in labels if label not in batch_names]
        batch_names += new
        batch_dataset += [dataset_names.index(name)] * len(new)
        codes = np.array([batch_names.index(label) for label in labels], dtype=np.int32)
        batch[rows] = codes[np.arange(size) * len(codes) // size]
    return Assignment(has, batch, dataset, test, batch_names, dataset_names, batch_dataset)
