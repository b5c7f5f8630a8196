"""The three measurements: negative binomial RNA, Bernoulli ATAC, log-normal ADT.

Each is drawn from a linear predictor of the latent state (`latent.Response`), a block of cells at a
time. ``docs/mock_data.md`` has the formulas and where the default values come from.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse
from scipy.special import expit

from lacuna.mock.latent import Response

TILE = 1 << 20  # entries that are worked on at a time: they stay in the cache
NODES, MASSES = np.polynomial.hermite_e.hermegauss(9)
MASSES = MASSES / MASSES.sum()

# logit(b / 256) for each byte b, rounded down: with u = (b + fraction) / 256, an entry can only be
# open if its logit is above THRESHOLD[b].
with np.errstate(divide="ignore"):
    _BYTE = np.arange(256) / 256
    _LOGIT = (np.log(_BYTE) - np.log1p(-_BYTE)).astype(np.float32)
THRESHOLD = np.nextafter(_LOGIT, np.float32("-inf"))
# The same for two bytes at a time, which halves the look-ups: two float32 in each uint64.
_PAIRS = np.arange(1 << 16, dtype=np.uint16).view(np.uint8)
PAIR_THRESHOLDS = THRESHOLD[_PAIRS].view(np.uint64)


def bernoulli(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    """Where independent draws with these logits come out 1: sorted flat positions, int64.

    logits: float32, contiguous. Exact: an entry is 1 if u < sigmoid(logit), with u of 61 random
    bits. One random byte settles nearly every entry, as its first 8 bits; the rest of u, and a
    logistic function, are computed only for the few that the byte leaves open.
    """
    n, logits = logits.size, logits.ravel()
    raw = rng.integers(0, 2**64 - 1, size=-(-n // 8), dtype=np.uint64, endpoint=True)
    raw = raw.astype("<u8", copy=False)
    thresholds = np.take(PAIR_THRESHOLDS, raw.view(np.uint16), mode="clip").view(np.float32)
    where = np.flatnonzero(thresholds[:n] < logits)
    u = (raw.view(np.uint8)[where] + rng.random(len(where))) / 256
    return where[u < expit(logits[where].astype(np.float64))]


def csr_of(where: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """CSR float32 from sorted flat positions and their values."""
    indptr = np.searchsorted(where, np.arange(shape[0] + 1) * shape[1])
    columns = where - np.repeat(np.arange(shape[0]) * shape[1], np.diff(indptr))
    parts = (values.astype(np.float32), columns.astype(np.int32), indptr.astype(np.int64))
    return sparse.csr_matrix(parts, shape=shape)


def at_least_one(
    rng: np.random.Generator, found: sparse.csr_matrix, linear: np.ndarray
) -> sparse.csr_matrix:
    """Give a cell of which nothing was seen one count, at a feature drawn by its rate.

    So an observed cell is never all zero, as after any filter of real cells; a cell without counts
    only occurs in panels of few features.
    """
    empty = np.flatnonzero(np.diff(found.indptr) == 0)
    if not len(empty):
        return found
    chosen = (linear[empty] + rng.gumbel(size=(len(empty), found.shape[1]))).argmax(axis=1)
    ones = (np.ones(len(empty), np.float32), (empty, chosen))
    return (found + sparse.csr_matrix(ones, shape=found.shape)).astype(np.float32)


@dataclass(frozen=True)
class Rna:
    """Counts ~ NB(mean mu, dispersion phi), log mu linear in z; variance mu + phi mu^2."""

    name: ClassVar[str] = "rna"
    response: Response
    dispersion: np.ndarray  # (genes,) float32
    depth_sd: float

    def draw(self, rng: np.random.Generator, design: np.ndarray) -> sparse.csr_matrix:
        """Counts of a block of cells, CSR float32 (cells, genes)."""
        linear = design @ self.response.weights
        shape = np.broadcast_to(1 / self.dispersion, linear.shape)
        rate = rng.standard_gamma(shape)
        rate *= np.exp(linear)
        rate *= self.dispersion
        counts = rng.poisson(rate).ravel()
        where = np.flatnonzero(counts)
        return at_least_one(rng, csr_of(where, counts[where], linear.shape), linear)

    def expected(self, linear: np.ndarray) -> np.ndarray:
        """E[y | z, batch], averaged over the library size: float32 (cells, genes)."""
        return np.exp(linear + np.float32(self.depth_sd**2 / 2))


@dataclass(frozen=True)
class Atac:
    """Open or closed ~ Bernoulli(sigmoid(linear in z))."""

    name: ClassVar[str] = "atac"
    response: Response
    depth_sd: float

    def draw(self, rng: np.random.Generator, design: np.ndarray) -> sparse.csr_matrix:
        """Open peaks of a block of cells, CSR of ones, float32 (cells, peaks)."""
        weights = self.response.weights
        peaks = weights.shape[1]
        step = max(1, TILE // peaks)
        logits = np.empty((min(step, len(design)), peaks), dtype=np.float32)
        tiles = []
        for start in range(0, len(design), step):
            rows = design[start : start + step]
            tile = np.matmul(rows, weights, out=logits[: len(rows)])
            where = bernoulli(rng, tile)
            found = csr_of(where, np.ones(len(where), np.float32), tile.shape)
            tiles.append(at_least_one(rng, found, tile))
        return sparse.vstack(tiles, format="csr")

    def expected(self, linear: np.ndarray) -> np.ndarray:
        """E[y | z, batch], averaged over the depth by Gauss-Hermite quadrature: float32."""
        found = np.zeros_like(linear)
        for node, mass in zip(NODES, MASSES, strict=True):
            found += np.float32(mass) * expit(linear + np.float32(node * self.depth_sd))
        return found


@dataclass(frozen=True)
class Adt:
    """log y ~ Normal(log background + softplus(linear in z) + depth, noise^2): a signal on top of
    a background, as exp(softplus(x)) = 1 + exp(x)."""

    name: ClassVar[str] = "adt"
    response: Response
    background: np.ndarray  # (proteins,) float32, intensity without any signal
    depth_sd: float
    noise: float

    def draw(self, rng: np.random.Generator, design: np.ndarray) -> np.ndarray:
        """Intensities of a block of cells, dense float32 (cells, proteins), all above 0."""
        # The depth scales signal and background alike, so it is kept out of the softplus.
        depth_column = len(self.response.loadings)
        inner = design.copy()
        inner[:, depth_column] = 0
        noise = rng.standard_normal((len(design), len(self.background)), dtype=np.float32)
        mean = self.log_mean(inner @ self.response.weights)
        return np.exp(mean + design[:, [depth_column]] + np.float32(self.noise) * noise)

    def log_mean(self, linear: np.ndarray) -> np.ndarray:
        """E[log y | z, batch], float32 (cells, proteins)."""
        return np.log(self.background) + np.logaddexp(np.float32(0), linear)

    def expected(self, linear: np.ndarray) -> np.ndarray:
        """E[y | z, batch], averaged over depth and noise: float32 (cells, proteins)."""
        return np.exp(self.log_mean(linear) + np.float32((self.depth_sd**2 + self.noise**2) / 2))


Modality = Rna | Atac | Adt
