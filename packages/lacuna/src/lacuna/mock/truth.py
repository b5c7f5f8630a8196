"""The truth of a mock dataset as an object."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lacuna.mock.generate import Plan
from lacuna.mock.settings import Settings

SIZES = ("n_cells", "n_genes", "n_peaks", "n_proteins", "latent_dim")


@dataclass(frozen=True, repr=False)
class Truth:
    """What no model may see: the plan (z, cluster, loadings) and every modality of every cell.

    rna, atac: CSR float32 (cells, features); adt: float32 (cells, proteins).
    Rates are computed in pieces: ``truth.expected("atac", 0, 500)``.
    """

    plan: Plan
    rna: sparse.csr_matrix
    atac: sparse.csr_matrix
    adt: np.ndarray

    def __repr__(self) -> str:
        own = self.settings
        sizes = ", ".join(f"{kind}={getattr(own, kind)}" for kind in SIZES)
        return f"Truth('{own.problem}', {sizes}, seed={own.seed})"

    @property
    def settings(self) -> Settings:
        return self.plan.settings

    @property
    def z(self) -> np.ndarray:
        """Latent states, float32 (cells, latent_dim)."""
        return self.plan.cells.z

    @property
    def cluster(self) -> np.ndarray:
        """Cluster numbers, int32 (cells,)."""
        return self.plan.cells.cluster

    @property
    def has(self) -> np.ndarray:
        """Which of RNA, ATAC, ADT each cell keeps in the input, bool (cells, 3)."""
        return self.plan.cells.assignment.has

    def expected(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The oracle E[y | z, batch] of a modality for cells [start, stop); see `Plan.expected`."""
        return self.plan.expected(name, start, stop)

    def expected_log_adt(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """E[log y | z, batch] of the ADT for cells [start, stop)."""
        return self.plan.expected_log_adt(start, stop)
