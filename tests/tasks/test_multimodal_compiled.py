"""Where the evaluation of embeddings keeps what jax and numba compile."""

import os
import subprocess
import sys

import pytest

from lacuna.tasks.multimodal import compiled

SAY = """
import os
from lacuna.tasks.multimodal.compiled import keep
keep()
print(os.environ["NUMBA_CACHE_DIR"], os.environ["JAX_COMPILATION_CACHE_DIR"])
"""


def said(**environment):
    """What numba and jax are told by a process with this environment."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_C", "JAX_"))}
    done = subprocess.run(
        [sys.executable, "-c", SAY], env=base | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_an_image_brings_it_whatever_numba_is_told_for_models(tmp_path):
    numba, jax = said(LACUNA_COMPILED=str(tmp_path), NUMBA_CACHE_DIR="/tmp/numba")
    assert numba == f"{tmp_path}/numba"
    assert jax == f"{tmp_path}/jax-{compiled.processor()}"


def test_elsewhere_it_is_in_the_cache_and_a_person_may_choose(tmp_path):
    cache = str(tmp_path / "cache")
    assert said(LACUNA_CACHE=cache)[0] == f"{cache}/compiled/numba"
    assert said(LACUNA_CACHE=cache, NUMBA_CACHE_DIR="/mine")[0] == "/mine"


def test_an_image_that_cannot_be_written_to_is_copied(tmp_path, monkeypatch):
    shipped, room = tmp_path / "shipped", tmp_path / "room"
    (shipped / "numba").mkdir(parents=True)
    (shipped / "numba/index.nbi").write_text("compiled")
    room.mkdir()
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(room))
    assert compiled.writable(shipped) == shipped
    # Root may write anywhere.
    monkeypatch.setattr(compiled.os, "access", lambda path, mode: room in (path, *path.parents))
    copy = compiled.writable(shipped)
    assert copy.parent == room
    assert (copy / "numba/index.nbi").read_text() == "compiled"


def test_processors_are_told_apart(tmp_path, monkeypatch):
    found = set()
    for flags in ("sse avx", "sse avx avx512f"):
        monkeypatch.setattr(compiled.Path, "read_text", lambda _, flags=flags: f"flags : {flags}\n")
        found.add(compiled.processor())
    assert len(found) == 2


@pytest.mark.only_all
def test_warming_leaves_what_was_compiled(tmp_path):
    pytest.importorskip("scib_metrics")
    environment = os.environ | {"LACUNA_COMPILED": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-m", "lacuna.tasks.multimodal.warm"], env=environment, check=True
    )
    assert list(tmp_path.glob("numba/*/*.nbi"))
    assert list(tmp_path.glob(f"jax-{compiled.processor()}/*"))
