"""Container images: base, stack, then a thin one per stage and model, each tagged by its digest."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lacuna.cache import cache_dir
from lacuna.setup import debian, launchers, tools
from lacuna.setup.common import ROOT, SetupError, alone, image_name, relative
from lacuna.setup.environments import install
from lacuna.setup.registry import (
    Recipe,
    base_digest,
    models,
    own_digest,
    parser,
    select,
    settings,
    stack_digest,
    stack_names,
    stages,
    tasks_of,
)

AT_ONCE = 2
ANSWER_SECONDS = 60
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "ALL_PROXY")
AUTHORITIES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


class Engine:
    """Docker or Podman: what is there, and how an image is built.

    Raises SetupError when it is not installed or does not answer.
    """

    def __init__(self, name: str = "docker"):
        self.name = name
        self.program = _program(name)

    @functools.cached_property
    def builder(self) -> str:
        """The client that builds. Raises SetupError when there is none."""
        candidates = [self.program, "/usr/bin/docker"]
        for program in candidates:
            if self.name != "docker" or _has_buildkit(program):
                return program
        raise SetupError(
            f"{self.program} cannot build: it is a docker client without the buildx plug-in. "
            "Install docker-buildx-plugin (the client in Debian's docker.io can build without)."
        )

    def present(self) -> set[str]:
        """Every image that the engine has, as name:tag."""
        command = [self.program, "images", "--format", "{{.Repository}}:{{.Tag}}"]
        lines = tools.call(command, f"asking {self.name} for its images").split()
        return {line.removeprefix("localhost/") for line in lines}

    def build(self, name: str, dockerfile: Path, context: Path, arguments: dict[str, str]) -> None:
        """Build one image. Its log is in the cache until the next `--prune`."""
        command = [self.builder, "build", "--tag", name, "--file", str(dockerfile)]
        if self.name == "docker":
            command += ["--progress", "plain"]
        proxies = {w: os.environ[w] for p in PROXIES for w in (p, p.lower()) if w in os.environ}
        for key, value in {**proxies, **arguments}.items():
            command += ["--build-arg", f"{key}={value}"]
        if trusted := authorities():
            command += ["--secret", f"id=ca,src={trusted}"]
        logs = cache_dir() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{re.sub('[^A-Za-z0-9._-]', '_', name)}.log"
        tools.call(
            [*command, str(context)], f"building {name}", env={"DOCKER_BUILDKIT": "1"}, log=log
        )


def _program(engine: str) -> str:
    program = shutil.which(engine)
    if program is None:
        raise SetupError(f"{engine} is not installed")
    try:
        info = subprocess.run(
            [program, "info"], capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"{engine} does not answer within {ANSWER_SECONDS} s") from None
    # Some clients exit with 0 although the engine does not answer, and only say so.
    refusal = re.search(r"(?im)^.*(cannot connect|permission denied|is the docker daemon).*$",
                        info.stderr + info.stdout)  # fmt: skip
    if info.returncode or refusal:
        said = refusal.group().strip() if refusal else info.stderr.strip()[-300:]
        raise SetupError(f"{engine} does not answer: {said}")
    return program


def _has_buildkit(program: str) -> bool:
    if not os.access(program, os.X_OK):
        return False
    if subprocess.run([program, "buildx", "version"], capture_output=True, check=False).returncode:
        # Clients before 23 have BuildKit inside; later ones call buildx.
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"version (\d+)\.", said.stdout)
        return bool(found) and int(found.group(1)) < 23
    return True


def authorities() -> str | None:
    """The certificate authorities that this machine trusts, its own ones among them."""
    named = [os.environ[key] for key in AUTHORITIES if os.environ.get(key)]
    return next((p for p in (*named, SYSTEM_AUTHORITIES) if Path(p).is_file()), None)


def base_image() -> str:
    """The name of the image that everything builds on."""
    return image_name("stack-base", base_digest())


def _below(recipe: Recipe) -> str:
    """The image that a recipe's image starts from."""
    if recipe.stack is None:
        return image_name(f"{recipe.label}-own", own_digest(recipe))
    return image_name(f"stack-{recipe.stack}", stack_digest(recipe.stack))


def in_containers(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Those that can be run in a container."""
    return [r for r in recipes if "container" in r.manifest.get("engines", ["container"])]


def current(recipes: Sequence[Recipe]) -> set[str]:
    """The names of all images that these recipes are made of."""
    return {base_image(), *(r.image() for r in recipes), *map(_below, recipes)}


def build_all(recipes: Sequence[Recipe], engine: Engine, registry: str | None = None) -> None:
    """Build what these recipes' images lack, in order. Raises one SetupError for all."""
    # One builder at a time, else two would make the same stack twice.
    with alone(cache_dir() / "images.lock"):
        there = engine.present()
        lacking = [r for r in recipes if r.image() not in there]
        below = {_below(r): r for r in lacking if _below(r) not in there}
        if below and base_image() not in there:
            _timed("base", lambda: _build_base(engine))
        jobs = [(n, lambda n=n, r=r: _build_below(engine, n, r)) for n, r in below.items()]
        _together(jobs)
        _together([(r.image(), lambda r=r: _build_top(engine, r)) for r in lacking])
    if registry:
        for recipe in recipes:
            command = [engine.program, "tag", recipe.image(), recipe.image(registry)]
            tools.call(command, f"tagging {recipe.image()}")


def push(recipes: Sequence[Recipe], engine: Engine, registry: str) -> None:
    """Send the images to a registry, from which clusters and clouds pull them."""
    for recipe in recipes:
        name = recipe.image(registry)
        _timed(
            f"push {name}", lambda n=name: tools.call([engine.program, "push", n], f"pushing {n}")
        )


def _build_base(engine: Engine) -> None:
    folder = ROOT / "containers/base"
    start = {"DEBIAN": debian.image(engine.program)}
    engine.build(base_image(), folder / "Dockerfile", folder, start)


def _build_below(engine: Engine, name: str, recipe: Recipe) -> None:
    start = {"BASE": base_image()}
    if recipe.stack is None:
        engine.build(name, recipe.folder / "Dockerfile", recipe.folder, start)
    else:
        room = ROOT / "containers/stacks"
        engine.build(name, room / "Dockerfile", room / recipe.stack, start)


def _build_top(engine: Engine, recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory(prefix="lacuna-image-") as folder:
        context = Path(folder)
        lock = context / "requirements.lock"
        if recipe.stack is None:
            lock.touch()
        elif recipe.lock.is_file():
            shutil.copy(recipe.lock, lock)
        else:
            raise SetupError(
                f"{relative(recipe.lock)} is missing; bin/lock {relative(recipe.folder)} writes it"
            )
        install(recipe, context / "site", context / "model")
        launchers.write(context / "bin", launchers.IN_IMAGE, recipe.packages)
        dockerfile = ROOT / f"containers/{recipe.kind}s/Dockerfile"
        told = {"BASE": _below(recipe)}
        if recipe.kind == "model":
            told["LICENCE"] = str(recipe.manifest.get("licence", ""))
        elif warm := settings(recipe.folder).get("tool", {}).get("lacuna", {}).get("warm"):
            told["WARM"] = warm
        engine.build(recipe.image(), dockerfile, context, told)


def _together(jobs: Sequence[tuple[str, Callable[[], None]]]) -> None:
    errors: list[str] = []

    def one(job: tuple[str, Callable[[], None]]) -> None:
        try:
            _timed(*job)
        except SetupError as error:
            errors.append(str(error))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, jobs))
    if errors:
        raise SetupError("\n".join(errors))


def _timed(what: str, work: Callable[[], object]) -> None:
    start = time.monotonic()
    word = "failed"
    try:
        work()
        word = f"{time.monotonic() - start:.0f} s"
    finally:
        print(f"image {what}: {word}", file=sys.stderr)


def prune(recipes: Sequence[Recipe], engine: Engine) -> list[str]:
    """Remove Lacuna's images that none of these recipes is made of."""
    shutil.rmtree(cache_dir() / "logs", ignore_errors=True)
    keep = current(recipes) | {image_name(f"stack-{s}", stack_digest(s)) for s in stack_names()}
    ours = [n for n in engine.present() if re.match(r"([^ ]+/)?lacuna/[^/]+:[0-9a-f]{12}$", n)]
    # A registry's name before ours: the same image under another name.
    stale = sorted(n for n in ours if n[n.rindex("lacuna/") :] not in keep)
    if stale:
        tools.call([engine.program, "rmi", *stale], "removing images")
    return stale


def main(argv: Sequence[str] | None = None) -> int:
    """``bin/build-images``."""
    cli = parser("Build the images of all stages and of the models (all by default).")
    cli.add_argument("models", nargs="*", metavar="MODEL", help="only these models, or: core")
    cli.add_argument("--engine", choices=["docker", "podman"], default="docker")
    cli.add_argument("--push", action="store_true", help="send them to --registry")
    cli.add_argument(
        "--prune", action="store_true",
        help="instead, remove Lacuna's images that no folder of this clone asks for now",
    )  # fmt: skip
    asked = cli.parse_args(argv)
    if asked.push and not asked.registry:
        cli.error("--push needs to know where to: --registry")
    try:
        engine = Engine(asked.engine)
        found = models(asked.models_dir)
        if asked.prune:
            removed = prune([*stages(), *found], engine)
            print(f"removed {len(removed)} images" + "".join(f"\n  {n}" for n in removed))
            return 0
        chosen = select(found, ",".join(asked.models) or "all")
        recipes = in_containers([*stages(asked.tasks or tasks_of(chosen)), *chosen])
        build_all(recipes, engine, asked.registry)
        if asked.push:
            push(recipes, engine, asked.registry)
    except SetupError as error:
        print(f"bin/build-images: {error}", file=sys.stderr)
        return 1
    return 0
