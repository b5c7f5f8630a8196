import logging
import warnings

import anndata
import numpy as np
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from scvi.module import VAE

from lacuna_contract import NotApplicable, model
from lacuna_contract.held_out import BestEpoch, hold_out

EVERY = 10  # epochs


class Visible:
    """A likelihood of the visible entries alone: an entry of -1 adds nothing."""

    def __init__(self, px):
        self.px = px

    def log_prob(self, x):
        return torch.where(x >= 0, self.px.log_prob(x.clamp(min=0)), 0)


class MaskedVAE(VAE):
    """scVI's module for data in which -1 means hidden.

    Hidden entries leave the likelihood. The encoder, and the library size, see a gene's rate times
    the cell's depth in their place: zeros there would make every cell look shallower than it is.
    A share `blind` of the visible entries is kept from the encoder too while training, so that it
    cannot learn to copy what it will not be shown.
    """

    def prepare(self, rate, blind):
        self.blind = blind
        self.register_buffer("rate", torch.as_tensor(rate, dtype=torch.float32))

    def fill(self, x):
        gap = x < 0
        if self.training:
            gap = gap | (torch.rand_like(x) < self.blind)
        # One count of prior: a cell of which nothing is visible has depth 1.
        count, expected = (1 + (part * ~gap).sum(1, keepdim=True) for part in (x, self.rate))
        # The logarithm of the library size must exist for a cell without any count.
        return torch.where(gap, self.rate * count / expected, x) + 1e-4

    def _get_inference_input(self, tensors, **kwargs):
        return super()._get_inference_input(tensors | {"X": self.fill(tensors["X"])}, **kwargs)

    def loss(self, tensors, inference_outputs, generative_outputs, **kwargs):
        visible = generative_outputs | {"px": Visible(generative_outputs["px"])}
        return super().loss(tensors, inference_outputs, visible, **kwargs)


class MaskedSCVI(scvi.model.SCVI):
    _module_cls = MaskedVAE

    @torch.inference_mode()
    def expected(self, adata, at=None):
        """Expected counts of the entries that are True in `at`, in CSR order, or of all entries as
        a matrix; 512 cells a time."""
        module, training = self.module, self.module.training
        module.eval()
        values, first = [], 0
        for tensors in self._make_data_loader(adata, batch_size=512):
            tensors = {key: value.to(module.device) for key, value in tensors.items()}
            inferred = module.inference(**module._get_inference_input(tensors))
            inferred["z"] = inferred["qz"].loc
            generated = module.generative(**module._get_generative_input(tensors, inferred))
            mean = generated["px"].mean.cpu().numpy()
            if at is None:
                values.append(mean)
                continue
            block = at[first : first + len(mean)]
            rows = np.repeat(np.arange(len(mean)), np.diff(block.indptr))
            values.append(mean[rows, block.indices])
            first += len(mean)
        module.train(training)
        return np.concatenate(values)


class KeepBest(Callback):
    """Score held-out entries now and then; keep the best weights, stop after `patience` epochs."""

    def __init__(self, owner, adata, held, true, patience=30):
        self.owner, self.adata, self.held, self.true = owner, adata, held, true
        self.best = BestEpoch(patience // EVERY)

    def on_train_epoch_end(self, trainer, _):
        if (trainer.current_epoch + 1) % EVERY:
            return
        guess = self.owner.expected(self.adata, self.held).clip(1e-6)
        score = float(np.mean(guess - self.true * np.log(guess)))
        trainer.should_stop = self.best.add(score, self.owner.module.state_dict())


@model("reconstruction", value_space="counts")
def predict(
    counts, hidden, *, likelihood="zinb", latent=10, width=128, blind=0.2, epochs=400,
    batch=128, held_out=0.05, kind="hidden", device="cpu", threads=1, seed=0,
):  # fmt: skip
    """scVI, trained for as long as its predictions of held-out visible entries improve."""
    cells = counts.shape[0]
    if cells < 20:
        raise NotApplicable(f"scVI learns from many cells; there are {cells}, fewer than 20")
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.seed = seed

    held = hold_out(hidden, held_out, np.random.default_rng(seed))
    true = (counts.multiply(held) + held.astype(np.float32)).tocsr().data - 1
    if not len(true):
        raise NotApplicable("too little is visible to hold anything out")
    rest, gap = (counts - counts.multiply(held)).tocsr(), (hidden + held).tocsr()
    rate = rest.sum(axis=0).A1 / np.maximum(1, cells - gap.sum(axis=0).A1)
    adata = anndata.AnnData((rest - gap.astype(np.float32)).tocsr())
    MaskedSCVI.setup_anndata(adata)
    scvi_model = MaskedSCVI(adata, gene_likelihood=likelihood, n_latent=latent, n_hidden=width)
    scvi_model.module.prepare(rate, blind)
    kept = KeepBest(scvi_model, adata[:2000].copy(), held[:2000], true[: held[:2000].nnz])
    scvi_model.train(
        max_epochs=epochs,
        # A last batch of a single cell has no variance to normalise by.
        batch_size=batch + (cells % batch == 1),
        train_size=1.0,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        callbacks=[kept],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    best = kept.best
    scvi_model.module.load_state_dict(best.weights)
    found = scvi_model.expected(adata, None if kind == "thinned" else hidden)
    scores = {EVERY * (i + 1): score for i, score in enumerate(best.losses)}
    return found, {"epochs": EVERY * best.epoch, "held_out": scores}
