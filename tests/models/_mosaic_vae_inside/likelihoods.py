"""Runs in the environment of mosaic_vae: log-likelihoods of cells at two states each, and what they
are of.

    python likelihoods.py MODEL_FOLDER INPUT OUTPUT
"""

import sys

import numpy as np
import torch

model_folder, given, output = sys.argv[1:]
sys.path.insert(0, model_folder)

from inputs import read  # noqa: E402
from network import MosaicVAE  # noqa: E402

from lacuna_contract.tasks import multimodal  # noqa: E402

torch.manual_seed(0)
data = multimodal.read(given)
cells = read(data, rank=4, seed=0)
found = {}
for kind in ("nb", "zinb"):
    net = MosaicVAE(
        cells, data.gene_of, latent=4, mixture=2, width=8, dropout=0.0, zero_inflated=kind == "zinb"
    ).eval()
    with torch.no_grad():
        for values in net.parameters():
            values += 0.3 * torch.randn_like(values)
        net.inflation += 3
        for name in cells.modalities:
            rows = (cells.has[name] > 0).nonzero().squeeze(1)
            values = cells.dense(name, rows)
            depth = cells.depth[name][rows] if name in cells.depth else None
            found[f"{kind} {name} values"] = values.numpy()
            for at in ("first", "second"):
                z, batch = torch.randn(len(rows), 4), cells.batch[rows]
                eta, key = net.predictor(name, z, batch)[0], f"{kind} {name} {at}"
                found[f"{key} eta"] = eta.numpy()
                found[key] = net.log_likelihood(name, z, batch, values, depth).numpy()
                if depth is not None:
                    found[f"{key} level"] = net.level[name](z).squeeze(1).numpy()
            if depth is not None:
                found[f"{kind} {name} depth"] = depth.numpy()
                found[f"{kind} {name} depth sd"] = net.level_log_sd[name].exp().numpy()
        found[f"{kind} total"] = np.array(net.total)
        found[f"{kind} size"] = net.log_size.exp().numpy()
        found[f"{kind} inflated"] = torch.sigmoid(net.inflation).numpy()
        found[f"{kind} background"] = net.background.numpy()
        found[f"{kind} noise"] = net.log_noise.exp().numpy()
        found[f"{kind} shared"] = net.shared_log_noise.exp().numpy()
np.savez(output, **found)
