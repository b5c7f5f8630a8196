"""What a run costs beside the model itself.

Runs a control of a few milliseconds through the real pipeline, one task at a time, and prints the
medians of three differences: the task's wall time minus the model's command (container and
supervisor), the command minus the model's own phases (interpreter, imports, validation), and their
sum, which is what a run costs that has nothing to do with its model.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNITS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """A duration as Nextflow prints it, e.g. ``1m 2.5s``."""
    parts = re.findall(r"([\d.]+)(ms|s|m|h|d)", text)
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", default="docker", help="docker, podman or venv")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--model", default="gene_mean")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one_at_a_time = Path(folder, "serial.config")
        one_at_a_time.write_text("executor.queueSize = 1\n")
        seeds = ",".join(map(str, range(args.runs)))
        command = [ROOT / "bin/run", "--engine", args.engine, "--models", args.model]
        command += ["--seeds", seeds, "--mask_percentages", "0.15", "-c", one_at_a_time]
        command += ["--outdir", f"{folder}/results", "--data_dir", f"{folder}/data"]
        command += ["-work-dir", f"{folder}/work"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = Path(folder, "results/pipeline_info/trace.txt").read_text().splitlines()
        outside, inside = [], []
        for line in lines[1:]:
            task = dict(zip(lines[0].split("\t"), line.split("\t"), strict=True))
            if not task["name"].startswith("RUN_MODEL"):
                continue
            (record,) = Path(folder, "work").glob(f"{task['hash']}*/status.json")
            command_seconds = json.loads(record.read_text())["seconds"]
            phases = json.loads(record.with_name("metadata.json").read_text())["seconds"]
            outside.append(seconds(task["realtime"]) - command_seconds)
            inside.append(command_seconds - sum(phases.values()))
    both = [a + b for a, b in zip(outside, inside, strict=True)]
    figures = {
        "engine": args.engine,
        "runs": len(both),
        "task_minus_command_s": round(statistics.median(outside), 2),
        "command_minus_phases_s": round(statistics.median(inside), 2),
        "overhead_s": round(statistics.median(both), 2),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
