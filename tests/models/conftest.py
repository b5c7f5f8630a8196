from pathlib import Path

import pytest
from trained import FEW, mock, train


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> Path:
    """The configuration of a tiny mosaic."""
    return mock(tmp_path_factory.mktemp("few"), "mosaic", *FEW)


@pytest.fixture(scope="session")
def whole(few, tmp_path_factory) -> Path:
    """The folder of a run of six epochs on it."""
    out = tmp_path_factory.mktemp("whole")
    assert train(few, out, "epochs=6", "save_every=2") == 0
    return out
