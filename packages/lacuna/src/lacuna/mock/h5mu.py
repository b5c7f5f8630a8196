"""MuData files (.h5mu): one AnnData per modality, each with the cells that have it, and a map from
all cells to those of each. Written as the data are made, like an h5ad."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import h5py
import numpy as np

from lacuna.mock.generate import Chunk, Plan
from lacuna.mock.layout import cluster_labels, names, obs_columns
from lacuna_contract.h5ad import TEXT, H5adWriter
from lacuna_contract.tasks.multimodal import MODALITIES

SIGNATURE = b"MuData (format-version=0.1.0;creator=lacuna;creator-version=0.1.0)"
SHARED = ("obs", "var", "obsm", "varm", "obsp", "varp", "uns", "obsmap", "varmap")


class H5muWriter:
    """Takes chunks like `files.Slots`. Each modality is an h5ad of its own at first, as the number
    of stored entries is not known before the end; on leaving they are put into one file."""

    def __init__(self, path: Path, plan: Plan, labels: bool):
        self.path, self._plan, self._labels = path, plan, labels
        self._has = plan.cells.assignment.has
        self._observed = [m for m in MODALITIES if m in plan.cells.assignment.observed]
        self._stack = ExitStack()

    def __enter__(self) -> "H5muWriter":
        folder = self._stack.enter_context(TemporaryDirectory(dir=self.path.parent, prefix=".h5mu"))
        self._folder = Path(folder)
        cells = np.array(names("obs", len(self._has)), dtype=object)
        self._parts = ExitStack()
        self._slots = {}
        for name in self._observed:
            keep = self._has[:, MODALITIES.index(name)]
            features = names(name, self._plan.law[name].response.n_features)
            writer = H5adWriter(self._folder / f"{name}.h5ad", cells[keep], features)
            out = self._parts.enter_context(writer)
            if name == "adt":
                self._slots[name] = out.dense("X", np.float32)
            else:
                self._slots[name] = out.csr("X", np.float32, compression=1)
            gene = {"atac": self._plan.law.peak_gene, "adt": self._plan.law.adt_gene}.get(name)
            if gene is not None:
                out.column("var", "gene", gene)
        return self

    def append(self, chunk: Chunk, keep: np.ndarray) -> None:
        """Add the cells of a chunk, to each modality those that `keep` (cells, 3) names."""
        for name, slot in self._slots.items():
            slot.append(chunk[name][keep[:, MODALITIES.index(name)]])

    def _combine(self) -> None:
        has, plan = self._has, self._plan
        cluster = cluster_labels(plan.cells.cluster) if self._labels else None
        features = [names(m, plan.law[m].response.n_features) for m in self._observed]
        shell = self._folder / "shell.h5ad"
        with H5adWriter(shell, names("obs", len(has)), sum(features, [])) as out:
            for name, values in obs_columns(plan.cells.assignment, cluster).items():
                out.column("obs", name, values)
            ends = np.cumsum([len(f) for f in features])
            for name, some, end in zip(self._observed, features, ends, strict=True):
                cells = has[:, MODALITIES.index(name)]
                out.array(f"obsm/{name}", cells[:, None])
                out.array(f"obsmap/{name}", np.where(cells, np.cumsum(cells), 0).astype(np.uint32))
                place = np.arange(ends[-1]) - (end - len(some)) + 1
                mine = (place > 0) & (place <= len(some))
                out.array(f"varm/{name}", mine[:, None])
                out.array(f"varmap/{name}", np.where(mine, place, 0).astype(np.uint32))
        partial = self._folder / "whole"
        with h5py.File(partial, "w", userblock_size=512) as whole:
            with h5py.File(shell, "r") as file:
                for group in SHARED:
                    file.copy(group, whole)
            whole.attrs.update({"encoding-type": "MuData", "encoding-version": "0.1.0", "axis": 0})
            modalities = whole.create_group("mod")
            modalities.attrs.create("mod-order", np.array(self._observed, dtype=object), dtype=TEXT)
            for name in self._observed:
                with h5py.File(self._folder / f"{name}.h5ad", "r") as file:
                    group = modalities.create_group(name)
                    group.attrs.update(dict(file.attrs))
                    for part in file:
                        file.copy(part, group)
        with partial.open("r+b") as file:
            file.write(SIGNATURE)
        partial.replace(self.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            self._parts.__exit__(kind, error, trace)
            if kind is None:
                self._combine()
