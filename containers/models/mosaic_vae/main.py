from pathlib import Path

import numpy as np
import torch
from inputs import digest, read
from network import MosaicVAE
from prediction import embed, impute
from training import Schedule, best_start, fit

from lacuna_contract import NotApplicable, model
from lacuna_contract.errors import ContractError


@model("multimodal")
def predict(
    data, *, latent=16, mixture=8, width=32, rank=32, dropout=0.1, likelihood="nb", epochs=200,
    batch=128, rate=0.02, expert_rate=0.003, warm_up=10, muted=0.5, patience=30, held_out=0.1,
    batch_sd=0.3, starts=8, start_epochs=15, save_every=10, state=None, resume=False, seed=0,
    device="cpu", threads=1,
):  # fmt: skip
    """A mosaic variational autoencoder, trained as long as held-out cells gain by it."""
    if likelihood not in ("nb", "zinb"):
        raise ContractError(f"likelihood is '{likelihood}'; expected 'nb' or 'zinb'")
    sizes = {"latent": latent, "mixture": mixture, "width": width, "rank": rank}
    if wrong := [f"{n}={x!r}" for n, x in sizes.items() if type(x) is not int or x < 1]:
        raise ContractError(f"{', '.join(wrong)}; expected whole numbers of 1 or more")
    how = Schedule(
        epochs=epochs, batch=batch, rate=rate, expert_rate=expert_rate, warm_up=warm_up,
        muted=muted, patience=patience, held_out=held_out, batch_sd=batch_sd, starts=starts,
        start_epochs=start_epochs, save_every=save_every, seed=seed,
    )  # fmt: skip
    if data.n_cells < 10:
        raise NotApplicable(f"there are {data.n_cells} cells, fewer than 10, to learn from")
    if not data.joined(by_genes=True):
        raise NotApplicable(
            f"cells with two modalities do not join all of {', '.join(data.counts)}, and uns does "
            "not say which gene a peak or protein belongs to: nothing tells how they fit together"
        )
    torch.set_num_threads(threads)
    cells = read(data, rank, seed)
    on_device = cells.to(device)

    def begun(start: int) -> MosaicVAE:
        """A network to train, with the random numbers of its training."""
        torch.manual_seed(seed + 1000 * start)
        return MosaicVAE(
            cells, data.gene_of, latent=latent, mixture=mixture, width=width, dropout=dropout,
            zero_inflated=likelihood == "zinb",
        ).to(device)  # fmt: skip

    first, tried = 0, {}
    if starts > 1 and not resume and not data.joined():
        # Genes alone say which clusters of two modalities are one, and some starts take them for
        # others and keep to that. Those do not describe the cells as well.
        first, losses = best_start(begun, on_device, how)
        tried = {"starts": [round(loss, 4) for loss in losses]}
    net, cells = begun(first), on_device
    built = sizes | {"likelihood": likelihood, "dropout": dropout}
    built["data"] = digest(cells, data.gene_of)
    progress = fit(net, cells, how, state and Path(state), resume, built)
    mean, var, facts = embed(net, cells)
    imputed = {
        name: impute(net, cells, name, mean, var, asked.cells, asked.features)
        for name, asked in data.asked.items()
    }
    history = {name: np.round(x, 4).tolist() for name, x in progress.history.items()}
    details = facts | {"best_epoch": progress.best + 1, "epochs": progress.epochs}
    return mean.cpu().numpy(), imputed, details | tried | {"history": history}
