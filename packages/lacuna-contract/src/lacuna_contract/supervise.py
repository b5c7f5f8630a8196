"""Run a model's command, and leave a record of what became of it, whatever becomes of it.

This is what a model's container executes. Standard library only, so that it works in any image that
has a Python. The record is ``status.json``; a prediction is judged later, by the evaluation.

``.limits.json`` in the working directory may hold ``attempt``, ``max_attempts``, ``cpus`` and
``memory_bytes``: the circumstances of the attempt, which are no part of what is being run.
"""

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

OUT_OF_MEMORY = 137  # what a shell reports for SIGKILL, and what the pipeline retries
HEAD = TAIL = 1 << 20
STDERR_TAIL = 4000
POLL = 0.1
FRESH = 1.0  # seconds; far more than it takes to become another program
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
MEMORY_WORDS = ("memoryerror", "out of memory", "outofmemoryerror", "bad_alloc", "cannot allocate")
AFTERWORDS = ("Execution halted", "Calls: ")  # what R says after its error
SET_CHILD_SUBREAPER = 36  # of prctl(2)


class Relay(threading.Thread):
    """Pass on the first and the last megabyte of a stream, however much a model prints."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]):
        super().__init__(daemon=True)
        self._source, self._sink = source, sink
        self._passed = self._dropped = 0
        self._tail = bytearray()

    def run(self) -> None:
        while block := os.read(self._source.fileno(), 1 << 16):
            now = block[: max(0, HEAD - self._passed)]
            self._sink.write(now)
            self._sink.flush()
            self._passed += len(now)
            self._tail += block
            if len(self._tail) > 2 * TAIL:
                self._dropped += len(self._tail) - TAIL
                del self._tail[:-TAIL]
        unseen = self._dropped + len(self._tail) - self._passed
        if unseen > 0:
            kept = bytes(self._tail[-min(unseen, TAIL) :])
            if unseen > len(kept):
                self._sink.write(b"\n[... %d bytes left out ...]\n" % (unseen - len(kept)))
            self._sink.write(kept)
            self._sink.flush()

    def text(self, count: int) -> str:
        """The last `count` characters, control characters removed."""
        text = bytes(self._tail[-4 * count :]).decode(errors="replace")
        return "".join(c for c in text if c.isprintable() or c in "\n\t")[-count:]


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def adopt_orphans() -> None:
    """Become the parent of whatever loses its parent below this process, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Process(NamedTuple):
    """A process of this machine: `space` is the size of its address space, `age` in seconds."""

    parent: int
    session: int
    resident: int
    space: int
    age: float


def processes() -> dict[int, Process]:
    """Every process by its id; none where there is no /proc."""
    found = {}
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # the process ended between the listing and the reading
            continue
        parent, session, start, space, pages = (int(fields[i]) for i in (1, 3, 19, 20, 21))
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - start / tick
        found[int(entry.parent.name)] = Process(parent, session, pages * page, space, age)
    return found


def members(model: int, others: set[int]) -> Iterator[tuple[int, int]]:
    """(process id, resident bytes) of the model and all that it started.

    A process can leave the model's session, and be left by its parent; then it is a child of this
    one, which had the children `others` before. What is new and as large as its parent was forked
    to become another program: until then it has its parent's memory, which is not counted twice.
    """
    found, me = processes(), os.getpid()
    inside = {model}
    waiting = dict(found)
    while True:
        more = {
            pid
            for pid, it in waiting.items()
            if it.session == model or it.parent in inside or (it.parent == me and pid not in others)
        }
        if not more:
            break
        inside |= more
        for pid in more:
            del waiting[pid]
    there = {pid: found[pid] for pid in inside if pid in found}
    for pid, it in there.items():
        twin = there.get(it.parent)
        fresh = twin is not None and twin.space == it.space and it.age < FRESH
        yield pid, 0 if fresh else it.resident


def kernel_kills() -> int:
    """How often the kernel killed a process of this container for its memory limit."""
    for path, key in (
        ("/sys/fs/cgroup/memory.events", "oom_kill"),
        ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
    ):
        try:
            pairs = dict(line.split() for line in Path(path).read_text().splitlines())
        except (OSError, ValueError):
            continue
        return int(pairs.get(key, 0))
    return 0


def resolve(entry: list[str]) -> list[str]:
    """The entry with names of files in the model's folder replaced by their paths."""
    folder = Path(os.environ.get("LACUNA_MODEL_DIR", "."))
    return [str(folder / word) if (folder / word).is_file() else word for word in entry]


def run(command: list[str], timeout: float, limits: dict) -> dict:
    """Run `command` and say what happened, as the fields of ``status.json``.

    Parameters
    ----------
    command
        The model's command line.
    timeout
        Seconds after which the model is stopped.
    limits
        What ``.limits.json`` held.
    """
    env = dict(os.environ)
    if cpus := limits.get("cpus"):
        env.update(dict.fromkeys(THREADS, str(cpus)), LACUNA_CPUS=str(cpus))
    if memory_limit := limits.get("memory_bytes"):
        env["LACUNA_MEMORY_BYTES"] = str(memory_limit)
    before, start, peak, killed = kernel_kills(), time.monotonic(), 0, None
    others = {pid for pid, it in processes().items() if it.parent == os.getpid()}
    try:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        reason = f"the entry {command} could not be started: {error}"
        return {"status": "failed", "reason": reason, "seconds": 0.0, "peak_memory_bytes": None} | {
            "exit_code": None,
            "stderr_tail": "",
        }
    relays = [
        Relay(process.stdout, sys.stdout.buffer),
        Relay(process.stderr, sys.stderr.buffer),
    ]
    for relay in relays:
        relay.start()
    try:
        while killed is None:
            try:
                # Waiting, not sleeping: a quick model is not held up by the polling.
                process.wait(POLL)
                break
            except subprocess.TimeoutExpired:
                now = sum(size for _, size in members(process.pid, others))
                peak = max(peak, now)
            if memory_limit and now > memory_limit:
                killed = "out_of_memory"
            elif time.monotonic() - start > timeout:
                killed = "timed_out"
    finally:
        # Also what the model left running, and also when this process is told to end.
        end(process, others)
    seconds = time.monotonic() - start
    for relay in relays:
        relay.join(5)
    # ru_maxrss is of the largest single process; it sees what is too short for the polling.
    peak = max(peak, 1024 * resource_peak())
    code, tail = process.returncode, relays[1].text(STDERR_TAIL)
    status, reason = verdict(code, killed, kernel_kills() > before, tail)
    if status == "out_of_memory":
        at = f" of {memory_limit / 2**30:.2f} GB" if memory_limit else ""
        said = f" ({reason})" if reason else ""
        reason = (
            f"needed more than its memory limit{at}{said}; raise resources.memory in model.json"
        )
    if status == "timed_out":
        reason = (
            f"still running after its limit of {timeout:.0f} s; raise resources.time in model.json"
        )
    return {
        "status": status,
        "reason": reason,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak,
        "exit_code": code,
        "stderr_tail": tail,
    }


def resource_peak() -> int:
    """Largest resident size of any ended child, in KiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def end(process: subprocess.Popen, others: set[int]) -> None:
    """Kill whatever is left of the model, and collect it."""
    # Twice: what is being forked while the first list is made is in the second.
    for _ in range(2):
        for pid, _ in list(members(process.pid, others)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # all that there is without /proc
    process.wait()


def verdict(code: int, killed: str | None, kernel: bool, tail: str) -> tuple[str, str | None]:
    """(status, reason) of an ended command."""
    if killed:
        return killed, None
    if code == 0:
        return "ok", None
    lines = (line.strip() for line in reversed(tail.splitlines()))
    last = next((line for line in lines if line and not line.startswith(AFTERWORDS)), "")
    memory = any(word in last.lower() for word in MEMORY_WORDS)
    if kernel or memory or code in (-signal.SIGKILL, OUT_OF_MEMORY):
        # What the model itself says of it, most of all before it began (`need_memory`).
        own = last.partition("MemoryError: ")[2] if not kernel else ""
        return "out_of_memory", own[:500] or None
    how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
    return "failed", f"the model {how}: {last or 'it wrote nothing to standard error'}"[:1000]


def machine() -> str:
    """Processor and system in a line."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {platform.system()} {platform.release()}"


def main(arguments: list[str] | None = None) -> int:
    """The command line: see the module's text."""
    parser = argparse.ArgumentParser(prog="lacuna-supervise", description=__doc__.split("\n")[0])
    parser.add_argument("--entry", type=json.loads, required=True, help="JSON list: the command")
    parser.add_argument("--input", required=True)
    parser.add_argument("--params", required=True)
    parser.add_argument("--truth", help="only for ceilings")
    parser.add_argument("--checkpoint", help="a folder of files that were trained elsewhere")
    parser.add_argument("--timeout", type=float, required=True, help="seconds")
    args = parser.parse_args(arguments)
    limits_file = Path(".limits.json")
    limits = json.loads(limits_file.read_text()) if limits_file.is_file() else {}
    attempt, attempts = limits.get("attempt", 1), limits.get("max_attempts", 1)

    command = [*resolve(args.entry), "--input", args.input, "--output", "prediction.h5ad"]
    command += ["--metadata", "metadata.json", "--params", args.params]
    command += ["--truth", args.truth] if args.truth else []
    command += ["--checkpoint", args.checkpoint] if args.checkpoint else []
    digest = sha256(args.input)
    adopt_orphans()
    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        record = run(command, args.timeout, limits)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if record["exit_code"] == 1 and (reason := stated("invalid_output")):
        record |= {"status": "invalid_output", "reason": reason}
    if record["status"] == "ok":
        if not Path(args.input).is_file() or sha256(args.input) != digest:
            record |= {"status": "failed", "reason": "the model changed its input file"}
        elif reason := stated("not_applicable"):
            record |= {"status": "not_applicable", "reason": reason}
        elif not Path("prediction.h5ad").is_file():
            reason = "the model exited with code 0 and wrote no prediction (--output)"
            record |= {"status": "invalid_output", "reason": reason}
        elif Path("prediction.h5ad").is_symlink():
            # Whoever follows it later may be able to read what the model could not.
            reason = "the prediction is a symbolic link; expected a file"
            record |= {"status": "invalid_output", "reason": reason}
    if record["status"] == "out_of_memory" and attempt < attempts:
        print(f"attempt {attempt} of {attempts}: {record['reason']}", file=sys.stderr)
        return OUT_OF_MEMORY
    record |= {"attempts": attempt, "input_sha256": digest, "cpus": limits.get("cpus")}
    record |= {"machine": machine()}
    own("status.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0


def stop(number: int, _: object) -> None:
    """Told to end: leave no record, so that the attempt counts as lost, and no model running."""
    sys.exit(128 + number)


def own(name: str) -> Path:
    """A path to write to, whatever the model left under that name."""
    path = Path(name)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def stated(what: str) -> str | None:
    """The reason of a model that declined, or returned what is no prediction, if metadata.json has
    it."""
    try:
        metadata = json.loads(Path("metadata.json").read_text())
    except (OSError, ValueError):  # a broken metadata.json is the evaluation's to report
        return None
    found = metadata.get(what) if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


if __name__ == "__main__":
    sys.exit(main())
