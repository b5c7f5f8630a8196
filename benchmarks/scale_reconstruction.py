"""Masking and scoring of a large count matrix: time and peak memory, beside anndata reading the
same files whole.

    python benchmarks/scale_reconstruction.py [--cells 200000] [--genes 2000] [--density 0.07]

Each step is a process of its own, so that its peak resident memory is its own. The order within a
round is fixed and rounds are repeated; of each step the fastest round counts, so that a ratio is of
two figures from one run on one machine. Files go to --folder (a temporary one by default): about
9 GB for 200,000 x 2,000.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import sparse

from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_names

BLOCK = 5000
LACUNA = [sys.executable, "-m", "lacuna.cli"]
READ = "import sys, anndata; [anndata.read_h5ad(path) for path in sys.argv[1:]]"
NOTHING = "import sys, anndata"


def make_counts(path: Path, cells: int, genes: int, density: float) -> None:
    """Counts of independent genes and cells with the wanted share of non-zero entries."""
    rng = np.random.default_rng(0)
    with H5adWriter(
        path, [f"cell{i}" for i in range(cells)], [f"gene{i}" for i in range(genes)]
    ) as out:
        x = out.csr("X", np.float32)
        for start in range(0, cells, BLOCK):
            shape = min(BLOCK, cells - start), genes
            rows = sparse.random_array(shape, density=density, format="csr", rng=rng)
            rows.data = (1 + rng.geometric(0.6, rows.nnz)).astype(np.float32) - 1
            rows.sort_indices()
            x.append(sparse.csr_matrix(rows))


def make_predictions(truth: Path, hidden: Path, dense: Path) -> None:
    """A prediction of the hidden entries, and the same with every other entry filled in."""
    rng = np.random.default_rng(1)
    with open_h5ad(truth) as file:
        names = read_names(file, "obs"), read_names(file, "var")
        matrix = Matrix(file["X"])
        with H5adWriter(hidden, *names) as sparse_out, H5adWriter(dense, *names) as dense_out:
            slots = sparse_out.csr("X", np.float32), dense_out.dense("X", np.float32)
            for _, rows in matrix.chunks():
                noise = rng.gamma(1, 0.2, rows.nnz).astype(np.float32)
                rows.data = np.float32(0.5) * rows.data + noise
                slots[0].append(rows)
                slots[1].append(rows.toarray())
            for out, entries in ((sparse_out, "hidden"), (dense_out, "all")):
                out.uns({"entries": entries, "value_space": "counts"})


Figures = tuple[float, float, float]


def measure(command: list[str], folder: Path) -> Figures:
    """(seconds, processor seconds, peak resident bytes) of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command} ended with status {status}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0


def steps(folder: Path) -> dict[str, list[str]]:
    """The measured commands by name."""
    evaluate = [*LACUNA, "evaluate", "--run", "run.json", "--truth", "truth.h5ad"]
    evaluate += ["--metrics", metrics(), "--output", "record", "--files"]
    read = [sys.executable, "-c", READ]
    return {
        "masking": [
            *LACUNA, "prepare", "--condition", "condition.json", "--raw", "data.h5ad",
            "--input", "input.h5ad", "--truth", "truth.h5ad",
        ],
        "scoring, hidden entries": [*evaluate, "hidden"],
        "scoring, dense": [*evaluate, "dense"],
        "anndata: start only": [sys.executable, "-c", NOTHING],
        "anndata: read counts": [*read, "data.h5ad"],
        "anndata: read truth, hidden entries": [*read, "truth.h5ad", "hidden/prediction.h5ad"],
        "anndata: read truth, dense": [*read, "truth.h5ad", "dense/prediction.h5ad"],
    }  # fmt: skip


def metrics() -> str:
    """All metrics of the task."""
    from lacuna.metrics import of_task

    return ",".join(of_task("reconstruction"))


def write_json(folder: Path, percentage: float, strategy: str) -> None:
    """The files that describe the condition, the run and its outcome."""
    shared = {"task": "reconstruction", "dataset": "large", "condition": "m", "seed": 1}
    files = {"raw": "r", "input": "i", "truth": "t"}
    arguments = {"percentage": percentage, "strategy": strategy}
    condition = shared | {"key": "k", "arguments": arguments, "files": files}
    run = shared | {"id": "m/large/m", "model": "m", "variant": "default", "name": "m"}
    run |= {"control": None, "image": "none", "params": {}}
    status = {"status": "ok", "reason": None, "attempts": 1, "seconds": 1.0, "exit_code": 0}
    status |= {"peak_memory_bytes": None, "stderr_tail": ""}
    for name, content in (("condition.json", condition), ("run.json", run)):
        (folder / name).write_text(json.dumps(content))
    for form in ("hidden", "dense"):
        (folder / form).mkdir(exist_ok=True)
        (folder / form / "status.json").write_text(json.dumps(status))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--density", type=float, default=0.07)
    parser.add_argument("--percentage", type=float, default=0.15)
    parser.add_argument("--strategy", default="uniform")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="kept, and used again; else a temporary one")
    parser.add_argument(
        "--skip", nargs="*", default=[], help="steps to leave out, by a part of them"
    )
    args = parser.parse_args()
    # A child of a process starts with its parent's peak: nothing large is made in this one.
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run(args, folder)


def run(args: argparse.Namespace, folder: Path) -> None:
    """Make the data, measure every step, print the table."""
    write_json(folder, args.percentage, args.strategy)
    made = [sys.executable, __file__, "--make", str(args.cells), str(args.genes), str(args.density)]
    if not (folder / "data.h5ad").is_file():
        measure([*made, "counts"], folder)
    best: dict[str, Figures] = {}
    for number in range(args.rounds):
        for name, command in steps(folder).items():
            if any(word in name for word in args.skip):
                continue
            if name.startswith("scoring") and not (folder / "dense/prediction.h5ad").is_file():
                measure([*made, "predictions"], folder)
            found = measure(command, folder)
            last = best.get(name, (float("inf"), float("inf"), 0.0))
            best[name] = min(found[0], last[0]), min(found[1], last[1]), max(found[2], last[2])
        print(f"round {number + 1} of {args.rounds} done", file=sys.stderr)
    report(args, folder, best)


def report(args: argparse.Namespace, folder: Path, best: dict[str, Figures]) -> None:
    """Print seconds, memory and ratios."""
    entries = args.cells * args.genes
    with open_h5ad(folder / "truth.h5ad") as file:
        hidden = Matrix(file["X"]).stored
    print(f"{args.cells:,} cells x {args.genes:,} genes, {args.density:.1%} not zero")
    print(f"{args.percentage:.1%} hidden ({args.strategy}): {hidden:,} entries\n")
    print(f"{'':38s}{'wall':>10s}{'processor':>12s}{'peak':>12s}")
    for name, (seconds, processor, peak) in best.items():
        print(f"{name:38s}{seconds:8.2f} s{processor:10.2f} s{peak / 2**20:8.0f} MiB")
    print("\ntimes what anndata takes to read the same files, start-up included:")
    for ours, theirs in (
        ("masking", "anndata: read counts"),
        ("scoring, hidden entries", "anndata: read truth, hidden entries"),
        ("scoring, dense", "anndata: read truth, dense"),
    ):
        if ours in best and theirs in best:
            wall, processor, memory = (best[ours][i] / best[theirs][i] for i in range(3))
            print(
                f"{ours}: {wall:.2f} of wall time, {processor:.2f} of processor time, "
                f"{memory:.2f} of memory; {entries / best[ours][0] / 1e6:.0f} million entries of "
                "the matrix a second"
            )
    print(f"\nown peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        cells, genes, density, what = sys.argv[2:]
        if what == "counts":
            make_counts(Path("data.h5ad"), int(cells), int(genes), float(density))
        else:
            predictions = Path("hidden/prediction.h5ad"), Path("dense/prediction.h5ad")
            make_predictions(Path("truth.h5ad"), *predictions)
    else:
        main()
