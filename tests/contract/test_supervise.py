import json
import os
import sys
import time

import pytest

from lacuna_contract import schema, supervise


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a piece of Python as if it were a model; returns (exit code, status.json or None)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.h5ad").write_bytes(b"input")
    (tmp_path / "params.json").write_text("{}")

    def supervised(code, timeout=20, limits=None):
        if limits:
            (tmp_path / ".limits.json").write_text(json.dumps(limits))
        (tmp_path / "model.py").write_text(code)
        entry = json.dumps([sys.executable, "model.py"])
        words = ["--entry", entry, "--input", "input.h5ad", "--params", "params.json"]
        exit_code = supervise.main([*words, "--timeout", str(timeout)])
        record = tmp_path / "status.json"
        if not record.exists():
            return exit_code, None
        return exit_code, schema.read_json(record, "status")

    return supervised


GOOD = "open('prediction.h5ad', 'w').close()\n"


def test_a_good_run(run):
    code, status = run("import sys\nassert sys.argv[1:3] == ['--input', 'input.h5ad']\n" + GOOD)
    assert (code, status["status"], status["reason"]) == (0, "ok", None)
    assert status["exit_code"] == 0
    assert status["peak_memory_bytes"] > 1e6
    assert status["input_sha256"] == supervise.sha256("input.h5ad")


def test_a_crash_is_told_by_its_last_line(run):
    code, status = run("raise ValueError('no genes')")
    assert (code, status["status"]) == (0, "failed")
    assert status["reason"] == "the model exited with code 1: ValueError: no genes"
    assert "Traceback" in status["stderr_tail"]


def test_a_hanging_model_and_its_children_are_stopped(run):
    child = "import subprocess, sys, time\n"
    child += "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    child += "open('child', 'w').write(str(p.pid))\ntime.sleep(60)"
    begin = time.monotonic()
    _, status = run(child, timeout=1)
    assert time.monotonic() - begin < 15
    assert status["status"] == "timed_out"
    assert "limit of 1 s" in status["reason"]
    state = os.path.join("/proc", open("child").read(), "stat")
    assert not os.path.exists(state) or open(state).read().rpartition(")")[2].split()[0] == "Z"


def test_memory_beyond_the_limit_is_retried_and_then_recorded(run):
    hog = (
        "import time\nx = bytearray(400_000_000)\nx[::4096] = b'1' * len(x[::4096])\ntime.sleep(20)"
    )
    limits = {"attempt": 1, "max_attempts": 2, "memory_bytes": 200_000_000}
    code, status = run(hog, limits=limits)
    assert (code, status) == (supervise.OUT_OF_MEMORY, None)
    code, status = run(hog, limits=limits | {"attempt": 2})
    assert (code, status["status"], status["attempts"]) == (0, "out_of_memory", 2)
    assert "0.20 GB" in status["reason"]


@pytest.mark.parametrize(
    "code",
    ["import os; os.kill(os.getpid(), 9)", "raise MemoryError", "import sys; sys.exit(137)"],
)
def test_other_ways_to_run_out_of_memory(run, code):
    assert run(code)[1]["status"] == "out_of_memory"


def test_no_prediction_is_invalid_output(run):
    _, status = run("pass")
    assert status["status"] == "invalid_output"
    assert "wrote no prediction" in status["reason"]


def test_a_model_declines(run):
    _, status = run("""open('metadata.json', 'w').write('{"not_applicable": "no proteins"}')""")
    assert (status["status"], status["reason"]) == ("not_applicable", "no proteins")


def test_a_changed_input_is_noticed(run):
    _, status = run("open('input.h5ad', 'a').write('x')\n" + GOOD)
    assert (status["status"], status["reason"]) == ("failed", "the model changed its input file")


def test_a_command_that_is_not_there(run, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    _, status = run("")
    assert status["status"] == "failed"
    assert "could not be started" in status["reason"]


def test_a_hundred_megabytes_of_output_pass_in_bounded_size(run, capfd):
    noise = "import sys\nline = 'x' * 99 + '\\n'\nprint('first')\n"
    noise += "for _ in range(1_000_000): sys.stdout.write(line)\nprint('last')\n" + GOOD
    _, status = run(noise)
    assert status["status"] == "ok"
    out = capfd.readouterr().out
    assert len(out) < 3_000_000
    assert out.startswith("first\n")
    assert out.endswith("last\n")
    assert "bytes left out" in out


def test_short_output_passes_unchanged(run, capfd):
    run("print('one')\n" + GOOD)
    assert capfd.readouterr().out == "one\n"


def test_threads_follow_the_cpus(run):
    check = "import os\nassert os.environ['OMP_NUM_THREADS'] == os.environ['LACUNA_CPUS'] == '3'\n"
    _, status = run(check + GOOD, limits={"cpus": 3})
    assert (status["status"], status["cpus"]) == ("ok", 3)
