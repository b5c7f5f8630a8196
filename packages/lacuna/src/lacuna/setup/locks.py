"""requirements.lock of every stack, stage and model folder, and of the developers' tools.

A lock is compiled from the dependencies in the folder's pyproject.toml, of its stack and of this
repo's packages that go into its environment, and is held to the versions in its stack's lock.
Its first lines hold a hash of exactly those inputs, so whether it is current shows without a
network.
"""

import argparse
import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacuna.setup import tools
from lacuna.setup.common import ROOT, SetupError, relative
from lacuna.setup.registry import model, models, settings, stack_names, stages
from lacuna_contract.errors import suggest

# What Debian 12, the base of the images, runs; a virtual environment takes the same files.
PLATFORM = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
NAME = re.compile(r"[A-Za-z0-9._-]*")  # of a requirement such as scanpy==1.11.5
BASE = ROOT / "containers/base"
COMPILER = ROOT / "containers/compiler"
STACKS = ROOT / "containers/stacks"
SEMICRF = ROOT / "packages/semicrf"


@dataclass(frozen=True)
class Lock:
    """One lock file, what is asked of it, and the locks that bind it."""

    path: Path
    asked: tuple[str, ...]
    bound_by: tuple[Path, ...] = ()
    bare: tuple[str, ...] = ()  # asked for too, but without what it depends on

    @property
    def inputs(self) -> str:
        """A hash of all that the lock is made from."""
        words = (*PLATFORM, *self.asked, "bare", *self.bare)
        total = hashlib.sha256("\n".join(words).encode())
        for path in self.bound_by:
            total.update(hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()

    @property
    def header(self) -> str:
        """The lock's first lines."""
        return f"# Written by bin/lock from pyproject.toml.\n# Made from: sha256:{self.inputs}\n"

    @property
    def current(self) -> bool:
        """Whether the file was made from what is asked now."""
        return self.path.is_file() and self.path.read_text().startswith(self.header)

    def write(self, upgrade: bool = False) -> None:
        """Compile it. Versions stay as they are where they still fit, unless `upgrade`."""
        lines = self._compile(self.asked, upgrade)
        if self.bare:
            lines += self._compile(self.bare, upgrade, "--no-deps")
        self.path.write_text(self.header + lines)

    def _compile(self, asked: Sequence[str], upgrade: bool, *flags: str) -> str:
        command: list[str | Path] = [
            tools.uv(), "pip", "compile", "-", "--generate-hashes", "--no-emit-index-url",
            "--no-annotate", "--no-header", *PLATFORM, *flags,
        ]  # fmt: skip
        for path in self.bound_by:
            command += ["--constraints", path]
        what = f"locking {relative(self.path.parent)}"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / self.path.name
            if self.path.is_file() and not upgrade:
                shutil.copy(self.path, out)  # uv keeps the versions that it finds in its output
            command += ["--quiet", "--output-file", out]
            tools.call(command, what, tools.uv_environment(), stdin="\n".join(asked))
            return out.read_text()


def dependencies(folder: Path, extra: str | None = None) -> tuple[str, ...]:
    """What a folder's pyproject.toml asks for, with one of its optional lists."""
    project: dict[str, Any] = settings(folder).get("project", {})
    more = project.get("optional-dependencies", {}).get(extra, ()) if extra else ()
    return (*project.get("dependencies", ()), *more)


def packages_of(names: Iterable[str]) -> tuple[str, ...]:
    """What this repo's own packages ask for, less each other."""
    own = {p.name for p in (ROOT / "packages").iterdir()}
    asked = (d for name in names for d in dependencies(ROOT / "packages" / name))
    return tuple(d for d in asked if d not in own)


def of_stack(name: str) -> Lock:
    """The lock of a stack, which every folder on it is bound by."""
    folder = STACKS / name
    contract = packages_of(["lacuna-contract"])
    return Lock(folder / "requirements.lock", (*dependencies(folder), *contract))


def of_folder(folder: Path, stack: str, packages: Sequence[str]) -> Lock:
    """The lock of a model or stage: all of its stack, and what it asks for itself.

    All of the stack, because the image has all of it too: the two ways of running hold the same.
    """
    alone = settings(folder).get("tool", {}).get("lacuna", {}).get("without-dependencies", ())
    own = dependencies(folder)
    bare = tuple(d for d in own if NAME.match(d).group() in alone)
    asked = (
        *dependencies(STACKS / stack),
        *packages_of(packages),
        *(d for d in own if d not in bare),
    )
    return Lock(folder / "requirements.lock", asked, (STACKS / stack / "requirements.lock",), bare)


def every_lock(extra: Sequence[str | Path] = ()) -> list[Lock]:
    """Every lock of this clone, those that bind others first."""
    recipes = [r for r in (*stages(), *models(extra)) if r.stack is not None]
    return [
        Lock(BASE / "requirements.lock", dependencies(BASE)),
        Lock(COMPILER / "requirements.lock", dependencies(COMPILER)),
        *(of_stack(name) for name in stack_names()),
        *(of_folder(r.folder, r.stack, r.packages) for r in recipes if r.stack),
        Lock(ROOT / "requirements-dev.lock", dependencies(ROOT, "dev")),
        Lock(
            SEMICRF / "requirements-dev.lock",
            dependencies(SEMICRF, "dev"),
            (STACKS / "torch/requirements.lock",),
        ),
    ]


def _wanted(folders: Sequence[str], extra: Sequence[str | Path]) -> list[Lock]:
    locks = every_lock(extra)
    if not folders:
        return locks
    by_folder = {lock.path.parent.resolve(): lock for lock in locks}
    chosen = []
    for name in folders:
        folder = Path(name).resolve()
        if folder not in by_folder and (folder / "model.json").is_file():
            recipe = model(folder)
            if recipe.stack is None:
                raise SetupError(f"{name} has a Dockerfile of its own: it has no lock")
            by_folder[folder] = of_folder(folder, recipe.stack, recipe.packages)
        if folder not in by_folder:
            raise SetupError(suggest(name, map(relative, by_folder), "folder with a lock"))
        chosen.append(by_folder[folder])
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/lock``."""
    cli = argparse.ArgumentParser(
        description="Write the requirements.lock of these folders (all by default) where it is not "
        "current. A stack's lock binds the locks of its folders: write those after it."
    )
    cli.add_argument("folders", nargs="*", metavar="FOLDER", help="e.g. containers/models/svd")
    cli.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    cli.add_argument("--check", action="store_true", help="write nothing, fail when one is stale")
    cli.add_argument(
        "--models-dir", action="append", default=[], metavar="DIR", help="more model folders"
    )
    asked = cli.parse_args(argv)
    try:
        chosen = _wanted(asked.folders, asked.models_dir)
        if asked.check:
            stale = [relative(lock.path.parent) for lock in chosen if not lock.current]
            if stale:
                raise SetupError(f"locks that are not current: {', '.join(stale)}; run bin/lock")
            return 0
        for lock in chosen:
            # What binds it may have been written a moment ago, so it is asked only now.
            if asked.upgrade or not lock.current:
                lock.write(asked.upgrade)
                print(f"wrote {relative(lock.path)}", file=sys.stderr)
    except SetupError as error:
        print(f"bin/lock: {error}", file=sys.stderr)
        return 1
    return 0
