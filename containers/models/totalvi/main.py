import logging
import warnings

import anndata
import numpy as np
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
    """Decline what totalVI is no model of."""
    for name in ("rna", "adt"):
        if name not in data.counts:
            raise NotApplicable(f"totalVI is a model of RNA and ADT; no cell has {name.upper()}")
    if lacking := int((~data.has["rna"]).sum()):
        raise NotApplicable(f"totalVI needs the RNA of every cell; {lacking} cells have none")
    if "atac" in data.asked:
        raise NotApplicable("totalVI is a model of RNA and ADT, and ATAC is asked for")


@model("multimodal")
def predict(
    data, *, latent=16, width=128, lr=0.016, batch=32, warmup=50, epochs=400, patience=30,
    device="cpu", threads=1, seed=0,
):  # fmt: skip
    """totalVI, trained for as long as the evidence lower bound of held-out cells improves."""
    check(data)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.seed = seed

    # A protein that a whole batch lacks is taken for missing there: batches are split by what was
    # measured, so that cells without ADT are no cells without protein.
    measured = data.has["adt"]
    adata = anndata.AnnData(data.counts["rna"])
    adata.obs["batch"] = [f"{b}_{int(m)}" for b, m in zip(data.batch, measured, strict=True)]
    adata.obsm["protein"] = data.counts["adt"].toarray().round()
    scvi.model.TOTALVI.setup_anndata(
        adata, batch_key="batch", protein_expression_obsm_key="protein"
    )
    totalvi = scvi.model.TOTALVI(adata, n_latent=latent, n_hidden=width)
    best = KeepBest(patience)
    totalvi.train(
        max_epochs=epochs, lr=lr, batch_size=batch, train_size=0.9, early_stopping=False,
        reduce_lr_on_plateau=False, check_val_every_n_epoch=1, n_steps_kl_warmup=None,
        n_epochs_kl_warmup=warmup, accelerator="gpu" if device == "cuda" else "cpu", devices=1,
        callbacks=[best], logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    totalvi.module.load_state_dict(best.weights)

    imputed = {}
    if "adt" in data.asked:
        asked = data.asked["adt"]
        # As if measured: in the batches in which it was.
        batches = sorted({b for b, m in zip(adata.obs["batch"], measured, strict=True) if m})
        _, protein = totalvi.get_normalized_expression(
            n_samples=25, return_mean=True, return_numpy=True, transform_batch=batches,
            include_protein_background=True, sample_protein_mixing=False,
        )  # fmt: skip
        imputed["adt"] = np.log1p(protein[asked.cells][:, asked.features])
    embedding = totalvi.get_latent_representation()
    return embedding, imputed, {"epochs": best.best + 1, "history": {"held_out": best.scores}}
