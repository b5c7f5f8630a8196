"""The modalities of a person's .h5ad or .h5mu: where each lies, which cells have it, and what its
features are called."""

from dataclasses import dataclass

import h5py
import numpy as np
from scipy import sparse

from lacuna.counts import Frame
from lacuna.mock.layout import OTHER_NAMES, modality_of
from lacuna.sources import check_unique
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.h5ad import Matrix, node, read_column, read_strings
from lacuna_contract.tasks.multimodal import MODALITIES, SLOTS, UNITS, feature_names

CHUNK = 2_000


@dataclass(frozen=True)
class Held:
    """A matrix that was stored by columns: as rows in memory, read like a `Matrix`."""

    held: sparse.csr_matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.held.shape

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        return self.held[start:stop]

    def take(self, rows: np.ndarray) -> sparse.csr_matrix:
        return self.held[rows]


@dataclass(frozen=True)
class Part:
    """A modality of a file: where it lies, its matrix, the row of each cell in it (-1: the cell
    lacks it), the names of its features, and where the file may say which gene each of them belongs
    to."""

    slot: str
    matrix: Matrix | Held
    row: np.ndarray
    features: list[str]
    genes: tuple[str, str]

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Cells [start, stop), the rows of those without the modality empty."""
        at = self.row[start:stop]
        have = at >= 0
        found = sparse.csr_matrix((0, self.matrix.shape[1]), dtype=np.float32)
        if have.any():
            found = sparse.csr_matrix(self.matrix.take(at[have]), dtype=np.float32)
            found.eliminate_zeros()
            found.sort_indices()
        lengths = np.zeros(len(at), dtype=np.int64)
        lengths[have] = np.diff(found.indptr)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return sparse.csr_matrix(
            (found.data, found.indices, indptr), shape=(len(at), self.matrix.shape[1])
        )


def read_parts(file: h5py.File, cells: list[str], layer: str | None = None) -> dict[str, Part]:
    """The modalities of a file that holds these cells, by name. `layer` holds the counts of RNA;
    X without.

    Raises `ContractError` for a modality whose name, matrix, cells or features cannot be told.
    """
    return (_mudata if "mod" in file else _anndata)(file, cells, layer)


def _mudata(file: h5py.File, cells: list[str], layer: str | None) -> dict[str, Part]:
    at = {name: i for i, name in enumerate(cells)}
    modalities = {word: modality_of(word) for word in file["mod"]}
    if strange := [word for word, modality in modalities.items() if modality not in MODALITIES]:
        known = suggest(strange[0], [*MODALITIES, *OTHER_NAMES], "modality")
        more = f" ({', '.join(strange[1:])} neither)" if strange[1:] else ""
        raise ContractError(
            f"{file.filename}: {known}{more}. Rename it, or write the file without it"
        )
    parts = {}
    for word, group in file["mod"].items():
        modality = modalities[word]
        if modality in parts:
            raise ContractError(f"{file.filename} has {modality} twice, once as '{word}'")
        row = np.full(len(cells), -1)
        own = _index(group, "obs")
        check_unique(own, f"{file.filename}, modality {word}")
        for i, name in enumerate(own):
            if name not in at:
                raise ContractError(f"{file.filename}: cell '{name}' of {word} is not in obs")
            row[at[name]] = i
        held = _counts(group, layer if modality == "rna" else None)
        matrix = _matrix(file, f"mod/{word}/{held}", modality)
        slot = f"mod '{word}'" if held == "X" else f"mod '{word}', {held}"
        parts[modality] = Part(slot, matrix, row, _index(group, "var"), (f"mod/{word}/var", "gene"))
    return {m: parts[m] for m in MODALITIES if m in parts}


def _counts(group: h5py.Group, layer: str | None) -> str:
    """Where the counts of an AnnData lie: in X, or in the layer of that name."""
    if layer in (None, "", "X"):
        return "X"
    layers = list(group.get("layers", {}))
    if layer not in layers:
        raise ContractError(f"{group.file.filename}: {suggest(layer, layers, 'layer of RNA')}")
    return f"layers/{layer}"


def _matrix(file: h5py.File, name: str, modality: str) -> Matrix | Held:
    stored = node(file, name)
    if stored.attrs.get("encoding-type") == "dataframe":
        key = "adt_names" if modality == "adt" else "peak_names"
        slot = f"obsm['{name.rpartition('/')[2]}']"
        raise ContractError(
            f"{file.filename}: {slot} is a DataFrame; expected a matrix. With it as `table`: "
            f"adata.uns['{key}'] = list(table.columns), adata.{slot} = table.to_numpy()"
        )
    matrix = Matrix(stored)
    if matrix.format != "csc_matrix":
        return matrix
    # Models have the whole of it in memory, too.
    indices = stored["indices"][:]
    matrix.check_indices(indices)
    by_columns = (stored["data"][:], indices, matrix.indptr)
    return Held(sparse.csc_matrix(by_columns, shape=matrix.shape).tocsr())


def _index(group: h5py.Group, axis: str) -> list[str]:
    return read_strings(group[axis][group[axis].attrs.get("_index", "_index")])


def _anndata(file: h5py.File, cells: list[str], layer: str | None) -> dict[str, Part]:
    parts = {}
    names = {"rna": Frame(file, "var").names()}
    slots = SLOTS | {"rna": _counts(file, layer)}
    matrices = {
        m: _matrix(file, slot, m) for m, slot in slots.items() if m == "rna" or slot in file
    }
    if "adt" in matrices and "uns/adt_names" not in file:
        width = matrices["adt"].shape[1]
        raise ContractError(
            f"{file.filename}: uns lacks 'adt_names'; expected the names of {width} proteins"
        )
    names |= {m: feature_names(file, m) for m in matrices if m != "rna"}
    for modality, has in _observed(file, list(names), len(cells)).items():
        row = np.where(has, np.arange(len(cells)), -1)
        genes = ("uns", f"{UNITS.get(modality, modality)}_gene")
        folder, _, key = slots[modality].partition("/")
        slot = f"{folder}['{key}']" if key else folder
        part = Part(slot, matrices[modality], row, names[modality], genes)
        _check_absent(file, modality, part, cells)
        parts[modality] = part
    return parts


def _observed(file: h5py.File, modalities: list[str], n: int) -> dict[str, np.ndarray]:
    """By modality, which of `n` cells have it: as obs says, or all where it says nothing of any."""
    there = Frame(file, "obs").columns()
    given = [f"has_{m}" for m in MODALITIES if f"has_{m}" in there]
    if not given:
        return {m: np.ones(n, dtype=bool) for m in modalities}
    if absent := [f"has_{m}" for m in modalities if f"has_{m}" not in given]:
        raise ContractError(
            f"{file.filename}: obs has {' and '.join(given)}, but no {' and no '.join(absent)}. "
            f"There is data of {', '.join(modalities)}: give each a column that says which cells "
            "have it, or none where all cells have all"
        )
    return {m: _flag(file, f"has_{m}") for m in modalities}


def _flag(file: h5py.File, name: str) -> np.ndarray:
    Frame(file, "obs").labels(name)  # refuses where one is missing
    values = np.asarray(read_column(file, "obs", name))
    strange = np.ones(len(values), dtype=bool)
    if values.dtype.kind in "biu":
        strange = (values != 0) & (values != 1)
    if strange.any():
        kind = "text or categories" if values.dtype.kind == "U" else str(values.dtype)
        raise ContractError(
            f"{file.filename}: obs['{name}'] holds {kind}, such as "
            f"'{values[int(strange.argmax())]}'; expected true and false, or 0 and 1 as integers"
        )
    return values.astype(bool)


def _check_absent(file: h5py.File, modality: str, part: Part, cells: list[str]) -> None:
    for start in range(0, len(cells), CHUNK):
        rows = sparse.csr_matrix(part.matrix.rows(start, min(start + CHUNK, len(cells))))
        filled = np.diff(rows.indptr) > 0
        wrong = filled & (part.row[start : start + CHUNK] < 0)
        if wrong.any():
            first = cells[start + int(wrong.argmax())]
            raise ContractError(
                f"{file.filename}: has_{modality} is false, but {modality} is not zero, in cell "
                f"'{first}'"
            )
