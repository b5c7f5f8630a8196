"""Datasets with several modalities, from .h5ad or .h5mu, in the raw form of the task."""

import importlib.util
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna.counts import Frame, drawn, whole_alternatives
from lacuna.mock.layout import OTHER_NAMES
from lacuna.sources import check_unique, place, problem
from lacuna.tasks.multimodal.parts import CHUNK, Part, read_parts
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.h5ad import H5adWriter, open_h5ad, read_column
from lacuna_contract.tasks.multimodal import MODALITIES, SLOTS, UNITS

MOSAIC = "data/quickstart_pbmc_mosaic.h5mu"
#: Columns of a dataset sheet for which these files have no use.
UNUSED = ("symbol", "organism")
NEITHER = (
    "{} is neither an .h5ad nor an .h5mu, but {}. The package muon makes an .h5mu of 10x data: "
    "muon.read_10x_h5(...) or muon.read_10x_mtx(...), then .write('mine.h5mu')"
)
NAME_IT = (
    "Name it in the sheet's column 'layer' (in a YAML for training: keys: {rna: {layer: ...}})"
)
#: What people call the column of cell types or clusters.
CELL_TYPES = {"cell_type", "celltype", "cell_types", "celltypes", "cell_label", "annotation"}
CELL_TYPES |= {"labels", "leiden", "louvain", "clusters", "seurat_clusters"}
FEATURE = {"rna": "gene", "atac": "peak", "adt": "protein"}
#: What the modalities of an .h5mu are called.
NAMES = ", ".join(
    f"{m} (or {' or '.join(word for word, of in OTHER_NAMES.items() if of == m)})"
    for m in MODALITIES
)
#: ADT with fractions and no value above is taken for logarithms: log1p of a count of 100,000 is
#: 11.5, and the highest of the fewest mock intensities (40 cells, 2 proteins) is 40 or more.
MOST_LOG = 12.0


def import_dataset(
    row: Mapping[str, Any], source: Path | None, output: Path, *, scored: bool = True
) -> str | None:
    """A built-in dataset, or a person's own .h5ad or .h5mu, in the raw form.

    Of "mock" there is nothing to import: its cells are made with each condition. `ContractError`
    for what cannot be used, and for a column of the sheet that would do nothing. Data that are
    only trained on, and not `scored`, may have one modality in each cell.
    """
    if given := [name for name in UNUSED if row.get(name)]:
        raise ContractError(
            f"column '{given[0]}' does not apply to multimodal data, whose names have their "
            "own places in the file; leave it empty"
        )
    if source is None and row["dataset"] == "mock":
        _write_nothing(output)
        return None
    own = source is not None
    if source is None:
        source, row = _mosaic(), {**row, "cell_type": "celltype"}
    if source.is_dir():
        raise ContractError(NEITHER.format(source, "a folder"))
    with ExitStack() as stack:
        file = stack.enter_context(open_h5ad(source))
        if "obs" not in file:
            raise ContractError(NEITHER.format(source, f"a file with {', '.join(file)}"))
        cells = Frame(file, "obs").names()
        check_unique(cells, source)
        parts = read_parts(file, cells, row.get("layer"))
        keep, note = np.ones(len(cells), dtype=bool), None
        # Of what Lacuna brings there is nothing to find out.
        taken = _taken(file, parts, row) if own else None
        if subsample := row.get("subsample"):
            keep, note = drawn(len(cells), subsample, row.get("subsample_seed") or 0)
        cells = list(compress(cells, keep))
        parts = {name: replace(part, row=part.row[keep]) for name, part in parts.items()}
        if "rna" not in parts:
            raise ContractError(f"{source} has no RNA; there are: {', '.join(parts) or 'none'}")
        _check_cells(parts, cells, source, scored, _unread(file))
        out = stack.enter_context(H5adWriter(output, cells, parts["rna"].features))
        _write_columns(out, file, parts, row, keep)
        for modality, part in parts.items():
            width = len(part.features)
            dense = modality == "adt"
            name = SLOTS[modality]
            slot = out.dense(name, np.float32, width) if dense else out.csr(name, np.float32, width)
            highest, fractions = 0.0, False  # of ADT
            for start in range(0, len(cells), CHUNK):
                rows = part.rows(start, min(start + CHUNK, len(cells)))
                _check_values(modality, rows, cells[start : start + CHUNK], part.features, file)
                if modality == "atac":
                    rows.data[:] = 1
                elif modality == "adt":
                    highest = max(highest, float(rows.data.max(initial=0)))
                    fractions = fractions or bool((rows.data != np.rint(rows.data)).any())
                slot.append(rows.toarray() if dense else rows)
            if fractions and highest <= MOST_LOG:
                raise ContractError(
                    f"{file.filename}: adt holds fractions and nothing above {highest:.3g}, as "
                    "after a logarithm or CLR. Expected counts, or intensities on that scale"
                )
        out.uns({"task": "multimodal", "kind": "measured"})
    check_h5ad(output, "multimodal_raw")
    return "; ".join(said for said in (note, taken) if said) or None


def _taken(file: h5py.File, parts: Mapping[str, Part], row: Mapping[str, Any]) -> str:
    """What is taken of a file and what is left, for a person to see whether it is what they meant:
    "read rna (X) and adt (obsm['X_adt']), left obsm['X_pca']; labels batch, no cluster"."""
    taken = " and ".join(f"{modality} ({part.slot})" for modality, part in parts.items())
    left = f", left {', '.join(unread)}" if (unread := _unread(file)) else ""
    there = Frame(file, "obs").columns()
    kind = row.get("cell_type")
    labels = {name: name in there for name in ("batch", "dataset")}
    labels |= {f"cluster ({kind})": True} if kind else {"cluster": "cluster" in there}
    known = ", ".join(name for name, is_there in labels.items() if is_there)
    said = [f"labels {known}"] if known else []
    said += [f"no {name}" for name, is_there in labels.items() if not is_there]
    if not labels.get("cluster", True) and (like := [c for c in there if c.lower() in CELL_TYPES]):
        said.append(f"the sheet's cell_type may name {' or '.join(like)}")
    return f"read {taken}{left}; {', '.join(said)}"


def _unread(file: h5py.File) -> list[str]:
    """What obsm of an .h5ad holds beside ATAC and ADT. All modalities of an .h5mu are read, and its
    obsm only says which cells are in which."""
    stored = None if "mod" in file else file.get("obsm")
    there = stored if isinstance(stored, h5py.Group) else ()
    return [f"obsm['{key}']" for key in there if f"obsm/{key}" not in SLOTS.values()]


def _write_nothing(output: Path) -> None:
    with H5adWriter(output, [], []) as out:
        out.csr("X", np.float32).append(sparse.csr_matrix((0, 0), dtype=np.float32))
        out.uns({"task": "multimodal", "kind": "mock"})


def _mosaic() -> Path:
    """The file of the real mosaic: a part of the package scmidas, which is not imported."""
    package = importlib.util.find_spec("scmidas")
    folders = package.submodule_search_locations if package else None
    path = next((p for f in folders or [] if (p := Path(f) / MOSAIC).is_file()), None)
    if path is None:
        raise ContractError(
            "dataset 'pbmc_mosaic' comes with the package scmidas, which is not installed here: "
            "pip install --no-deps scmidas==0.3.0, or run the pipeline, whose stages have it"
        )
    return path


def _check_cells(
    parts: Mapping[str, Part], cells: list[str], source: Path, scored: bool, unread: list[str]
) -> None:
    measured = np.zeros(len(cells), dtype=np.int64)
    for modality, part in parts.items():
        if len(set(part.features)) < len(part.features):
            twice = next(n for n, times in Counter(part.features).items() if times > 1)
            raise ContractError(f"{source}: the feature '{twice}' of {modality} is named twice")
        measured += part.row >= 0
        for start in range(0, len(cells), CHUNK):
            rows = part.rows(start, min(start + CHUNK, len(cells)))
            wrong = (part.row[start : start + CHUNK] >= 0) & (np.diff(rows.indptr) == 0)
            if wrong.any():
                first = cells[start + int(wrong.argmax())]
                raise ContractError(
                    f"{source}: {modality} is taken to be observed, but is all zero, in "
                    f"{int(wrong.sum())} cells (the first is '{first}'); leave them out or, "
                    f"in a mosaic, say that they lack it (of an .h5ad in obs['has_{modality}'])"
                )
    if not len(cells):
        raise ContractError(f"{source} has no cells")
    if not measured.all():
        first = cells[int(measured.argmin())]
        raise ContractError(f"{source}: cell '{first}' has no modality; expected one or more")
    if scored and measured.max() < 2:
        verb = "are" if len(unread) > 1 else "is"
        also = f". It has {', '.join(unread)}, which {verb} not read" if unread else ""
        raise ContractError(
            f"{source}: no cell has more than one modality (there is {', '.join(parts)}): what a "
            "cell lacks is not known, so nothing could be hidden and scored. Expected two or "
            "more modalities in some cells: RNA in X, ATAC in obsm['X_atac'], ADT in "
            f"obsm['X_adt'], or an .h5mu with {NAMES}{also}"
        )


def _check_values(
    modality: str, rows: sparse.csr_matrix, cells: list[str], features: list[str], file: h5py.File
) -> None:
    said = ""
    if modality == "rna":
        expected = "raw counts (whole, not negative)"
        name, bad = problem(rows.data) or ("", np.zeros(0, dtype=bool))
        if name:
            said = f"{name}: "
            others = [name for name in whole_alternatives(file) if name.startswith("layers/")]
            if others:
                expected += f". These hold whole counts: {', '.join(others)}. {NAME_IT}"
    else:
        expected = "intensities of 0 or more" if modality == "adt" else "0, or more where open"
        bad = ~(np.isfinite(rows.data) & (rows.data >= 0))
    if bad.any():
        found = place(rows, bad, cells, features, FEATURE[modality])
        raise ContractError(f"{file.filename}: {modality} holds {said}{found}. Expected {expected}")


def _write_columns(
    out: H5adWriter,
    file: h5py.File,
    parts: Mapping[str, Part],
    row: Mapping[str, Any],
    keep: np.ndarray,
) -> None:
    n = int(keep.sum())
    frame = Frame(file, "obs")
    there = frame.columns()
    for name, usual in (("batch", "batch"), ("dataset", "study"), ("split", "train")):
        found = list(compress(frame.labels(name), keep)) if name in there else [usual] * n
        if name == "split" and (strange := set(found) - {"train", "test"}):
            wrong = suggest(strange.pop(), ["train", "test"], "split")
            raise ContractError(f"{file.filename}: {wrong}")
        out.column("obs", name, found)
    kind = row.get("cell_type") or ("cluster" if "cluster" in there else None)
    if kind:
        out.column("obs", "cluster", list(compress(frame.labels(kind), keep)))
    for modality in MODALITIES:
        has = parts[modality].row >= 0 if modality in parts else np.zeros(n, dtype=bool)
        out.column("obs", f"has_{modality}", has)
    for modality, key in UNITS.items():
        if modality in parts:
            out.array(f"uns/{key}_names", parts[modality].features)
            if "/".join(parts[modality].genes) in file:
                found = _gene_of(file, modality, parts[modality], parts["rna"].features)
                out.array(f"uns/{key}_gene", found)


def _gene_of(file: h5py.File, modality: str, part: Part, genes: list[str]) -> np.ndarray:
    """The position of the gene that each feature belongs to, -1 for none: from positions as they
    are, or from the genes' names, of which unknown ones are none."""
    folder, name = part.genes
    where = f"{file.filename}: {folder}['{name}']"
    found = np.asarray(read_column(file, folder, name))
    if found.shape != (len(part.features),):
        raise ContractError(
            f"{where} has {found.size} entries; expected {len(part.features)}, a gene for each "
            f"{FEATURE[modality]}"
        )
    if found.dtype.kind == "U":
        position = {gene: i for i, gene in enumerate(genes)}
        named = np.array([position.get(word, -1) for word in found], dtype=np.int32)
        if any(found) and (named < 0).all():
            first = next(word for word in found if word)
            raise ContractError(
                f"{where} names no gene of the RNA (it has '{first}' and others; the RNA has "
                f"'{genes[0]}' and others); expected names as in the RNA's var, or no such entry"
            )
        return named
    wrong = np.ones(len(found), dtype=bool)
    if found.dtype.kind in "iu":
        wrong = (found < -1) | (found >= len(genes))
    if wrong.any():
        raise ContractError(
            f"{where} holds {found[int(wrong.argmax())]} for {FEATURE[modality]} "
            f"'{part.features[int(wrong.argmax())]}'; expected names of genes, or their positions "
            f"as integers from 0 to {len(genes) - 1}, and -1 for none"
        )
    return found.astype(np.int32)
