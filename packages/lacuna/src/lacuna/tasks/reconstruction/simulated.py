"""Simulated counts whose law is known: negative binomial, fitted to the dataset `pbmc`.

A cell has a type, drawn as often as it is among the real cells, and a depth, log-normal within its
type. The expected count of an entry is the cell's depth times the gene's share in that type, and
its variance expected + dispersion * expected². The best possible prediction is therefore known: it
is what the control `oracle` returns, which reads the law from the truth.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna import datasets, seeds
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_column, read_names

CELLS = 1_000
BLOCK = 500
#: Counts of the average cell that are added to each type, for what is rare in it.
PRIOR = 200.0
#: A gene's dispersion is fitted as if these expected counts, squared, had the common dispersion.
PRIOR_SQUARES = 5.0
LEAST_DISPERSION = 1e-3
#: Where the law lies in a file: in raw counts and in the truth, never in an input.
COLUMNS = {"obs": ("depth", "component"), "var": ("dispersion",)}
SHARES = "varm/share"


@dataclass(frozen=True)
class Law:
    """What counts are drawn from.

    types
        (k,): names of the cell types.
    frequency
        (k,): how often each is drawn.
    depth
        (k, 2): mean and standard deviation of the logarithm of a cell's total.
    share
        (k, genes): each type's expected counts, of sum 1.
    dispersion
        (genes,): variance = expected + dispersion * expected².
    """

    types: Sequence[str]
    frequency: np.ndarray
    depth: np.ndarray
    share: np.ndarray
    dispersion: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """Some simulated cells: CSR counts, and the type and depth of each."""

    counts: sparse.csr_matrix
    component: np.ndarray
    depth: np.ndarray


def fit(counts: sparse.csr_matrix, types: Sequence[str]) -> Law:
    """The law of real counts (cells, genes), given each cell's type; by moments."""
    names, component = np.unique(types, return_inverse=True)
    member = sparse.csr_matrix(
        (np.ones(len(component)), (component, np.arange(len(component)))),
        shape=(len(names), len(component)),
    )
    sums = np.asarray((member @ counts).todense(), dtype=np.float64)
    overall = sums.sum(axis=0) / sums.sum()
    share = (sums + PRIOR * overall) / (sums.sum(axis=1) + PRIOR)[:, None]
    total = np.maximum(counts.sum(axis=1, dtype=np.float64).A1, 1.0)
    logs = np.log(total)
    mean = np.bincount(component, logs) / np.bincount(component)
    spread = np.sqrt(np.bincount(component, (logs - mean[component]) ** 2) / np.bincount(component))
    expected = total[:, None] * share[component]
    excess = ((counts.toarray() - expected) ** 2 - expected).sum(axis=0)
    squares = (expected**2).sum(axis=0)
    common = excess.sum() / squares.sum()
    dispersion = (excess + PRIOR_SQUARES * common) / (squares + PRIOR_SQUARES)
    return Law(
        list(names),
        np.bincount(component) / len(component),
        np.column_stack([mean, spread]),
        share,
        np.maximum(dispersion, LEAST_DISPERSION),
    )


def draw(law: Law, cells: int, seed: np.random.SeedSequence) -> Iterator[Drawn]:
    """Simulate cells, `BLOCK` at a time, each block from a generator of its own."""
    for number, start in enumerate(range(0, cells, BLOCK)):
        rng = seeds.generator(seed, number)
        size = min(BLOCK, cells - start)
        component = rng.choice(len(law.types), size, p=law.frequency)
        depth = np.exp(rng.normal(*law.depth[component].T))
        expected = depth[:, None] * law.share[component]
        rates = rng.gamma(1 / law.dispersion, expected * law.dispersion)
        counts = sparse.csr_matrix(rng.poisson(rates).astype(np.float32))
        yield Drawn(counts, component, depth)


def write(output: Path, cells: int = CELLS) -> None:
    """The built-in dataset `simulated`: always the same bytes."""
    with tempfile.TemporaryDirectory() as room:
        datasets.pbmc(Path(room, "pbmc.h5ad"))
        with open_h5ad(Path(room, "pbmc.h5ad")) as file:
            real, genes = Matrix(file["X"]), read_names(file, "var")
            law = fit(real.rows(0, real.shape[0]), read_column(file, "obs", "cell_type"))
    width = len(str(cells - 1))
    parts = []
    with H5adWriter(output, [f"cell_{i:0{width}d}" for i in range(cells)], genes) as out:
        x = out.csr("X", np.float32)
        for block in draw(law, cells, seeds.sequence(0, "simulated")):
            x.append(block.counts)
            parts.append(block)
        component = np.concatenate([block.component for block in parts])
        out.column("obs", "cell_type", [law.types[code] for code in component])
        depth = np.concatenate([block.depth for block in parts])
        out.uns({"organism": "human"})
        write_law(out, depth, component, law.share, law.dispersion)


def write_law(
    out: H5adWriter,
    depth: np.ndarray,
    component: np.ndarray,
    share: np.ndarray,
    dispersion: np.ndarray,
) -> None:
    """The law of a file's counts, into it: of each cell its depth and row of `share` (k, genes)."""
    out.column("obs", "depth", depth)
    out.column("obs", "component", component)
    out.column("var", "dispersion", dispersion)
    out.array(SHARES, share.T)


def read_law(file: h5py.File) -> Mapping[str, Any] | None:
    """The arguments of `write_law`; None where a file's law is not known."""
    if SHARES not in file:
        return None
    columns = {
        name: read_column(file, axis, name) for axis, names in COLUMNS.items() for name in names
    }
    return columns | {"share": file[SHARES][:].T}
