"""An embedding with what the truth knows of its cells, and what is measured of it."""

import functools
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from lacuna.metrics.registry import Undefined
from lacuna.tasks.multimodal.compiled import keep
from lacuna_contract.tasks.multimodal import MODALITIES

#: More cells than this are not looked at, nor more than this for all pairs of distances.
MOST_CELLS, MOST_PAIRED = 5_000, 1_000
#: Of more rows that are there twice, so many are drawn: each is compared with all cells.
MOST_TWINS = 2_000
NEIGHBOURS = {"graph_connectivity": 15, "kbet_per_label": 50, "ilisi_knn": 90, "clisi_knn": 90}
TRANSFER = 15
#: jax compiles for each shape; embeddings of about one width share what it made.
WIDTH = 32


@dataclass(frozen=True)
class Known:
    """What is known of the cells, by row: `cluster` (text) and `z` where it is known; `twin` rows
    (-1: none) or why there are none; `has` (rows, 3); `batch` (text)."""

    cluster: np.ndarray | None
    z: np.ndarray | None
    twin: np.ndarray
    no_twins: str | None
    has: np.ndarray
    batch: np.ndarray


@functools.cache
def scib() -> Any:
    """The package scib_metrics.

    Raises `Undefined` where it is not installed.
    """
    keep()
    try:
        package = importlib.import_module("scib_metrics")
    except ModuleNotFoundError:
        raise Undefined(
            "scib-metrics is not installed here: pip install -e '.[multimodal]' in the clone"
        ) from None
    # kBET's own search, an approximate one, compiles for half a minute in every process.
    package.nearest_neighbors.pynndescent = exact_neighbours
    return package


def exact_neighbours(points: np.ndarray, n_neighbors: int) -> Any:
    """The nearest of `points` (rows, dimensions) to each, itself first, in scib_metrics's form."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(points)
    distances, near = search.kneighbors(points)
    return scib().nearest_neighbors.NeighborsResults(indices=near, distances=distances)


def _patterns(has: np.ndarray) -> np.ndarray:
    """Which modalities each cell has, as one number."""
    return has @ (1 << np.arange(len(MODALITIES)))


class Space:
    """An embedding (cells, dimensions) and what is `known` of the cells."""

    def __init__(self, embedding: np.ndarray, known: Known):
        rows = np.arange(len(embedding))
        if len(rows) > MOST_CELLS:
            # The same cells for every model.
            rows = np.sort(np.random.default_rng(0).choice(rows, MOST_CELLS, replace=False))
        self._whole, self._known, self._rows = embedding, known, rows
        points = embedding[rows]
        spare = -points.shape[1] % WIDTH
        self._points = np.pad(points, ((0, 0), (0, spare))).astype(np.float32)

    def clusters(self) -> np.ndarray:
        """The true cluster of each cell, as codes."""
        if self._known.cluster is None:
            raise Undefined("the true clusters are not known")
        found = np.unique(self._known.cluster[self._rows], return_inverse=True)[1]
        if found.max() == 0:
            raise Undefined("all cells are of one cluster")
        return found

    def groups(self) -> np.ndarray:
        """What cells differ by that should not matter, batch and modalities, as codes."""
        patterns = _patterns(self._known.has).astype(str)
        words = np.char.add(self._known.batch.astype(str), patterns)[self._rows]
        found = np.unique(words, return_inverse=True)[1]
        if found.max() == 0:
            raise Undefined("all cells are of one batch and have the same modalities")
        return found

    @functools.cached_property
    def clustering(self) -> dict[str, float]:
        """ "ari" and "nmi" of k-means."""
        return scib().nmi_ari_cluster_labels_kmeans(self._points, self.clusters())

    def scib(self, name: str, *labels: np.ndarray) -> float:
        """A metric of scib_metrics that takes points."""
        return float(getattr(scib(), name)(self._points, *labels))

    def scib_neighbours(self, name: str, *labels: np.ndarray) -> float:
        """A metric of scib_metrics that takes neighbours."""
        package = scib()
        kind = package.nearest_neighbors.NeighborsResults
        k = min(NEIGHBOURS[name], len(self._points))
        distances, near = self._neighbours
        found = kind(indices=near[:, :k].copy(), distances=distances[:, :k].copy())
        return float(getattr(package, name)(found, *labels))

    @functools.cached_property
    def _neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        k = min(max(NEIGHBOURS.values()), len(self._points))
        points = self._points.astype(np.float64)
        distances, near = cKDTree(points).query(points, k)
        # Each cell is its own first neighbour, also among cells of one place.
        own = np.arange(len(near))
        at = np.argmax(near == own[:, None], axis=1)
        found = (near == own[:, None]).any(axis=1)
        at[~found] = k - 1
        near[own, at], near[:, 0] = near[:, 0].copy(), own
        return distances, near

    def _alone(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of cells with one modality alone, of the two that most cells have alone."""
        has = self._known.has
        alone = [np.flatnonzero(has[:, m] & (has.sum(axis=1) == 1)) for m in range(has.shape[1])]
        alone.sort(key=len, reverse=True)
        if not len(alone[1]):
            raise Undefined("no two modalities have cells with that modality alone")
        return alone[0], alone[1]

    def foscttm(self) -> float:
        """See `lacuna.metrics.multimodal.foscttm`."""
        twin, has = self._known.twin, self._known.has
        if self._known.no_twins:
            raise Undefined(f"no cell is there twice: {self._known.no_twins}")
        rows = np.flatnonzero(twin >= 0)
        if len(rows) > MOST_TWINS:
            rows = np.sort(np.random.default_rng(0).choice(rows, MOST_TWINS, replace=False))
        pattern, alone = _patterns(has), has.sum(axis=1) == 1
        fractions = np.empty(len(rows))
        for kind in np.unique(pattern[twin[rows]]):
            # All cells that look like the match, from whichever batch.
            candidates = np.flatnonzero(alone & (pattern == kind))
            points = self._whole[candidates]
            for i in np.flatnonzero(pattern[twin[rows]] == kind):
                far = np.sum((points - self._whole[rows[i]]) ** 2, axis=1)
                mine = far[candidates == twin[rows[i]]][0]
                closer = np.sum(far < mine) + 0.5 * (np.sum(far == mine) - 1)
                fractions[i] = closer / max(1, len(candidates) - 1)
        return float(np.mean(fractions))

    def label_transfer(self) -> float:
        """See `lacuna.metrics.multimodal.label_transfer`."""
        if self._known.cluster is None:
            raise Undefined("the true clusters are not known")
        labels = np.unique(self._known.cluster, return_inverse=True)[1]
        first, second = self._alone()
        right = []
        for known, asked in ((first, second), (second, first)):
            k = min(TRANSFER, len(known))
            near = cKDTree(self._whole[known]).query(self._whole[asked], k)[1].reshape(-1, k)
            votes = np.apply_along_axis(
                np.bincount, 1, labels[known][near], minlength=labels.max() + 1
            )
            right.append(votes.argmax(axis=1) == labels[asked])
        return float(np.concatenate(right).mean())

    def z_distance(self) -> float:
        """See `lacuna.metrics.multimodal.z_distance`."""
        if self._known.z is None:
            raise Undefined("the true latent states are not known")
        rows = self._rows[:: -(-len(self._rows) // MOST_PAIRED)]
        mine, true = pdist(self._whole[rows]), pdist(self._known.z[rows])
        if np.ptp(mine) <= 1e-9 * np.abs(mine).max(initial=0):
            return 0.0
        return float(np.corrcoef(mine, true)[0, 1])
