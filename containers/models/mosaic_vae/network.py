"""The network: an expert for each modality, their product, and a decoder for each modality."""

import math

import numpy as np
import torch
from inputs import Cells, totals
from torch import Tensor, nn
from torch.nn import functional as F


class Expert(nn.Module):
    """What one modality says of a cell's latent state: a mean, and a precision (how sure it is).

    It sees principal components of the measurement and the decoder's own first estimate of the
    state (`MosaicVAE.first_step`). There is a straight path beside the hidden layer, as the state
    is close to linear in both. `dropout` of components keeps it from learning the training cells
    by heart.
    """

    def __init__(self, inputs: int, batches: int, latent: int, width: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.straight = nn.Linear(inputs + latent + batches, latent)
        self.bent = nn.Sequential(
            nn.Linear(inputs + latent + batches, width), nn.GELU(), nn.Linear(width, 2 * latent)
        )
        nn.init.zeros_(self.bent[-1].weight)
        nn.init.zeros_(self.bent[-1].bias)

    def forward(self, scores: Tensor, step: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, precision), each (cells, latent)."""
        x = torch.cat([self.dropout(scores), step, batch], dim=1)
        shift, sure = self.bent(x).chunk(2, dim=1)
        return self.straight(x) + shift, F.softplus(sure + 1)


class Prior(nn.Module):
    """The law of the states before anything is measured: a mixture of normal distributions with
    variance 1, whose centres and shares are learned. Cells come in types."""

    def __init__(self, parts: int, latent: int):
        super().__init__()
        self.centres = nn.Parameter(0.5 * torch.randn(parts, latent))
        self.share = nn.Parameter(torch.zeros(parts))

    def product(
        self, experts: dict[str, tuple[Tensor, Tensor]], heard: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance (cells, latent) of the distribution that is proportional to the prior
        times the experts that are `heard`, by modality 1 or 0 for each cell."""
        precision, weighted = 1.0, 0.0
        for name, (mean, sure) in experts.items():
            sure = sure * heard[name][:, None]
            precision, weighted = precision + sure, weighted + sure * mean
        # Each part by itself, and how much of a cell is its: axes are parts, cells, latent.
        means = (self.centres[:, None] + weighted) / precision
        fit = (means**2 * precision).sum(2) - (self.centres**2).sum(1)[:, None]
        belongs = (0.5 * fit + self.share.log_softmax(0)[:, None]).softmax(0)[..., None]
        mean = (belongs * means).sum(0)
        return mean, 1 / precision + (belongs * (means - mean) ** 2).sum(0)

    def divergence(self, mean: Tensor, var: Tensor) -> Tensor:
        """KL of N(mean, var) from the prior, (cells,). An upper bound, as the logarithm of a
        mixture has no closed form; with one part it is exact."""
        return -self._parts(mean, var)[0].logsumexp(1)

    def by_dimension(self, mean: Tensor, var: Tensor) -> Tensor:
        """What each latent dimension has of `divergence`, (cells, latent), without what is spent
        on the choice of parts."""
        score, each = self._parts(mean, var)
        return (score.softmax(1)[..., None] * each).sum(1)

    def _parts(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Of each part the log of its share less the KL from it (cells, parts), and that KL by
        dimension (cells, parts, latent)."""
        each = divergence(mean[:, None] - self.centres, var[:, None])
        return self.share.log_softmax(0) - each.sum(2), each

    def cost(self) -> Tensor:
        """Minus the log density of the centres under N(0, 1), up to a constant."""
        return 0.5 * (self.centres**2).sum()


def divergence(mean: Tensor, var: Tensor) -> Tensor:
    """KL of N(mean, var) from N(0, 1), element by element."""
    return 0.5 * (mean**2 + var - 1 - var.log())


class Decoder(nn.Module):
    """The linear predictor of every feature: offset + batch offset + state @ loadings.

    Offsets and loadings are latent too: each has a normal posterior (mean and log_sd; row 0 is the
    offset), and a normal prior whose width is learned, for each latent dimension one. That shrinks
    what few cells say of a rare feature, and switches off dimensions that a modality has no use
    for. The loadings of a feature that belongs to a gene (`gene_of`, -1 for none) are its own plus
    `share` times those of the gene.
    """

    def __init__(self, offset: Tensor, batches: int, latent: int, gene_of: np.ndarray | None):
        super().__init__()
        features = len(offset)
        start = 0.05 * torch.randn(latent, features) * (gene_of is None)
        self.mean = nn.Parameter(torch.vstack([offset, start]))
        self.log_sd = nn.Parameter(torch.full((latent + 1, features), -2.0))
        self.prior_log_sd = nn.Parameter(torch.tensor([0.0] + [-1.0] * latent))
        self.usual = nn.Parameter(offset.mean())
        self.batch = nn.Parameter(torch.zeros(batches, features))
        self.share = nn.Parameter(torch.tensor(0.5 * (gene_of is not None)))
        genes = None if gene_of is None else torch.as_tensor(gene_of, dtype=torch.long)
        self.register_buffer("gene", genes, persistent=False)

    def weights(self, genes: "Decoder | None", own: bool = True) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of offset (row 0) and loadings, (1 + latent, features). Not
        `own` are loadings that a gene gives; features that are linked to none then have none."""
        mean, var = self.mean, (2 * self.log_sd).exp()
        if genes is None or self.gene is None:
            return mean, var
        if not own:
            mean, var = (F.pad(x[:1], (0, 0, 0, len(x) - 1)) for x in (mean, var))
        at, share = self.gene.clamp(min=0), self.share * (self.gene >= 0)
        # Of the gene only the loadings count: its offset says nothing of the peak's.
        linked_mean = F.pad(genes.mean[1:], (0, 0, 1, 0))[:, at]
        linked_var = F.pad((2 * genes.log_sd[1:]).exp(), (0, 0, 1, 0))[:, at]
        return mean + share * linked_mean, var + share**2 * linked_var

    def forward(
        self, z: Tensor, batch: Tensor, genes: "Decoder | None" = None, own: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance (cells, features) of the predictor at the states z, over the posterior
        of the weights."""
        mean, var = self.weights(genes, own)
        one = torch.ones_like(z[:, :1])
        return torch.cat([one, z], 1) @ mean + batch @ self.batch, torch.cat([one, z**2], 1) @ var

    def divergence(self, batch_sd: float) -> Tensor:
        """KL of the weights' posterior from their prior; batch offsets have a fixed prior."""
        usual = F.pad(self.usual[None], (0, len(self.mean) - 1))[:, None]
        prior = self.prior_log_sd[:, None]
        scaled = (self.mean - usual) / prior.exp()
        found = divergence(scaled, (2 * (self.log_sd - prior)).exp()).sum()
        return found + 0.5 * (self.batch**2).sum() / batch_sd**2


class MosaicVAE(nn.Module):
    """A variational autoencoder of cells that each have some of the modalities RNA, ATAC, ADT."""

    def __init__(
        self,
        cells: Cells,
        gene_of: dict[str, np.ndarray],
        *,
        latent: int,
        mixture: int,
        width: int,
        dropout: float,
        zero_inflated: bool,
    ):
        super().__init__()
        self.latent = latent
        self.prior = Prior(mixture, latent)
        self.zero_inflated = zero_inflated
        self.experts, self.decoders = nn.ModuleDict(), nn.ModuleDict()
        self.level, self.level_log_sd = nn.ModuleDict(), nn.ParameterDict()
        batches = cells.batch.shape[1]
        for name in cells.modalities:
            measured = cells.values[name][cells.has[name].numpy() > 0]
            mean = torch.as_tensor(np.asarray(measured.mean(axis=0)), dtype=torch.float32).ravel()
            # As if half a count more had been seen: the logarithm must exist.
            mean = mean if name == "adt" else mean.clamp(min=0.5 / measured.shape[0])
            if name == "rna":
                self.total = float(np.median(totals(measured)))
                self.log_size = nn.Parameter(torch.ones_like(mean))
                self.inflation = nn.Parameter(torch.full_like(mean, -4.0))
                mean = (mean / mean.sum()).log()
            elif name == "atac":
                mean = torch.logit(mean, 1e-4)
            else:
                self.background = nn.Parameter(mean - math.log(2))
                self.log_noise = nn.Parameter(torch.full_like(mean, -0.7))
                self.shared_log_noise = nn.Parameter(torch.tensor(-1.5))
                mean = torch.zeros_like(mean)
            link = gene_of.get(name) if "rna" in cells.has and name != "rna" else None
            self.decoders[name] = Decoder(mean, batches, latent, link)
            self.experts[name] = Expert(
                cells.scores[name].shape[1], batches, latent, width, dropout
            )
            if name in cells.depth:
                self.level[name] = nn.Linear(latent, 1)
                nn.init.zeros_(self.level[name].weight)
                self.level_log_sd[name] = nn.Parameter(torch.tensor(-1.0))

    def infer(self, cells: Cells, rows: Tensor, heard: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of the states of some cells (rows, latent)."""
        batch, found = cells.batch[rows], {}
        for name, expert in self.experts.items():
            step = self.first_step(name, cells, rows)
            found[name] = expert(cells.scores[name][rows], step, batch)
        return self.prior.product(found, heard)

    def first_step(self, name: str, cells: Cells, rows: Tensor) -> Tensor:
        """Where one step of Fisher scoring from z = 0 would take the states if this modality were
        all there is and N(0, 1) the prior, (rows, latent); 0 for cells without it. A constant: no
        gradients.

        Features that belong to genes take part with their genes' loadings alone: their own come
        from these very cells, and would confirm to each what it was taken for before.
        """
        there = (cells.has[name][rows] > 0).nonzero().squeeze(1)
        own = rows[there]
        z = torch.zeros(len(own), self.latent, device=rows.device, requires_grad=True)
        depth = cells.depth[name][own] if name in cells.depth else None
        values = cells.dense(name, own)
        with torch.enable_grad():
            found = self.log_likelihood(name, z, cells.batch[own], values, depth, own=False)
            (slope,) = torch.autograd.grad(found.sum(), z)
        step = torch.linalg.solve(self.information(name), slope, left=False)
        return slope.new_zeros(len(rows), self.latent).index_copy(0, there, step)

    @torch.no_grad()
    def information(self, name: str) -> Tensor:
        """Of N(0, 1) and a usual cell's measurement about its state: the Fisher information at
        z = 0, over the posterior of the loadings of `first_step`, (latent, latent)."""
        weights, var = self.decoders[name].weights(self.genes(name), own=False)
        level, loadings = weights[0], weights[1:]
        if name == "rna":
            mean = self.total * level.softmax(0)
            each = mean / (1 + mean / self.log_size.exp())
        elif name == "atac":
            each = level.sigmoid() * (-level).sigmoid()
        else:
            each = level.sigmoid() ** 2 * (-2 * self.log_noise).exp()
        return torch.diag(1 + var[1:] @ each) + (loadings * each) @ loadings.T

    def genes(self, name: str) -> Decoder | None:
        """The decoder whose loadings those of a modality may lean on."""
        return self.decoders["rna"] if name != "rna" and "rna" in self.decoders else None

    def predictor(
        self, name: str, z: Tensor, batch: Tensor, own: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the linear predictor of a modality, (cells, features)."""
        return self.decoders[name](z, batch, self.genes(name), own)

    def log_likelihood(
        self, name: str, z: Tensor, batch: Tensor, values: Tensor, depth: Tensor | None,
        drawn: bool = False, own: bool = True,
    ) -> Tensor:  # fmt: skip
        """Of a modality of each cell in nats, up to a constant of the data, (cells,).

        The weights of the decoder are their means or, if `drawn`, drawn anew for each entry;
        `own` as in `Decoder.weights`.
        """
        eta, var = self.predictor(name, z, batch, own)
        if drawn:
            eta = eta + var.sqrt() * torch.randn_like(eta)
        if name == "adt":
            return self._adt(values - self.background - F.softplus(eta))
        found = self._rna(eta, values, depth) if name == "rna" else self._atac(eta, values, depth)
        log_sd = self.level_log_sd[name]
        away = (depth - self.level[name](z).squeeze(1)) / log_sd.exp()
        return found - 0.5 * away**2 - log_sd

    def _rna(self, eta: Tensor, counts: Tensor, depth: Tensor) -> Tensor:
        """(Zero-inflated) negative binomial, variance = mean + mean^2 / size."""
        log_mean = F.log_softmax(eta, dim=1) + (depth + math.log(self.total))[:, None]
        size, seen = self.log_size.exp(), counts.nonzero(as_tuple=True)
        nothing = size * (self.log_size - torch.log(size + log_mean.exp()))
        # Of the entries that are not 0, a third or fewer, what the logarithm of P(0) lacks.
        x, r, m = counts[seen], size[seen[1]], log_mean[seen]
        more = torch.lgamma(x + r) - torch.lgamma(r) + x * (m - torch.log(r + m.exp()))
        if self.zero_inflated:
            more = more + nothing[seen]
            nothing = torch.logaddexp(F.logsigmoid(self.inflation), nothing + self._log_kept())
            more = more - nothing[seen] + self._log_kept()[seen[1]]
        return nothing.sum(1).index_add(0, seen[0], more)

    def _log_kept(self) -> Tensor:
        return F.logsigmoid(-self.inflation)

    @staticmethod
    def _atac(eta: Tensor, opened: Tensor, depth: Tensor) -> Tensor:
        """Bernoulli."""
        eta = eta + depth[:, None]
        return (opened * eta - F.softplus(eta)).sum(1)

    def _adt(self, rest: Tensor) -> Tensor:
        """Normal: noise of each protein, and noise that all proteins of a cell share, which is
        integrated out."""
        precision, shared = (-2 * self.log_noise).exp(), (2 * self.shared_log_noise).exp()
        common = 1 + shared * precision.sum()
        fit = (rest**2 * precision).sum(1) - shared * (rest @ precision) ** 2 / common
        return -0.5 * fit - self.log_noise.sum() - 0.5 * common.log()

    def divergence(self, batch_sd: float) -> Tensor:
        """KL of all decoder weights from their priors, and the prior of the mixture's centres: once
        for the dataset, not for each cell."""
        return self.prior.cost() + sum(x.divergence(batch_sd) for x in self.decoders.values())

    def kept(self) -> Tensor:
        """Share of each gene's counts that are not taken away by zero inflation."""
        return self._log_kept().exp() if self.zero_inflated else torch.ones_like(self.inflation)
