"""The dataset as an AnnData, and its truth as an object of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from lacuna.mock.assign import Assignment
from lacuna.mock.generate import CHUNK, Plan, chunks, hide, make_plan, stack
from lacuna.mock.scenarios import MODALITIES
from lacuna.mock.settings import Settings

if TYPE_CHECKING:
    from anndata import AnnData

Keys = dict[str, dict[str, str]]

SLOTS: Keys = {"rna": {"X": "X"}, "atac": {"obsm": "X_atac"}, "adt": {"obsm": "X_adt"}}
UNITS = {"obs": "cell", "rna": "gene", "atac": "peak", "adt": "adt"}


def names(kind: str, n: int) -> list[str]:
    """Names of cells or features: gene_0, gene_1, ..."""
    return [f"{UNITS[kind]}_{i}" for i in range(n)]


def keys_of(assignment: Assignment) -> Keys:
    """Where each modality lies that at least one cell keeps."""
    return {name: dict(SLOTS[name]) for name in assignment.observed}


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


@dataclass(frozen=True)
class Truth:
    """What no model may see: the plan (z, cluster, loadings) and every modality of every cell.

    rna, atac: CSR float32 (cells, features); adt: float32 (cells, proteins).
    Rates are computed in pieces: ``truth.expected("atac", 0, 500)``.
    """

    plan: Plan
    rna: sparse.csr_matrix
    atac: sparse.csr_matrix
    adt: np.ndarray

    @property
    def settings(self) -> Settings:
        return self.plan.settings

    @property
    def z(self) -> np.ndarray:
        """Latent states, float32 (cells, latent_dim)."""
        return self.plan.cells.z

    @property
    def cluster(self) -> np.ndarray:
        """Cluster numbers, int32 (cells,)."""
        return self.plan.cells.cluster

    @property
    def has(self) -> np.ndarray:
        """Which of RNA, ATAC, ADT each cell keeps in the input, bool (cells, 3)."""
        return self.plan.cells.assignment.has

    def expected(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The oracle E[y | z, batch] of a modality for cells [start, stop); see `Plan.expected`."""
        return self.plan.expected(name, start, stop)

    def expected_log_adt(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """E[log y | z, batch] of the ADT for cells [start, stop)."""
        return self.plan.expected_log_adt(start, stop)


def to_anndata(
    rna: sparse.csr_matrix,
    atac: sparse.csr_matrix | None,
    adt: np.ndarray | None,
    columns: dict[str, np.ndarray],
    cells: Iterable[str],
    genes: Iterable[str],
    uns: dict[str, object],
) -> AnnData:
    """An AnnData in the layout that all scenarios share. Modalities that are None are left out."""
    import anndata
    import pandas as pd

    obs = pd.DataFrame(columns, index=pd.Index(list(cells), dtype=object))
    for name in obs.columns[[not c.startswith("has_") for c in obs.columns]]:
        obs[name] = pd.Categorical(obs[name])
    found = anndata.AnnData(rna, obs=obs, var=pd.DataFrame(index=pd.Index(list(genes))))
    # A copy: people normalise X in place, and then want the counts.
    found.layers["counts"] = found.X.copy()
    for slot, matrix in (("X_atac", atac), ("X_adt", adt)):
        if matrix is not None:
            found.obsm[slot] = matrix
    found.uns.update(uns)
    return found


def generate_mock_dataset(
    problem_type: str,
    *,
    n_cells: int = 600,
    n_genes: int = 1000,
    n_peaks: int = 5000,
    n_proteins: int = 30,
    latent_dim: int = 16,
    seed: int | None = None,
    return_truth: bool = False,
    workers: int = 1,
    chunk_cells: int = CHUNK,
    **overrides: object,
) -> tuple[AnnData, Keys] | tuple[AnnData, Keys, Truth]:
    """A mock dataset with RNA, ATAC and ADT in which a scenario hides whole modalities.

    problem_type: a scenario, such as "bridge" (`lacuna.mock.SCENARIOS` has the table).
    seed: None takes a new one each time; the truth says which. overrides: any other field of
    `lacuna.mock.Settings`, e.g. ``atac_density=0.05`` or ``shares={"bridge": 0.1}``.
    workers, chunk_cells: how it is made; they change nothing in what is made.

    Returns (adata, keys), and the `Truth` with `return_truth`. `adata` has counts (cells, genes) in
    X and layers["counts"] as CSR, ATAC (CSR of ones) in obsm["X_atac"], ADT intensities in
    obsm["X_adt"], zero where hidden; obs has batch, dataset, split, cluster, has_rna, has_atac,
    has_adt; uns has adt_names, and peak_gene and adt_gene, the number of the gene that a peak lies
    near and that encodes a protein. `keys` says where each modality lies that was observed.

    Raises `ContractError` for unknown names and values out of bounds.

    >>> adata, keys = generate_mock_dataset("bridge", n_cells=600, n_peaks=60000, seed=42)
    >>> keys
    {'rna': {'X': 'X'}, 'atac': {'obsm': 'X_atac'}}
    """
    settings = Settings.of(
        {
            "problem": problem_type,
            "n_cells": n_cells,
            "n_genes": n_genes,
            "n_peaks": n_peaks,
            "n_proteins": n_proteins,
            "latent_dim": latent_dim,
            "seed": int(np.random.SeedSequence().entropy % 2**63) if seed is None else seed,
            **overrides,
        }
    )
    plan = make_plan(settings)
    assignment = plan.cells.assignment
    full: dict[str, list] = {name: [] for name in MODALITIES}
    seen: dict[str, list] = {name: [] for name in MODALITIES}
    for chunk in chunks(plan, return_truth, chunk_cells, workers):
        for column, name in enumerate(MODALITIES):
            if return_truth:
                full[name].append(chunk[name])
            seen[name].append(hide(chunk[name], assignment.has[chunk.start : chunk.stop, column]))
    uns = {
        "adt_names": np.array(names("adt", n_proteins), dtype=object),
        "peak_gene": plan.law.peak_gene.copy(),
        "adt_gene": plan.law.adt_gene.copy(),
    }
    adata = to_anndata(
        *(stack(seen.pop(name)) for name in MODALITIES),
        columns=obs_columns(assignment, cluster_labels(plan.cells.cluster)),
        cells=names("obs", n_cells),
        genes=names("rna", n_genes),
        uns=uns,
    )
    if not return_truth:
        return adata, keys_of(assignment)
    truth = Truth(plan, *(stack(full.pop(name)) for name in MODALITIES))
    return adata, keys_of(assignment), truth
