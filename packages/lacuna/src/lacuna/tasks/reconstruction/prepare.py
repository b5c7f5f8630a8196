"""From raw counts to what a model gets, and what it is scored against."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna import datasets, seeds
from lacuna.counts import import_counts, sized_chunks
from lacuna.tasks.reconstruction import simulated, thinning
from lacuna.tasks.reconstruction.masking import Block, mask
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_column, read_names, read_uns
from lacuna_contract.supervise import sha256
from lacuna_contract.tasks.multimodal import SLOTS

CHUNK_ENTRIES = 2_000_000
BUILT_IN = {"pbmc": datasets.pbmc, "pbmc3k": datasets.pbmc3k, "simulated": simulated.write}


def import_dataset(row: Mapping[str, Any], source: Path | None, output: Path) -> str | None:
    """A built-in dataset, or the counts of a person's own file, in the raw form."""
    if source is None:
        BUILT_IN[row["dataset"]](output)
        return None
    if row.get("task_assumed"):
        _check_counts_alone(source)
    names = ("layer", "cell_type", "symbol", "organism", "subsample")
    options = {name: row.get(name) for name in names}
    return import_counts(source, output, **options, seed=row.get("subsample_seed") or 0)


def _check_counts_alone(source: Path) -> None:
    """`ContractError` for a file that is meant for the task multimodal, as far as one can see."""
    if not h5py.is_hdf5(source):
        return
    with open_h5ad(source) as file:
        there = [slot for name, slot in SLOTS.items() if name != "rna" and slot in file]
    if there:
        raise ContractError(
            f"{source} has {' and '.join(there)} beside the counts, and the sheet does not say the "
            "task: write multimodal into its column 'task', or reconstruction to take the counts "
            "alone"
        )


def prepare(
    condition: Mapping[str, Any], raw: Path, input: Path, truth: Path, salt: str = ""
) -> None:
    """Hide a part of the counts: entries, or, with count_thinning, a part of every entry.

    Nothing that depends on the hidden values, on the run's seed or on the condition's name gets
    into `input`. `truth` names the input that it belongs to by its SHA-256.
    """
    check_h5ad(raw, "reconstruction_raw")
    arguments = dict(condition["arguments"])
    stream = seeds.sequence(condition["seed"], "mask", condition["key"], salt=salt)
    with ExitStack() as stack:
        file = stack.enter_context(open_h5ad(raw))
        cells, genes = read_names(file, "obs"), read_names(file, "var")
        counts = Matrix(file["X"])
        answer = stack.enter_context(H5adWriter(truth, cells, genes))
        truth_x = answer.csr("X", np.float32)
        visible, n_hidden = [], 0
        with H5adWriter(input, cells, genes) as question:
            input_x = question.csr("X", np.float32)
            thinned = arguments["strategy"] == thinning.NAME
            for block in _blocks(counts, raw, arguments, stream):
                input_x.append(block.input)
                truth_x.append(block.truth)
                visible.append(block.visible_total)
                n_hidden += np.prod(block.truth.shape) if thinned else block.truth.nnz
            kind = "thinned" if thinned else "hidden"
            common = {"task": condition["task"], "kind": kind, "n_hidden": int(n_hidden)}
            about = read_uns(file)
            common |= {"organism": about["organism"]} if "organism" in about else {}
            question.uns(common)
            if "var/symbol" in file:
                question.column("var", "symbol", read_column(file, "var", "symbol"))
        answer.column("obs", "visible_total", np.concatenate(visible))
        if "obs/cell_type" in file:
            answer.column("obs", "cell_type", read_column(file, "obs", "cell_type"))
        if law := simulated.read_law(file):
            simulated.write_law(answer, **law)
        answer.uns(common | {"input_sha256": sha256(input), "arguments": arguments})


def _blocks(
    counts: Matrix, raw: Path, arguments: Mapping[str, Any], stream: np.random.SeedSequence
) -> Iterator[Block]:
    rows, percentage = _canonical(counts, raw), arguments["percentage"]
    if arguments["strategy"] == thinning.NAME:
        return thinning.thin(rows, counts.shape, percentage, stream)
    return mask(rows, counts.shape, counts.stored, percentage, arguments["strategy"], stream)


def _canonical(counts: Matrix, path: Path) -> Iterator[sparse.csr_matrix]:
    """The rows; `ContractError` if they are not as the import writes them, because the number of
    stored entries is taken for the number of entries that are not zero."""
    for _, rows in sized_chunks(counts, CHUNK_ENTRIES):
        if not rows.has_canonical_format or not np.all(rows.data):
            raise ContractError(
                f"{path} stores zeros, or columns out of order; expected what `lacuna import` "
                "writes"
            )
        yield rows
