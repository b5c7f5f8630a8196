"""Names, places and columns that every form of a mock dataset shares."""

from collections.abc import Sequence

import numpy as np

from lacuna.mock.assign import Assignment
from lacuna_contract.tasks.multimodal import MODALITIES, SLOTS

Keys = dict[str, dict[str, str]]

PLACES: Keys = {name: {slot.split("/")[0]: slot.split("/")[-1]} for name, slot in SLOTS.items()}
#: What a MuData may call a modality beside its own name.
OTHER_NAMES = {"prot": "adt", "protein": "adt", "gex": "rna", "peaks": "atac"}
UNITS = {"obs": "cell", "rna": "gene", "atac": "peak", "adt": "adt"}


def modality_of(word: str) -> str:
    """The modality that a MuData calls `word`, in capitals or not; the word itself where it is
    none."""
    return OTHER_NAMES.get(word.lower(), word.lower())


def names(kind: str, n: int) -> list[str]:
    """Names of cells or features: gene_0, gene_1, ..."""
    return [f"{UNITS[kind]}_{i}" for i in range(n)]


def keys_of(assignment: Assignment) -> Keys:
    """Where each modality lies that at least one cell keeps."""
    return {name: dict(PLACES[name]) for name in assignment.observed}


def obs_columns(
    assignment: Assignment, cluster: np.ndarray | Sequence[str] | None
) -> dict[str, np.ndarray]:
    """The columns of obs: strings, and booleans for has_*; `cluster` only where it is given."""

    def labels(words: list[str], codes: np.ndarray) -> np.ndarray:
        return np.array(words, dtype=object)[codes]

    found = {
        "batch": labels(assignment.batch_names, assignment.batch),
        "dataset": labels(assignment.dataset_names, assignment.dataset),
        "split": labels(["train", "test"], assignment.test.astype(int)),
    }
    if cluster is not None:
        found["cluster"] = np.asarray(cluster, dtype=object)
    for column, name in enumerate(MODALITIES):
        found[f"has_{name}"] = assignment.has[:, column]
    return found


def cluster_labels(codes: np.ndarray) -> np.ndarray:
    """Cluster numbers as the labels that obs has."""
    return np.array([f"cluster_{i}" for i in range(codes.max() + 1)], dtype=object)[codes]
