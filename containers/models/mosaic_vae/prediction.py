"""What a trained network says of cells: their embedding, and modalities they were not measured in.

Predictions average over what is not known: the state of the cell, the weights of the decoder and
the depth that the measurement would have had. The linear predictor of an entry is taken for normal,
so no random numbers are needed.
"""

from collections.abc import Callable

import numpy as np
import torch
from inputs import CHUNK, Cells
from network import MosaicVAE
from torch import Tensor
from torch.nn import functional as F

NODES, MASSES = np.polynomial.hermite_e.hermegauss(7)
MASSES = MASSES / MASSES.sum()
ACTIVE = 0.01  # variance of a dimension's mean over cells, above which the dimension is in use


@torch.no_grad()
def embed(net: MosaicVAE, cells: Cells) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Posterior mean and variance of all cells, and facts about the latent dimensions."""
    net.eval()
    parts = [
        net.infer(cells, part, {name: has[part] for name, has in cells.has.items()})
        for part in torch.arange(len(cells), device=cells.batch.device).split(CHUNK)
    ]
    mean, var = (torch.cat(x) for x in zip(*parts, strict=True))
    kl = net.prior.by_dimension(mean, var).mean(0)
    facts = {
        "active_dimensions": int((mean.var(0) > ACTIVE).sum()),
        "kl_per_dimension": [round(float(x), 3) for x in kl],
    }
    return mean, var, facts


def average(function: Callable[[Tensor], Tensor], mean: Tensor, var: Tensor) -> Tensor:
    """E[function(x)] for x normal."""
    sd = var.clamp(min=0).sqrt()
    return sum(
        float(mass) * function(mean + float(x) * sd) for x, mass in zip(NODES, MASSES, strict=True)
    )


@torch.no_grad()
def impute(
    net: MosaicVAE, cells: Cells, name: str, mean: Tensor, var: Tensor, rows: np.ndarray,
    features: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """A modality of some cells and features: expected counts of RNA, probabilities of ATAC, the
    expected log1p of ADT. float32 (rows, features)."""
    device = mean.device
    rows = torch.as_tensor(rows, dtype=torch.long, device=device)
    features = torch.as_tensor(features, dtype=torch.long, device=device)
    parts = [
        _impute(net, name, mean[part], var[part], cells.batch[part], features).cpu().numpy()
        for part in rows.split(CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(features)), np.float32)


def _impute(
    net: MosaicVAE, name: str, mean: Tensor, var: Tensor, batch: Tensor, features: Tensor
) -> Tensor:
    eta, spread = net.predictor(name, mean, batch)
    weights, doubt = net.decoders[name].weights(net.genes(name))
    spread = spread + var @ (weights[1:] ** 2 + doubt[1:])
    if name == "adt":
        eta, spread = eta[:, features], spread[:, features]
        return net.background[features] + average(F.softplus, eta, spread)
    slope, noise = net.level[name].weight[0], (2 * net.level_log_sd[name]).exp()
    level, unsure = net.level[name](mean), (noise + var @ slope**2)[:, None]
    if name == "rna":
        share = torch.softmax(eta + spread / 2, dim=1)[:, features]
        return share * net.kept()[features] * net.total * (level + unsure / 2).exp()
    together = 2 * (var * slope) @ weights[1:]
    eta, spread = eta + level, spread + unsure + together
    return average(torch.sigmoid, eta[:, features], spread[:, features])
