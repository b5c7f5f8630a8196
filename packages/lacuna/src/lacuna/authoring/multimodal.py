"""Small mock inputs of the task `multimodal`, for the check of a model."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from lacuna import metrics
from lacuna.authoring.cases import Case
from lacuna.tasks.multimodal import TASK
from lacuna.tasks.multimodal.evaluate import Truth
from lacuna_contract.h5ad import open_h5ad, read_names
from lacuna_contract.tasks.multimodal import MODALITIES

ERROR_METRIC = "adt_rmse_log"  # about the same for the same data in another order
SPACE_METRIC = "adt_rmse_log"  # low only if the values are what they are declared to be
MAY_DECLINE = True  # a method for paired cells has nothing to learn from where there are none
# Share of the gap between floor and ceiling that is no win: on so few cells, values in the wrong
# order come to 4 % of it in a correlation.
LUCK = 0.1
LEVEL_TODO = (
    "RNA is to be expected counts, not logarithms or shares, at the depth that the cell would have"
)
SIZES = {"cells": 240, "genes": 120, "peaks": 300, "proteins": 12}


def metric_names() -> list[str]:
    """The metrics to compute: what is imputed, and of the embedding what needs no compiler."""
    known = metrics.of_task("multimodal").values()
    return [metric.name for metric in known if metric.needs != "embedding"] + ["z_distance"]


def part_of(metric: metrics.Metric) -> str:
    """The part of a prediction that a metric scores, each of which has to be better than nothing
    clever. Not each modality: on so few cells, a fine model may learn nothing of rare peaks."""
    return "embedding" if metric.needs == "embedding" else "imputed values"


def cases(folder: Path) -> Iterator[Case]:
    """Write the inputs and truths into `folder`; the first is the plain one, with every
    modality hidden in some cells."""
    raw = folder / "raw.h5ad"
    folder.mkdir(parents=True, exist_ok=True)
    TASK.import_dataset({"dataset": "mock"}, None, raw)
    for scenario, what in (
        ("mosaic", "240 cells, each with some of RNA, ATAC and ADT"),
        ("prediction", "test cells without ATAC, training cells with everything"),
        ("paired", "RNA and ADT of every cell: nothing to predict"),
        ("bridge", "cells with RNA or ATAC, a few with both, no ADT"),
        ("unpaired", "cells with RNA or ATAC, none with both"),
        ("hierarchical", "three studies that differ"),
    ):
        arguments = {"scenario": scenario, **SIZES}
        case = Case(scenario, what, folder / scenario, arguments, level=scenario == "bridge")
        yield _write(case, raw)
    few = {"scenario": "mosaic", "cells": 40, "genes": 60, "peaks": 80, "proteins": 3}
    case = Case("few", "40 cells, more genes than cells", folder / "few", few)
    yield _write(case, raw)


def _write(case: Case, raw: Path) -> Case:
    case.folder.mkdir(parents=True)
    TASK.prepare(case.condition("multimodal"), raw, case.input, case.truth, "")
    return case


def read(prediction: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Cells, modalities and values (the embedding, then what was imputed) of a prediction."""
    with open_h5ad(prediction) as file:
        given = file.get("uns/imputed", {})
        names = [m for m in MODALITIES if m in given]
        parts = [file["obsm/X_embedding"][:], *(given[m]["values"][:] for m in names)]
        return read_names(file, "obs"), names, np.concatenate([part.ravel() for part in parts])


def level(prediction: Path, truth: Path) -> tuple[float, float]:
    """Mean of the predicted and of the true RNA counts."""
    with open_h5ad(truth) as answer, open_h5ad(prediction) as given:
        return (
            float(given["uns/imputed/rna/values"][:].mean()),
            float(Truth(answer).values("rna").mean()),
        )


def in_other_space(prediction: Path, copy: Path) -> tuple[str, str, str]:
    """Copy a prediction as if its ADT were intensities and not their logarithms. Returns what is
    said of the one, the other, and what to do if that fits better."""
    copy.write_bytes(prediction.read_bytes())
    with h5py.File(copy, "r+") as file:
        values = file["uns/imputed/adt/values"]
        values[:] = np.log1p(np.maximum(values[:], 0))
    return "ADT as it is returned", "its log1p", "return log1p of ADT intensities"
