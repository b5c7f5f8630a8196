"""The dataset as an AnnData."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from lacuna.mock.generate import CHUNK, chunks, hide, make_plan, stack
from lacuna.mock.layout import Keys, cluster_labels, keys_of, names, obs_columns
from lacuna.mock.settings import Settings
from lacuna.mock.truth import Truth
from lacuna_contract.tasks.multimodal import MODALITIES


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
    obs = pd.DataFrame(columns, index=pd.Index(list(cells), dtype=object))
    for name in obs.columns[[not c.startswith("has_") for c in obs.columns]]:
        obs[name] = pd.Categorical(obs[name])
    found = AnnData(rna, obs=obs, var=pd.DataFrame(index=pd.Index(list(genes))))
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
