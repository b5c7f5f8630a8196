"""Which implementation runs: modules with log_partition, posteriors, curvature, viterbi, sample."""

from __future__ import annotations

import importlib
from types import ModuleType

from ._inputs import Potentials

NAMES = ("auto", "reference", "cpu", "triton")


def resolve(name: str, device: str) -> str:
    """The backend that a name means for tensors of a device type.

    "auto" is "cpu" for CPU tensors, "triton" for CUDA tensors, "reference" elsewhere.
    """
    if name not in NAMES:
        raise ValueError(f"backend={name!r}; there are: {', '.join(NAMES)}")
    return {"cpu": "cpu", "cuda": "triton"}.get(device, "reference") if name == "auto" else name


def choose(name: str, p: Potentials) -> ModuleType:
    """The module for a backend's name, or an error that says why it cannot run on `p`."""
    device = p.emissions.device.type
    name = resolve(name, device)
    module = importlib.import_module(f".{name}", __package__)
    reason = module.why_not(device)
    if reason:
        raise RuntimeError(f'backend "{name}" cannot run: {reason}')
    return module
