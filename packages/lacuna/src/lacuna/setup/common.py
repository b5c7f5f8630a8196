"""Where things lie, how they are named, and the error that all of the set-up raises."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[5]
JUNK = {"__pycache__", ".venv", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".git"}
# Not installed in any image, so a change to it must not make results stale.
NOT_INSTALLED = {"lacuna": {"setup"}}


class SetupError(Exception):
    """Something that a person has to mend before anything can be run. The message says what."""


def revision() -> str | None:
    """The commit of this clone, with "-dirty" behind it where tracked files differ; None where it
    is no clone, or git does not say."""
    if not (ROOT / ".git").exists():
        return None
    describe = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold the lock that is this file; its holder's death releases it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def files(folder: Path, without: Iterable[str] = ()) -> Iterator[Path]:
    """A folder's files in a fixed order, less byte code, caches and, at its top, `without`."""
    for path in sorted(folder.iterdir()):
        if path.name in JUNK or path.name in without or path.suffix in {".pyc", ".pyo"}:
            continue
        # A developer's own build of a kernel is none of the sources; see setup/kernels.py.
        if path.name.endswith(".egg-info") or re.fullmatch(r"_kernel\..*so", path.name):
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def digest(parts: dict[str, Path | str]) -> str:
    """Twelve hex digits for named parts: a file, a folder, or the digest of what it builds on.

    Each file counts with its path inside its part, whether it can be executed, and its bytes.
    """
    total = hashlib.sha256()

    def add(name: str, mode: str, content: bytes) -> None:
        # The content's own hash has a fixed length, so no two lists of files read alike.
        total.update(f"{name}\0{mode}\0{hashlib.sha256(content).hexdigest()}\n".encode())

    for label, part in sorted(parts.items()):
        if isinstance(part, str):
            add(label, "digest", part.encode())
            continue
        folder = part if part.is_dir() else part.parent
        for path in files(part, NOT_INSTALLED.get(label, ())) if part.is_dir() else [part]:
            mode = "x" if os.access(path, os.X_OK) else "-"
            add(f"{label}/{path.relative_to(folder).as_posix()}", mode, path.read_bytes())
    return total.hexdigest()[:12]


def image_name(label: str, tag: str, registry: str | None = None) -> str:
    """``lacuna/<label>:<tag>``, below a registry where one is given."""
    prefix = f"{registry.rstrip('/')}/" if registry else ""
    return f"{prefix}lacuna/{label}:{tag}"


def relative(path: Path) -> str:
    """A path as a person at the root of the clone would type it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def copy(folder: Path, to: Path, without: Iterable[str] = ()) -> None:
    """Copy what `files` sees of a folder, with the right to execute."""
    to.mkdir(parents=True, exist_ok=True)
    for path in files(folder, without):
        target = to / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
