"""What SCGLUE is trained on, and how its training is watched."""

import itertools

import anndata
import networkx
import numpy as np
import scglue


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
