"""Every model folder there is passes the check that its author is asked to run."""

from pathlib import Path

import pytest

from lacuna.authoring.check_model import check
from lacuna.authoring.verdicts import show
from lacuna.setup.images import in_containers
from lacuna.setup.registry import models

ROOM = Path(__file__).parent
ALL = {recipe.name: recipe for recipe in models([ROOM])}
VENV = [name for name, recipe in ALL.items() if recipe.has_venv]
# In `make test` what the default run has; in Docker, one folder of these for each stack, and what
# has a Dockerfile of its own. With --all, every folder.
QUICK = [
    recipe
    for recipe in ALL.values()
    if {recipe.manifest.get("tier"), *recipe.manifest.get("tiers", {}).values()} != {"full"}
    or not recipe.has_venv
]
BY_STACK = {recipe.stack: recipe.name for recipe in in_containers(QUICK)}


def chosen(names: list[str], quick: set[str]) -> list:
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.only_all) for name in names
    ]


def passes(name: str, engine: str) -> None:
    failed = [show(v) for v in check(ALL[name].folder, engine) if not v.passed]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("name", chosen(VENV, {recipe.name for recipe in QUICK}))
def test_in_its_virtual_environment(name):
    passes(name, "venv")


@pytest.mark.parametrize("name", chosen(list(ALL), set(BY_STACK.values())))
def test_in_a_container(name, docker):
    passes(name, "docker")


def test_the_model_in_another_language_is_among_them():
    assert "r_ridge" in BY_STACK.values()
    assert "r_ridge" not in VENV
