"""Scoring a segmentation against the true one."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from lacuna import metrics
from lacuna.genome.law import from_text
from lacuna.metrics.comparison import Comparison
from lacuna.metrics.registry import Undefined
from lacuna.tasks.base import Scores
from lacuna.tasks.foreign import FOREIGN, check_self_contained, match
from lacuna.tasks.segmentation.details import details
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError, InvalidOutput
from lacuna_contract.h5ad import open_h5ad, read_names, read_uns
from lacuna_contract.sequences import DECODINGS, Segmentation, Sequences
from lacuna_contract.tasks import segmentation


def evaluate(truth: Path, prediction: Path, names: Sequence[str], drawn: bool = True) -> Scores:
    """Score `prediction` (schema `segmentation_prediction`) by the metrics called `names`; where it
    is to be `drawn`, with the details for that.

    Sequences are matched by name. What is wrong with the prediction raises `InvalidOutput`.
    """
    chosen = metrics.get("segmentation", names)
    check_h5ad(truth, "segmentation_truth")
    with open_h5ad(truth) as file:
        about, rows = read_uns(file), read_names(file, "obs")
        positions, labels = read_names(file, "var"), file["X"][:]
    law = from_text(about["law"], truth)
    answer = read_prediction(prediction, rows, positions, law.classes)
    learned = None if answer.durations is None else np.exp(answer.durations.astype(np.float64))
    found = Comparison(law, labels, answer.labels, answer.boundaries, learned, answer.decodings)
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for metric in chosen:
        try:
            values[metric.name] = float(metric.function(metric.needs.view(found)))
        except Undefined as reason:
            values[metric.name], undefined[metric.name] = None, str(reason)
    kept = details(found) if drawn else {}
    return Scores(values, undefined, about["n_hidden"], "classes", kept)


def read_prediction(
    path: Path, rows: list[str], positions: list[str], classes: Sequence[str]
) -> Segmentation:
    """A prediction, in the order of the truth; `InvalidOutput` for whatever is wrong with it."""
    try:
        with open_h5ad(path) as file:
            check_self_contained(file)
            check_h5ad(path, "segmentation_prediction")
            order = match(read_names(file, "obs"), rows, "sequence")
            if read_names(file, "var") != positions:
                raise ContractError(
                    f"var has other positions than the input: {len(file['var/_index'])} names, "
                    f"expected 0..{len(positions) - 1} in order"
                )
            said = read_uns(file)["classes"]
            if said != ",".join(classes):
                raise ContractError(f"classes are {said}; expected {','.join(classes)}")
            found = _content(file)
        shape = (len(rows), len(positions))
        asked = Sequences(
            np.zeros(shape, dtype=np.uint8),
            np.zeros(shape, dtype=np.int8),
            np.full(len(rows), "test"),
            tuple(classes),
        )
        return _ordered(segmentation.checked(found, asked), order)
    except InvalidOutput:
        raise
    except FOREIGN as error:
        reason = str(error).replace(str(path), path.name)
        raise InvalidOutput(f"the prediction cannot be used: {reason}") from None


def _content(file: h5py.File) -> Segmentation:
    layers = file.get("layers", {})
    decodings = {}
    for name, columns in DECODINGS.items():
        where = f"layers/{name}" if columns is None else f"uns/{name}"
        if where in file:
            decodings[name] = file[where][:]
    return Segmentation(
        file["X"][:],
        layers["boundaries"][:] if "boundaries" in layers else None,
        file["uns/durations"][:] if "uns/durations" in file else None,
        decodings,
    )


def _ordered(found: Segmentation, order: np.ndarray | None) -> Segmentation:
    """The same, its sequences in the order of the truth."""
    if order is None:
        return found
    back = np.argsort(order)  # from a row of the file to one of the truth
    moved = {}
    for name, values in found.decodings.items():
        if DECODINGS[name] is None:
            moved[name] = values[order]
        else:
            rows = back[values[:, 0]].astype(values.dtype)
            moved[name] = np.concatenate([rows[:, None], values[:, 1:]], axis=1)
    probabilities = None if found.boundaries is None else found.boundaries[order]
    return Segmentation(found.labels[order], probabilities, found.durations, moved)
