import logging
import warnings

from lacuna_contract import NotApplicable, model
from lacuna_contract.held_out import BestEpoch


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


@model("multimodal")
def predict(
    data, *, latent=16, width=128, lr=0.004, batch=64, warmup=10, epochs=400, patience=30,
    device="cpu", threads=1, seed=0,
):  # fmt: skip
    """MultiVI, trained for as long as the evidence lower bound of held-out cells improves."""
    check(data)
    # Only now, as importing scvi-tools takes longer than many a model's whole run.
    import scvi
    import torch
    from lightning.pytorch.callbacks import LambdaCallback
    from vae import built, decoded

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.seed = seed

    multivi = built(data, latent, width)
    best = BestEpoch(patience)
    watch = LambdaCallback(on_validation_end=best.after_validation)
    multivi.train(
        max_epochs=epochs, lr=lr, batch_size=batch, train_size=0.9, early_stopping=False,
        n_epochs_kl_warmup=warmup, check_val_every_n_epoch=1, devices=1,
        accelerator="gpu" if device == "cuda" else "cpu", callbacks=[watch], logger=False,
        enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    multivi.module.load_state_dict(best.weights)

    imputed = {
        name: decoded(multivi, name, data.has[name])[asked.cells][:, asked.features]
        for name, asked in data.asked.items()
    }
    embedding = multivi.get_latent_representation()
    return embedding, imputed, {"epochs": best.epoch, "history": {"held_out": best.losses}}
