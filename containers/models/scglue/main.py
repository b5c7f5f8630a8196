import itertools
import logging
import tempfile
import warnings

import anndata
import networkx
import numpy as np
import scglue
import torch

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


def domain(data, name, names, rank, seed):
    """A modality of the cells that have it, with principal components for the encoder."""
    has = data.has[name]
    adata = anndata.AnnData(data.counts[name][has].astype(np.float32))
    adata.obs_names = names[has]
    adata.obs["batch"] = [f"batch_{b}" for b in data.batch[has]]
    adata.var_names = [f"{name}_{j}" for j in range(adata.n_vars)]
    rank = max(1, min(rank, adata.n_obs - 1, adata.n_vars - 1))
    if name == "rna":
        scaled = scglue.data.sc.pp.normalize_total(adata, inplace=False)["X"]
        scaled = np.log1p(np.asarray(scaled.todense()))
        scaled = (scaled - scaled.mean(axis=0)) / (scaled.std(axis=0) + 1e-3)
        left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
        adata.obsm["X_rep"] = (left * sizes)[:, :rank].astype(np.float32)
    else:
        np.random.seed(seed)
        scglue.data.lsi(adata, n_components=rank, use_highly_variable=False, n_iter=15)
        adata.obsm["X_rep"] = adata.obsm["X_lsi"].astype(np.float32)
    return adata


def guidance(data):
    """Genes and peaks, each with itself, and a peak with the gene that it lies near."""
    graph = networkx.MultiDiGraph()
    ends = [(f"atac_{p}", f"rna_{g}") for p, g in enumerate(data.gene_of["atac"]) if g >= 0]
    graph.add_edges_from((a, b) for a, b in itertools.chain(ends, (e[::-1] for e in ends)))
    for name in ("rna", "atac"):
        nodes = [f"{name}_{j}" for j in range(data.counts[name].shape[1])]
        graph.add_edges_from((node, node) for node in nodes)
    networkx.set_edge_attributes(graph, 1.0, "weight")
    networkx.set_edge_attributes(graph, 1, "sign")
    return graph


def recording(kind, losses):
    """A kind of SCGLUE whose last training leaves in `losses`, a list, what says when it ends: the
    loss of held-out cells. The package writes it for TensorBoard alone."""

    class Trainer(kind.TRAINER_TYPE):
        def report_metrics(self, train_state, val_state):
            super().report_metrics(train_state, val_state)
            if train_state.epoch == 1:
                losses.clear()
            losses.append(val_state.metrics[self.earlystop_loss])

    return type(kind.__name__, (kind,), {"TRAINER_TYPE": Trainer})


@model("multimodal")
def predict(
    data, *, latent=16, width=128, rank=50, rate=4e-3, batch=64, epochs=400, burnin=30, patience=30,
    device="cpu", threads=1, seed=0,
):  # fmt: skip
    """SCGLUE, trained for as long as the loss of held-out cells improves."""
    check(data)
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
