"""uv, where none is on PATH."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lacuna.setup import tools

# What pip does here: takes its time, then leaves a program.
PIP = """
echo run >> {log}
mkdir -p {folder}/bin && sleep 0.5
printf '#!/bin/sh\\necho uv 0.9.9\\n' > {folder}/bin/uv && chmod +x {folder}/bin/uv
"""


def test_two_that_lack_uv_fetch_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools.shutil, "which", lambda _: None)
    pip = lambda folder: ["/bin/sh", "-ec", PIP.format(log=log, folder=folder)]  # noqa: E731
    monkeypatch.setattr(tools, "_pip", pip)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: tools.uv.__wrapped__(), range(2)))
    assert found == [str(tmp_path / "cache/tools/uv/bin/uv")] * 2
    assert log.read_text() == "run\n"
