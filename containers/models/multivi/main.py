import logging
import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from lightning.pytorch.callbacks import Callback

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


def as_mudata(data):
    """All cells in each modality, zeros where one was not measured: MultiVI masks these itself."""
    names = [f"cell_{i}" for i in range(data.n_cells)]
    batch = pd.DataFrame({"batch": [f"batch_{i}" for i in data.batch]}, index=names)
    found = {}
    for name, counts in data.counts.items():
        # Its likelihood of proteins is one of counts.
        counts = counts.toarray().round() if name == "adt" else counts
        found[name] = anndata.AnnData(counts, obs=batch.copy())
        found[name].var_names = [f"{name}_{j}" for j in range(counts.shape[1])]
    return mudata.MuData(found)


@torch.inference_mode()
def generated(owner, name, batch_size=256):
    """A modality of all cells as the decoders expect it at the mean of z, (cells, features)."""
    module, parts = owner.module.eval(), []
    for tensors in owner._make_data_loader(owner.adata, batch_size=batch_size):
        inferred = module.inference(**module._get_inference_input(tensors))
        inferred["z"] = inferred["qz_m"]
        out = module.generative(**module._get_generative_input(tensors, inferred))
        if name == "rna":
            found = out["px_scale"]
        elif name == "atac":
            found = out["p"] * torch.sigmoid(module.region_factors)
        else:
            background = torch.sigmoid(out["py_"]["mixing"])
            found = torch.log1p(
                background * out["py_"]["rate_back"] + (1 - background) * out["py_"]["rate_fore"]
            )
        parts.append(found.cpu().numpy())
    return np.concatenate(parts)


@model("multimodal")
def predict(
    data, *, latent=16, width=128, lr=2e-3, batch=64, epochs=400, patience=30, device="cpu",
    threads=1, seed=0,
):  # fmt: skip
    """MultiVI, trained for as long as the evidence lower bound of held-out cells improves."""
    check(data)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.seed = seed

    mdata = as_mudata(data)
    layers = {"rna": "rna_layer", "atac": "atac_layer", "adt": "protein_layer"}
    where = {layers[name]: name for name in data.counts} | {"batch_key": "rna"}
    scvi.model.MULTIVI.setup_mudata(mdata, batch_key="batch", modalities=where)
    multivi = scvi.model.MULTIVI(
        mdata, n_genes=data.counts["rna"].shape[1], n_regions=data.counts["atac"].shape[1],
        n_latent=latent, n_hidden=width,
    )  # fmt: skip
    best = KeepBest(patience)
    multivi.train(
        max_epochs=epochs, lr=lr, batch_size=batch, train_size=0.9, early_stopping=False,
        check_val_every_n_epoch=1, accelerator="gpu" if device == "cuda" else "cpu", devices=1,
        callbacks=[best], logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    multivi.module.load_state_dict(best.weights)

    imputed = {}
    for name, asked in data.asked.items():
        found = generated(multivi, name)[asked.cells][:, asked.features]
        if name == "rna":
            # What the library encoder makes of no counts at all is no library size.
            found = found * data.counts["rna"][data.has["rna"]].sum(axis=1).mean()
        elif name == "atac":
            size = multivi.get_library_size_factors()["accessibility"][data.has["atac"]]
            found = found * size.mean()
        imputed[name] = found
    embedding = multivi.get_latent_representation()
    return embedding, imputed, {"epochs": best.best + 1, "history": {"held_out": best.scores}}
