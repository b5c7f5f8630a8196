"""bin/nextflow takes the one on PATH where it is new enough, and says what is missing."""

import os
import subprocess
from pathlib import Path

import pytest

from lacuna.cache import cache_dir
from lacuna.setup.nextflow import java

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.path.realpath("/proc/self/exe")).parent


def program(folder: Path, name: str, says: str, stream: int = 1) -> None:
    """A stand-in that prints its arguments, or its version when asked."""
    path = folder / name
    version = f"-v|-version) echo '{says}' >&{stream};;"
    path.write_text(f'#!/bin/sh\ncase $1 in {version} *) echo {name} "$@";; esac\n')
    path.chmod(0o755)


def start(path: list[Path], cache: Path, *words: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k not in ("JAVA_HOME", "NXF_JAVA_HOME")}
    env |= {"PATH": ":".join(map(str, path)), "LACUNA_CACHE": str(cache)}
    return subprocess.run(
        [PYTHON / "python3.11", ROOT / "bin/nextflow", *words],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """An empty folder of programs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def test_help_fetches_nothing(tools: Path, tmp_path: Path) -> None:
    done = start([tools], tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bin/nextflow run main.nf --help" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]


def test_the_one_on_path_is_used(tools: Path, tmp_path: Path) -> None:
    program(tools, "nextflow", "nextflow version 25.10.4.10000")
    done = start([tools, Path("/bin")], tmp_path, "run", "main.nf")
    assert done.stdout == "nextflow run main.nf\n"


def test_nothing_is_written_outside_of_the_cache(tmp_path: Path) -> None:
    """By the Nextflow of the cache itself, in a home folder of its own."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    own = {"HOME": str(home), "JAVA_TOOL_OPTIONS": f"-Duser.home={home}"}
    own |= {
        "LACUNA_CACHE": str(cache_dir()),
        "NXF_JAVA_HOME": str(Path(java()).resolve().parents[1]),
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith("NXF_")}
    done = subprocess.run(
        [PYTHON / "python3.11", ROOT / "bin/nextflow", "info"],
        env=env | own | {"PATH": "/bin"}, cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Version: 24.10.0" in done.stdout
    assert list(home.iterdir()) == []
    assert {path.name for path in here.iterdir()} <= {".nextflow.log", ".nextflow"}


def test_an_old_one_on_path_is_left_aside(tools: Path, tmp_path: Path) -> None:
    program(tools, "nextflow", "nextflow version 23.04.1.5866")
    program(tools, "java", 'openjdk version "17.0.15" 2025-04-15', stream=2)
    (tmp_path / "nextflow/24.10.0").mkdir(parents=True)
    done = start([tools, Path("/bin")], tmp_path, "run", "main.nf")
    assert "version 23.04; expected 24.10 or newer" in done.stderr
    assert done.stdout.startswith("java ")
    assert done.stdout.endswith("nextflow.cli.Launcher run main.nf\n")
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in done.stdout


def test_a_plug_in_that_cannot_be_had_is_named(tools: Path, tmp_path: Path) -> None:
    program(tools, "java", 'openjdk version "17.0.15" 2025-04-15', stream=2)
    (tmp_path / "nextflow/24.10.0").mkdir(parents=True)
    words = ["run", "main.nf", "-profile", "gpu, awsbatch"]
    done = start([tools], tmp_path, *words)
    room = tmp_path / "nextflow/home/plugins"
    assert done.returncode == 1
    assert f"profile awsbatch needs Nextflow's plug-in nf-amazon: {room} has none" in done.stderr
    (room / "nf-amazon-2.9.0").mkdir(parents=True)
    assert start([tools], tmp_path, *words).stdout.startswith("java ")


def test_a_nextflow_that_downloads_its_plug_ins_is_started(tools: Path, tmp_path: Path) -> None:
    program(tools, "nextflow", "nextflow version 25.10.4.10000")
    done = start([tools, Path("/bin")], tmp_path, "run", "main.nf", "-profile", "awsbatch")
    assert done.stdout == "nextflow run main.nf -profile awsbatch\n"


def test_a_java_too_old_is_named(tools: Path, tmp_path: Path) -> None:
    program(tools, "java", 'java version "1.8.0_402"', stream=2)
    done = start([tools], tmp_path, "-version")
    assert done.returncode == 1
    assert "Nextflow 24.10.0 needs Java 17 to 24" in done.stderr
    assert "is 8. Set JAVA_HOME" in done.stderr


def test_missing_java_and_maven_are_named(tools: Path, tmp_path: Path) -> None:
    assert "there is none on PATH" in start([tools], tmp_path, "-version").stderr
    program(tools, "java", 'openjdk version "21.0.1"', stream=2)
    done = start([tools], tmp_path, "-version")
    assert done.returncode == 1
    assert "mvn is not on PATH. Install Maven, or put a nextflow" in done.stderr
