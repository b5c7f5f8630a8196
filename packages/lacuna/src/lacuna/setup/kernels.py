"""The compiled kernels of this repo's packages, made once for images and environments alike.

A package with ``csrc/<package>.cpp`` gets a ``_kernel.so``: a plain shared library that knows
neither Python nor any other package, for x86-64 and the C library of 2018 or later, with its C++
library inside. The compiler is a locked package, so no machine needs one of its own, images hold
none, and the same sources make the same library everywhere.
"""

import os
import shutil
from pathlib import Path

from lacuna.cache import cache_dir
from lacuna.setup import tools
from lacuna.setup.common import ROOT, alone, digest

COMPILER = ROOT / "containers/compiler"
TARGET = "x86_64-linux-gnu.2.28"
#: As in packages/semicrf/setup.py.
FLAGS = (
    "-O3", "-g0", "-std=c++17", "-fno-math-errno", "-fvisibility-inlines-hidden", "-Wno-psabi",
    "-Wno-unknown-pragmas", "-pthread",
)  # fmt: skip
NAME = "_kernel.so"


def source(package: Path) -> Path | None:
    """What an import package's kernel is compiled from; None where it has none."""
    found = package / "csrc" / f"{package.name}.cpp"
    return found if found.is_file() else None


def recipe() -> dict[str, Path | str]:
    """What says how kernels are made, for digests."""
    return {"compiler": COMPILER, "kernels": Path(__file__)}


def build(package: Path) -> Path | None:
    """The compiled kernel of an import package, in the cache; None where it has none.

    Raises SetupError with the end of what the compiler printed.
    """
    code = source(package)
    if code is None:
        return None
    name = digest({"csrc": code.parent, **recipe()})
    made = cache_dir() / "kernels" / f"{package.name}-{name}.so"
    with alone(made.with_suffix(".lock")):
        if made.is_file():
            return made
        python = _compiler()
        half = made.with_suffix(f".{os.getpid()}.so")
        told = {
            key: str(cache_dir() / "zig") for key in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
        }
        command = [
            python, "-m", "ziglang", "c++", "-target", TARGET, "-shared", "-fPIC", "-s", *FLAGS,
            code, "-o", half,
        ]  # fmt: skip
        tools.call(command, f"compiling the kernel of {package.name}", told)
        half.rename(made)
        shutil.rmtree(cache_dir() / "zig", ignore_errors=True)
    return made


def _compiler() -> Path:
    """The Python of an environment that holds the compiler."""
    env = cache_dir() / "tools" / f"compiler-{digest({'compiler': COMPILER})}"
    python = env / "bin/python"
    if not python.is_file():
        told, uv = tools.uv_environment(), tools.uv()
        half = env.with_name(f".{env.name}.{os.getpid()}")
        tools.call([uv, "venv", "--quiet", "--relocatable", half], "the compiler", told)
        tools.call(
            [uv, "pip", "install", "--python", half / "bin/python", "--no-deps",
             "--require-hashes", "-r", COMPILER / "requirements.lock"],
            "installing the compiler", told,
        )  # fmt: skip
        half.rename(env)
    return python
