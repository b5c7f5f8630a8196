"""What plots of a segmentation are drawn from: some kilobytes for each run.

``details`` of metrics.json:

classes, length, tolerance
    Names of the classes, positions of a sequence, and those by which a boundary may be off.
durations
    By class: ``ends`` of bins that are even on a logarithmic axis; the share of complete segments
    in each bin of the ``truth`` and of the ``prediction``, and the mass of the ``reference``, their
    law within a window; of the ``learned`` durations and of the plain ``law``, where a model has
    any; ``n_true`` and ``n_predicted``; ``kl`` and the ``floor`` that perfect predictions have,
    null with a ``reason`` where they are not defined.
strip
    Of the first sequences: ends and classes of their segments, true and predicted.
near
    ``[tolerance, F1]`` of boundaries.
calibration
    By bin of the predicted probability of a boundary; empty where a model gives none.
"""

from typing import Any

import numpy as np

from lacuna.metrics.comparison import TOLERANCE, Comparison
from lacuna.metrics.durations import shares
from lacuna.metrics.registry import Undefined

BINS = 36
SHOWN = 3
#: Segments of a strip; a strip with more could not be told apart.
MOST_SEGMENTS = 400
TOLERANCES = (0, 1, 2, 5, 10, 20, 50, 100)


def details(found: Comparison) -> dict[str, Any]:
    """The JSON; see the module's text."""
    return {
        "classes": list(found.classes),
        "length": found.length,
        "tolerance": TOLERANCE,
        "durations": {name: _durations(found, name) for name in found.classes},
        "strip": _strip(found),
        "near": _near(found),
        "calibration": [] if found.probabilities is None else found.calibration,
    }


def edges(longest: int) -> np.ndarray:
    """Last durations of bins that are about even on a logarithmic axis from 1 to `longest`."""
    return np.unique(np.rint(np.geomspace(1, longest, BINS + 1)).astype(np.int64))


def _durations(found: Comparison, name: str) -> dict[str, Any]:
    law = found.law.durations[name]
    ends = edges(law.high)

    def mass(values: np.ndarray) -> list[float]:
        cumulative = np.append(0.0, values.cumsum())
        inside = cumulative[np.minimum(ends, len(values))]
        return [_short(value) for value in np.diff(inside, prepend=0.0)]

    true, predicted = found.true_durations(name), found.durations(name)
    made = {
        "ends": ends.tolist(),
        "truth": mass(shares(true)),
        "prediction": mass(shares(predicted)),
        "reference": mass(law.in_window(found.length)),
        "n_true": len(true),
        "n_predicted": len(predicted),
        "kl": None,
        "floor": None,
    }
    if found.learned is not None:
        made["learned"] = mass(found.learned[:, found.number(name)])
        made["law"] = mass(law.probabilities)
    try:
        made["kl"], made["floor"] = (
            _short(value) for value in (found.duration_kl(name), found.duration_floor(name))
        )
    except Undefined as reason:
        made["reason"] = str(reason)
    return made


def _strip(found: Comparison) -> list[dict[str, Any]]:
    shown = []
    for row in range(min(SHOWN, len(found.truth))):
        both = {}
        for key, labels in (("truth", found.truth[row]), ("prediction", found.labels[row])):
            ends = np.append(np.flatnonzero(np.diff(labels)) + 1, len(labels))[:MOST_SEGMENTS]
            both[key] = {"ends": ends.tolist(), "classes": labels[ends - 1].tolist()}
        shown.append(both)
    return shown


def _near(found: Comparison) -> list[list[float]]:
    made = []
    for tolerance in TOLERANCES:
        try:
            made.append([tolerance, _short(found.boundary_f1(tolerance).score)])
        except Undefined:
            continue
    return made


def _short(value: float) -> float:
    return float(f"{value:.5g}")
