"""Projects whose stages and models are stand-ins, and the configuration of the real one."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from standin_project import QUICK, ROOT, Project, make


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all tests of a file."""
    return make(tmp_path_factory.mktemp("project"))


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project of one test."""
    folder = tmp_path / "project"
    folder.mkdir()
    return make(folder)


@pytest.fixture(scope="session")
def config():
    """The resolved configuration of profiles, e.g. ``config("gpu,slurm")["process.executor"]``."""

    @cache
    def resolved(profiles: str) -> dict[str, str]:
        chosen = ["-profile", profiles] if profiles else []
        command = [str(ROOT / "bin" / "nextflow"), "config", "-flat", *chosen, "."]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"NXF_OPTS": QUICK},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        pairs = (line.partition(" = ") for line in done.stdout.splitlines())
        return {key.replace("'", ""): value for key, _, value in pairs}

    return resolved
