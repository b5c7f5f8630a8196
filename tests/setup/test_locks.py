"""The locks in this clone are those of its pyproject.toml files, and are tied to no host."""

import re
from pathlib import Path

import pytest
from clones import Clone

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(ROOT.glob("containers/*/*/requirements.lock")) + [
    ROOT / "containers/base/requirements.lock",
    ROOT / "requirements-dev.lock",
    ROOT / "packages/semicrf/requirements-dev.lock",
]


def pins(lock: Path) -> set[str]:
    """Its lines ``name==version``."""
    return set(re.findall(r"^[A-Za-z0-9._-]+==\S+", lock.read_text(), re.MULTILINE))


def test_every_lock_is_current() -> None:
    done = Clone(ROOT, ROOT / "no-such-cache").run("bin/lock", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.parent.name)
def test_a_lock_names_no_host_and_hashes_everything(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert str(ROOT) not in text
    packages = re.split(r"\n(?=[A-Za-z0-9])", text.split("\n", 2)[2].strip())
    assert packages
    assert [p.split()[0] for p in packages if "--hash=sha256:" not in p] == []


def test_a_folder_has_all_of_its_stack() -> None:
    """Else an environment would hold other packages than the image that starts from the stack."""
    for lock in LOCKS:
        settings = lock.with_name("pyproject.toml").read_text()
        if stack := re.search(r'^stack = "(\w+)"', settings, re.MULTILINE):
            shared = ROOT / "containers/stacks" / stack[1] / "requirements.lock"
            assert pins(shared) <= pins(lock), lock


def test_a_new_dependency_makes_a_lock_stale(clone: Clone) -> None:
    one = clone.root / "containers/models/one"
    (clone.root / "README.md").touch()
    stale = clone.run("bin/lock", "--check", str(one))
    assert stale.returncode == 1, "the lock of a test's model is a copy of its stack's"
    fresh = clone.run("bin/lock", str(one))
    assert fresh.returncode == 0, fresh.stderr
    assert clone.run("bin/lock", "--check", str(one)).returncode == 0
    with (one / "pyproject.toml").open("a") as settings:
        settings.write('[project]\nname = "one"\ndependencies = ["threadpoolctl"]\n')
    done = clone.run("bin/lock", "--check", str(one))
    assert done.returncode == 1
    assert "locks that are not current: containers/models/one; run bin/lock" in done.stderr
    before = pins(one / "requirements.lock")
    assert clone.run("bin/lock", str(one)).returncode == 0
    added = pins(one / "requirements.lock") - before
    assert {p.partition("==")[0] for p in added} == {"threadpoolctl"}


def test_what_cannot_be_had_is_named(clone: Clone) -> None:
    one = clone.root / "containers/models/one"
    with (one / "pyproject.toml").open("a") as settings:
        settings.write('[project]\nname = "one"\ndependencies = ["numpy<1"]\n')
    done = clone.run("bin/lock", str(one))
    assert done.returncode == 1
    assert "locking containers/models/one failed" in done.stderr
    assert "numpy" in done.stderr
    assert clone.run("bin/lock", "nowhere").returncode == 1
