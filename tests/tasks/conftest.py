import pytest
from posing import SCENARIOS, posed


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Input and truth of every scenario of the task multimodal; not to be changed."""
    folder = tmp_path_factory.mktemp("pairs")
    return {scenario: posed(folder, scenario) for scenario in SCENARIOS}
