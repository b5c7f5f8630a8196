"""Scenarios put on data that are there: real paired cells, hidden like mock ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from lacuna.mock.assign import assign
from lacuna.mock.check import check_dataset, keys_there, matrix_of
from lacuna.mock.dataset import to_anndata
from lacuna.mock.generate import hide
from lacuna.mock.layout import OTHER_NAMES, Keys, keys_of, modality_of, obs_columns
from lacuna.mock.scenarios import customise, fitted
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.tasks.multimodal import MODALITIES, UNITS

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from pandas import DataFrame


def _from_mudata(data: MuData) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Matrices by modality, the names of the genes, and what uns says of peaks and proteins."""
    found, features, uns = {}, {}, {}
    for word, part in data.mod.items():
        name = modality_of(word)
        if name not in MODALITIES:
            raise ContractError(suggest(word, [*MODALITIES, *OTHER_NAMES], "MuData modality"))
        if name in found:
            raise ContractError(f"the MuData has {name} twice, once as '{word}'")
        if part.n_obs != data.n_obs:
            raise ContractError(
                f"modality '{word}' has {part.n_obs} of {data.n_obs} cells; expected all of them, "
                "as a scenario can only hide what is there"
            )
        rows = part.obs_names.get_indexer(data.obs_names)
        found[name], features[name] = part[rows].X, list(part.var_names)
        if (key := UNITS.get(name)) is not None:
            uns[f"{key}_names"] = features[name]
            if "gene" in part.var:
                uns[f"{key}_gene"] = part.var["gene"].to_numpy()
    if "rna" not in found:
        raise ContractError(f"the MuData has no RNA; there are: {', '.join(data.mod)}")
    return found, features["rna"], uns


def _from_anndata(
    data: AnnData, keys: Keys | None
) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """As `_from_mudata`."""
    keys = keys or keys_there(data)
    if "rna" not in keys:
        raise ContractError(f"keys has no rna; there are: {', '.join(keys)}")
    found = {name: matrix_of(data, name, where) for name, where in keys.items()}
    uns = {}
    for name, key in UNITS.items():
        if name not in found:
            continue
        if hasattr(found[name], "columns"):
            uns[f"{key}_names"] = list(found[name].columns)
        for word in (f"{key}_names", f"{key}_gene"):
            if word in data.uns:
                uns[word] = data.uns[word]
    return found, list(data.var_names), uns


def _labels(obs: DataFrame, name: str) -> np.ndarray:
    """A column of labels, of which none may be missing: it would become a label of its own."""
    if missing := int(obs[name].isna().sum()):
        first = obs.index[int(obs[name].isna().argmax())]
        raise ContractError(
            f"obs['{name}'] is missing in {missing} of {len(obs)} cells (the first is '{first}')"
        )
    return obs[name].astype(str).to_numpy()


def _sound(name: str, matrix: Any) -> Any:
    """The matrix in the type that the layout asks for; what is no measurement is refused."""
    if name == "adt":
        found = matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
        found = values = found.astype(np.float32)
    else:
        found = sparse.csr_matrix(matrix, dtype=np.float32)
        found.sort_indices()
        values = found.data
    if not np.isfinite(values).all() or (values.size and values.min() < 0):
        what = "intensities" if name == "adt" else "counts"
        raise ContractError(f"{name} holds values that are negative or not finite; expected {what}")
    return found


def apply_scenario(
    data: AnnData | MuData,
    scenario: str,
    *,
    seed: int,
    keys: Keys | None = None,
    shares: Mapping[str, float] | None = None,
    keeps: Mapping[str, Mapping[str, float]] | None = None,
    target: str | None = None,
) -> tuple[AnnData, Keys]:
    """Hide modalities of fully observed cells as a scenario does. `data` stays as it is: the truth.

    data: AnnData with counts (cells, genes) in X, ATAC in obsm["X_atac"], ADT in obsm["X_adt"], or
    elsewhere as `keys` says; or MuData with modalities rna, atac, adt of the same cells. It may
    lack ATAC or ADT where the scenario can do without. Cells are dealt out at random.
    shares, keeps, target: as in `generate_mock_dataset`. Without a target, "prediction" hides the
    ATAC, and the ADT of data that have no ATAC.

    Returns (adata, keys) like `generate_mock_dataset`, with nothing of `data` but the measurements
    that are kept, the names, the gene of each peak and protein where it is known
    (``uns["peak_gene"]``, ``uns["adt_gene"]``; of MuData ``var["gene"]``), and batch and cluster
    where obs has them: no .raw, no layers or embeddings from which the hidden could be computed.
    Raises `ContractError` where the data are not fully observed, or a cell would keep nothing.
    """
    row = customise(scenario, shares, keeps, target)
    n = data.n_obs
    if n == 0:
        raise ContractError("there are no cells; expected one or more")
    if not data.obs_names.is_unique:
        twice = data.obs_names[data.obs_names.duplicated()][0]
        raise ContractError(f"the cell '{twice}' is there twice; expected each name once")
    found, genes, said = _from_mudata(data) if hasattr(data, "mod") else _from_anndata(data, keys)
    found = {name: _sound(name, found[name]) for name in MODALITIES if name in found}
    for name in found:
        flag = f"has_{name}"
        if flag in data.obs and not data.obs[flag].astype(bool).all():
            raise ContractError(
                f"obs['{flag}'] is not true for all cells; expected fully observed data"
            )
    row = fitted(row, scenario, tuple(found))
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))
    assignment = assign(row, n, rng, available=tuple(found), shuffle=True)
    clusters = _labels(data.obs, "cluster") if "cluster" in data.obs else None
    columns = obs_columns(assignment, clusters)
    if "batch" in data.obs:
        columns["batch"] = _labels(data.obs, "batch")
    hidden = {m: hide(x, assignment.has[:, MODALITIES.index(m)]) for m, x in found.items()}
    uns: dict[str, object] = {}
    if "adt" in found:
        uns["adt_names"] = np.array([f"adt_{i}" for i in range(found["adt"].shape[1])], object)
    for word, values in said.items():
        # A copy, as `data` stays as it is.
        uns[word] = np.array([*map(str, values)], object) if "names" in word else np.array(values)
    adata = to_anndata(
        hidden["rna"],
        hidden.get("atac"),
        hidden.get("adt"),
        columns,
        map(str, data.obs_names),
        map(str, genes),
        uns,
    )
    check_dataset(adata)
    return adata, keys_of(assignment)
