"""Runs in the environment of mosaic_vae: measurements drawn from the decoders' own law at known
states, and the first step that the network makes of each modality alone.

    python steps.py MODEL_FOLDER INPUT OUTPUT
"""

import sys

import numpy as np
import torch

model_folder, given, output = sys.argv[1:]
sys.path.insert(0, model_folder)

from inputs import Cells, read  # noqa: E402
from network import MosaicVAE  # noqa: E402

from lacuna_contract.tasks import multimodal  # noqa: E402

LATENT = 3
torch.manual_seed(0)
rng = np.random.default_rng(0)
data = multimodal.read(given)
seen = read(data, rank=4, seed=0)
there = torch.ones(len(seen))
there[0] = 0
z = 0.3 * torch.randn(len(seen), LATENT)
depth = {name: torch.zeros(len(seen)) for name in seen.depth}
found = {"z": z.numpy()}
for kind, gene_of in (("linked", data.gene_of), ("alone", {})):
    net = MosaicVAE(
        seen, gene_of, latent=LATENT, mixture=2, width=8, dropout=0.0, zero_inflated=False
    ).eval()
    values = {}
    with torch.no_grad():
        net.shared_log_noise.fill_(-9.0)
        for name, scale in (("rna", 0.3), ("atac", 0.3), ("adt", 1.0)):
            decoder = net.decoders[name]
            decoder.log_sd.fill_(-9.0)
            decoder.mean[1:] = scale * torch.randn_like(decoder.mean[1:])
            if name != "rna":
                decoder.mean[0] = 0.0
            if name in gene_of:
                # All that these features have is what their genes give.
                decoder.mean[1:] = 0.0
                decoder.share.fill_(scale / 0.3)
            eta = net.predictor(name, z, seen.batch)[0]
            if name == "rna":
                mean, size = net.total * eta.softmax(1).numpy(), net.log_size.exp().numpy()
                values[name] = rng.poisson(mean * rng.gamma(size, 1 / size, mean.shape))
            elif name == "atac":
                values[name] = rng.random(eta.shape) < eta.sigmoid().numpy()
            else:
                noise = net.log_noise.exp().numpy() * rng.normal(size=eta.shape)
                signal = net.background + torch.nn.functional.softplus(eta)
                values[name] = signal.numpy() + noise
            if name in gene_of:
                # What is a feature's own has no part in the step.
                decoder.mean[1:] = torch.randn_like(decoder.mean[1:])
    has = {name: there for name in values}
    cells = Cells(seen.scores, values, depth, has, seen.batch)
    for name in values:
        step = net.first_step(name, cells, torch.arange(len(cells)))
        assert not step.requires_grad
        found[f"{kind} {name}"] = step.numpy()
        found[f"{kind} {name} information"] = net.information(name).numpy()
np.savez(output, **found)
