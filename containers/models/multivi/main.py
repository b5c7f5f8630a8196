import logging
import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from scvi import REGISTRY_KEYS
from torch.distributions import Normal
from torch.nn.functional import softplus
from torch.special import digamma

from lacuna_contract import NotApplicable, model


class KeepBest(Callback):
    """Keep the weights of the best epoch by the held-out cells' evidence lower bound; stop after
    `patience` more epochs."""

    def __init__(self, patience):
        self.patience, self.scores, self.best, self.weights = patience, [], 0, None

    def on_validation_end(self, trainer, plan):
        if trainer.sanity_checking:
            return
        score = float(trainer.callback_metrics["elbo_validation"])
        if not np.isfinite(score):
            raise FloatingPointError(f"the fit diverged: held-out loss {score}")
        self.scores.append(score)
        if self.weights is None or score < self.scores[self.best]:
            self.best = len(self.scores) - 1
            self.weights = {k: v.clone() for k, v in plan.module.state_dict().items()}
        trainer.should_stop = len(self.scores) - 1 - self.best >= self.patience


def check(data):
    """Decline what MultiVI is no model of."""
    for name in ("rna", "atac"):
        if name not in data.counts:
            raise NotApplicable(f"MultiVI is a model of RNA and ATAC; no cell has {name.upper()}")
    if not (data.has["rna"] & data.has["atac"]).any():
        raise NotApplicable(
            "no cell has both RNA and ATAC: MultiVI learns from such cells how the two belong "
            "together"
        )


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


@model("multimodal")
def predict(
    data, *, latent=16, width=128, lr=0.004, batch=64, warmup=10, epochs=400, patience=30,
    device="cpu", threads=1, seed=0,
):  # fmt: skip
    """MultiVI, trained for as long as the evidence lower bound of held-out cells improves."""
    check(data)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.seed = seed

    multivi = built(data, latent, width)
    best = KeepBest(patience)
    multivi.train(
        max_epochs=epochs, lr=lr, batch_size=batch, train_size=0.9, early_stopping=False,
        n_epochs_kl_warmup=warmup, check_val_every_n_epoch=1, devices=1,
        accelerator="gpu" if device == "cuda" else "cpu", callbacks=[best], logger=False,
        enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    multivi.module.load_state_dict(best.weights)

    imputed = {
        name: decoded(multivi, name, data.has[name])[asked.cells][:, asked.features]
        for name, asked in data.asked.items()
    }
    embedding = multivi.get_latent_representation()
    return embedding, imputed, {"epochs": best.best + 1, "history": {"held_out": best.scores}}
