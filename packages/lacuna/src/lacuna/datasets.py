"""Dataset sheets, and the two real datasets of counts that Lacuna knows how to get. (A third,
`simulated`, it draws itself: `tasks.reconstruction.simulated`.)
"""

import csv
import importlib.util
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna.cache import cache_dir
from lacuna.counts import Frame, import_counts, open_counts
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad
from lacuna_contract.schema import errors, load

PBMC = "datasets/10x_pbmc68k_reduced.h5ad"
PBMC3K = "https://falexwolf.de/data/pbmc3k_raw.h5ad"
#: What the file is known by: its publisher gives no checksum.
PBMC3K_SHAPE = (2_700, 32_738)
PBMC3K_FIRST = ("AAACATACAACCAC-1", "MIR1302-10")
#: How far a value may be from a whole number to be taken for it; in `pbmc` all are within 0.12.
ROUNDING = 0.2
#: What may stand between the columns of a dataset sheet; the first that its header has does.
SEPARATORS = (",", ";", "\t")


def read_sheet(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a dataset sheet: ``{"dataset", "path", ...}``, a key for each column of schema
    `dataset_sheet` that is filled in. `ContractError` lists all that is wrong with the sheet, by
    line. Whether the files exist is not looked at.
    """
    path = Path(path)
    if not path.is_file():
        raise ContractError(f"{path}: no such dataset sheet")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError(f"{path} is not a CSV in UTF-8: {error}") from None
    item = load("dataset_sheet")["items"]
    known = list(item["properties"])
    # Spreadsheets write a semicolon where the comma is the decimal sign.
    first = text.partition("\n")[0]
    between = next((sign for sign in SEPARATORS if sign in first), ",")
    lines = csv.DictReader(text.splitlines(), restkey="", skipinitialspace=True, delimiter=between)
    header = [name.strip() for name in lines.fieldnames or []]
    problems = [suggest(name, known, "column") for name in header if name not in known]
    problems += [f"column '{name}' is given twice" for name in known if header.count(name) > 1]
    missing = [name for name in item["required"] if name not in header]
    problems += [f"column '{name}' is missing; there are: {', '.join(header)}" for name in missing]
    if problems:
        raise ContractError(f"{path}: " + "\n  ".join(problems))
    lines.fieldnames = header
    rows, seen = [], {}
    for cells in lines:
        where = f"line {lines.line_num}"
        if "" in cells:
            problems.append(f"{where}: more values than columns: {cells['']}")
            continue
        row = {k: v.strip() for k, v in cells.items() if v and v.strip()}
        # The schema is of the whole sheet; a person knows the row by its line.
        found = (text.removeprefix("[0]").lstrip(".: ") for text in errors([row], "dataset_sheet"))
        problems += [f"{where}: {text}" for text in found]
        name = row.get("dataset")
        if name in seen:
            problems.append(f"{where}: dataset '{name}' is there already, in line {seen[name]}")
        seen[name] = lines.line_num
        rows.append(row)
    if not rows and not problems:
        problems.append("the sheet has no rows")
    if problems:
        raise ContractError(f"{path}: " + "\n  ".join(problems))
    return rows


def locate(row: dict[str, Any], sheet: str | Path) -> str:
    """The file of a row, relative paths being relative to the sheet, and ~ the home folder."""
    source = row["path"]
    if source.startswith("~/"):
        return str(Path.home() / source[2:])
    if "://" in source or os.path.isabs(source):
        return source
    return str(Path(sheet).parent / source)


def pbmc(output: str | Path) -> None:
    """700 real PBMC (10x Genomics, Zheng et al. 2017, doi 10.1038/ncomms14049) x 765 genes.

    The file is a part of the scanpy package; scanpy itself is not imported. Its ``raw.X`` is
    log1p of counts scaled per cell. The scale of a cell is its smallest value that is not zero,
    which is one count, so the counts come back exactly; `ContractError` if they do not.
    """
    package = importlib.util.find_spec("scanpy")
    folders = package.submodule_search_locations if package else None
    path = next((p for f in folders or [] if (p := Path(f) / PBMC).is_file()), None)
    if path is None:
        raise ContractError(
            "dataset 'pbmc' comes with the package scanpy, which is not installed here: "
            "pip install 'scanpy>=1.10,<2', or run the pipeline, whose stages have it"
        )
    with open_h5ad(path) as file:
        scaled = Matrix(file["raw.X"]).rows(0, file["raw.X"].attrs["h5sparse_shape"][0])
        cells = Frame(file, "obs").names()
        genes = [name.decode() for name in file["raw.var"]["index"]]
        types = Frame(file, "obs").text("bulk_labels")
    with H5adWriter(output, cells, genes) as writer:
        writer.csr("X", np.float32).append(unscale(scaled))
        writer.column("obs", "cell_type", types)
        writer.uns({"organism": "human"})


def unscale(logged: sparse.csr_matrix) -> sparse.csr_matrix:
    """Whole counts from log1p of counts that were scaled per cell, given that each cell's smallest
    value is one count. `ContractError` where a result is not near a whole number."""
    values = np.expm1(logged.data.astype(np.float64))
    per_row = np.diff(logged.indptr)
    if (per_row == 0).any():
        raise ContractError(f"{int((per_row == 0).sum())} cells have no counts to scale by")
    smallest = np.minimum.reduceat(values, logged.indptr[:-1])
    values /= np.repeat(smallest, per_row)
    whole = np.rint(values)
    worst = float(np.abs(values - whole).max())
    if worst > ROUNDING:
        raise ContractError(
            f"counts cannot be recovered: a value is {worst:.2f} from a whole number"
        )
    parts = (whole.astype(np.float32), logged.indices, logged.indptr)
    rows = sparse.csr_matrix(parts, shape=logged.shape)
    rows.sort_indices()
    return rows


def pbmc3k(output: str | Path) -> None:
    """2,700 PBMC x 32,738 genes (10x Genomics), raw counts. Downloaded once, then kept in the
    user's cache; beside `output` where there is no cache to write to, as in a container. A file
    that is not it, by its shape and first names, is a `ContractError`.
    """
    kept = cache_dir() / "datasets" / "pbmc3k_raw.h5ad"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(kept.parent, os.W_OK)
    except OSError:
        writable = False
    path = kept if writable or kept.is_file() else Path(output).with_name(kept.name)
    if not path.is_file():
        download(PBMC3K, path, "pbmc3k")
    _check_pbmc3k(path)
    import_counts(path, output, organism="human")


def _check_pbmc3k(path: Path) -> None:
    with open_h5ad(path) as file:
        found = open_counts(file)
        shape, first = (len(found.cells), len(found.genes)), (found.cells[0], found.genes[0])
    if (shape, first) != (PBMC3K_SHAPE, PBMC3K_FIRST):
        raise ContractError(
            f"{path} is not the dataset 'pbmc3k': it has {shape[0]} cells x {shape[1]} genes, the "
            f"first called {first[0]} and {first[1]}; expected {PBMC3K_SHAPE[0]} x "
            f"{PBMC3K_SHAPE[1]}, {PBMC3K_FIRST[0]} and {PBMC3K_FIRST[1]}. Remove the file, and it "
            f"is downloaded again from {PBMC3K}"
        )


def download(url: str, path: Path, dataset: str) -> None:
    """Fetch `url` into `path`; the file appears only when it is whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with urllib.request.urlopen(url, timeout=30) as answer, partial.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
        with h5py.File(partial):
            pass
    except (OSError, urllib.error.URLError) as error:
        partial.unlink(missing_ok=True)
        raise ContractError(
            f"dataset '{dataset}' could not be downloaded from {url} ({error}). Without a network, "
            f"put the file at {path}, use dataset 'pbmc', which is there offline, or name a file "
            "of your own in a dataset sheet"
        ) from None
    partial.replace(path)
