import logging
import warnings

from lacuna_contract import NotApplicable, model
from lacuna_contract.held_out import BestEpoch


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
    # Only now, as importing scvi-tools takes longer than many a model's whole run.
    import scvi
    import torch
    from lightning.pytorch.callbacks import LambdaCallback
    from vae import built, protein

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.seed = seed

    totalvi = built(data, latent, width)
    best = BestEpoch(patience)
    watch = LambdaCallback(on_validation_end=best.after_validation)
    totalvi.train(
        max_epochs=epochs, lr=lr, batch_size=batch, train_size=0.9, early_stopping=False,
        reduce_lr_on_plateau=False, check_val_every_n_epoch=1, n_steps_kl_warmup=None,
        n_epochs_kl_warmup=warmup, accelerator="gpu" if device == "cuda" else "cpu", devices=1,
        callbacks=[watch], logger=False, enable_checkpointing=False,
        enable_progress_bar=False,
    )  # fmt: skip
    totalvi.module.load_state_dict(best.weights)

    imputed = {}
    if "adt" in data.asked:
        asked = data.asked["adt"]
        imputed["adt"] = protein(totalvi, data.has["adt"])[asked.cells][:, asked.features]
    embedding = totalvi.get_latent_representation()
    return embedding, imputed, {"epochs": best.epoch, "history": {"held_out": best.losses}}
