"""``make run``: set up what is missing, then the default benchmark, in Docker where that is had."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lacuna.setup import debian, environments, images, nextflow
from lacuna.setup.common import ROOT, SetupError
from lacuna.setup.registry import Recipe, models, select, stages

# What is run unless the command line says otherwise.
DEFAULTS = {
    "--datasets": "pbmc",
    "--mask_percentages": "0.15,0.30",
    "--seeds": "1,2,3",
    "--models": "core",
}
ENGINES = ("docker", "podman", "venv")
HELP = f"""usage: bin/run [--engine auto|docker|podman|venv] [arguments of the pipeline]

Set up what is missing and run the benchmark: {" ".join(f"{k} {v}" for k, v in DEFAULTS.items())}.
Any of these, and every other argument that the pipeline knows, can be given:
bin/nextflow run main.nf --help lists them. $LACUNA_ENGINE stands in for --engine.
"""


def value(words: Sequence[str], name: str) -> str | None:
    """The value of an option in a command line, ``--name value`` or ``--name=value``."""
    found = None
    for here, following in zip(words, [*words, None][1:], strict=True):
        if here == name:
            found = following
        elif here.startswith(f"{name}="):
            found = here.partition("=")[2]
    return found


def choose(asked: str) -> str:
    """The engine to run with. Says which and why."""
    if asked != "auto":
        if asked not in ENGINES:
            raise SetupError(f"unknown engine '{asked}'. There are: auto, {', '.join(ENGINES)}")
        why = "as asked"
        chosen = asked
    else:
        try:
            obstacle = debian.obstacle(images.Engine("docker").builder)
        except SetupError as error:
            obstacle = str(error)
        chosen = "venv" if obstacle else "docker"
        why = obstacle or "its engine answers"
    isolation = ": no model is isolated from the truth" if chosen == "venv" else ""
    print(f"Running with {chosen} ({why}){isolation}", file=sys.stderr)
    return chosen


def set_up(engine: str, recipes: Sequence[Recipe], registry: str | None = None) -> None:
    """Make what is missing of the images or environments."""
    if engine == "venv":
        environments.build_all(recipes)
    elif registry is None:
        images.build_all(images.in_containers(recipes), images.Engine(engine))


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/run``."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "-h" in words:
        print(HELP)
        return 0
    asked = value(words, "--engine") or os.environ.get("LACUNA_ENGINE") or "auto"
    if "--engine" in words:
        at = words.index("--engine")
        del words[at : at + 2]
    words = [w for w in words if not w.startswith("--engine=")]
    profiles = (value(words, "-profile") or "").split(",")
    named = [p for p in profiles if p in ENGINES]
    own_room = value(words, "--models_dir")
    begin = time.monotonic()
    try:
        chosen = select(models([own_room] if own_room else []), value(words, "--models") or "core")
        engine = choose(named[0] if named else asked)
        set_up(engine, [*stages(), *chosen], value(words, "--registry"))
        start = nextflow.command()
    except SetupError as error:
        print(f"bin/run: {error}", file=sys.stderr)
        return 1
    print(f"Set up after {time.monotonic() - begin:.0f} s", file=sys.stderr)
    words = pipeline(words, engine if not named else None)
    sys.stdout.flush()
    return os.execv(start[0], [*start, *words])  # never returns


def pipeline(words: Sequence[str], engine: str | None) -> list[str]:
    """Nextflow's own arguments: what was given, and the defaults of what was not."""
    command = ["run", str(ROOT / "main.nf")]
    for name, default in DEFAULTS.items():
        # A sheet of one's own datasets is run in the place of the default one, not beside it.
        instead = value(words, "--sheet") if name == "--datasets" else None
        if value(words, name) is None and instead is None:
            command += [name, default]
    profile = value(words, "-profile")
    words = list(words)
    if engine and profile:
        words[words.index("-profile") + 1] = f"{engine},{profile}"
    elif engine:
        command += ["-profile", engine]
    if "-resume" not in words and Path(".nextflow/history").is_file():
        command.append("-resume")
    if "-ansi-log" not in words and not sys.stdout.isatty():
        command += ["-ansi-log", "false"]
    return [*command, *words]
