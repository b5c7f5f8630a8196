"""Reconstruction of a large count matrix: time and peak memory of every stage, beside a plain copy
of the same file with h5py.

    python benchmarks/scale_reconstruction.py [--cells 1000000] [--genes 2000] [--density 0.07]

Stages: masking; hand-over (the input hashed and checked, as the supervisor and a model's harness
do); the model gene_mean, which streams, under its supervisor; scoring of its prediction; report.
They are run for a quarter of the cells and for all, so that the growth shows: time by the cell
should stay the same, and so should memory but for what the names take. Each step is a process of
its own, so that its peak resident memory is its own. Of several rounds the fastest counts.

Files go to --folder (a temporary one by default) and are removed size by size; the disk that is
needed is said, and checked, first: about 12 GB for the default. `--anndata` adds a dense prediction
and anndata reading the same files whole, which needs 8 GB more and the memory to hold them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import sparse

from lacuna.setup.common import ROOT
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_names

BLOCK = 5000
LIMIT = 2 * 2**30
PYTHON = sys.executable
LACUNA = [PYTHON, "-m", "lacuna.cli"]
SUPERVISE = [PYTHON, "-m", "lacuna_contract.supervise", "--input", "input.h5ad"]
SUPERVISE += ["--params", "params.json", "--timeout", "86400", "--entry"]
CHECK = (
    "from lacuna_contract.descriptor import check_h5ad;"
    "check_h5ad('input.h5ad', 'reconstruction_input')"
)
MODEL = [
    PYTHON,
    "-m",
    "lacuna_contract.harness",
    str(ROOT / "containers/controls/gene_mean/main.py"),
]
READ = "import sys, anndata; [anndata.read_h5ad(path) for path in sys.argv[1:]]"


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


def make_dense(truth: Path, dense: Path) -> None:
    """A dense prediction."""
    rng = np.random.default_rng(1)
    with open_h5ad(truth) as file:
        names = read_names(file, "obs"), read_names(file, "var")
        matrix = Matrix(file["X"])
        with H5adWriter(dense, *names) as out:
            slot = out.dense("X", np.float32)
            for _, rows in matrix.chunks():
                slot.append(rng.gamma(1, 0.2, rows.shape).astype(np.float32))
            out.uns({"entries": "all", "value_space": "counts"})


def copy(source: Path, target: Path) -> None:
    """Every dataset of a file, 16 MB at a time: what reading and writing alone cost."""
    import h5py

    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def visit(name: str, item: object) -> None:
            if not isinstance(item, h5py.Dataset):
                return
            how = {"chunks": item.chunks, "maxshape": item.maxshape if item.chunks else None}
            made = new.create_dataset(name, item.shape, item.dtype, **how)
            if not item.shape:
                made[()] = item[()]
                return
            step = max(1, (16 << 20) // item.dtype.itemsize)
            for start in range(0, item.shape[0], step):
                made[start : start + step] = item[start : start + step]

        old.visititems(visit)


Figures = tuple[float, float, float]


def measure(command: list[str], folder: Path) -> Figures:
    """(seconds, processor seconds, peak resident bytes) of a command and what it starts."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command} ended with status {status}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0


def steps(anndata: bool) -> dict[str, list[str]]:
    """The measured commands by name, in their order."""
    from lacuna.metrics import of_task

    evaluate = [*LACUNA, "evaluate", "--run", "run.json", "--truth", "truth.h5ad"]
    evaluate += ["--metrics", ",".join(of_task("reconstruction")), "--output"]
    found = {
        "plain h5py copy": [PYTHON, __file__, "--make", "copy"],
        "masking": [
            *LACUNA, "prepare", "--condition", "condition.json", "--raw", "data.h5ad",
            "--input", "input.h5ad", "--truth", "truth.h5ad",
        ],
        "hand-over": [*SUPERVISE, json.dumps([PYTHON, "-c", CHECK])],
        "gene_mean": [*SUPERVISE, json.dumps(MODEL)],
        "scoring": [*evaluate, "records", "--files", "."],
        "report": [
            *LACUNA, "report", "--plan", "plan.json", "--records", "records", "--output", "report",
        ],
    }  # fmt: skip
    if anndata:
        read = [PYTHON, "-c", READ]
        found |= {
            "anndata reads the counts": [*read, "data.h5ad"],
            "anndata reads truth, prediction": [*read, "truth.h5ad", "prediction.h5ad"],
            "making a dense prediction": [PYTHON, __file__, "--make", "dense"],
            "scoring, dense": [*evaluate, "dense_records", "--files", "dense"],
            "anndata reads truth, dense": [*read, "truth.h5ad", "dense/prediction.h5ad"],
        }
    return found


def describe(folder: Path, percentage: float, strategy: str) -> None:
    """The files that say what is to be done: condition, run, parameters, plan."""
    from lacuna.plan import plan_runs
    from lacuna.setup.registry import listing, models
    from lacuna.tasks.base import raw_file
    from lacuna.tasks.reconstruction import TASK

    name = "mask_seed_1"
    condition = {
        "key": f"reconstruction/large/{name}",
        "task": "reconstruction",
        "dataset": "large",
        "condition": name,
        "seed": 1,
        "arguments": {"percentage": percentage, "strategy": strategy},
        "files": TASK.files("large", name),
    }
    (found,) = (m for m in listing(models())["models"] if m["name"] == "gene_mean")
    (run,) = plan_runs([condition], [(found, "default")], {"engine": "venv"})
    dataset = {"task": "reconstruction", "dataset": "large", "source": None}
    plan = {
        "datasets": [dataset | {"file": raw_file("large")}],
        "conditions": [condition],
        "runs": [run],
        "metrics": {"reconstruction": list(metrics())},
    }
    from lacuna.records import IDENTITY

    identity = {key: run[key] for key in IDENTITY if key in run}
    documents = {"condition": condition, "run": identity, "plan": plan, "params": run["params"]}
    for stem, content in documents.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))


def metrics() -> list[str]:
    """All metrics of the task."""
    from lacuna.metrics import of_task

    return list(of_task("reconstruction"))


def needed(args: argparse.Namespace, cells: int) -> int:
    """Bytes on disk of everything that is made for a number of cells."""
    entries = cells * args.genes
    stored, hidden = entries * args.density, entries * args.percentage
    # Counts and their copy; input; truth; prediction; 8 bytes an entry. Room for rounding, names.
    total = 8 * (2 * stored + stored * (1 - args.percentage) + hidden + 2 * hidden)
    return int(1.1 * (total + (4 * entries if args.anndata else 0)) + 600 * cells)


def run(args: argparse.Namespace, cells: int, folder: Path) -> dict[str, Figures]:
    """Make the data of a size, measure every step, and remove what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    describe(folder, args.percentage, args.strategy)
    made = [PYTHON, __file__, "--make", "counts", str(cells), str(args.genes), str(args.density)]
    measure(made, folder)
    best: dict[str, Figures] = {}
    for number in range(args.rounds):
        for name, command in steps(args.anndata).items():
            if any(word in name for word in args.skip):
                continue
            if name == "scoring, dense":
                shutil.copy(folder / "records/status.json", folder / "dense/status.json")
            found = measure(command, folder)
            last = best.get(name, (float("inf"), float("inf"), 0.0))
            best[name] = min(found[0], last[0]), min(found[1], last[1]), max(found[2], last[2])
        print(f"{cells:,} cells: round {number + 1} of {args.rounds} done", file=sys.stderr)
    said = json.loads((folder / "records/metrics.json").read_text())
    print(f"\n{cells:,} cells x {args.genes:,} genes, {args.density:.1%} not zero; ", end="")
    print(f"{args.percentage:.1%} hidden ({args.strategy}): {said['n_hidden']:,} entries")
    shutil.rmtree(folder)
    return best


def table(cells: int, best: dict[str, Figures]) -> None:
    """Print seconds, memory, cells a second, and times the wall time of a copy."""
    plain = best["plain h5py copy"][0]
    head = ("", "wall", "processor", "peak", "cells/s", "times copy")
    print("{:34s}{:>10s}{:>12s}{:>12s}{:>12s}{:>12s}".format(*head))
    for name, (seconds, processor, peak) in best.items():
        print(
            f"{name:34s}{seconds:8.2f} s{processor:10.2f} s{peak / 2**20:8.0f} MiB"
            f"{cells / seconds:12,.0f}{seconds / plain:12.2f}"
        )


def growth(small: dict[str, Figures], large: dict[str, Figures], factor: float) -> None:
    """Print how time and memory grow, and whether every peak is below the limit."""
    print(f"\nfrom a quarter to all, {factor:.1f} times the cells:")
    for name in large:
        wall, processor, memory = (large[name][i] / small[name][i] for i in range(3))
        print(
            f"{name:34s}{wall:6.2f} times the wall time{processor:8.2f} of the processor's", end=""
        )
        print(f"{memory:8.2f} times the memory")
    ours = {name: peak for name, (_, _, peak) in large.items() if not name.startswith("anndata")}
    worst = max(ours, key=ours.get)
    word = "below" if ours[worst] < LIMIT else "ABOVE"
    print(f"\nlargest peak: {worst}, {ours[worst] / 2**20:.0f} MiB, {word} 2 GiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--density", type=float, default=0.07)
    parser.add_argument("--percentage", type=float, default=0.15)
    parser.add_argument("--strategy", default="uniform")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where files are made; else a temporary one")
    parser.add_argument("--anndata", action="store_true", help="dense scoring and anndata, too")
    parser.add_argument("--skip", nargs="*", default=[], help="steps to leave out, by a word")
    args = parser.parse_args()
    # A child of a process starts with its parent's peak: nothing large is made in this one.
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        need, free = needed(args, args.cells), shutil.disk_usage(folder).free
        print(f"needs {need / 1e9:.1f} GB in {folder}, of which {free / 1e9:.1f} GB are free")
        if need > free:
            raise SystemExit("too little; name another --folder, or fewer --cells")
        found = []
        for cells in (args.cells // 4, args.cells):
            found.append(run(args, cells, folder / str(cells)))
            table(cells, found[-1])
        growth(*found, args.cells / (args.cells // 4))


def make(what: str, *numbers: str) -> None:
    """What the processes that make files do."""
    here = Path()
    if what == "counts":
        cells, genes, density = numbers
        make_counts(here / "data.h5ad", int(cells), int(genes), float(density))
    elif what == "copy":
        copy(here / "data.h5ad", here / "copy.h5")
    else:
        (here / "dense").mkdir(exist_ok=True)
        make_dense(here / "truth.h5ad", here / "dense/prediction.h5ad")


if __name__ == "__main__":
    make(*sys.argv[2:]) if sys.argv[1:2] == ["--make"] else main()
