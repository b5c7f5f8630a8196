"""The tables of docs/multimodal.md: how models rank by scenario, and what pairing and shifts of
batches do to them.

    python benchmarks/multimodal_table.py --folder results/multimodal_table --seeds 1,2,3 \\
        --models mosaic_vae,ridge_pca,knn_impute,pca_concat
    python benchmarks/multimodal_table.py --folder results/multimodal_table --seeds 1 \\
        --models midas,multivi,scglue,totalvi --conditions paired,unpaired,bridge,mosaic
    python benchmarks/multimodal_table.py --results results/results.json

Mock cells (400 x 500 genes x 2,000 peaks x 30 proteins by default). All that lies in the folder is
shown, whichever call made it: figures are means over the seeds that there are, with their number.
Two conditions are no scenarios of the benchmark: `bridge_30`, of which 30 % of the cells are paired
instead of 5 %, and `level`, which is `hierarchical` to the same cells without its shifts.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mock_runs import CEILING, FLOOR, GAPS, covered, planned, run, scores, shown

SIZES = {"cells": 400, "genes": 500, "peaks": 2000, "proteins": 30}
#: By name: a scenario, and settings of the generator that are replaced. A shift of a billionth is
#: rounded to none, but counts as one: cells are hidden, and there twice, as in `hierarchical`.
CONDITIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "paired": ("paired", {}),
    "prediction": ("prediction", {}),
    "mosaic": ("mosaic", {}),
    "level": ("hierarchical", {"study_shift": 1e-9, "batch_shift": 0.0}),
    "hierarchical": ("hierarchical", {}),
    "bridge_30": ("bridge", {"shares": {"bridge": 0.3}}),
    "bridge": ("bridge", {}),
    "unpaired": ("unpaired", {}),
}
#: Differences of two conditions, by seed: what they show.
PAIRS = {
    "what the shifts of batches cost": ("level", "hierarchical"),
    "what 5 % instead of 30 % of paired cells cost": ("bridge_30", "bridge"),
}
#: Metrics that are shown as they are.
PLAIN = {"FOSCTTM": "foscttm", "ARI": "ari", "z distance": "z_distance"}
Found = dict[str, dict[str, dict[int, dict[str, float]]]]


class Entry(NamedTuple):
    """A run that was scored."""

    model: str
    condition: str
    seed: int
    metrics: dict[str, float | None]
    seconds: float


def words(text: str) -> list[str]:
    return text.split(",")


def collect(entries: Iterable[Entry]) -> Found:
    """The figures by model, condition and seed; of runs that have floor and ceiling beside them."""
    entries = list(entries)
    scored = {(e.model, e.condition, e.seed): e.metrics for e in entries if e.metrics}
    found: Found = {}
    for model, condition, seed, own, seconds in entries:
        low, high = (scored.get((name, condition, seed)) for name in (FLOOR, CEILING))
        if own and low and high:
            row = covered(own, low, high) | {"seconds": seconds}
            row |= {c: own[m] for c, m in PLAIN.items() if own.get(m) is not None}
            found.setdefault(model, {}).setdefault(condition, {})[seed] = row
    return found


def of_folder(folder: Path) -> Iterator[Entry]:
    """What lies in a folder of this command; seconds are the processor's."""
    for condition in CONDITIONS:
        for place in sorted((folder / condition).glob("*/mock/*_seed_*")):
            if own := scores(place):
                seconds = float((place / "cpu_seconds").read_text())
                seed = int(place.name.rpartition("_")[2])
                yield Entry(place.parts[-3], condition, seed, own, seconds)


def of_pipeline(path: Path) -> Iterator[Entry]:
    """The runs on mock cells of a results.json; seconds are of the clock, on one core each."""
    for one in json.loads(path.read_text())["runs"]:
        if one["task"] == "multimodal" and one["dataset"] == "mock" and one["status"] == "ok":
            scenario = one["condition"].rpartition("_seed_")[0]
            yield Entry(one["name"], scenario, one["seed"], one["metrics"], one["seconds"])


def table(found: Found, column: str) -> None:
    """A Markdown table of one column, models by conditions; best mean first."""
    there = [c for c in CONDITIONS if any(values(found, m, c, column) for m in found)]
    digits = 0 if column == "seconds" else 2
    lines = []
    for model in found:
        if model in (FLOOR, CEILING) and column in GAPS:
            continue
        cells = [values(found, model, condition, column) for condition in there]
        if any(cells):
            text = [f"{shown(list(c.values()), digits)} ({len(c)})" if c else "-" for c in cells]
            every = [x for c in cells for x in c.values()]
            lines.append((sum(every) / len(every), f"| `{model}` | {' | '.join(text)} |"))
    print(f"\n| {column} | {' | '.join(there)} |\n|{'---|' * (len(there) + 1)}")
    print("\n".join(text for _, text in sorted(lines, reverse=column in GAPS)))


def values(found: Found, model: str, condition: str, column: str) -> dict[int, float]:
    """One figure of a model on a condition, by seed."""
    by_seed = found[model].get(condition, {})
    return {seed: row[column] for seed, row in by_seed.items() if column in row}


def differences(found: Found, what: str, first: str, second: str, columns: Sequence[str]) -> None:
    """A Markdown table of `first` minus `second`, paired by seed."""
    lines = []
    for model in found:
        text = []
        for column in columns:
            one, two = (values(found, model, c, column) for c in (first, second))
            both = sorted(one.keys() & two.keys())
            less = [one[seed] - two[seed] for seed in both]
            text.append(f"{shown(less)} ({len(both)})" if both else "-")
        if set(text) != {"-"}:
            lines.append(f"| `{model}` | {' | '.join(text)} |")
    if lines:
        print(f"\n| {what} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        print("\n".join(lines))


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    where = cli.add_mutually_exclusive_group(required=True)
    where.add_argument("--folder", type=Path, help="where runs lie and are kept")
    where.add_argument("--results", type=Path, help="results.json of a pipeline: no runs are made")
    more = cli.add_argument_group("what is run before it is shown")
    more.add_argument("--models", default="", help="joined by commas; without, nothing is run")
    more.add_argument("--conditions", type=words, default=list(CONDITIONS), help="by default all")
    more.add_argument("--seeds", default="1,2,3", help="joined by commas (%(default)s)")
    for name, size in SIZES.items():
        more.add_argument(f"--{name}", type=int, default=size)
    args = cli.parse_args()
    if unknown := set(args.conditions) - set(CONDITIONS):
        sys.exit(f"unknown condition {', '.join(unknown)}. There are: {', '.join(CONDITIONS)}")
    if args.results and args.models:
        sys.exit("--results shows what the pipeline has run; --models belongs to --folder")
    metrics = [*(name for name, _ in GAPS.values()), *PLAIN.values()]
    sizes = {name: getattr(args, name) for name in SIZES}
    for condition in args.conditions if args.models else ():
        scenario, settings = CONDITIONS[condition]
        given = {"scenarios": scenario, "seeds": args.seeds}
        made, recipes = planned(sizes | given | {"models": f"{FLOOR},{CEILING},{args.models}"})
        run(made, recipes, args.folder / condition, metrics, **settings)
    found = collect(of_pipeline(args.results) if args.results else of_folder(args.folder))
    for column in [*GAPS, *PLAIN, "seconds"]:
        table(found, column)
    print(f"\nSeconds are {'of the clock' if args.results else 'of processors'}.")
    for what, pair in PAIRS.items():
        differences(found, what, *pair, list(GAPS))


if __name__ == "__main__":
    main()
