"""Runs in the environment of multivi: what it makes of each modality of a few cells, and what the
distributions of its package say.

    python decoded.py MODEL_FOLDER INPUT OUTPUT
"""

import logging
import sys

import numpy as np
import scvi
import torch

model_folder, given, output = sys.argv[1:]
sys.path.insert(0, model_folder)

import vae  # noqa: E402
from scvi.distributions import (  # noqa: E402
    NegativeBinomialMixture,
    ZeroInflatedNegativeBinomial,
)

from lacuna_contract.tasks import multimodal  # noqa: E402

scvi.settings.verbosity = logging.ERROR
scvi.settings.seed = 0
data = multimodal.read(given)
multivi = vae.built(data, latent=4, width=8)
module = multivi.module.eval()
with torch.no_grad():
    for values in module.parameters():
        values += 0.1 * torch.randn_like(values)
    module.py_r += 3
found = {}


def every():
    scvi.settings.seed = 1
    return {name: vae.decoded(multivi, name, data.has[name]) for name in data.counts}


found |= {f"{name} as it is": values for name, values in every().items()}
# The last columns of a decoder's first layer are what it adds for each batch.
first = {
    "rna": module.z_decoder_expression.px_decoder,
    "atac": module.z_decoder_accessibility.px_decoder,
}
batch = multivi.adata_manager.get_from_registry("batch").ravel()
with torch.no_grad():
    for name, layers in first.items():
        weight = next(layers.parameters())
        for lacking in set(batch) - set(batch[data.has[name]]):
            weight[:, 4 + lacking] += 5
found |= {f"{name} by others": values for name, values in every().items()}
for name in first:
    found[f"{name} lacking"] = ~np.isin(batch, batch[data.has[name]])

with torch.inference_mode():
    (tensors,) = multivi._make_data_loader(multivi.adata, batch_size=data.n_cells)
    inferred = module.inference(**module._get_inference_input(tensors))
    out = module.generative(**module._get_generative_input(tensors, inferred))
    depth = torch.exp(inferred["libsize_expr"])
    found["rna law"] = ZeroInflatedNegativeBinomial(
        mu=out["px_rate"], theta=out["px_r"], zi_logits=out["px_dropout"]
    ).mean
    found["rna rate"] = out["px_rate"]
    found["rna expected"] = depth * vae.expected("rna", module, out)
    total, draws = 0, 300
    for _ in range(draws):
        adt = module.generative(**module._get_generative_input(tensors, inferred))["py_"]
        law = NegativeBinomialMixture(
            mu1=adt["rate_back"] * 300, mu2=adt["rate_fore"] * 300, theta1=adt["r"],
            mixture_logits=adt["mixing"], validate_args=False,
        )  # fmt: skip
        total = total + torch.log1p(law.sample())
    found["adt law"] = total / draws
    out["py_"]["back_alpha"] += np.log(300)
    found["adt expected"] = vae.expected("adt", module, out)
np.savez(output, **found)
