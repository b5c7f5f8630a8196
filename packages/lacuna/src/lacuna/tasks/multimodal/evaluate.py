"""Scoring a prediction against the hidden modalities."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from lacuna import metrics
from lacuna.metrics.registry import Undefined
from lacuna.tasks.base import Scores
from lacuna.tasks.foreign import FOREIGN, check_self_contained, match
from lacuna.tasks.multimodal.details import picture, summary
from lacuna.tasks.multimodal.embedding import Known, Space
from lacuna_contract.descriptor import describe
from lacuna_contract.errors import ContractError, InvalidOutput
from lacuna_contract.h5ad import (
    Matrix,
    open_h5ad,
    read_column,
    read_names,
    read_strings,
    read_uns,
)
from lacuna_contract.schema import validate
from lacuna_contract.tasks.multimodal import (
    MODALITIES,
    SLOTS,
    check_embedding,
    check_modalities,
    check_values,
    feature_names,
    read_asked,
)


def evaluate(truth: Path, prediction: Path, names: Sequence[str], drawn: bool = True) -> Scores:
    """Score `prediction` (schema `multimodal_prediction`) by the metrics called `names`; where it
    is to be `drawn`, with the details for that, of which the picture takes seconds.

    Cells and features are matched by name. What is wrong with the prediction raises
    `InvalidOutput`, and no score is returned.
    """
    chosen = metrics.get("multimodal", names)
    validate(describe(truth), "multimodal_truth", where=truth)
    with open_h5ad(truth) as file:
        answer = Truth(file)
        embedding, imputed = read_prediction(prediction, answer)
        pairs = {}
        for modality, one in answer.asked.items():
            # The other row of a twin shows what this one hides.
            alone = answer.known.twin[one.cells] < 0
            if alone.any():
                pairs[modality] = answer.values(modality)[alone], imputed[modality][alone]
    space = Space(embedding, answer.known)
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for metric in chosen:
        try:
            values[metric.name] = _finite(metric.function(*_given(metric.needs, pairs, space)))
        except Undefined as reason:
            values[metric.name], undefined[metric.name] = None, str(reason)
    details = {}
    if drawn:
        details = summary(answer.known, pairs, answer.split)
        if (drawing := picture(embedding, answer.known)) is not None:
            details["picture"] = drawing
    scored = sum(values.size for values, _ in pairs.values())
    return Scores(values, undefined, scored, "counts, probability, log", details)


def _given(needs: str, pairs: dict[str, Any], space: Space) -> tuple:
    if needs == "embedding":
        return (space,)
    if needs not in pairs:
        raise Undefined(f"nothing of this modality ({needs}) is hidden and asked for")
    return pairs[needs]


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise Undefined(f"it is {value} for these values")
    return float(value)


class Posed:
    """What is asked for, as an input and its truth both have it."""

    def __init__(self, file: h5py.File):
        self._file = file
        self.cells = read_names(file, "obs")
        self.asked = read_asked(file)

    def features(self, modality: str) -> list[str]:
        """The names of the features that are asked for."""
        every = feature_names(self._file, modality)
        return [every[j] for j in self.asked[modality].features]


class Truth(Posed):
    """The hidden values. A file that breaks the contract here is a bug of ours, and raises."""

    def __init__(self, file: h5py.File):
        super().__init__(file)
        about = read_uns(file)
        self.split = np.array(read_column(file, "obs", "split"))
        there = file["obs"]
        flags = [read_column(file, "obs", f"has_{m}") for m in MODALITIES]
        self.known = Known(
            cluster=np.array(read_column(file, "obs", "cluster")) if "cluster" in there else None,
            z=file["obsm/z"][:] if "obsm/z" in file else None,
            twin=np.asarray(read_column(file, "obs", "twin")),
            no_twins=about.get("no_twins"),
            has=np.column_stack(flags).astype(bool),
            batch=np.array(read_column(file, "obs", "batch")),
        )

    def values(self, modality: str) -> np.ndarray:
        """The hidden values that are asked for, dense (asked cells, asked features)."""
        one = self.asked[modality]
        rows = sparse.csr_matrix(Matrix(self._file[SLOTS[modality]]).take(one.cells))
        return rows[:, one.features].toarray()


def read_prediction(path: Path, answer: Posed) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The embedding of all cells, and the predictions, in the order of what was asked for;
    `InvalidOutput` where the file is no such prediction."""
    try:
        with open_h5ad(path) as file:
            check_self_contained(file)
            validate(describe(path), "multimodal_prediction", where=path.name)
            order = match(read_names(file, "obs"), answer.cells, "cell")
            embedding = check_embedding(file["obsm/X_embedding"][:], len(answer.cells))
            given = file.get("uns/imputed", {})
            check_modalities(dict.fromkeys(given), answer.asked)
            imputed = {m: _imputed(given[m], m, answer) for m in answer.asked}
    except InvalidOutput:
        raise
    except FOREIGN as error:
        said = str(error).replace(str(path), path.name)
        raise InvalidOutput(
            said if isinstance(error, ContractError) else f"unreadable: {said}"
        ) from None
    return embedding if order is None else embedding[order], imputed


def _imputed(group: h5py.Group, modality: str, answer: Posed) -> np.ndarray:
    one = answer.asked[modality]
    values = check_values(modality, group["values"][:], one.shape)
    wanted = [answer.cells[i] for i in one.cells]
    rows = match(read_strings(group["cells"]), wanted, "cell")
    columns = match(read_strings(group["features"]), answer.features(modality), "feature")
    values = values if rows is None else values[rows]
    return values if columns is None else values[:, columns]
