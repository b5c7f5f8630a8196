"""The Debian that the base image starts from: pulled, or made by debootstrap where it cannot be."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lacuna.cache import cache_dir
from lacuna.setup import tools
from lacuna.setup.common import SetupError

RELEASE = "bookworm"
PULLED = f"debian:{RELEASE}-slim"
MADE = f"lacuna/debian:{RELEASE}"
PULL_SECONDS = 300
# What Debian's own slim image leaves out too.
LEFT_OUT = (
    "usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*",
    "var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*",
)  # fmt: skip


def image(program: str) -> str:
    """The image to start from: one that is there, one from the hub, or one made here.

    Raises SetupError that names what each way lacks.
    """
    for name in (MADE, PULLED):
        if _has(program, name):
            return name
    print(f"Pulling {PULLED}", file=sys.stderr)
    refused = _pull(program)
    if refused is None:
        return PULLED
    if lacking := _lacking():
        raise SetupError(
            f"no base image: {PULLED} cannot be pulled ({refused}), nor made by debootstrap "
            f"({lacking})"
        )
    print(f"Pulling failed ({refused}); making it with debootstrap", file=sys.stderr)
    make(program)
    return MADE


def obstacle(program: str) -> str | None:
    """Why no Debian can be had, or None. What can be pulled is pulled."""
    if _has(program, MADE) or _has(program, PULLED):
        return None
    lacking = _lacking()
    # Making one needs no answer from the hub, and a pull that hangs would hold up the decision.
    if lacking is None or (refused := _pull(program)) is None:
        return None
    return f"{PULLED} cannot be pulled ({refused}) nor made ({lacking})"


def make(program: str) -> None:
    """Make a minimal Debian with debootstrap and import it. Needs root."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        root = Path(folder) / "root"
        log = cache_dir() / "debootstrap.log"
        tools.call(
            ["debootstrap", "--variant=minbase", RELEASE, root], "debootstrap",
            env={"PATH": _path()}, log=log,
        )  # fmt: skip
        sources = root / "etc/apt/sources.list"
        main = sources.read_text().strip()
        fixes = main.replace(f"/debian {RELEASE} ", f"/debian-security {RELEASE}-security ")
        sources.write_text(f"{main}\n{fixes}\n" if fixes != main else f"{main}\n")
        excluded = [f"--exclude=./{pattern}" for pattern in LEFT_OUT]
        with subprocess.Popen(
            ["tar", "-C", str(root), *excluded, "-c", "."], stdout=subprocess.PIPE
        ) as packing:
            done = subprocess.run(
                [program, "import", "-", MADE],
                stdin=packing.stdout, capture_output=True, text=True, check=False,
            )  # fmt: skip
        if done.returncode or packing.returncode:
            raise SetupError(f"importing the Debian that debootstrap made failed: {done.stderr}")


def _path() -> str:
    # debootstrap lies in /usr/sbin, which is on root's PATH and often on nobody else's.
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _lacking() -> str | None:
    if shutil.which("debootstrap", path=_path()) is None:
        return "debootstrap is not installed"
    return "debootstrap needs root" if os.geteuid() else None


def _has(program: str, name: str) -> bool:
    found = subprocess.run([program, "image", "inspect", name], capture_output=True, check=False)
    return found.returncode == 0


def _pull(program: str) -> str | None:
    """Why it cannot be pulled, or None when it was."""
    try:
        done = subprocess.run(
            [program, "pull", "--quiet", PULLED],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=PULL_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {PULL_SECONDS} s"
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    return lines[-1] if done.returncode else None
