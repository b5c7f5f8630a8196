"""Discovery: the folder is the registration, and a digest covers all that goes into an image."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from clones import MANIFEST, Clone, make_model

from lacuna.parameters import Problems
from lacuna.plan import choose_variants
from lacuna.setup import common, environments, images, registry

ROOT = Path(__file__).resolve().parents[2]
WITH_MULTIMODAL = ["evaluate", "evaluate_multimodal", "prepare", "report"]


def test_every_folder_of_this_repository_is_found() -> None:
    found = Clone(ROOT, ROOT / "no-such-cache").discover()
    rooms = [ROOT / "containers" / room for room in ("controls", "models")]
    folders = {p.name for room in rooms for p in room.iterdir() if p.is_dir() and p.name[0] != "_"}
    assert set(found["models"]) == folders
    assert {"prepare", "evaluate", "report"} <= set(found["stages"])
    for name, row in found["models"].items():
        assert json.loads((ROOT / row["path"] / "model.json").read_text()) == row["manifest"]
        assert row["image"] == f"lacuna/{name}:{row['digest']}"
        assert row["env"].endswith(f"no-such-cache/envs/{name}-{row['digest']}")


def test_the_commit_of_a_clone(tmp_path, monkeypatch) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", "-C", tmp_path, *who, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    monkeypatch.setattr(common, "ROOT", tmp_path)
    assert common.revision() is None
    git("init", "-q")
    assert common.revision() is None  # nothing is committed
    (tmp_path / "file").write_text("one\n")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    git("tag", "-a", "v1", "-m", "v1")
    commit = git("rev-parse", "HEAD")
    assert common.revision() == commit
    (tmp_path / "file").write_text("two\n")
    assert common.revision() == f"{commit}-dirty"


# what is changed, and whose digests change with it
ONE = {"one"}
MODELS = {"one", "two"}
STAGES = {"prepare", "evaluate", "report", "evaluate_multimodal"}
CHANGES = {
    "containers/models/one/main.py": ONE,
    "containers/models/one/requirements.lock": ONE,
    "containers/models/one/data/new.txt": ONE,
    "containers/models/Dockerfile": MODELS,
    "containers/stages/report/requirements.lock": {"report"},
    "containers/stages/Dockerfile": STAGES,
    "containers/stacks/numeric/requirements.lock": MODELS | STAGES,
    "containers/stacks/torch/requirements.lock": set(),
    "containers/stacks/Dockerfile": MODELS | STAGES,
    "containers/base/Dockerfile": MODELS | STAGES,
    "packages/lacuna-contract/src/lacuna_contract/h5ad.py": MODELS | STAGES,
    "packages/lacuna/src/lacuna/metrics/registry.py": STAGES,
    "packages/lacuna/src/lacuna/setup/run.py": set(),
    "packages/lacuna/src/lacuna/setup/launchers.py": MODELS | STAGES,
    "schemas/status.schema.json": MODELS | STAGES,
    "containers/models/one/__pycache__/main.cpython-311.pyc": set(),
    "README.md": set(),
}


def test_a_digest_changes_with_what_goes_in_and_with_nothing_else(clone: Clone) -> None:
    before = clone.digests()
    assert before == clone.digests()
    for name, expected in CHANGES.items():
        path = clone.root / name
        old = path.read_bytes() if path.is_file() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((old or b"") + b"\n")
        after = clone.digests()
        assert {key for key in before if before[key] != after[key]} == expected, name
        path.unlink() if old is None else path.write_bytes(old)


def test_a_digest_sees_names_and_the_right_to_execute(clone: Clone) -> None:
    before = clone.digests()["one"]
    main = clone.root / "containers/models/one/main.py"
    main.chmod(0o755)
    executable = clone.digests()["one"]
    main.chmod(0o644)
    main.rename(main.with_name("other.py"))
    assert len({before, executable, clone.digests()["one"]}) == 3


def test_a_folder_elsewhere_is_a_room_too(clone: Clone, tmp_path: Path) -> None:
    make_model(tmp_path / "mine", "three")
    shutil.copytree(tmp_path / "mine/three", tmp_path / "mine/_draft")
    mine = str(tmp_path / "mine")
    assert set(clone.discover("--models-dir", mine)["models"]) == {"one", "two", "three"}
    assert set(clone.discover(LACUNA_MODELS_DIR=mine)["models"]) == {"one", "two", "three"}
    assert set(clone.discover()["models"]) == {"one", "two"}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("all", {"one", "two"}),
        ("core", {"one"}),
        ("two", {"two"}),
        ("core,two", {"one", "two"}),
        ("core, two.default", {"one", "two"}),
        ("two.default,all", {"one", "two"}),
    ],
)
def test_models_are_chosen_as_in_a_plan(clone: Clone, asked: str, names: set[str]) -> None:
    assert set(clone.discover("--models", asked)["models"]) == names
    everything = {**clone.discover(), "models": list(clone.discover()["models"].values())}
    problems = Problems()
    planned = choose_variants({"models": asked}, everything, ["reconstruction"], problems)
    assert {model["name"] for model, _ in planned} == names
    assert problems.found == []


def broken_json(room: Path) -> None:
    make_model(room, "three")
    (room / "three/model.json").write_text("{")


def no_manifest(room: Path) -> None:
    make_model(room, "three")
    (room / "three/model.json").unlink()


def no_stack(room: Path) -> None:
    make_model(room, "three")
    (room / "three/pyproject.toml").write_text('[tool.lacuna]\nstack = "numerc"\n')


def no_package(room: Path) -> None:
    make_model(room, "three")
    (room / "three/pyproject.toml").write_text('[tool.lacuna]\npackages = ["lacuna-contrac"]\n')


def no_recipe(room: Path) -> None:
    make_model(room, "three")
    (room / "three/pyproject.toml").unlink()


BROKEN = {
    "two models are called 'one'": lambda room: make_model(room, "one"),
    "'Three' is no name": lambda room: make_model(room, "Three"),
    "'a__b' is no name": lambda room: make_model(room, "a__b"),
    "has no model.json, there is: main.py, pyproject.toml, requirements.lock": no_manifest,
    "three/model.json is not JSON": broken_json,
    "unknown stack 'numerc'. Did you mean 'numeric'? There are: numeric, torch": no_stack,
    "unknown package 'lacuna-contrac'. Did you mean 'lacuna-contract'?": no_package,
    "has neither a pyproject.toml": no_recipe,
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_folder_is_refused_by_its_name(clone: Clone, tmp_path: Path, message: str) -> None:
    BROKEN[message](tmp_path / "mine")
    done = clone.run("bin/discover", "--models-dir", str(tmp_path / "mine"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_model_gets_a_suggestion(clone: Clone) -> None:
    done = clone.run("bin/discover", "--models", "onne")
    assert done.returncode == 2
    assert "unknown model 'onne'. Did you mean 'one'? There are: all, core, one, two" in done.stderr
    assert "unknown model 'one.deep'" in clone.run("bin/discover", "--models", "one.deep").stderr


def test_what_is_not_built_is_named_with_the_command_that_builds_it(clone: Clone) -> None:
    done = clone.run("bin/discover", "--engine=venv", "--models=two", "--tasks=segmentation")
    assert done.returncode == 3
    assert "no current environment of: stage-evaluate, stage-prepare" in done.stderr
    said = "Build what is missing with: bin/build-envs --tasks segmentation two"
    assert done.stderr.strip().endswith(said)
    json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["one"], ["evaluate", "prepare", "report"]),
        (
            ["one", "--tasks", "multimodal"],
            WITH_MULTIMODAL,
        ),
        (["mosaic"], WITH_MULTIMODAL),
        ([], WITH_MULTIMODAL),
    ],
)
def test_only_the_stages_of_the_models_tasks_are_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], stages: list[str]
) -> None:
    make_model(tmp_path, "one")
    make_model(tmp_path, "mosaic", {**MANIFEST, "tasks": ["multimodal"]})
    built: list[list[str]] = []

    def build_all(recipes: list, *_: object) -> None:
        built.append([recipe.name for recipe in recipes if recipe.kind == "stage"])

    for program in (environments, images):
        monkeypatch.setattr(program, "build_all", build_all)
        monkeypatch.setattr(program, "models", lambda _: registry.models([tmp_path]))
    monkeypatch.setattr(images, "Engine", lambda _: None)
    assert environments.main(words) == images.main(words) == 0
    assert built == [stages, stages]


def test_a_benchmark_needs_the_models_of_its_tasks_and_the_stages_of_what_they_do(
    tmp_path: Path,
) -> None:
    make_model(tmp_path, "one")
    make_model(tmp_path, "mosaic", {**MANIFEST, "tasks": ["multimodal"]})
    one, mosaic = registry.model(tmp_path / "one"), registry.model(tmp_path / "mosaic")

    def names(chosen: list, tasks: str | None) -> list[str]:
        return [recipe.name for recipe in registry.needed(chosen, tasks)]

    plain = ["evaluate", "prepare", "report"]
    assert names([one], "all") == names([one], None) == [*plain, "one"]
    assert names([one, mosaic], "all") == [*WITH_MULTIMODAL, "one", "mosaic"]
    assert names([one, mosaic], "reconstruction,segmentation") == [*plain, "one"]
    assert names([one], "multimodal") == [*WITH_MULTIMODAL, "one"]


def test_a_model_that_runs_in_no_container_is_not_missed_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_model(tmp_path, "one")
    make_model(tmp_path, "two", {**MANIFEST, "engines": ["venv"]})
    monkeypatch.setattr(images.Engine, "__init__", lambda *_: None)
    monkeypatch.setattr(images.Engine, "present", lambda _: set())
    one, two = registry.model(tmp_path / "one"), registry.model(tmp_path / "two")
    assert registry.missing([two], "docker") is None
    assert "no current image of: one\n" in registry.missing([one, two], "docker")
    assert "no current environment of: one, two\n" in registry.missing([one, two], "venv")


def test_images_of_a_registry_carry_its_name(clone: Clone) -> None:
    row = clone.discover("--registry", "registry.example/team/")["models"]["one"]
    assert row["image"] == f"registry.example/team/lacuna/one:{row['digest']}"


def test_checkpoints_are_found_and_hashed(clone: Clone, tmp_path: Path) -> None:
    path = clone.root / "containers/models/one/model.json"
    files = ["args.json", "best.pt"]
    manifest = json.loads(path.read_text()) | {"checkpoint": {"files": files, "published": "there"}}
    path.write_text(json.dumps(manifest))
    room = tmp_path / "checkpoints"
    done = clone.run("bin/discover", "--checkpoints", str(room))
    assert done.returncode == 2
    assert f"there is no folder of checkpoints {room}" in done.stderr

    (room / "one").mkdir(parents=True)
    (room / "one/best.pt").write_bytes(b"weights")
    found = clone.discover("--checkpoints", str(room))["models"]
    digest = hashlib.sha256(b"weights").hexdigest()
    assert found["one"]["checkpoint"] == {"folder": str(room / "one"), "files": {"best.pt": digest}}
    assert "checkpoint" not in found["two"]
    assert "checkpoint" not in clone.discover()["models"]["one"]
