import logging
import tempfile
import warnings

import numpy as np

from lacuna_contract import NotApplicable, model
from lacuna_contract.held_out import BestEpoch


def groups(data):
    """MIDAS's batches: cells of one batch that were measured in the same way. Text (cells,)."""
    names = list(data.counts)
    patterns = ["+".join(n for n in names if data.has[n][i]) for i in range(data.n_cells)]
    return np.array([f"{b}_{p}" for b, p in zip(data.batch, patterns, strict=True)])


@model("multimodal")
def predict(
    data, *, latent=32, width=256, rate=2e-3, batch=64, epochs=200, patience=30, device="cpu",
    threads=1, seed=0,
):  # fmt: skip
    """MIDAS, trained for as long as the loss of held-out cells improves."""
    if not data.joined():
        raise NotApplicable(
            f"cells with two modalities do not join all of {', '.join(data.counts)}: MIDAS learns "
            "from such cells how they belong together"
        )
    # Only now, as importing scmidas takes longer than many a model's whole run.
    import lightning
    import torch
    from vae import built, keeps, split

    warnings.simplefilter("ignore")
    for name in ("scmidas", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    lightning.seed_everything(seed, verbose=False)

    group = groups(data)
    with tempfile.TemporaryDirectory() as folder:
        midas = built(
            data, group, latent, width, rate, batch_size=batch, save_model_path=folder,
            n_save=10 * epochs,
        )  # fmt: skip
        everything = midas.datalist
        midas.datalist, held = split(everything, seed)
        best = BestEpoch(patience)
        midas.train(
            max_epochs=epochs, accelerator="gpu" if device == "cuda" else "cpu", devices=1,
            callbacks=[keeps(best, held)], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
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
    return embedding, imputed, {"epochs": best.epoch, "history": {"held_out": best.losses}}
