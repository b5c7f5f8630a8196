"""Measurements as the tensors that the network works on.

A modality of a cell that was not measured is a row of zeros with a flag of 0. No statistic counts
such a row, and no encoder's answer to it is used.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

MODALITIES = ("rna", "atac", "adt")
CHUNK = 1024  # cells whose values are dense in memory at once


@dataclass(frozen=True)
class Cells:
    """What is known of all cells; the first axis of everything is cells.

    scores
        By modality, what its encoder sees: principal components of the normalised measurement.
    values
        By modality, what its decoder is held against: CSR counts of RNA, CSR 0/1 of ATAC, a dense
        array of log1p of ADT.
    depth
        Of RNA and ATAC, the log of a cell's total over the median total.
    has
        By modality, float, 1 where the cell was measured.
    batch
        Batches (and studies), one-hot float (cells, columns).
    """

    scores: dict[str, torch.Tensor]
    values: dict[str, sparse.csr_matrix | np.ndarray]
    depth: dict[str, torch.Tensor]
    has: dict[str, torch.Tensor]
    batch: torch.Tensor

    def __len__(self) -> int:
        return len(self.batch)

    def to(self, device: str) -> "Cells":
        """With every tensor on a device; the values stay where they are until they are used."""

        def moved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: x.to(device) for name, x in tensors.items()}

        return Cells(
            moved(self.scores), self.values, moved(self.depth), moved(self.has),
            self.batch.to(device),
        )  # fmt: skip

    def dense(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Values of a modality in some cells, float (rows, features)."""
        found = self.values[name][rows.cpu().numpy()]
        found = found.toarray() if sparse.issparse(found) else found
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(self.batch.device)

    @property
    def modalities(self) -> list[str]:
        """The modalities that there are, in a fixed order."""
        return [name for name in MODALITIES if name in self.has]


def totals(counts: sparse.csr_matrix) -> np.ndarray:
    """Sum of each row, at least 1: an all-zero row must not be divided by."""
    return np.maximum(np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel(), 1.0)


def normalised(name: str, counts: sparse.csr_matrix) -> sparse.csr_matrix | np.ndarray:
    """The measured cells of a modality on a scale on which principal components mean something.

    RNA: log1p of counts at the median total. ATAC: peaks at the median total, each over its
    standard deviation as a rare event, sqrt(frequency). ADT: log1p over its standard deviation.
    """
    if name == "adt":
        values = np.log1p(counts.toarray())
        return values / (values.std(axis=0) + 1e-3)
    total = totals(counts)
    level = sparse.diags_array((np.median(total) / total).astype(np.float32)) @ counts
    if name == "rna":
        return level.log1p().tocsr()
    often = np.asarray(counts.mean(axis=0, dtype=np.float64)).ravel()
    rare = 1 / np.sqrt(np.maximum(often, 3 / counts.shape[0]))
    return (level @ sparse.diags_array(rare.astype(np.float32))).tocsr()


def components(
    values: sparse.csr_matrix | np.ndarray, rank: int, rng: np.random.Generator, sweeps: int = 8
) -> np.ndarray:
    """Scores on the leading principal components, float32 (cells, rank or fewer).

    By subspace iteration, in which the matrix is centred without being made dense. The first has
    a standard deviation of 1 and the others theirs in proportion, so that noise stays small.
    """
    cells, features = values.shape
    rank = max(1, min(rank, cells - 1, features))
    extra = min(rank + 8, cells, features)
    mean = np.asarray(values.mean(axis=0, dtype=np.float64)).ravel()
    right = rng.normal(size=(features, extra))
    for _ in range(sweeps):
        left, _ = np.linalg.qr(values @ right - mean @ right)
        right = values.T @ left - np.outer(mean, left.sum(axis=0))
    _, sizes, turn = np.linalg.svd(right, full_matrices=False)
    scores = (left @ turn.T * sizes)[:, :rank]
    return (scores / max(scores[:, 0].std(), 1e-6)).astype(np.float32)


def covariates(batch: np.ndarray, study: np.ndarray) -> torch.Tensor:
    """Batches one-hot, and beside them the studies where these hold several batches: what the
    batches of a study share need not be learned by each. float (cells, batches + studies)."""
    columns = []
    for labels in (batch, study):
        codes = np.unique(labels, return_inverse=True)[1]
        columns.append(np.eye(codes.max() + 1, dtype=np.float32)[codes])
    own, wider = columns
    nested = 1 < wider.shape[1] < own.shape[1]
    return torch.from_numpy(np.hstack(columns) if nested else own)


def read(data, rank: int, seed: int) -> Cells:
    """The task's data object as tensors."""
    rng = np.random.default_rng(seed)
    scores, values, depth, has = {}, {}, {}, {}
    for name in (m for m in MODALITIES if m in data.counts):
        counts, seen = data.counts[name].tocsr(), np.asarray(data.has[name], dtype=bool)
        if not seen.any():
            continue
        measured = counts[seen]
        if name == "atac":
            measured.data[:] = 1
        reduced = components(normalised(name, measured), rank, rng)
        full = np.zeros((len(seen), reduced.shape[1]), np.float32)
        full[seen] = reduced
        scores[name], has[name] = torch.from_numpy(full), torch.from_numpy(seen.astype(np.float32))
        if name == "adt":
            values[name] = np.log1p(counts.toarray()).astype(np.float32)
            continue
        values[name] = counts.copy()
        if name == "atac":
            values[name].data[:] = 1
        level = np.zeros(len(seen), np.float32)
        total = totals(measured)
        level[seen] = np.log(total / np.median(total))
        depth[name] = torch.from_numpy(level)
    batch = covariates(data.batch, data.study)
    return Cells(scores, values, depth, has, batch)


def digest(cells: Cells, gene_of: dict[str, np.ndarray]) -> str:
    """Short, and another one for other measurements, batches, or genes of features."""
    found = hashlib.sha256(cells.batch.cpu().numpy().tobytes())
    for name in cells.modalities:
        values = cells.values[name]
        parts = (
            (values.data, values.indices, values.indptr) if sparse.issparse(values) else (values,)
        )
        for part in (cells.has[name].cpu().numpy(), *parts):
            found.update(np.ascontiguousarray(part).tobytes())
    for name, genes in sorted(gene_of.items()):
        found.update(name.encode() + np.asarray(genes, np.int64).tobytes())
    return found.hexdigest()[:12]
