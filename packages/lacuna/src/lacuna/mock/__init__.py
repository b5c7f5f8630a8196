"""Mock multimodal data with known truth, hidden in the ways of the scenarios.

>>> from lacuna.mock import generate_mock_dataset
>>> adata, keys, truth = generate_mock_dataset("bridge", seed=42, return_truth=True)
"""

from lacuna.mock.apply import apply_scenario
from lacuna.mock.check import check_dataset
from lacuna.mock.config import Config, read_config, write_config
from lacuna.mock.dataset import Truth, generate_mock_dataset
from lacuna.mock.files import read_plan, read_truth, write_mock
from lacuna.mock.scenarios import SCENARIOS, Cohort, Scenario
from lacuna.mock.settings import Settings

__all__ = [
    "SCENARIOS",
    "Cohort",
    "Config",
    "Scenario",
    "Settings",
    "Truth",
    "apply_scenario",
    "check_dataset",
    "generate_mock_dataset",
    "read_config",
    "read_plan",
    "read_truth",
    "write_config",
    "write_mock",
]
