"""``bin/nextflow``: the Nextflow on PATH where it is new enough, else one of Lacuna's own.

Its own is the newest release that is whole on Maven Central, so that neither an installer nor a
registry of plug-ins has to be reached.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lacuna.cache import cache_dir
from lacuna.setup import tools
from lacuna.setup.common import ROOT, SetupError

OLDEST = (24, 10)
OWN = "24.10.0"
STRICT_PARSER = "25.04.0"
JAVA = (17, 24)  # the newest is what Nextflow 24.10's Groovy still reads
# What the official launcher opens. Without them a pipeline runs, but -resume finds no cached task.
OPENED = """
    java.lang java.io java.nio java.net java.util java.util.concurrent.locks
    java.util.concurrent.atomic sun.nio.ch sun.nio.fs sun.net.www.protocol.http
    sun.net.www.protocol.https sun.net.www.protocol.ftp sun.net.www.protocol.file
    jdk.internal.misc jdk.internal.vm java.util.regex
"""
# What a place needs that is no part of Nextflow itself, by profile.
PLUGINS = {"awsbatch": "nf-amazon", "google": "nf-google"}
HELP = f"""usage: bin/nextflow WORDS

Start Nextflow with these words: the one on PATH where that is new enough, else {OWN}, which is
fetched with Maven into Lacuna's cache at the first start.

  bin/nextflow run main.nf --help    the pipeline's parameters and profiles
  bin/nextflow -h                    Nextflow's own options and commands
"""
POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>lacuna</groupId><artifactId>fetch</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>io.nextflow</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
  </dependency></dependencies>
</project>
"""


def on_path() -> str | None:
    """The nextflow on PATH, when it starts and is new enough."""
    program = shutil.which("nextflow")
    if program is None or Path(program).resolve() == (ROOT / "bin/nextflow").resolve():
        return None
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+)\.(\d+)", done.stdout)
    if found and tuple(map(int, found.groups())) >= OLDEST:
        return program
    said = found.group() if found else f"it does not start (exit code {done.returncode})"
    print(f"bin/nextflow: leaving {program}: {said}; expected 24.10 or newer", file=sys.stderr)
    return None


def java() -> str:
    """A Java that runs Nextflow. Raises SetupError when there is none."""
    home = os.environ.get("NXF_JAVA_HOME") or os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if program is None:
        where = f"in {home}/bin" if home else "on PATH"
        raise SetupError(f"Nextflow needs Java {JAVA[0]} or newer, and there is none {where}")
    done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    version = int(found.group(1)) if found else None
    if version is None or not JAVA[0] <= version <= JAVA[1]:
        raise SetupError(
            f"Nextflow {OWN} needs Java {JAVA[0]} to {JAVA[1]}, and {program} is "
            f"{version or 'not one that starts'}. Set JAVA_HOME to another."
        )
    return program


def jars(artifact: str, version: str) -> Path:
    """The folder of a library and of all that it needs, fetched by Maven where it is not there."""
    folder = cache_dir() / artifact / version
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise SetupError(
            f"{artifact} {version} is fetched with Maven, and mvn is not on PATH. Install Maven, "
            "or put a nextflow (24.10 or newer) on PATH."
        )
    print(f"Fetching {artifact} {version} into {folder}", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as half:
        pom = Path(half) / "pom.xml"
        pom.write_text(POM.format(artifact=artifact, version=version))
        tools.call(
            [maven, "--batch-mode", "--quiet", "--file", pom, "dependency:copy-dependencies",
             "-DincludeScope=runtime", f"-DoutputDirectory={half}/jars"],
            f"fetching {artifact} {version} with Maven",
        )  # fmt: skip
        try:
            (Path(half) / "jars").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def command() -> list[str]:
    """The words that start Nextflow. Fetches it where that is needed."""
    if program := on_path():
        return [program]
    # In the cache, and not in ~/.nextflow: nothing outside the clone and the cache is touched.
    os.environ.setdefault("NXF_HOME", str(cache_dir() / "nextflow" / "home"))
    os.environ.setdefault("NXF_OFFLINE", "true")
    os.environ.setdefault("NXF_VER", OWN)
    program = java()
    folder = jars("nextflow", OWN)
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED.split()]
    options = os.environ.get("NXF_OPTS", "").split()
    classes = ["-cp", f"{folder}/*"]
    return [program, "-XX:+TieredCompilation", *opened, *options, *classes, "nextflow.cli.Launcher"]


def profiles(words: Sequence[str]) -> list[str]:
    """The profiles of a command line, ``-profile name,name`` or ``-profile=name,name``."""
    options = [w.partition("=")[2] for w in words if w.startswith("-profile=")]
    options += ([*words, ""][i + 1] for i, word in enumerate(words) if word == "-profile")
    return [name.strip() for names in options for name in names.split(",") if name.strip()]


def check_plugins(names: Sequence[str]) -> None:
    """SetupError where a profile needs a plug-in that is not there and will not be downloaded."""
    if os.environ.get("NXF_OFFLINE", "").lower() != "true":
        return
    home = os.environ.get("NXF_HOME") or Path.home() / ".nextflow"
    room = Path(os.environ.get("NXF_PLUGINS_DIR") or Path(home) / "plugins")
    for name in names:
        plugin = PLUGINS.get(name)
        if plugin and not list(room.glob(f"{plugin}-*")):
            raise SetupError(
                f"profile {name} needs Nextflow's plug-in {plugin}: {room} has none, and this "
                "Nextflow is offline (NXF_OFFLINE=true). Put a nextflow of your own on PATH, which "
                f"downloads it, or the unpacked plug-in into {room}/{plugin}-VERSION"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/nextflow``."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--help"]:  # which Nextflow itself does not know
        print(HELP, end="")
        return 0
    try:
        start = command()
        if "run" in words:
            check_plugins(profiles(words))
    except SetupError as error:
        print(f"bin/nextflow: {error}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    return os.execv(start[0], [*start, *words])  # never returns
