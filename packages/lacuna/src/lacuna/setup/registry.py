"""What can be run: the stages and the model folders, each with a digest of all that goes into it.

The folder is the registration. Nothing here names a model, a stage or a stack.
"""

import argparse
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lacuna import choice
from lacuna.cache import cache_dir
from lacuna.parameters import words
from lacuna.setup import checkpoints, kernels, launchers
from lacuna.setup.common import JUNK, ROOT, SetupError, digest, image_name, relative, revision
from lacuna_contract.errors import suggest

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Recipe:
    """A folder that becomes an image or an environment, and everything that goes into it."""

    kind: str  # "model" or "stage"
    name: str
    folder: Path
    stack: str | None  # None: the folder has a Dockerfile of its own in the stack's place
    packages: tuple[str, ...]
    digest: str
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What its image and its environment are called, e.g. ``svd`` or ``stage-prepare``."""
        return self.name if self.kind == "model" else f"{self.kind}-{self.name}"

    @property
    def env(self) -> Path:
        """The folder of its virtual environment."""
        return cache_dir() / "envs" / f"{self.label}-{self.digest}"

    @property
    def lock(self) -> Path:
        """The list of every package of its environment."""
        return self.folder / "requirements.lock"

    @property
    def has_venv(self) -> bool:
        """Whether it can be run without its image."""
        return self.stack is not None and "venv" in self.manifest.get("engines", ["venv"])

    def image(self, registry: str | None = None) -> str:
        """The name of its image, tagged by its digest."""
        return image_name(self.label, self.digest, registry)


def base_digest() -> str:
    """The digest of the image that everything builds on."""
    return digest({"base": ROOT / "containers/base"})


def stack_digest(name: str) -> str:
    """The digest of a stack, e.g. of ``containers/stacks/numeric``."""
    room = ROOT / "containers/stacks"
    parts = {"stack": room / name, "Dockerfile": room / "Dockerfile", "base": base_digest()}
    return digest(parts)


def own_digest(recipe: Recipe) -> str:
    """The digest of what a folder's own Dockerfile makes, which stands in a stack's place."""
    return digest({"folder": recipe.folder, "base": base_digest()})


def stack_names() -> list[str]:
    """The stacks that there are: the folders in ``containers/stacks``."""
    return [p.name for p in _folders(ROOT / "containers/stacks")]


def stages(tasks: str | None = None) -> list[Recipe]:
    """The stages: every folder in ``containers/stages``.

    One called ``<stage>_<task>`` stands in for the stage where it works for that task; with
    `tasks`, such as "reconstruction", those of other tasks are left out.
    """
    known = {folder.name for folder in _folders(ROOT / "packages/lacuna/src/lacuna/tasks")}
    asked = set(words(tasks)) if tasks else {"all"}
    others = set() if "all" in asked else known - asked
    return [
        _recipe("stage", folder)
        for folder in _folders(ROOT / "containers/stages")
        if folder.name.partition("_")[2] not in others
    ]


def rooms(extra: Sequence[str | Path] = ()) -> list[Path]:
    """The folders that hold model folders: this repo's two, $LACUNA_MODELS_DIR, and `extra`."""
    more = [p for p in os.environ.get("LACUNA_MODELS_DIR", "").split(os.pathsep) if p]
    given = [Path(p).expanduser().absolute() for p in (*more, *extra)]
    for room in given:
        if not room.is_dir():
            raise SetupError(f"there is no folder of models {room}")
    ours = [ROOT / "containers/controls", ROOT / "containers/models"]
    return list(dict.fromkeys(p.resolve() for p in (*ours, *given) if p.is_dir()))


def models(extra: Sequence[str | Path] = ()) -> list[Recipe]:
    """Every model folder of every room, by name. Raises SetupError listing all that is wrong."""
    found: dict[str, Recipe] = {}
    errors: list[str] = []
    for folder in (f for room in rooms(extra) for f in _folders(room)):
        try:
            recipe = model(folder)
        except SetupError as error:
            errors.append(str(error))
            continue
        if twin := found.get(recipe.name):
            errors.append(
                f"two models are called '{recipe.name}': {relative(twin.folder)} and "
                f"{relative(folder)}. A model is named by its folder; rename one."
            )
        found[recipe.name] = recipe
    if errors:
        raise SetupError("\n".join(errors))
    return sorted(found.values(), key=lambda r: r.name)


def model(folder: Path) -> Recipe:
    """The recipe of one model folder, wherever it lies."""
    where = relative(folder)
    if not NAME.fullmatch(folder.name):
        raise SetupError(
            f"{where}: a model is named by its folder, and '{folder.name}' is no name: expected a "
            "lower-case letter, then letters, digits and single underscores between them"
        )
    path = folder / "model.json"
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise SetupError(
            f"{where} has no model.json, there is: {there}. bin/new-model makes a folder to start "
            "from; a folder whose name starts with _ is left out."
        )
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise SetupError(f"{where}/model.json is not JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise SetupError(f"{where}/model.json: expected an object, found {manifest!r:.60}")
    return _recipe("model", folder, manifest)


def select(found: list[Recipe], wanted: str) -> list[Recipe]:
    """The models of which `wanted`, such as ``core,knn.wide``, asks for at least one variant."""
    asked = choice.read(wanted)
    if errors := choice.unknown(asked, {r.name: r.manifest for r in found}):
        raise SetupError("\n".join(errors))
    return [r for r in found if choice.chosen(asked, r.name, r.manifest)]


def settings(folder: Path) -> dict[str, Any]:
    """A folder's pyproject.toml. Empty where there is none."""
    path = folder / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text()) if path.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{relative(path)} is not TOML: {error}") from None


def _recipe(kind: str, folder: Path, manifest: dict[str, Any] | None = None) -> Recipe:
    where = relative(folder)
    own = settings(folder).get("tool", {}).get("lacuna", {})
    shared = ROOT / f"containers/{kind}s/Dockerfile"
    parts: dict[str, Path | str] = {"folder": folder, "Dockerfile": shared}
    if (folder / "Dockerfile").is_file():
        stack = None
        parts["base"] = base_digest()
    elif not (folder / "pyproject.toml").is_file():
        raise SetupError(
            f"{where} has neither a pyproject.toml (Python on a shared stack) nor a Dockerfile "
            "(anything else)"
        )
    else:
        stack = own.get("stack", "numeric")
        if stack not in stack_names():
            raise SetupError(f"{where}/pyproject.toml: {suggest(stack, stack_names(), 'stack')}")
        parts["stack"] = stack_digest(stack)
    default = ["lacuna-contract"] if kind == "model" else ["lacuna-contract", "lacuna"]
    packages = tuple(own.get("packages", default))
    there = [p.name for p in _folders(ROOT / "packages")]
    for package in packages:
        if package not in there:
            raise SetupError(f"{where}/pyproject.toml: {suggest(package, there, 'package')}")
        for source in sources(package):
            parts[source.name] = source
            if kernels.source(source):
                parts |= kernels.recipe()
    parts["schemas"] = ROOT / "schemas"
    parts["launchers"] = Path(launchers.__file__)
    return Recipe(kind, folder.name, folder, stack, packages, digest(parts), manifest or {})


def sources(package: str) -> list[Path]:
    """The import packages of one of this repo's distributions, e.g. ``.../src/lacuna_contract``."""
    return list(_folders(ROOT / "packages" / package / "src"))


def _folders(room: Path) -> Iterator[Path]:
    for path in sorted(room.iterdir()) if room.is_dir() else ():
        # What Python and pip leave behind in a source folder is none of its packages.
        left = path.name in JUNK or path.name.endswith(".egg-info")
        if path.is_dir() and not left and not path.name.startswith(("_", ".")):
            yield path


def listing(
    chosen: list[Recipe],
    registry: str | None = None,
    room: str | Path | None = None,
    tasks: str | None = None,
) -> dict[str, Any]:
    """What ``bin/discover`` prints: the commit, the stages and the chosen models, with what runs
    them, and the checkpoints that there are in `room`. `tasks` as in `stages`."""

    def names(recipe: Recipe) -> dict[str, str]:
        image = recipe.image(registry)
        return {"image": image, "env": str(recipe.env), "digest": recipe.digest}

    def trained(recipe: Recipe) -> dict[str, Any]:
        found = checkpoints.look(recipe.name, recipe.manifest, room)
        return {"checkpoint": found} if found else {}

    return {
        "revision": revision(),
        "stages": {r.name: names(r) for r in stages(tasks)},
        "models": [
            {"name": r.name, "path": relative(r.folder), **names(r), "manifest": r.manifest}
            | trained(r)
            for r in chosen
        ],
    }


def tasks_of(chosen: Sequence[Recipe]) -> str:
    """The tasks that some of these models do, joined by commas."""
    return ",".join(sorted({task for r in chosen for task in r.manifest.get("tasks") or ()}))


def needed(chosen: Sequence[Recipe], tasks: str | None = None) -> list[Recipe]:
    """The stages and the models that a benchmark of `tasks`, such as "reconstruction", runs: of the
    chosen models those that do some of them, and the stages of what these do."""
    asked = set(words(tasks)) if tasks else {"all"}
    doing = [r for r in chosen if "all" in asked or asked & set(r.manifest.get("tasks") or ())]
    if not doing:
        # The plan will say so.
        return [*stages(tasks), *chosen]
    done = words(tasks_of(doing))
    return [*stages(",".join(t for t in done if "all" in asked or t in asked)), *doing]


def missing(
    recipes: list[Recipe], engine: str, registry: str | None = None, tasks: str | None = None
) -> str | None:
    """What an engine lacks to run these recipes and the command that builds it. None: nothing.
    `tasks` are those whose stages are among the recipes, as in `stages`."""
    from lacuna.setup import images

    if engine == "venv":
        lacking = [r for r in recipes if r.has_venv and not r.env.is_dir()]
        command = "bin/build-envs"
    else:
        # An image that is to come from a registry is pulled when it is first used.
        there = set() if registry else images.Engine(engine).present()
        wanted = [] if registry else images.in_containers(recipes)
        lacking = [r for r in wanted if r.image() not in there]
        command = "bin/build-images" + (f" --engine {engine}" if engine != "docker" else "")
    if not lacking:
        return None
    names = " ".join(r.name for r in lacking if r.kind == "model")
    what = "environment" if engine == "venv" else "image"
    if any(r.kind == "stage" for r in lacking):
        # Without it, the stages of the models' own tasks are all that is built.
        command += f" --tasks {tasks or 'all'}"
    return (
        f"no current {what} of: {', '.join(r.label for r in lacking)}\n"
        f"Build what is missing with: {command} {names}".rstrip()
    )


def parser(description: str) -> argparse.ArgumentParser:
    """A command line that knows the rooms of models."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--models-dir", "--models_dir", action="append", default=[], metavar="DIR",
        help="another folder of model folders (also $LACUNA_MODELS_DIR)",
    )  # fmt: skip
    made.add_argument(
        "--registry", help="where images are pulled from, e.g. registry.example.org/lacuna"
    )
    made.add_argument("--tasks", help="whose stages are needed (default: all that models do)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/discover``."""
    cli = parser("Print the stages and models as JSON, and say what is not built yet.")
    cli.add_argument("--models", default="all", help="all, core, names, or some of these: core,svd")
    cli.add_argument("--engine", choices=["docker", "podman", "venv"], help="check what is built")
    cli.add_argument("--checkpoints", metavar="DIR", help="a folder of checkpoints, by model")
    asked = cli.parse_args(argv)
    try:
        chosen = select(models(asked.models_dir), asked.models)
        found = listing(chosen, asked.registry, asked.checkpoints, asked.tasks)
        print(json.dumps(found, indent=2))
        recipes = needed(chosen, asked.tasks)
        lack = asked.engine and missing(recipes, asked.engine, asked.registry, asked.tasks)
    except SetupError as error:
        print(f"bin/discover: {error}", file=sys.stderr)
        return 2
    if lack:
        print(f"bin/discover: {lack}", file=sys.stderr)
        return 3
    return 0
