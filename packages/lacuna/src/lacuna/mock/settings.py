"""Every number of the generator, with its default. What each means, its unit and its bounds are in
``schemas/mock_settings.schema.json``; where the defaults come from is in ``docs/mock_data.md``."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from lacuna.mock.scenarios import SCENARIOS, Scenario, customise
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.schema import validate


def plain(value: Any) -> Any:
    """Numpy scalars, tuples and mappings as what JSON and YAML know."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple, np.ndarray)) else value


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One mock dataset, completely: the same settings give the same bytes."""

    problem: str
    n_cells: int = 600
    n_genes: int = 1000
    n_peaks: int = 5000
    n_proteins: int = 30
    latent_dim: int = 16
    seed: int = 0

    n_clusters: int = 4
    cluster_separation: float = 3.5
    cluster_proportions: list[float] | None = None
    latent_decay: float = 0.7
    gene_link: float = 0.5

    shares: dict[str, float] = field(default_factory=dict)
    keeps: dict[str, dict[str, float]] = field(default_factory=dict)
    target: str | None = None
    study_shift: float | None = None
    batch_shift: float | None = None

    rna_counts_per_gene: float = 0.9
    rna_gene_sd: float = 1.3
    rna_signal: float = 0.7
    rna_library_sd: float = 0.3
    rna_dispersion: float = 0.2
    rna_dispersion_sd: float = 0.7

    atac_density: float = 0.03
    atac_peak_sd: float = 1.3
    atac_signal: float = 1.2
    atac_depth_sd: float = 0.4

    adt_background: float = 15.0
    adt_background_sd: float = 0.8
    adt_signal: float = 1.5
    adt_depth_sd: float = 0.2
    adt_noise: float = 0.3

    def __post_init__(self) -> None:
        if self.problem not in SCENARIOS:
            raise ContractError(suggest(self.problem, SCENARIOS, "scenario"))
        values = self.as_dict()
        for key, value in values.items():
            # JSON Schema knows no NaN: every comparison with it is false, so no bound is broken.
            if isinstance(value, float) and not math.isfinite(value):
                raise ContractError(f"{key} is {value}; expected a finite number")
        validate(values, "mock_settings", where="the configuration of the mock data")
        self.scenario()
        if self.n_cells < self.n_clusters:
            raise ContractError(
                f"n_cells is {self.n_cells}, fewer than n_clusters, {self.n_clusters}; "
                "expected a cell for each cluster at the least"
            )
        if self.latent_dim < self.n_clusters:
            raise ContractError(
                f"latent_dim is {self.latent_dim}, fewer than n_clusters, {self.n_clusters}; each "
                "cluster centre lies on a latent axis of its own"
            )
        if self.cluster_proportions is not None:
            found = self.cluster_proportions
            if len(found) != self.n_clusters or not abs(sum(found) - 1) <= 1e-6:  # nor NaN
                raise ContractError(
                    f"cluster_proportions is {found}; expected {self.n_clusters} numbers that add "
                    "up to 1, one for each cluster"
                )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Settings":
        """From a mapping; an unknown key, a wrong type and a value out of bounds are errors."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise ContractError(suggest(key, known, "mock setting"))
        return cls(**{key: plain(value) for key, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        """All of them, in plain types."""
        return plain(asdict(self))

    def scenario(self) -> Scenario:
        """The row of the table, with this dataset's own ratios and shifts."""
        return customise(
            self.problem, self.shares, self.keeps, self.target, self.study_shift, self.batch_shift
        )
