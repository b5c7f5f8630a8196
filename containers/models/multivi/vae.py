"""MultiVI as it is built, and what its decoders say."""

import anndata
import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from scvi import REGISTRY_KEYS
from torch.distributions import Normal
from torch.nn.functional import softplus
from torch.special import digamma


def built(data, latent, width):
    """The untrained model. All cells are in each modality, with zeros where one was not measured:
    MultiVI masks these itself."""
    names = [f"cell_{i}" for i in range(data.n_cells)]
    batch = pd.DataFrame({"batch": [f"batch_{i}" for i in data.batch]}, index=names)
    found = {}
    for name, counts in data.counts.items():
        # Its likelihood of proteins is one of counts.
        counts = counts.toarray().round() if name == "adt" else counts
        found[name] = anndata.AnnData(counts, obs=batch.copy())
        found[name].var_names = [f"{name}_{j}" for j in range(counts.shape[1])]
    mdata = mudata.MuData(found)
    layers = {"rna": "rna_layer", "atac": "atac_layer", "adt": "protein_layer"}
    where = {layers[name]: name for name in found} | {"batch_key": "rna"}
    scvi.model.MULTIVI.setup_mudata(mdata, batch_key="batch", modalities=where)
    return scvi.model.MULTIVI(
        mdata, n_genes=found["rna"].n_vars, n_regions=found["atac"].n_vars, n_latent=latent,
        n_hidden=width,
    )  # fmt: skip


def expected(name, module, out):
    """What the decoders say of a modality, but for the depth of RNA and ATAC."""
    if name == "rna":
        return out["px_scale"] * torch.sigmoid(-out["px_dropout"])
    if name == "atac":
        return out["p"] * torch.sigmoid(module.region_factors)
    # E log: of gamma distributed rates, background or foreground. `rate_back` is a random draw.
    found = out["py_"]
    spread = digamma(found["r"]) - found["r"].log()
    background = found["back_alpha"] + spread
    foreground = torch.sigmoid(-found["mixing"])
    low = softplus(background)
    return low + foreground * (softplus(background + found["fore_scale"].log()) - low)


@torch.inference_mode()
def decoded(multivi, name, has, samples=25):
    """A modality of all cells as expected given what each has, (cells, features): the mean over
    draws of its state, at the mean depth of the cells that have the modality.

    Of the effect of a batch that lacks the modality the decoders have learned nothing. Its cells
    are decoded as of the batches that have it, each as often as it has such cells.
    """
    module = multivi.module.eval()
    batch = multivi.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY).ravel()
    others = np.sort(batch[has])[(2 * np.arange(samples) + 1) * has.sum() // (2 * samples)]
    measured, parts = torch.as_tensor(np.unique(batch[has])), []
    for tensors in multivi._make_data_loader(multivi.adata, batch_size=256):
        inferred = module.inference(**module._get_inference_input(tensors))
        state, own = Normal(inferred["qz_m"], inferred["qz_v"].sqrt()), tensors["batch"]
        total = 0
        for other in others:
            inferred["z"] = state.sample()
            tensors["batch"] = torch.where(torch.isin(own, measured), own, int(other))
            out = module.generative(**module._get_generative_input(tensors, inferred))
            total = total + expected(name, module, out)
        parts.append((total / samples).cpu().numpy())
    depth = multivi.get_library_size_factors()
    depth = {"rna": np.exp(depth["expression"]), "atac": depth["accessibility"]}.get(name)
    return np.concatenate(parts) * (1 if depth is None else depth[has].mean())
