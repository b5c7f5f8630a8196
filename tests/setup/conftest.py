from pathlib import Path

import pytest
from clones import Clone, make_clone


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone with two models, `one` and `two`."""
    return make_clone(tmp_path)
