import logging
import tempfile
import warnings

import numpy as np

from lacuna_contract import NotApplicable, model


def check(data):
    """Decline what SCGLUE is no model of."""
    for name in ("rna", "atac"):
        if name not in data.counts:
            raise NotApplicable(f"SCGLUE is run on RNA and ATAC; no cell has {name.upper()}")
    if "atac" not in data.gene_of or not (data.gene_of["atac"] >= 0).any():
        raise NotApplicable(
            "SCGLUE needs a guidance graph, and the input does not say which gene a peak lies near"
        )
    if lacking := int((~data.has["rna"] & ~data.has["atac"]).sum()):
        raise NotApplicable(f"SCGLUE is run on RNA and ATAC; {lacking} cells have neither")
    if "adt" in data.asked:
        raise NotApplicable("SCGLUE is run on RNA and ATAC, and ADT is asked for")


@model("multimodal")
def predict(
    data, *, latent=16, width=128, rank=50, rate=4e-3, batch=64, epochs=400, burnin=30, patience=30,
    device="cpu", threads=1, seed=0,
):  # fmt: skip
    """SCGLUE, trained for as long as the loss of held-out cells improves."""
    check(data)
    # Only now, as importing scglue takes longer than many a model's whole run.
    import scglue
    import torch
    from domains import domain, guidance, recording

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    scglue.config.CPU_ONLY = device == "cpu"
    # Loader processes cost more than they save at this size.
    scglue.config.DATALOADER_NUM_WORKERS = scglue.config.ARRAY_SHUFFLE_NUM_WORKERS = 0
    scglue.config.GRAPH_SHUFFLE_NUM_WORKERS = 1
    # Of the checkpoints that are kept, the best ones, it goes back to the latest.
    scglue.config.CHECKPOINT_SAVE_NUMBERS = 1

    names = np.array([f"cell_{i}" for i in range(data.n_cells)])
    adatas = {name: domain(data, name, names, rank, seed) for name in ("rna", "atac")}
    paired = (data.has["rna"] & data.has["atac"]).any()
    for adata in adatas.values():
        scglue.models.configure_dataset(
            adata, "NB", use_highly_variable=False, use_rep="X_rep", use_batch="batch",
            use_obs_names=bool(paired),
        )  # fmt: skip
    graph = guidance(data)
    # Its balancing weights compare clusters of the two domains after a first training. Where no two
    # are alike, as after a short one, the weights are 0 / 0, and all that follows is NaN.
    kind = scglue.models.PairedSCGLUEModel if paired else scglue.models.SCGLUEModel
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        glue = scglue.models.fit_SCGLUE(
            adatas, graph, model=recording(kind, losses), skip_balance=True,
            init_kws={"latent_dim": latent, "h_dim": width, "random_seed": seed},
            compile_kws={"lr": rate},
            fit_kws={
                "data_batch_size": batch, "max_epochs": epochs, "patience": patience,
                "reduce_lr_patience": patience // 3, "val_split": 0.1, "directory": folder,
                # By default so many epochs that few cells would never see the alignment.
                "align_burnin": burnin,
            },
        )  # fmt: skip

    found = {name: glue.encode_data(name, adata) for name, adata in adatas.items()}
    total, times = np.zeros((data.n_cells, latent)), np.zeros((data.n_cells, 1))
    for name, states in found.items():
        total[data.has[name]] += states
        times[data.has[name]] += 1
    embedding = total / times
    if not np.isfinite(embedding).all():
        raise FloatingPointError("the embedding is no longer a number: the fit diverged")
    imputed = {}
    for name, asked in data.asked.items():
        source = "atac" if name == "rna" else "rna"
        size = float(adatas[name].X.sum(axis=1).mean())
        mean = glue.decode_data(source, name, adatas[source], graph, target_libsize=size)
        at = np.searchsorted(np.flatnonzero(data.has[source]), asked.cells)
        mean = mean[at][:, asked.features]
        # A peak is open unless a count of this mean, taken for Poisson, is 0.
        imputed[name] = mean if name == "rna" else -np.expm1(-mean)
    # Only an epoch after the burn-in can be the one that is kept.
    return embedding, imputed, {"history": {"held_out": losses[burnin:]}}
