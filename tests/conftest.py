"""What all tests share: a container engine, and what `make test` leaves out."""

import os

import pytest

from lacuna.setup.common import SetupError
from lacuna.setup.images import Engine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also what only `make test-all` runs")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_all: takes long; `make test-all` runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    left_out = [item for item in items if item.get_closest_marker("only_all")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def docker() -> str:
    """The docker client to call.

    Skips where no engine answers; with LACUNA_EXPECT_DOCKER=1, as in CI, that is a failure.
    """
    try:
        return Engine("docker").program
    except SetupError as error:
        if os.environ.get("LACUNA_EXPECT_DOCKER") == "1":
            pytest.fail(f"LACUNA_EXPECT_DOCKER=1, and {error}")
        pytest.skip(str(error))
