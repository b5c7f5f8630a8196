"""Virtual environments, one per stage and model, named by the digest of what they hold."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lacuna.cache import cache_dir
from lacuna.setup import kernels, launchers, tools
from lacuna.setup.common import NOT_INSTALLED, ROOT, SetupError, alone, copy
from lacuna.setup.registry import Recipe, models, parser, select, sources, stages, tasks_of

PYTHON = "3.11"
AT_ONCE = 3
DAY = 86_400
# The developers' environments of a clone, each with the package that it holds as it stands there.
DEVELOPERS = {
    "lacuna": (ROOT / ".venv", ROOT),
    "semicrf": (ROOT / ".venv-semicrf", ROOT / "packages/semicrf"),
}

# Proves that it can be imported, and leaves byte code: uv makes none, and where Python is told to
# write none, each task would compile NumPy again. Commands for people are in no stage.
WARM = """
import importlib, pathlib, pkgutil, sys
folder, *names = sys.argv[1:]
for name in names:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        try:
            if not module.name.endswith((".__main__", "._kernel")):
                importlib.import_module(module.name)
        except ModuleNotFoundError:
            if name != "lacuna":
                raise
if pathlib.Path(folder, "main.py").is_file():
    from lacuna_contract import warm
    warm.main(pathlib.Path(folder))
"""


def build(recipe: Recipe) -> bool:
    """Make the environment of a recipe unless it is there. False when it was.

    It is made under another name and renamed when it is whole, so a folder of that name is always
    complete. Raises SetupError with the end of what the failing command printed.
    """
    if recipe.env.is_dir():
        return False
    if recipe.stack is None:
        raise SetupError(f"{recipe.label} is not Python on a shared stack: it needs its image")
    if not recipe.lock.is_file():
        raise SetupError(f"{recipe.lock} is missing; bin/lock {recipe.folder} writes it")
    with alone(recipe.env.parent / ".locks" / recipe.env.name):
        if recipe.env.is_dir():
            return False
        half = recipe.env.with_name(f".{recipe.env.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            _fill(recipe, half)
            half.rename(recipe.env)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return True


def _fill(recipe: Recipe, env: Path) -> None:
    told = tools.uv_environment()
    uv = tools.uv()
    what = f"the environment of {recipe.label}"
    tools.call([uv, "venv", "--relocatable", "--python", PYTHON, env], what, told)
    tools.call(
        [uv, "pip", "install", "--python", env / "bin/python", "--no-deps", "--require-hashes",
         "-r", recipe.lock],
        what, told,
    )  # fmt: skip
    site = next((env / "lib").glob("python*/site-packages"))
    model = env / "model"
    install(recipe, site, model)
    imported = [source.name for p in recipe.packages for source in sources(p)]
    told = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(model)}
    # -P: a person's own files, where the command was started, are no modules of a model.
    tools.call([env / "bin/python", "-P", "-c", WARM, model, *imported], f"importing {what}", told)
    launchers.write(env / "bin", launchers.IN_ENVIRONMENT, recipe.packages)


def install(recipe: Recipe, site: Path, model: Path) -> None:
    """Copy this repo's packages with their schemas to `site`, and a model's folder to `model`."""
    for package in recipe.packages:
        for source in sources(package):
            copy(source, site / source.name, without=NOT_INSTALLED.get(source.name, ()))
            if kernel := kernels.build(source):
                shutil.copy(kernel, site / source.name / kernels.NAME)
            if source.name == "lacuna_contract":
                copy(ROOT / "schemas", site / source.name / "schemas")
    if recipe.kind == "model":
        copy(recipe.folder, model)


def build_all(recipes: Sequence[Recipe]) -> None:
    """Make what is missing, a few at a time, a line for each. Raises one SetupError for all."""
    lacking = [r for r in recipes if r.has_venv and not r.env.is_dir()]
    if not lacking:
        return
    tools.uv()
    errors: list[str] = []
    done = 0

    def one(recipe: Recipe) -> None:
        nonlocal done
        start = time.monotonic()
        try:
            made = build(recipe)
            word = f"{time.monotonic() - start:.1f} s" if made else "made by another process"
        except SetupError as error:
            errors.append(str(error))
            word = "failed"
        done += 1
        print(f"environment {done}/{len(lacking)}: {recipe.label} {word}", file=sys.stderr)

    # The largest first would need sizes; stages and models of one stack share their downloads.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, lacking))
    if errors:
        raise SetupError("\n".join(errors))


def prune(current: Sequence[Recipe]) -> list[str]:
    """Remove every environment in the cache that is none of `current`; what a build left too."""
    keep = {r.env.name for r in current}
    removed = []
    room = cache_dir() / "envs"
    for path in sorted(room.iterdir()) if room.is_dir() else ():
        half_built = path.name.startswith(".")
        if path.name == ".locks" or path.name in keep:
            continue
        if half_built and time.time() - path.stat().st_mtime < DAY:
            continue
        shutil.rmtree(path)
        removed.append(path.name)
    return removed


def build_dev(name: str) -> None:
    """Make a developers' environment in the clone: locked tools, and a package as it is."""
    env, source = DEVELOPERS[name]
    told = tools.uv_environment()
    uv = tools.uv()
    what = f"the environment {env.name} of the developers' tools"
    python = env / "bin/python"
    tools.call([uv, "venv", "--clear", "--quiet", "--python", PYTHON, env], what, told)
    into = [uv, "pip", "install", "--python", python, "--no-deps"]
    tools.call([*into, "--require-hashes", "-r", source / "requirements-dev.lock"], what, told)
    tools.call([*into, "--no-build-isolation", "--editable", source], what, told)


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/build-envs``."""
    cli = parser("Make the virtual environments of all stages and of the models (all by default).")
    cli.add_argument("models", nargs="*", metavar="MODEL", help="only these models")
    cli.add_argument(
        "--prune", action="store_true",
        help="instead, remove every environment that no folder of this clone asks for now "
        "(other clones with the same cache make theirs again)",
    )  # fmt: skip
    cli.add_argument(
        "--dev", choices=DEVELOPERS,
        help="instead, make .venv (lacuna) or .venv-semicrf (semicrf) for developers",
    )  # fmt: skip
    asked = cli.parse_args(argv)
    try:
        if asked.dev:
            build_dev(asked.dev)
            return 0
        found = models(asked.models_dir)
        if asked.prune:
            removed = prune([*stages(), *found])
            print(f"removed {len(removed)} environments" + "".join(f"\n  {n}" for n in removed))
            return 0
        chosen = select(found, ",".join(asked.models) or "all")
        build_all([*stages(asked.tasks or tasks_of(chosen)), *chosen])
    except SetupError as error:
        print(f"bin/build-envs: {error}", file=sys.stderr)
        return 1
    return 0
