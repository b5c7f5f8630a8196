"""The latent backbone: clusters, one latent state per cell, and how features respond to it.

All states, loadings and offsets are multiples of a power of two, small enough that every product
and every sum of them is exact in float32. A matrix product therefore has the same bits whatever the
BLAS, its threads, and the number of rows it is given; so have the data that are drawn from it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from lacuna.mock.assign import Assignment, assign, split_sizes
from lacuna.mock.settings import Settings
from lacuna_contract.tasks.multimodal import MODALITIES

STATE_BITS = 10  # latent states are multiples of 1/1024,
LOADING_BITS = 7  # loadings of 1/128,
SUM_BITS = STATE_BITS + LOADING_BITS  # and so their products of 2^-17: exact to sums of 2^7

STREAMS = ("assignment", "cells", "rna_law", "atac_law", "adt_law", *MODALITIES)


def stream(seed: int, name: str, block: int = 0) -> np.random.Generator:
    """The random numbers of one purpose and one block of cells, independent of all others."""
    key = (STREAMS.index(name), block)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def snap(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to multiples of 2**-bits, as float32."""
    return np.ldexp(np.rint(np.ldexp(values, bits)), -bits).astype(np.float32)


def normal_quantiles(n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` evenly spaced quantiles of the standard normal in random order: a sample whose mean and
    spread are the same for every seed, so that a dataset's density does not depend on its luck."""
    return ndtri((rng.permutation(n) + 0.5) / n)


def latent_sd(settings: Settings) -> np.ndarray:
    """Standard deviation of each latent axis within a cluster, (latent_dim,)."""
    steps = np.arange(settings.latent_dim) - settings.n_clusters + 1
    return settings.latent_decay ** np.maximum(steps, 0.0)


def centres(settings: Settings) -> np.ndarray:
    """Cluster centres (n_clusters, latent_dim): the corners of a regular simplex around 0.

    The distance between any two is `cluster_separation`; a cluster has a standard deviation of 1
    on each of the axes that they span, so no pair is easier to tell apart than another.
    """
    k = settings.n_clusters
    found = np.zeros((k, settings.latent_dim))
    found[:, :k] = (np.eye(k) - 1 / k) * settings.cluster_separation / np.sqrt(2)
    return found


def latent_variance(settings: Settings) -> np.ndarray:
    """Variance of each latent axis over all cells when clusters are of equal size."""
    return latent_sd(settings) ** 2 + centres(settings).var(axis=0)


@dataclass(frozen=True)
class Cells:
    """What is known of each cell before anything is measured.

    z (cells, latent_dim) float32, cluster (cells,) int32, depth (cells, 3) float32: log depth of
    its RNA, ATAC and ADT measurement, around 0; `assignment`: what it keeps.
    """

    z: np.ndarray
    cluster: np.ndarray
    depth: np.ndarray
    assignment: Assignment

    def __len__(self) -> int:
        return len(self.z)


def draw_cells(settings: Settings) -> Cells:
    """Clusters in exact proportions, z ~ N(centre, sd^2), independent log-normal depths.

    The depths of a cell are independent of each other, as else the depth of one measurement would
    tell of another, and E[y | z] would not be the best that a model can predict.
    """
    n, rng = settings.n_cells, stream(settings.seed, "cells")
    shares = settings.cluster_proportions or [1.0] * settings.n_clusters
    sizes = split_sizes(shares, n)
    cluster = rng.permutation(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
    noise = rng.standard_normal((n, settings.latent_dim), dtype=np.float32)
    z = noise * latent_sd(settings) + centres(settings)[cluster]
    depth_sd = [settings.rna_library_sd, settings.atac_depth_sd, settings.adt_depth_sd]
    depth = rng.standard_normal((n, len(MODALITIES)), dtype=np.float32) * depth_sd
    assignment = assign(settings.scenario(), n, stream(settings.seed, "assignment"))
    return Cells(snap(z, STATE_BITS), cluster, snap(depth, SUM_BITS), assignment)


@dataclass(frozen=True)
class Response:
    """How the features of one modality respond: z @ loadings + baseline + batch shift + depth,
    which is ``design(...) @ weights``.

    loadings (latent_dim, features), baseline (features,), shifts (batches, features), all float32.
    """

    loadings: np.ndarray
    baseline: np.ndarray
    shifts: np.ndarray

    @property
    def n_features(self) -> int:
        return len(self.baseline)

    @cached_property
    def weights(self) -> np.ndarray:
        """All of it in one matrix: loadings, a row of ones for the depth, baseline, shifts."""
        parts = [self.loadings, np.ones_like(self.baseline), self.baseline]
        return np.vstack([*parts, self.shifts] if self.shifts.any() else parts)

    def design(self, z: np.ndarray, depth: np.ndarray | float, batch: np.ndarray) -> np.ndarray:
        """The left-hand factor that goes with `weights`: (cells, rows of `weights`) float32."""
        d = z.shape[1]
        found = np.zeros((len(z), len(self.weights)), dtype=np.float32)
        found[:, :d] = z
        found[:, d] = depth
        found[:, d + 1] = 1
        if self.shifts.any():
            found[np.arange(len(z)), d + 2 + batch] = 1
        return found


def draw_directions(settings: Settings, features: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal directions (latent_dim, features), before any scale."""
    return rng.standard_normal((settings.latent_dim, features), dtype=np.float32)


def scaled(settings: Settings, directions: np.ndarray, signal: float) -> np.ndarray:
    """Loadings with which z moves a feature by a standard deviation of `signal` on average."""
    return snap(directions * (signal / np.sqrt(latent_variance(settings).sum())), LOADING_BITS)


def draw_shifts(
    settings: Settings, assignment: Assignment, features: int, rng: np.random.Generator
) -> np.ndarray:
    """Offset of each feature in each batch: one of its dataset plus one of its own."""
    scenario = settings.scenario()
    datasets, batches = len(assignment.dataset_names), len(assignment.batch_names)
    study = rng.standard_normal((datasets, features), dtype=np.float32) * scenario.study_shift
    own = rng.standard_normal((batches, features), dtype=np.float32) * scenario.batch_shift
    return snap(study[assignment.batch_dataset] + own, SUM_BITS)
