"""Which implementation runs: modules with partition, marginals, viterbi, sample, entropy."""

from __future__ import annotations

import importlib
from types import ModuleType

from ._inputs import Potentials

NAMES = ("auto", "reference", "cpu", "triton")


def choose(name: str, p: Potentials) -> ModuleType:
    """The module for a backend's name, or an error that says why it cannot run on `p`.

    "auto" is "cpu" for CPU tensors, "triton" for CUDA tensors, "reference" elsewhere.
    """
    device = p.emissions.device.type
    if name == "auto":
        name = {"cpu": "cpu", "cuda": "triton"}.get(device, "reference")
    if name == "reference":
        return importlib.import_module(".reference", __package__)
    if name in ("cpu", "triton"):
        module = importlib.import_module(f".{name}", __package__)
        reason = module.why_not(device)
        if reason:
            raise RuntimeError(f'backend "{name}" cannot run: {reason}')
        return module
    raise ValueError(f"backend={name!r}; there are: {', '.join(NAMES)}")
