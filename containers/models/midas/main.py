import logging
import tempfile
import warnings

import anndata
import lightning
import mudata
import numpy as np
import scmidas
import torch
from lightning.pytorch.callbacks import Callback
from scmidas.config import load_config
from torch.utils.data import Subset, default_collate

from lacuna_contract import NotApplicable, model

CHUNKS = 10  # of peaks: MIDAS encodes ATAC by chromosome, and an input need not know chromosomes


def groups(data):
    """MIDAS's batches: cells of one batch that were measured in the same way. Text (cells,)."""
    names = list(data.counts)
    patterns = ["+".join(n for n in names if data.has[n][i]) for i in range(data.n_cells)]
    return np.array([f"{b}_{p}" for b, p in zip(data.batch, patterns, strict=True)])


def linked(data):
    """Whether cells with several modalities link all modalities."""
    names = list(data.counts)
    reached = set(names[:1])
    for _ in names:
        pairs = [{a, b} for a in reached for b in names if (data.has[a] & data.has[b]).any()]
        reached = reached.union(*pairs)
    return reached == set(names)


def as_mudata(data, group, names):
    found = {}
    for modality, counts in data.counts.items():
        has = data.has[modality]
        found[modality] = anndata.AnnData(counts[has].toarray())
        found[modality].obs_names = names[has]
        found[modality].obs["batch"] = group[has]
        found[modality].var_names = [f"{modality}_{j}" for j in range(counts.shape[1])]
    return mudata.MuData(found)


class KeepBest(Callback):
    """Keep the weights of the best epoch by the held-out cells' loss (reconstruction and KL, at the
    mean of z); stop after `patience` more epochs."""

    def __init__(self, held, patience):
        self.held, self.patience = held, patience
        self.scores, self.best, self.weights = [], 0, None

    @torch.inference_mode()
    def score(self, midas):
        midas.net.eval()
        total, cells = 0.0, 0
        for group in self.held:
            batch = default_collate([group[i] for i in range(len(group))])
            recon, s_recon, mean, logvar, *_ = midas.net(batch)
            loss, _ = midas.calc_recon_loss(
                batch["x"], batch["s"]["joint"], batch["e"], recon, None,
                {f"distribution_dec_{m}": getattr(midas, f"distribution_dec_{m}") for m in recon},
                {f"lam_recon_{m}": getattr(midas, f"lam_recon_{m}") for m in recon},
            )  # fmt: skip
            kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum() / len(mean)
            total += float(loss + kl) * len(group)
            cells += len(group)
        midas.net.train()
        return total / cells

    def on_train_epoch_end(self, trainer, midas):
        score = self.score(midas)
        if not np.isfinite(score):
            raise FloatingPointError(f"the fit diverged: held-out loss {score}")
        self.scores.append(score)
        if self.weights is None or score < self.scores[self.best]:
            self.best = len(self.scores) - 1
            self.weights = {k: v.clone() for k, v in midas.net.state_dict().items()}
        trainer.should_stop = len(self.scores) - 1 - self.best >= self.patience


@model("multimodal")
def predict(
    data, *, latent=32, width=256, rate=2e-3, batch=64, epochs=200, patience=30, device="cpu",
    threads=1, seed=0,
):  # fmt: skip
    """MIDAS, trained for as long as the loss of held-out cells improves."""
    if not linked(data):
        raise NotApplicable(
            "no cell has two modalities: MIDAS learns from such cells how they belong together"
        )
    warnings.simplefilter("ignore")
    for name in ("scmidas", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    lightning.seed_everything(seed, verbose=False)

    group = groups(data)
    names = np.array([f"cell_{i}" for i in range(data.n_cells)])
    mdata = as_mudata(data, group, names)
    sizes = (
        {"atac": [len(x) for x in np.array_split(np.arange(mdata["atac"].n_vars), CHUNKS)]}
        if ("atac" in data.counts)
        else None
    )
    scmidas.MIDAS.setup_mudata(mdata, batch_key="batch", dims_x=sizes)
    config = load_config() | {
        "dim_c": latent, "dims_shared_enc": [width, 128], "dims_shared_dec": [128, width],
        "lr_net": rate, "lr_dsc": rate, "num_workers": 0, "persistent_workers": False,
        "pin_memory": False,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        midas = scmidas.MIDAS(
            mdata, configs=config, batch_size=batch, save_model_path=folder, n_save=10 * epochs
        )
        everything, rng = midas.datalist, np.random.default_rng(seed)
        held, train = [], []
        for part in everything:
            order = rng.permutation(len(part))
            # A group of a few cells is trained on as a whole.
            out = round(0.1 * len(part)) if len(part) > 5 else 0
            held += [Subset(part, order[:out])] if out else []
            train.append(Subset(part, order[out:]))
        midas.datalist = train
        best = KeepBest(held or train, patience)
        midas.train(
            max_epochs=epochs, accelerator="gpu" if device == "cuda" else "cpu", devices=1,
            callbacks=[best], logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        midas.datalist = everything
    midas.net.load_state_dict(best.weights)
    out = midas.predict(joint_latent=True, impute=bool(data.asked), verbose=False)

    embedding = np.zeros((data.n_cells, latent), np.float32)
    imputed = {m: np.zeros(asked.shape, np.float32) for m, asked in data.asked.items()}
    for name in midas.batch_names:
        cells = np.flatnonzero(group == name)
        block = out[str(name)]
        embedding[cells] = block["z_c"]["joint"]
        for modality, asked in data.asked.items():
            to = np.isin(asked.cells, cells).nonzero()[0]
            rows = np.searchsorted(cells, asked.cells[to])
            found = np.asarray(block["x_impt"][modality])[rows][:, asked.features]
            imputed[modality][to] = np.log1p(found) if modality == "adt" else found
    return embedding, imputed, {"epochs": best.best + 1, "history": {"held_out": best.scores}}
