"""Images: thin over their stack, without rights, rebuilt when and only when something changed."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import MANIFEST, make_model

from lacuna.setup.images import authorities

ROOT = Path(__file__).resolve().parents[2]


MARK = "an authority that only the builder trusts"


def bin_(*words: str, **env: str) -> subprocess.CompletedProcess:
    """Run one of bin/."""
    return subprocess.run(
        [ROOT / words[0], *words[1:]], env=os.environ | env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, docker: str) -> Iterator[Path]:
    """A room with a model in Python and one with a Dockerfile of its own, both built."""
    room = tmp_path_factory.mktemp("room")
    make_model(room, "lacuna_test_python")
    own = room / "lacuna_test_own"
    own.mkdir()
    manifest = {**MANIFEST, "engines": ["container"], "entry": ["greet"]}
    (own / "model.json").write_text(json.dumps(manifest))
    (own / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nRUN printf '#!/bin/sh\\necho hello' >/usr/local/bin/greet "
        "&& chmod +x /usr/local/bin/greet\n"
    )
    # A bundle is certificates with free text between them.
    bundle = tmp_path_factory.mktemp("authorities") / "bundle.crt"
    bundle.write_text(f"{Path(authorities()).read_text()}\n# {MARK}\n")
    done = bin_(
        "bin/build-images", "--models-dir", str(room), *names(room), SSL_CERT_FILE=str(bundle)
    )
    assert done.returncode == 0, done.stderr
    yield room
    listed = subprocess.run(
        [docker, "images", "--format", "{{.Repository}}:{{.Tag}}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = [n for n in listed.stdout.split() if "lacuna_test_" in n]
    subprocess.run([docker, "rmi", "--force", *ours], capture_output=True, check=True)


def names(room: Path) -> list[str]:
    return sorted(p.name for p in room.iterdir())


def image(room: Path, name: str) -> str:
    """The name of a model's current image."""
    done = bin_("bin/discover", "--models-dir", str(room), "--models", name)
    return json.loads(done.stdout)["models"][0]["image"]


def inside(docker: str, image: str, script: str) -> str:
    """What a shell script prints in a container such as a task's."""
    limits = ["--network", "none", "--read-only", "--tmpfs", "/tmp"]
    done = subprocess.run(
        [docker, "run", "--rm", *limits, image, "bash", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_task_finds(docker: str, room: Path) -> None:
    script = """
    id -u; echo "$HOME"; ps -o pid= -p 1; cat "$LACUNA_MODEL_DIR/main.py" >/dev/null
    lacuna-supervise --help >/dev/null
    python -c 'from lacuna_contract import schema; print(len(schema.names()))'
    python -c 'import importlib.util as u; print(u.find_spec("lacuna"))'
    touch /opt/lacuna/model/x 2>/dev/null && echo writable || echo read-only
    """
    schemas = len(list((ROOT / "schemas").iterdir()))
    found = inside(docker, image(room, "lacuna_test_python"), script).split()
    assert found == ["10001", "/tmp", "1", str(schemas), "None", "read-only"]


def test_a_dockerfile_of_ones_own_stands_in_the_place_of_a_stack(docker: str, room: Path) -> None:
    name = image(room, "lacuna_test_own")
    assert inside(docker, name, "greet; lacuna-supervise --help | head -n 1; id -u").split()[0] == (
        "hello"
    )
    assert inside(docker, name, "id -u").strip() == "10001"


def test_what_is_there_is_not_built_again(room: Path) -> None:
    done = bin_("bin/build-images", "--models-dir", str(room), *names(room))
    assert (done.returncode, done.stderr) == (0, "")
    checked = bin_(
        "bin/discover", "--engine", "docker", "--models-dir", str(room),
        "--models", ",".join(names(room)),
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_images_of_one_stack_share_its_layers(docker: str, room: Path) -> None:
    def layers(name: str) -> list[str]:
        asked = [docker, "image", "inspect", "--format", "{{json .RootFS.Layers}}", name]
        return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)

    found = json.loads(bin_("bin/discover").stdout)["stages"]
    python = layers(image(room, "lacuna_test_python"))
    stage = layers(found["evaluate"]["image"])
    shared = os.path.commonprefix([python, stage])
    assert len(shared) >= 6
    size = [docker, "image", "inspect", "--format", "{{.Size}}"]
    one, base = (
        int(subprocess.run([*size, n], capture_output=True, text=True, check=True).stdout)
        for n in (image(room, "lacuna_test_python"), stack_of(docker, python))
    )
    assert one - base < 2_000_000


def stack_of(docker: str, layers: list[str]) -> str:
    """The stack that an image with these layers starts from."""
    listed = subprocess.run(
        [docker, "images", "--format", "{{.Repository}}:{{.Tag}}", "lacuna/stack-numeric"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.split():
        asked = [docker, "image", "inspect", "--format", "{{json .RootFS.Layers}}", name]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        if set(json.loads(done.stdout)) <= set(layers):
            return name
    raise AssertionError("no stack has these layers")


def test_an_image_keeps_no_certificate_of_its_builder(docker: str, room: Path) -> None:
    folders = "/etc /home /opt /root /run /tmp /usr/local /var"
    script = f"grep -rlsF '{MARK}' {folders}; env | grep -ciE 'ssl|proxy'; true"
    assert inside(docker, image(room, "lacuna_test_python"), script).split() == ["0"]


def test_a_change_is_a_new_image_and_a_broken_one_is_none(docker: str, room: Path) -> None:
    before = image(room, "lacuna_test_python")
    main = room / "lacuna_test_python/main.py"
    whole = main.read_text()
    main.write_text("import no_such_module\n")
    try:
        broken = image(room, "lacuna_test_python")
        assert broken != before
        done = bin_("bin/build-images", "--models-dir", str(room), "lacuna_test_python")
        assert done.returncode == 1
        assert f"building {broken} failed" in done.stderr
        assert "No module named 'no_such_module'" in done.stderr
        missing = bin_(
            "bin/discover", "--engine", "docker", "--models-dir", str(room),
            "--models", "lacuna_test_python",
        )  # fmt: skip
        assert missing.returncode == 3
        assert "no current image of: lacuna_test_python" in missing.stderr
    finally:
        main.write_text(whole)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry on this machine, from Debian's docker-registry."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = tmp_path / "registry.json"  # JSON is YAML too
    settings.write_text(
        json.dumps(
            {
                "version": "0.1",
                "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}},
                "http": {"addr": f"127.0.0.1:{port}"},
            }
        )
    )
    try:
        server = subprocess.Popen(
            ["docker-registry", "serve", settings], stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        if os.environ.get("LACUNA_EXPECT_DOCKER") == "1":
            pytest.fail("LACUNA_EXPECT_DOCKER=1, and docker-registry is not installed")
        pytest.skip("docker-registry is not installed")
    for _ in range(100):
        with socket.socket() as door:
            if door.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}/team"
    server.terminate()
    server.wait()


def test_images_are_pushed_and_pulled(docker: str, room: Path, registry: str) -> None:
    asked = ["--models-dir", str(room), "--registry", registry]
    done = bin_("bin/build-images", *asked, "--push", "lacuna_test_own")
    assert done.returncode == 0, done.stderr
    # Only the stages of the model's task were built.
    asked += ["--models", "lacuna_test_own", "--tasks", "reconstruction"]
    found = json.loads(bin_("bin/discover", *asked).stdout)
    name = found["models"][0]["image"]
    assert name.startswith(f"{registry}/lacuna/lacuna_test_own:")
    for there in (name, found["stages"]["report"]["image"]):
        subprocess.run([docker, "rmi", there], capture_output=True, check=True)
        subprocess.run([docker, "pull", "--quiet", there], capture_output=True, check=True)
    assert inside(docker, name, "greet") == "hello\n"
    subprocess.run(
        [docker, "rmi", *(stage["image"] for stage in found["stages"].values())],
        capture_output=True, check=True,
    )  # fmt: skip


def test_a_push_needs_to_know_where_to() -> None:
    done = bin_("bin/build-images", "--push")
    assert done.returncode == 2
    assert "--push needs to know where to: --registry" in done.stderr


def test_an_engine_that_does_not_answer_is_named(docker: str) -> None:
    done = subprocess.run(
        [ROOT / "bin/build-images"], env={**os.environ, "DOCKER_HOST": "unix:///nowhere.sock"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "bin/build-images: docker does not answer: " in done.stderr
    assert "Traceback" not in done.stderr
