import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lacuna_contract import schema, supervise


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a piece of Python as if it were a model; returns (exit code, status.json or None)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.h5ad").write_bytes(b"input")
    (tmp_path / "params.json").write_text("{}")

    def supervised(code, timeout=200, limits=None):
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
    stat = Path("/proc", Path("child").read_text(), "stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_memory_beyond_the_limit_is_retried_and_then_recorded(run):
    hog = (
        "import time\nx = bytearray(400_000_000)\nx[::4096] = b'1' * len(x[::4096])\ntime.sleep(20)"
    )
    limits = {"attempt": 1, "max_attempts": 2, "memory_bytes": 2**28}
    code, status = run(hog, limits=limits)
    assert (code, status) == (supervise.OUT_OF_MEMORY, None)
    code, status = run(hog, limits=limits | {"attempt": 2})
    assert (code, status["status"], status["attempts"]) == (0, "out_of_memory", 2)
    assert "0.25 GB" in status["reason"]


def test_a_process_that_was_just_forked_is_not_counted_twice(run):
    """As for a moment before each program that a model starts."""
    code = "import os, time\nblock = bytearray(b'1') * 200_000_000\nif not os.fork():\n"
    code += "    time.sleep(0.5)\n    os._exit(0)\nos.wait()\n"
    exit_code, status = run(code + GOOD, limits={"memory_bytes": 300_000_000})
    assert (exit_code, status["status"], status["reason"]) == (0, "ok", None)


def test_processes_of_a_model_are_added_up(run):
    half = "block = bytearray(b'1') * 150_000_000\n"
    code = f"import os, time\nif not os.fork():\n    {half}    time.sleep(9)\n{half}os.wait()\n"
    _, status = run(code + GOOD, limits={"memory_bytes": 250_000_000})
    assert status["status"] == "out_of_memory"


@pytest.mark.parametrize(
    "code",
    ["import os; os.kill(os.getpid(), 9)", "raise MemoryError", "import sys; sys.exit(137)"],
)
def test_other_ways_to_run_out_of_memory(run, code):
    assert run(code)[1]["status"] == "out_of_memory"


def test_a_run_that_knows_that_memory_will_not_do_says_so_before_it_begins(run):
    """It is tried again with more, as one that was killed is; the figures are in the reason."""
    code = "from lacuna_contract import need_memory\nneed_memory(3 * 2**30, 'a dense matrix')"
    limits = {"attempt": 1, "max_attempts": 2, "memory_bytes": 2**31}
    assert run(code, limits=limits) == (supervise.OUT_OF_MEMORY, None)
    _, status = run(code, limits=limits | {"attempt": 2})
    assert status["status"] == "out_of_memory"
    assert "a dense matrix: about 3.0 GB expected, 2.0 GB available" in status["reason"]
    _, status = run(code + "\n" + GOOD, limits={"memory_bytes": 2**33})
    assert status["status"] == "ok"


def test_no_prediction_is_invalid_output(run):
    _, status = run("pass")
    assert status["status"] == "invalid_output"
    assert "wrote no prediction" in status["reason"]


def test_a_prediction_that_is_a_link_is_invalid_output(run):
    _, status = run("import os; os.symlink('input.h5ad', 'prediction.h5ad')")
    assert (status["status"], "symbolic link" in status["reason"]) == ("invalid_output", True)


def test_a_model_declines(run):
    _, status = run("""open('metadata.json', 'w').write('{"not_applicable": "no proteins"}')""")
    assert (status["status"], status["reason"]) == ("not_applicable", "no proteins")


SAYS = "import json, sys\njson.dump({'invalid_output': '3 NaN'}, open('metadata.json', 'w'))\n"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (SAYS + "sys.exit('error: 3 NaN')", "invalid_output", "3 NaN"),
        # Only the harness's own ending counts, and only with its word for it.
        (SAYS + "sys.exit(2)", "failed", "the model exited with code 2: it wrote nothing"),
        ("raise ValueError('3 NaN')", "failed", "the model exited with code 1: ValueError: 3 NaN"),
    ],
)
def test_a_harness_that_refuses_what_its_model_returned(run, code, status, reason):
    _, record = run(code)
    assert record["status"] == status
    assert record["reason"].startswith(reason)


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


def test_a_child_that_left_the_session_and_its_parent_is_stopped_too(run, tmp_path):
    """As a daemon does: a second fork, after setsid."""
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork():\n"
    daemon += "        os._exit(0)\n    open('daemon', 'w').write(str(os.getpid()))\n"
    daemon += "    time.sleep(60)\nwhile not os.path.exists('daemon'):\n    time.sleep(0.05)\n"
    _, status = run(daemon + GOOD)
    assert status["status"] == "ok"
    stat = Path("/proc", (tmp_path / "daemon").read_text(), "stat")
    until = time.monotonic() + 10  # a signal takes effect when the system comes to it
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "the daemon lives on"
        time.sleep(0.05)


def test_a_model_ends_with_its_supervisor(tmp_path):
    (tmp_path / "model.py").write_text(
        "import os, time\nopen('pid.part', 'w').write(str(os.getpid()))\n"
        "os.rename('pid.part', 'pid')\ntime.sleep(60)"
    )
    for name in ("input.h5ad", "params.json"):
        (tmp_path / name).write_text("{}")
    command = [sys.executable, "-m", "lacuna_contract.supervise", "--timeout", "60"]
    command += ["--entry", json.dumps([sys.executable, "model.py"])]
    command += ["--input", "input.h5ad", "--params", "params.json"]
    sources = str(Path(supervise.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": sources}
    process = subprocess.Popen(command, cwd=tmp_path, env=env)
    while not (tmp_path / "pid").exists():
        time.sleep(0.05)
    process.terminate()
    assert process.wait(20) == 143
    model = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(model, 0)
    assert not (tmp_path / "status.json").exists()


def test_an_input_that_is_gone_was_changed(run):
    _, status = run("import os\nos.remove('input.h5ad')\n" + GOOD)
    assert (status["status"], status["reason"]) == ("failed", "the model changed its input file")


def test_what_lies_where_the_record_goes_is_replaced(run, tmp_path):
    (tmp_path / "mine").write_text("untouched")
    _, status = run("import os\nos.symlink('mine', 'status.json')\n" + GOOD)
    assert status["status"] == "ok"
    assert (tmp_path / "mine").read_text() == "untouched"
    (tmp_path / "status.json").unlink()
    _, status = run("import os\nos.makedirs('status.json/in')\n" + GOOD)
    assert status["status"] == "ok"


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("Error in f() : no basis\nExecution halted", "failed", "Error in f() : no basis"),
        ("Error: cannot allocate vector of size 9 Gb\nExecution halted", "out_of_memory", None),
        ("OSError: [Errno 12] Cannot allocate memory", "out_of_memory", None),
    ],
)
def test_the_line_that_tells_is_found_in_other_languages(said, status, reason):
    found = supervise.verdict(1, None, False, said)
    assert found[0] == status
    assert reason is None or reason in found[1]
