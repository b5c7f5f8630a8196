"""One run under its supervisor: the limits it is told, and how often it is tried."""

import json
import sys

import pytest

from lacuna.supervised import number, supervise

RUN = {
    "entry": ["python", "main.py"],
    "params": {"seed": 1},
    "control": None,
    "resources": {"cpus": 1, "memory": "2 GB", "time": "1 min", "gpu": "never"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [("2 GB", 2**31), ("0.5GB", 2**29), ("1 MB", 2**20), ("1 TB", 2**40), ("10 min", 600)],
)
def test_a_gigabyte_is_the_one_of_nextflow(text, value):
    assert number(text) == value


@pytest.mark.parametrize(("attempts", "told"), [(1, [2]), (3, [2, 4, 6])])
def test_out_of_memory_is_tried_again_with_more(tmp_path, attempts, told):
    (tmp_path / "input").write_bytes(b"")
    room = tmp_path / "room"
    room.mkdir()
    seen = []

    def command(limits):
        assert limits == json.loads((room / ".limits.json").read_text())
        seen.append(limits["memory_bytes"] / 2**30)
        return [sys.executable, "-c", "import sys; sys.exit(137)"]

    status = supervise(RUN, {"input": tmp_path / "input"}, room, command, attempts)
    assert seen == told
    assert status["status"] == "lost"
    assert status["reason"] == "the supervisor ended with code 137: it wrote nothing"


def test_an_attempt_finds_nothing_of_the_one_before(tmp_path):
    (tmp_path / "input").write_bytes(b"whole")
    (tmp_path / "room").mkdir()
    seen = []

    def command(limits):
        room = tmp_path / "room"
        seen.append((sorted(p.name for p in room.iterdir()), (room / "input.h5ad").read_text()))
        code = "import os; open('input.h5ad', 'w').write('half'); os.mkdir('checkpoints'); "
        code += "open('prediction.h5ad', 'w').write('old'); os.symlink('/', 'link'); exit(137)"
        return [sys.executable, "-c", code]

    supervise(RUN, {"input": tmp_path / "input"}, tmp_path / "room", command, attempts=3)
    assert seen == 3 * [([".limits.json", "input.h5ad", "params.json"], "whole")]
