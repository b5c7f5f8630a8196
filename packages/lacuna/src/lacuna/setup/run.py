"""``make run``: set up what is missing, then the default benchmark, in Docker where that is had."""

import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lacuna.parameters import words as split
from lacuna.setup import debian, environments, images, nextflow
from lacuna.setup.common import ROOT, SetupError
from lacuna.setup.registry import Recipe, models, needed, select, tasks_of
from lacuna_contract.errors import suggest

# What is run unless the command line says otherwise.
DEFAULTS = {
    "--tasks": "all",
    "--mask_percentages": "0.15,0.30",
    "--seeds": "1,2,3",
    "--scenario_seeds": "1",
    # Segmentation in some minutes of two cores, too little for a good model: an eighth of the steps
    # in docs/segmentation_models.md. 24 test sequences have, in 99 of 100 draws, the 20 complete
    # introns that a divergence of their durations needs.
    "--lengths": "10000",
    "--num_train": "256",
    "--num_val": "16",
    "--num_test": "24",
    "--models": "core",
}
# As in lib/Paths.groovy, which says why.
UNFIT = "$*?[]{}\n"
ENGINES = ("docker", "podman", "apptainer", "venv")
HELP = f"""usage: bin/run [--engine auto|{"|".join(ENGINES)}] [arguments of the pipeline]

Set up what is missing and run the benchmark: {" ".join(f"{k} {v}" for k, v in DEFAULTS.items())}.
Each of these can be given, and whatever else Nextflow (-profile, -c, -work-dir) and the pipeline
know. What an earlier run in the same folder has done already is taken from there (-resume).
$LACUNA_ENGINE stands in for --engine. The pipeline's parameters:
"""


def parameters() -> dict[str, dict[str, Any]]:
    """The pipeline's parameters by name, as ``nextflow_schema.json`` describes them."""
    groups = json.loads((ROOT / "nextflow_schema.json").read_text())["$defs"].values()
    return {name: spec for group in groups for name, spec in group["properties"].items()}


def shown() -> dict[str, str]:
    """What a person may type, and what it means."""
    return {f"--{n}": s["description"] for n, s in parameters().items() if not s.get("hidden")}


def check(words: Sequence[str]) -> None:
    """SetupError for every name that the pipeline would refuse after minutes of set-up."""
    known = parameters()
    names = [word.partition("=")[0] for word in words]
    # With one dash it would be an option of Nextflow, which has none of these names.
    wrong = [n for n in names if n.startswith("--") and n[2:] not in known or n[1:] in known]
    if stray := _stray(words):
        raise SetupError(
            f"unexpected word '{stray}': parameters are given by name, such as --models {stray}"
        )
    if wrong:
        raise SetupError("\n".join(suggest(n, shown(), "parameter") for n in wrong))


def check_paths(words: Sequence[str]) -> None:
    """SetupError for every folder that the pipeline would refuse after minutes of set-up."""
    work = value(words, "-work-dir") or value(words, "-w") or os.environ.get("NXF_WORK") or "work"
    places = {"Lacuna is in": ROOT, "this is started from": Path.cwd(), "tasks are run in": work}
    wrong = [
        f"{what} {path}: Nextflow cannot handle {' '.join(found)} in a path; give it another name"
        for what, path in places.items()
        if (found := [sign for sign in UNFIT if sign in str(path)])
    ]
    if wrong:
        raise SetupError("\n".join(wrong))


def _stray(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor can be an option's value."""
    before = ["", *words]
    for earlier, word in zip(before, words, strict=False):
        can_be_value = earlier.startswith("-") and "=" not in earlier
        if not word.startswith("-") and not can_be_value:
            return word
    return None


def busy(folder: Path) -> bool:
    """Whether the run that -resume would continue in a folder is still going."""
    history = folder / ".nextflow/history"
    sessions = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", history.read_text())
    lock = folder / ".nextflow/cache" / (sessions[-1] if sessions else "none") / "db/LOCK"
    if not lock.is_file():
        return False
    with lock.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def value(words: Sequence[str], name: str) -> str | None:
    """The value of an option in a command line, ``--name value`` or ``--name=value``."""
    found = None
    for here, following in zip(words, [*words, None][1:], strict=True):
        if here == name:
            found = following
        elif here.startswith(f"{name}="):
            found = here.partition("=")[2]
    return found


def without(words: Sequence[str], name: str) -> list[str]:
    """A command line less an option and its value, however that is given."""
    before = ["", *words]
    pairs = zip(before, words, strict=False)
    return [w for b, w in pairs if name not in (b, w.partition("=")[0])]


def from_file(words: Sequence[str]) -> list[str]:
    """What a -params-file says, as if it were typed. Values in YAML are those on one line, as all
    of the pipeline's are. Not to be passed on: a salt lies in a file so that it is in no command.
    """
    name = value(words, "-params-file")
    if name is None:
        return []
    if not Path(name).is_file():
        raise SetupError(f"-params-file {name}: there is no such file")
    text = Path(name).read_text()
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        lines = re.findall(r"^(\w+) *: *(.*?) *(?:#.*)?$", text, re.MULTILINE)
        given = {key: found.strip("\"'") for key, found in lines}
    if not isinstance(given, dict):
        raise SetupError(f"-params-file {name}: expected names and values, not a list")
    return [f"--{key}={found}" for key, found in given.items()]


def choose(asked: str, registry: str | None = None) -> str:
    """The engine to run with. Says which and why."""
    if asked == "apptainer" and not registry:
        raise SetupError(
            "apptainer pulls its images: build and push them with bin/build-images --push "
            "--registry R, and name the same with --registry R"
        )
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
    if {"-h", "-help", "--help"} & set(words):
        print(HELP)
        for name, text in shown().items():
            print(f"  {name:20}{text}")
        return 0
    asked = value(words, "--engine") or os.environ.get("LACUNA_ENGINE") or "auto"
    words = without(words, "--engine")
    profiles = nextflow.profiles(words)
    named = [p for p in profiles if p in ENGINES]
    begin = time.monotonic()
    try:
        given = [*from_file(words), *words]
        check(given)
        check_paths(words)
        if len(set(named)) > 1:
            raise SetupError(f"-profile names several engines: {', '.join(named)}; take one")
        own_room, registry = value(given, "--models_dir"), value(given, "--registry")
        found = models([own_room] if own_room else [])
        chosen = select(found, value(given, "--models") or "core")
        asked_tasks = value(given, "--tasks") or DEFAULTS["--tasks"]
        check_tasks(asked_tasks, found)
        engine = choose(named[0] if named else asked, registry)
        set_up(engine, needed(chosen, asked_tasks), registry)
        start = nextflow.command()
        nextflow.check_plugins(profiles)
        words = pipeline(words, engine if not named else None)
    except SetupError as error:
        print(f"bin/run: {error}", file=sys.stderr)
        return 1
    print(f"Set up after {time.monotonic() - begin:.0f} s", file=sys.stderr)
    sys.stdout.flush()
    return os.execv(start[0], [*start, *words])  # never returns


def check_tasks(asked: str, found: Sequence[Recipe]) -> None:
    """`SetupError` with every word that is no task of any model, before anything is built."""
    there = ["all", *split(tasks_of(found))]
    if wrong := [word for word in split(asked) if word not in there]:
        raise SetupError("\n".join(suggest(word, there, "task") for word in wrong))


def pipeline(words: Sequence[str], engine: str | None) -> list[str]:
    """Nextflow's own arguments: what was given, and the defaults of what was not."""
    command, given = ["run", str(ROOT / "main.nf")], [*from_file(words), *words]
    for name, default in DEFAULTS.items():
        # Seeds that are given are those of every task.
        instead = value(given, "--seeds") if name == "--scenario_seeds" else None
        if value(given, name) is None and instead is None:
            command += [name, default]
    names = [engine] if engine else []
    if names := names + nextflow.profiles(words):
        # Nextflow knows one -profile, and no "=" after it.
        words = without(words, "-profile")
        command += ["-profile", ",".join(names)]
    if "-resume" not in words and Path(".nextflow/history").is_file():
        if busy(Path()):
            print("Another run is going on here: this one begins anew", file=sys.stderr)
        else:
            command.append("-resume")
    if "-ansi-log" not in words and not sys.stdout.isatty():
        command += ["-ansi-log", "false"]
    return [*command, *words]
