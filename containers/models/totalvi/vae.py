"""totalVI as it is built, and what it says of proteins."""

import anndata
import numpy as np
import scvi


def built(data, latent, width):
    """The untrained model."""
    # A protein that a whole batch lacks is taken for missing there: batches are split by what was
    # measured, so that cells without ADT are no cells without protein.
    adata = anndata.AnnData(data.counts["rna"])
    measured = zip(data.batch, data.has["adt"], strict=True)
    adata.obs["batch"] = [f"{b}_{int(m)}" for b, m in measured]
    adata.obsm["protein"] = data.counts["adt"].toarray().round()
    scvi.model.TOTALVI.setup_anndata(
        adata, batch_key="batch", protein_expression_obsm_key="protein"
    )
    return scvi.model.TOTALVI(adata, n_latent=latent, n_hidden=width)


def protein(totalvi, has):
    """log1p of the protein expected in each cell, (cells, proteins), as if measured: in the batches
    of cells that `has` it."""
    batches = sorted(set(totalvi.adata.obs["batch"][has]))
    _, found = totalvi.get_normalized_expression(
        n_samples=25, return_mean=True, return_numpy=True, transform_batch=batches,
        include_protein_background=True, sample_protein_mixing=False,
    )  # fmt: skip
    return np.log1p(found)
