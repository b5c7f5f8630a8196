"""From a dataset, or from a seed, to what a model gets and what it is scored against."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna import seeds
from lacuna.mock import Settings, write_mock
from lacuna.mock.generate import hide
from lacuna.tasks.multimodal.conditions import HOLDOUT
from lacuna.tasks.multimodal.question import (
    Cells,
    Question,
    ask_all,
    hide_part,
    hide_scenario,
    pose,
)
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, NotApplicable
from lacuna_contract.h5ad import (
    H5adWriter,
    Matrix,
    open_h5ad,
    read_column,
    read_names,
    read_strings,
    read_uns,
)
from lacuna_contract.supervise import sha256
from lacuna_contract.tasks.multimodal import MODALITIES, SLOTS, Asked

CHUNK = 512


def prepare(
    condition: Mapping[str, Any], raw: Path, input: Path, truth: Path, salt: str = ""
) -> str | None:
    """Make the cells of a mock dataset, or take those that were measured, and hide modalities.

    All scenarios of a seed have the same mock cells. Nothing that depends on hidden values, on the
    run's seed or on the condition's name gets into `input`. `NotApplicable` where the cells cannot
    have a scenario that is wanted only `if_possible`, and `ContractError` where they must. Returns
    what a person should know of the condition, or None.
    """
    about = check_h5ad(raw, "multimodal_raw")["uns"]
    arguments = dict(condition["arguments"])
    seed, name = condition["seed"], arguments["scenario"]
    rng = np.random.default_rng(seeds.sequence(seed, "hide", condition["key"], salt=salt))
    if about["kind"] == "measured":
        with open_h5ad(raw) as file:
            cells = _cells(file, shifted=True)
            try:
                if name == HOLDOUT:
                    seen, target, note = hide_part(cells, rng), None, None
                else:
                    target = arguments.get("target")
                    seen, target, note = hide_scenario(cells, name, target, rng)
            except ContractError as error:
                if condition.get("if_possible"):
                    raise NotApplicable(str(error)) from None
                raise
            _pose(file, seen, rng, _with_target(arguments, target), input, truth)
        return note
    sequence = seeds.sequence(seed, "mock", condition["dataset"], salt=salt)
    settings = Settings(
        problem=name,
        **{f"n_{size}": arguments[size] for size in ("cells", "genes", "peaks", "proteins")},
        seed=int(sequence.generate_state(1)[0] >> 1),
        target=arguments.get("target"),
    )
    with TemporaryDirectory(dir=truth.parent, prefix=".mock") as room:
        whole = Path(room, "whole.h5ad")
        write_mock(Path(room, "seen.h5ad"), settings, truth=whole, labels=False)
        row = settings.scenario()
        with open_h5ad(whole) as file:
            cells = _cells(file, shifted=bool(row.study_shift or row.batch_shift))
            seen = replace(cells, measured=np.ones_like(cells.keep))
            _pose(file, seen, rng, _with_target(arguments, row.target), input, truth)
    return None


def _with_target(arguments: Mapping[str, Any], target: str | None) -> dict[str, Any]:
    """Arguments as the truth keeps them: run-evaluation picks by them, by the usual target too."""
    return {**arguments, **({"target": target} if target else {})}


def _cells(file: h5py.File, shifted: bool) -> Cells:
    has = np.column_stack([read_column(file, "obs", f"has_{m}") for m in MODALITIES]).astype(bool)
    text = (np.array(read_column(file, "obs", k), object) for k in ("batch", "dataset", "split"))
    return Cells(has, has, *text, shifted=shifted)


def _pose(
    file: h5py.File,
    cells: Cells,
    rng: np.random.Generator,
    arguments: Mapping[str, Any],
    input: Path,
    truth: Path,
) -> None:
    stored = _stored(file)
    question = pose(cells, _widths(stored), rng)
    names = [f"cell_{i}" for i in range(len(question.source))]
    _write_input(input, file, question, names)
    digest = sha256(input)
    kept = read_uns(file)
    about = _about(question) | {"kind": kept["kind"], "input_sha256": digest}
    about |= {"arguments": dict(arguments)}
    about |= {"no_twins": question.no_twins} if question.no_twins else {}
    about |= {"settings": kept["settings"]} if "settings" in kept else {}
    with H5adWriter(truth, names, read_names(file, "var")) as out:
        _copy(out, stored, question, _hidden, dense=())
        _columns(out, question)
        out.column("obs", "twin", question.twin)
        for key in ("cluster", "batch_number", "dataset_number", "cluster_number"):
            if key in file["obs"]:
                values = np.asarray(read_column(file, "obs", key))
                out.column("obs", key, values[question.source])
        for key in ("z", "depth"):
            if f"obsm/{key}" in file:
                out.array(f"obsm/{key}", file[f"obsm/{key}"][:][question.source])
        for modality, key in (("atac", "peak"), ("adt", "adt")):
            if modality in stored:
                width, text = stored[modality].shape[1], f"uns/{key}_names"
                given = read_strings(file[text]) if text in file else None
                out.array(text, given or [f"{key}_{j}" for j in range(width)])
                if f"uns/{key}_gene" in file:
                    out.array(f"uns/{key}_gene", file[f"uns/{key}_gene"][:])
        _write_asked(out, question.asked)
        out.uns(about)
    with h5py.File(truth, "r+") as answer:
        for group in ("law", "cohorts"):
            if f"uns/{group}" in file:
                file.copy(f"uns/{group}", answer["uns"])


def write_as_it_is(raw: Path, input: Path) -> None:
    """A raw dataset as a model gets it, with nothing hidden: asked for is what cells lack."""
    with open_h5ad(raw) as file:
        question = ask_all(_cells(file, shifted=True), _widths(_stored(file)))
        _write_input(input, file, question, read_names(file, "obs"))


def _write_input(input: Path, file: h5py.File, question: Question, names: Sequence[str]) -> None:
    stored = _stored(file)
    # X is always there, empty where no cell shows its RNA.
    shown = {m: x for m, x in stored.items() if m == "rna" or _observed(question, m)}
    with H5adWriter(input, names, read_names(file, "var")) as out:
        _copy(out, shown, question, _visible, dense=("adt",))
        _columns(out, question)
        for key in ("adt_names", "peak_names", "peak_gene", "adt_gene"):
            modality = "adt" if key.startswith("adt") else "atac"
            if modality in shown and key in file["uns"]:
                _copy_feature_column(out, file, key)
        _write_asked(out, question.asked)
        out.uns(_about(question))


def _about(question: Question) -> dict[str, Any]:
    return {"task": "multimodal", "n_hidden": question.n_hidden}


def _stored(file: h5py.File) -> dict[str, Matrix]:
    return {m: Matrix(file[slot]) for m, slot in SLOTS.items() if slot in file}


def _widths(stored: Mapping[str, Matrix]) -> dict[str, int]:
    return {m: matrix.shape[1] for m, matrix in stored.items()}


def _observed(question: Question, modality: str) -> bool:
    return bool(question.keep[:, MODALITIES.index(modality)].any())


def _copy_feature_column(out: H5adWriter, file: h5py.File, key: str) -> None:
    stored = file[f"uns/{key}"]
    text = h5py.check_string_dtype(stored.dtype)
    out.array(f"uns/{key}", read_strings(stored) if text else stored[:])


def _columns(out: H5adWriter, question: Question) -> None:
    for name in ("batch", "dataset", "split"):
        out.column("obs", name, list(getattr(question, name)))
    for column, modality in enumerate(MODALITIES):
        out.column("obs", f"has_{modality}", question.keep[:, column])


def _write_asked(out: H5adWriter, asked: Mapping[str, Asked]) -> None:
    for modality, one in asked.items():
        for part in ("cells", "features"):
            out.array(f"uns/asked/{modality}/{part}", getattr(one, part).astype(np.int32))


def _copy(out: H5adWriter, stored: Mapping[str, Matrix], question: Question, part, dense) -> None:
    """Write the rows of the question, of each matrix the `part` that belongs into a file."""
    for modality, matrix in stored.items():
        width, slot = matrix.shape[1], SLOTS[modality]
        wide = modality in dense
        target = out.dense(slot, np.float32, width) if wide else out.csr(slot, np.float32, width)
        for start in range(0, len(question.source), CHUNK):
            stop = min(start + CHUNK, len(question.source))
            rows = sparse.csr_matrix(matrix.take(question.source[start:stop]), dtype=np.float32)
            rows.sort_indices()
            found = part(question, modality, rows, start, stop)
            target.append(found.toarray() if wide else found)


def _visible(
    question: Question, modality: str, rows: sparse.csr_matrix, start: int, stop: int
) -> sparse.csr_matrix:
    return hide(rows, question.keep[start:stop, MODALITIES.index(modality)])


def _hidden(
    question: Question, modality: str, rows: sparse.csr_matrix, start: int, stop: int
) -> sparse.csr_matrix:
    one = question.asked.get(modality)
    if one is None:
        return sparse.csr_matrix(rows.shape, dtype=np.float32)
    found = hide(rows, np.isin(np.arange(start, stop), one.cells))
    wanted = np.zeros(rows.shape[1], dtype=bool)
    wanted[one.features] = True
    found.data[~wanted[found.indices]] = 0
    found.eliminate_zeros()
    return found
