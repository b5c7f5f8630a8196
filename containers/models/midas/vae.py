"""MIDAS as it is built, and its loss of held-out cells, which the package does not report."""

import anndata
import mudata
import numpy as np
import scmidas
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import LambdaCallback
from scmidas.config import load_config
from torch.utils.data import Subset, default_collate

CHUNKS = 10  # of peaks: MIDAS encodes ATAC by chromosome, and an input need not know chromosomes


def as_mudata(data, group):
    names = np.array([f"cell_{i}" for i in range(data.n_cells)])
    found = {}
    for modality, counts in data.counts.items():
        has = data.has[modality]
        found[modality] = anndata.AnnData(counts[has].toarray())
        found[modality].obs_names = names[has]
        found[modality].obs["batch"] = group[has]
        found[modality].var_names = [f"{modality}_{j}" for j in range(counts.shape[1])]
    return mudata.MuData(found)


def built(data, group, latent, width, rate, **options):
    """The untrained model, of one batch for each `group` of cells; `options` are the package's."""
    mdata, sizes = as_mudata(data, group), None
    if "atac" in data.counts:
        parts = np.array_split(np.arange(mdata["atac"].n_vars), CHUNKS)
        sizes = {"atac": [len(part) for part in parts]}
    scmidas.MIDAS.setup_mudata(mdata, batch_key="batch", dims_x=sizes)
    config = load_config() | {
        "dim_c": latent, "dims_shared_enc": [width, 128], "dims_shared_dec": [128, width],
        "lr_net": rate, "lr_dsc": rate, "num_workers": 0, "persistent_workers": False,
        "pin_memory": False,
    }  # fmt: skip
    return scmidas.MIDAS(mdata, configs=config, **options)


def split(groups, seed):
    """What to train on of each group of cells, and what is held out of them."""
    rng, train, held = np.random.default_rng(seed), [], []
    for group in groups:
        order = rng.permutation(len(group))
        # A group of a few cells is trained on as a whole.
        out = round(0.1 * len(group)) if len(group) > 5 else 0
        held += [Subset(group, order[:out])] if out else []
        train.append(Subset(group, order[out:]))
    return train, held or train


@torch.inference_mode()
def loss(midas, groups):
    """Reconstruction and KL divergence at the mean of z, a cell."""
    midas.net.eval()
    total, cells = 0.0, 0
    for group in groups:
        batch = default_collate([group[i] for i in range(len(group))])
        batch = move_data_to_device(batch, midas.device)
        recon, s_recon, mean, logvar, *_ = midas.net(batch)
        likelihood, _ = midas.calc_recon_loss(
            batch["x"], batch["s"]["joint"], batch["e"], recon, None,
            {f"distribution_dec_{m}": getattr(midas, f"distribution_dec_{m}") for m in recon},
            {f"lam_recon_{m}": getattr(midas, f"lam_recon_{m}") for m in recon},
        )  # fmt: skip
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum() / len(mean)
        total += float(likelihood + kl) * len(group)
        cells += len(group)
    midas.net.train()
    return total / cells


def keeps(best, held):
    """What adds each epoch's loss of the cells `held` out to a `BestEpoch`."""

    def add(trainer, midas):
        trainer.should_stop = best.add(loss(midas, held), midas.net.state_dict())

    return LambdaCallback(on_train_epoch_end=add)
