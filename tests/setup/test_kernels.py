"""The kernels that images and environments get."""

import ast
import ctypes
import shutil

from lacuna.setup import kernels
from lacuna.setup.common import ROOT, digest
from lacuna.setup.registry import models, sources

SEMICRF = sources("semicrf")[0]


def test_flags_are_those_of_the_package_itself():
    tree = ast.parse((ROOT / "packages/semicrf/setup.py").read_text())
    arguments = {
        keyword.arg: ast.literal_eval(keyword.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in ("extra_compile_args", "extra_link_args")
    }
    asked = {flag for flags in arguments.values() for flag in flags}
    assert asked == set(kernels.FLAGS)


def test_a_library_that_can_be_loaded():
    made = kernels.build(SEMICRF)
    assert ctypes.CDLL(str(made))
    assert kernels.build(sources("lacuna-contract")[0]) is None


def test_a_developers_own_build_changes_no_digest(tmp_path):
    package = tmp_path / "semicrf"
    shutil.copytree(SEMICRF, package, ignore=shutil.ignore_patterns("*.so"))
    before = digest({"semicrf": package})
    (package / "_kernel.cpython-311-x86_64-linux-gnu.so").write_bytes(b"mine")
    assert digest({"semicrf": package}) == before


def test_the_compiler_is_part_of_a_digest(monkeypatch, tmp_path):
    def digests():
        return {r.name: r.digest for r in models() if "semicrf" in r.packages}

    before = digests()
    assert before
    shutil.copytree(kernels.COMPILER, tmp_path / "compiler")
    (tmp_path / "compiler/requirements.lock").write_text("another")
    monkeypatch.setattr(kernels, "COMPILER", tmp_path / "compiler")
    after = digests()
    assert all(after[name] != before[name] for name in before)
