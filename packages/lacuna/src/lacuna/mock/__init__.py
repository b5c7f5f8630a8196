"""Mock multimodal data with known truth, hidden in the ways of the scenarios.

>>> from lacuna.mock import generate_mock_dataset
>>> adata, keys, truth = generate_mock_dataset("bridge", seed=42, return_truth=True)
"""

import importlib
from typing import Any

# The commands do without anndata, which takes longer to import than a small dataset to make.
_HOME = {
    "SCENARIOS": "scenarios",
    "Cohort": "scenarios",
    "Config": "config",
    "Scenario": "scenarios",
    "Settings": "settings",
    "Truth": "truth",
    "apply_scenario": "apply",
    "check_dataset": "check",
    "generate_mock_dataset": "dataset",
    "read_config": "config",
    "read_plan": "files",
    "read_truth": "files",
    "write_config": "config",
    "write_mock": "files",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"lacuna.mock.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lacuna.mock' has no attribute '{name}'")
