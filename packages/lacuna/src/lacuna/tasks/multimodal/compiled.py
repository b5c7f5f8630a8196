"""Where jax and numba keep what they compile for the scIB metrics and for UMAP.

Compiling takes minutes, computing seconds. An image of the stage brings what was compiled when it
was built (`lacuna.tasks.multimodal.warm`), in the folder ``$LACUNA_COMPILED``; elsewhere it is kept
in the user's cache.
"""

import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from lacuna.cache import cache_dir


@functools.cache
def keep() -> None:
    """Say to jax and numba where. To be called before either is imported: they read it once."""
    shipped = os.environ.get("LACUNA_COMPILED")
    place = writable(Path(shipped) if shipped else cache_dir() / "compiled")
    if shipped:
        # The base image has a folder for models, in /tmp and empty.
        os.environ["NUMBA_CACHE_DIR"] = str(place / "numba")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(place / "numba"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(place / f"jax-{processor()}"))
    # There are some hundred functions, each of which is compiled in less than the usual second.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def writable(wanted: Path) -> Path:
    """`wanted` if it can be written to, else a copy that can: numba does not read elsewhere."""
    there = next(path for path in (wanted, *wanted.parents) if path.exists())
    if os.access(there, os.W_OK):
        return wanted
    copy = Path(tempfile.gettempdir()) / f"lacuna-compiled-{os.getuid()}"
    if wanted.is_dir():
        shutil.copytree(wanted, copy, dirs_exist_ok=True)
    return copy


def processor() -> str:
    """What this machine's processor is, as a short digest: one of another kind need not have the
    instructions that jax compiled for. (numba looks by itself.)"""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except FileNotFoundError:
        told = ""
    words = [line for line in told.splitlines() if line.startswith(("flags", "Features"))]
    return hashlib.sha256((words or [""])[0].encode()).hexdigest()[:12]
