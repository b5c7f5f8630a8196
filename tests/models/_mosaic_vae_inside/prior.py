"""Runs in the environment of mosaic_vae: what the prior makes of two experts, and how far what it
makes is from the prior.

    python prior.py MODEL_FOLDER INPUT OUTPUT
"""

import sys

import numpy as np
import torch

model_folder, _, output = sys.argv[1:]
sys.path.insert(0, model_folder)

from network import Prior  # noqa: E402

LATENT, CELLS = 2, 6
torch.manual_seed(0)
found = {}
for parts in (1, 3):
    prior = Prior(parts, LATENT)
    with torch.no_grad():
        prior.centres.copy_(2 * torch.randn(parts, LATENT))
        prior.share.copy_(torch.randn(parts))
        mean, sure = torch.randn(2, CELLS, LATENT), 2 * torch.rand(2, CELLS, LATENT)
        # Of the first cell nothing is heard, of the second one expert, of the others both.
        heard = torch.ones(2, CELLS)
        heard[:, 0] = heard[1, 1] = 0
        named = {name: (mean[i], sure[i]) for i, name in enumerate(("rna", "atac"))}
        state, var = prior.product(named, {"rna": heard[0], "atac": heard[1]})
        found |= {
            f"{parts} {name}": x.numpy()
            for name, x in {
                "centres": prior.centres, "share": prior.share.softmax(0), "mean": mean,
                "sure": sure * heard[..., None], "state": state, "var": var,
                "divergence": prior.divergence(state, var),
                "by dimension": prior.by_dimension(state, var),
            }.items()
        }  # fmt: skip
np.savez(output, **found)
