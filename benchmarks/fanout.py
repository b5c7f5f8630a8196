"""What the orchestration itself costs: many trivial runs through the pipeline.

Stages and models are stand-ins that write a line of text, so that nothing but Nextflow, the
supervisor and the starting of programs takes time. Prints one line of JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "pipeline"))

from standin_project import make  # noqa: E402

MODELS = 10


def peak(pid: int, stop: threading.Event, found: list[int]) -> None:
    """The largest resident size of a process, in bytes, while it lives."""
    while not stop.wait(0.5):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        found += [1024 * int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=500, help=f"a multiple of {MODELS}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make(Path(folder))
        for number in range(MODELS):
            project.model(f"model{number}")
        seeds = ",".join(map(str, range(args.runs // MODELS)))
        load = os.getloadavg()[0]
        begin = time.monotonic()
        process = subprocess.Popen(
            project.command("--seeds", seeds), cwd=folder, stdout=subprocess.DEVNULL
        )
        stop, sizes = threading.Event(), []
        watch = threading.Thread(target=peak, args=(process.pid, stop, sizes))
        watch.start()
        code = process.wait()
        seconds = time.monotonic() - begin
        stop.set()
        watch.join()
        runs = project.results() if code == 0 else {}
    ok = sum(run["status"] == "ok" for run in runs.values())
    figures = {
        "runs": args.runs,
        "ok": ok,
        "seconds": round(seconds, 1),
        "seconds_per_run": round(seconds / args.runs, 3),
        "orchestrator_peak_mib": round(max(sizes) / 2**20),
        "cpus": os.cpu_count(),
        "load_before": round(load, 1),
    }
    print(json.dumps(figures))
    return 0 if ok == args.runs else 1


if __name__ == "__main__":
    sys.exit(main())
