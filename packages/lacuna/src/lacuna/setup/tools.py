"""Programs that the set-up calls: found on PATH, or put into Lacuna's own cache."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lacuna.cache import cache_dir
from lacuna.setup.common import SetupError, alone

UV_NEEDED = (0, 5)
UV = "uv>=0.9,<1"


def call(
    command: Sequence[str | Path], what: str, env: Mapping[str, str] | None = None,
    cwd: Path | None = None, stdin: str | None = None, log: Path | None = None,
) -> str:  # fmt: skip
    """Run a command and return what it prints; SetupError with the end of its output when it fails.

    `env` is added to the environment. With `log`, all of the output goes to that file as it comes,
    and nothing is returned.
    """
    words = [str(word) for word in command]
    full = {**os.environ, **(env or {})}
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        if log is None:
            done = subprocess.run(
                words, env=full, cwd=cwd, capture_output=True, text=True, check=False, **source
            )
            out, said = done.stdout, done.stdout + done.stderr
        else:
            with log.open("w") as sink:
                done = subprocess.run(
                    words, env=full, cwd=cwd, stdout=sink, stderr=sink, text=True, check=False,
                    **source,
                )  # fmt: skip
            out, said = "", log.read_text(errors="replace")
    except OSError as error:
        raise SetupError(f"{what}: cannot run {words[0]}: {error.strerror}") from None
    if done.returncode:
        end = "\n".join(f"  {line}" for line in said.strip().splitlines()[-25:])
        where = f" (all of it: {log})" if log else ""
        raise SetupError(f"{what} failed with exit code {done.returncode}{where}:\n{end}")
    return out


def uv_version(program: str | Path) -> tuple[int, ...] | None:
    """The version of a uv, e.g. (0, 9, 2). None when it is none or does not start."""
    try:
        done = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    found = re.match(r"uv (\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found and not done.returncode else None


@functools.cache
def uv() -> str:
    """The uv to use: the one on PATH, else one that pip puts into the cache."""
    on_path = shutil.which("uv")
    if on_path and (uv_version(on_path) or ()) >= UV_NEEDED:
        return on_path
    folder = cache_dir() / "tools" / "uv"
    program = folder / "bin" / "uv"
    with alone(folder.with_name("uv.lock")):
        if not uv_version(program):
            _fetch_uv(folder)
    if not uv_version(program):
        raise SetupError(f"pip installed uv, but {program} does not start")
    return str(program)


def _fetch_uv(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pip = _pip(folder)
    if pip is None:
        raise SetupError(
            "uv is not on PATH, and this Python has neither venv nor pip to fetch it with. Install "
            "uv (docs.astral.sh/uv), or your system's python3-venv package, and start again."
        )
    print("Fetching uv into", folder, file=sys.stderr)
    call([*pip, UV], "fetching uv", env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def _pip(folder: Path) -> list[str] | None:
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(folder)], capture_output=True, check=False
    )
    if made.returncode == 0:
        return [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    # Debian's python3 has no ensurepip unless python3-venv is installed, but may have pip.
    shutil.rmtree(folder, ignore_errors=True)
    there = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, check=False
    )
    if there.returncode:
        return None
    return [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]


def uv_environment() -> dict[str, str]:
    """What uv is told wherever it runs: Pythons go into the cache; packages, if on another disk."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    told = {"UV_NO_PROGRESS": "1"}
    if "UV_PYTHON_INSTALL_DIR" not in os.environ:
        told["UV_PYTHON_INSTALL_DIR"] = str(cache / "python")
    # Environments share their files with uv's cache by hard links, which cannot cross disks.
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if "UV_CACHE_DIR" not in os.environ and (
        not home.is_dir() or home.stat().st_dev != cache.stat().st_dev
    ):
        told["UV_CACHE_DIR"] = str(cache / "packages")
    return told
