"""The parameters of all features: drawn once for a dataset, the same for all of its cells."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from lacuna.mock.assign import Assignment
from lacuna.mock.latent import (
    SUM_BITS,
    Response,
    draw_directions,
    draw_shifts,
    latent_variance,
    normal_quantiles,
    scaled,
    snap,
    stream,
)
from lacuna.mock.modalities import MASSES, NODES, Adt, Atac, Modality, Rna
from lacuna.mock.settings import Settings


@dataclass(frozen=True)
class Law:
    """What all cells share. `peak_gene` and `adt_gene` are the gene that each peak lies near and
    that encodes each protein: an annotation that real data have too, and no secret."""

    rna: Rna
    atac: Atac
    adt: Adt
    peak_gene: np.ndarray
    adt_gene: np.ndarray

    def __getitem__(self, name: str) -> Modality:
        return getattr(self, name)


def _log_mean_of_exp(settings: Settings, loadings: np.ndarray) -> np.ndarray:
    """log E[exp(z @ loadings)] per feature, as if z were normal, (features,)."""
    return 0.5 * latent_variance(settings) @ loadings.astype(np.float64) ** 2


def _density_offset(settings: Settings, loadings: np.ndarray) -> float:
    """The offset of the peaks' logits at which the expected density is the one asked for."""
    sample = loadings[:, :2000].astype(np.float64)
    latent = latent_variance(settings) @ sample**2
    sd = np.sqrt(latent + settings.atac_depth_sd**2)
    n = len(sd)
    base = settings.atac_peak_sd * normal_quantiles(n, stream(settings.seed, "atac_law", 1))
    points = base[:, None] + sd[:, None] * NODES
    low, high = -40.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        density = (expit(points + middle) @ MASSES).mean()
        low, high = (middle, high) if density < settings.atac_density else (low, middle)
    return low


def draw_law(settings: Settings, assignment: Assignment) -> Law:
    """Draw the parameters of all features. Genes do not depend on the number of peaks, and so on:
    each modality has random numbers of its own."""
    s, link = settings, settings.gene_link
    rng = stream(s.seed, "rna_law")
    genes = draw_directions(s, s.n_genes, rng)
    loadings = scaled(s, genes, s.rna_signal)
    log_mean = s.rna_gene_sd * normal_quantiles(s.n_genes, rng) - s.rna_gene_sd**2 / 2
    log_mean += np.log(s.rna_counts_per_gene) - s.rna_library_sd**2 / 2
    base = snap(log_mean - _log_mean_of_exp(s, loadings), SUM_BITS)
    log_phi = rng.standard_normal(s.n_genes) * s.rna_dispersion_sd + np.log(s.rna_dispersion)
    shifts = draw_shifts(s, assignment, s.n_genes, rng)
    rna = Rna(
        Response(loadings, base, shifts), np.exp(log_phi).astype(np.float32), s.rna_library_sd
    )

    def linked(rng: np.random.Generator, gene: np.ndarray) -> np.ndarray:
        own = draw_directions(s, len(gene), rng)
        return link * genes[:, gene] + np.sqrt(1 - link**2) * own

    rng = stream(s.seed, "atac_law")
    peak_gene = np.sort(rng.integers(0, s.n_genes, s.n_peaks, dtype=np.int32))
    loadings = scaled(s, linked(rng, peak_gene), s.atac_signal)
    base = s.atac_peak_sd * normal_quantiles(s.n_peaks, rng) + _density_offset(s, loadings)
    shifts = draw_shifts(s, assignment, s.n_peaks, rng)
    atac = Atac(Response(loadings, snap(base, SUM_BITS), shifts), s.atac_depth_sd)

    rng = stream(s.seed, "adt_law")
    adt_gene = rng.choice(s.n_genes, s.n_proteins, replace=s.n_proteins > s.n_genes)
    loadings = scaled(s, linked(rng, adt_gene), s.adt_signal)
    base = snap(rng.standard_normal(s.n_proteins), SUM_BITS)
    shifts = draw_shifts(s, assignment, s.n_proteins, rng)
    log_background = rng.standard_normal(s.n_proteins) * s.adt_background_sd
    background = (s.adt_background * np.exp(log_background)).astype(np.float32)
    adt = Adt(Response(loadings, base, shifts), background, s.adt_depth_sd, s.adt_noise)
    return Law(rna, atac, adt, peak_gene, adt_gene.astype(np.int32))
