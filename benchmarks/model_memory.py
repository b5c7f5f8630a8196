"""Peak memory of a model of reconstruction, by the size of its input.

    python benchmarks/model_memory.py magic --cells 3000 10000 --genes 2000
    python benchmarks/model_memory.py ridge --cells 500 --genes 10000 --params '{"penalties": [10]}'

Draws counts of a density, hides a percentage, and runs the model in its environment under its
supervisor, first on 300 cells x 100 genes: what a run takes however small its input is. For each
size it prints the peak, what of it is beyond that, and this by entry of the matrix and by entry
that is stored (visible and not zero, or hidden). A model's `need_memory` is to be about the same.
"""

import argparse
import json
import tempfile
from pathlib import Path

from scale_reconstruction import make_counts

from lacuna.plan import plan_runs
from lacuna.setup import environments
from lacuna.setup.registry import Recipe, listing, models
from lacuna.supervised import number, supervise
from lacuna.tasks.reconstruction.prepare import prepare


def planned(recipe: Recipe, condition: dict, variant: str, params: dict) -> dict:
    """The run that a plan would hold, with as much memory as the machine has."""
    (found,) = listing([recipe])["models"]
    (run,) = plan_runs([condition], [(found, variant)], {"engine": "venv"})
    return run | {
        "params": run["params"] | params,
        "resources": run["resources"] | {"memory": "1 TB"},
    }


def run(recipe: Recipe, cells: int, args: argparse.Namespace, genes: int) -> tuple[int, int, float]:
    """(peak bytes, stored entries, seconds) of a run on counts of a size."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = ("raw", "input", "truth")
        files = {name: str(folder / f"{name}.h5ad") for name in names}
        condition = {
            "key": "reconstruction/sized/mask_seed_1", "task": "reconstruction",
            "dataset": "sized", "condition": "mask_seed_1", "seed": 1, "files": files,
            "arguments": {"percentage": args.percentage, "strategy": "uniform"},
        }  # fmt: skip
        make_counts(Path(files["raw"]), cells, genes, args.density)
        prepare(condition, *(Path(files[name]) for name in names))
        (folder / "room").mkdir()
        status = supervise(
            planned(recipe, condition, args.variant, args.params), files, folder / "room",
            lambda limits: [str(recipe.env / "bin/lacuna-supervise")], attempts=1,
        )  # fmt: skip
    if status["status"] != "ok":
        raise SystemExit(f"{cells} x {genes}: {status['status']}: {status['reason']}")
    stored = cells * genes * (args.percentage + args.density * (1 - args.percentage))
    return status["peak_memory_bytes"], round(stored), status["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="e.g. magic")
    parser.add_argument("--variant", default="default")
    parser.add_argument("--params", type=json.loads, default={}, help="JSON, over the variant's")
    parser.add_argument("--cells", type=int, nargs="+", default=[3000, 10_000])
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--density", type=float, default=0.07)
    parser.add_argument("--percentage", type=float, default=0.15)
    args = parser.parse_args()
    (recipe,) = (recipe for recipe in models() if recipe.name == args.model)
    environments.build(recipe)
    least, _, _ = run(recipe, 300, args, genes=100)
    print(f"{args.model}: {least / 2**20:.0f} MiB on 300 cells x 100 genes")
    for cells in args.cells:
        peak, stored, seconds = run(recipe, cells, args, args.genes)
        more = peak - least
        print(
            f"{cells:,} cells x {args.genes:,} genes: {peak / 2**20:.0f} MiB, {seconds:.0f} s; "
            f"{more / 2**20:.0f} MiB more, {more / (cells * args.genes):.1f} bytes an entry, "
            f"{more / stored:.0f} a stored one",
            flush=True,
        )
    limit = number(recipe.manifest["resources"]["memory"])
    print(f"model.json has {limit / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
