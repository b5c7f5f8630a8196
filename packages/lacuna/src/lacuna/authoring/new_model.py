"""Start a model's folder from the template of its task. Standard library only."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lacuna.setup.common import ROOT, SetupError, files, relative
from lacuna.setup.locks import of_folder
from lacuna.setup.registry import NAME, model, models
from lacuna_contract.errors import suggest

ROOM = ROOT / "containers/models"
TEMPLATES = ROOM / "_template"


def tasks() -> list[str]:
    """The tasks that have a template."""
    return sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir())


def make(name: str, task: str, room: Path = ROOM) -> Path:
    """Copy the template of `task` to ``room/name`` and fill the name in. Returns the folder.

    Raises SetupError when the name cannot be used, or the folder is there already.
    """
    if not NAME.fullmatch(name):
        raise SetupError(
            f"'{name}' is no name of a model: expected a lower-case letter, then letters, digits "
            "and single underscores between them, e.g. my_model"
        )
    if task not in tasks():
        raise SetupError(suggest(task, tasks(), "task with a template"))
    folder = room / name
    taken = {recipe.name: recipe.folder for recipe in models()}
    if folder.exists() or name in taken:
        where = relative(folder if folder.exists() else taken[name])
        raise SetupError(f"there is a model of that name: {where}")
    for source in files(TEMPLATES / task):
        target = folder / source.relative_to(TEMPLATES / task)
        target.parent.mkdir(parents=True, exist_ok=True)
        word = name.replace("_", "-") if source.suffix == ".toml" else name
        target.write_text(source.read_text().replace("TEMPLATE", word))
        target.chmod(source.stat().st_mode)
    _lock(folder)
    return folder


def _lock(folder: Path) -> None:
    """Until it asks for packages of its own, it has the lock of others that ask for none."""
    made = model(folder)
    if made.stack is None:
        return
    header = of_folder(folder, made.stack, made.packages).header
    for other in models():
        if other.lock.is_file() and other.lock.read_text().startswith(header):
            shutil.copyfile(other.lock, made.lock)
            return


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/new-model``."""
    cli = argparse.ArgumentParser(description="Start a new model: a folder that works as it is.")
    cli.add_argument("name", metavar="NAME", help="e.g. my_model: the folder's name is the model's")
    cli.add_argument("--task", default="reconstruction", help="(default: %(default)s)")
    cli.add_argument(
        "--models-dir", type=Path, default=ROOM, metavar="DIR", help="where to put it, if not here"
    )
    asked = cli.parse_args(argv)
    try:
        folder = relative(make(asked.name, asked.task, asked.models_dir.absolute()))
    except SetupError as error:
        print(f"bin/new-model: {error}", file=sys.stderr)
        return 1
    print(
        f"{folder} is a model that works. Make it yours:\n"
        f"  {folder}/main.py         the method\n"
        f"  {folder}/model.json      what it is, its variants, what it needs\n"
        f"  {folder}/pyproject.toml  the packages that it imports\n"
        f"then:\n"
        f"  bin/lock {folder}         when those packages are others\n"
        f"  bin/check-model {folder}"
    )
    return 0
