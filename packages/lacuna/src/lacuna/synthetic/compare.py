"""Results of several runs as one table with intervals over seeds, the differences between models
within a seed, compare.csv, and their plots."""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacuna.report.intervals import over_seeds, paired
from lacuna.synthetic import _plots, _results
from lacuna_contract.errors import ContractError

#: Settings in which runs may differ and still be repeats of each other.
REPEATS = ("seed", "resume", "log_every", "checkpoint_dir", "name", "models", "device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--results-dir", type=Path, nargs="+", action="extend", required=True,
        help="folders of synthetic-benchmark run, or folders of such folders",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the table; write compare.csv and the plots into the first folder."""
    documents = [_results.read(path) for path in found(args.results_dir)]
    groups: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        groups.setdefault(group(document), []).append(document)
    output = args.results_dir[0]
    rows = [row for name, members in groups.items() for row in table(name, members)]
    write_csv(output / "compare.csv", rows)
    for i, (name, members) in enumerate(groups.items()):
        print(text(name, members, [row for row in rows if row["group"] == name]))
        end = f"_{i + 1}" if len(groups) > 1 else ""
        _plots.duration_comparison(members, output / f"compare_duration_comparison{end}.png")
        _plots.training_curves(members, output / f"compare_training_curves{end}.png")
    return 0


def found(folders: Sequence[Path]) -> list[Path]:
    """The metrics.json of each folder, or of the folders in it."""
    paths = []
    for folder in folders:
        inner = sorted(folder.glob("*/metrics.json"))
        own = folder / "metrics.json"
        if not own.is_file() and not inner:
            raise ContractError(f"{folder} has no metrics.json, nor has a folder in it; expected a "
                                "folder of synthetic-benchmark run")  # fmt: skip
        paths += [own] if own.is_file() else inner
    return list(dict.fromkeys(path.resolve() for path in paths))


def group(document: Mapping[str, Any]) -> str:
    """What runs share that repeat each other: all but the seeds, as text."""
    data, settings = dict(document["data"]["arguments"]), dict(document["settings"])
    parts = {k: v for k, v in data.items() if k != "seed"}
    parts |= {k: v for k, v in settings.items() if k not in REPEATS}
    return ", ".join(f"{k} {v}" for k, v in parts.items())


def table(name: str, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per model and metric: mean and interval over the runs of a group."""
    rows = []
    for model in _plots.order(documents):
        records = [d["models"][model] for d in documents if model in d["models"]]
        values: dict[str, list[float]] = {}
        for record in records:
            for metric, value in record["metrics"].items():
                if value is not None:
                    values.setdefault(metric, []).append(value)
        for metric, some in values.items():
            interval = over_seeds(some)
            rows.append(
                {
                    "group": name, "model": model, "control": records[0]["control"] or "",
                    "metric": metric, "runs": len(some), "failed": len(records) - len(some),
                    "mean": interval.mean, "low": interval.low, "high": interval.high,
                }
            )  # fmt: skip
    return rows


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Tidy: a row per group, model and metric."""
    fields = ["group", "model", "control", "metric", "runs", "failed", "mean", "low", "high"]
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, fields)
        out.writeheader()
        out.writerows(rows)


def text(
    name: str, documents: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> str:
    """The table of a group for a terminal."""
    there = {(row["model"], row["metric"]): row for row in rows}
    models = _plots.order(documents)
    metrics = [m for m in _results.SHOWN if any((model, m) in there for model in models)]
    cells = [["model", *metrics]]
    for model in models:
        cells.append([model, *(_cell(there.get((model, metric))) for metric in metrics)])
        own = [d for d in documents if model in d["models"]]
        if len(own) < len(documents):
            cells[-1][0] += f" (seeds {_seeds(own)} alone)"
        failures = [d["models"][model]["status"] for d in own]
        cells[-1][0] += "".join(f" ({status})" for status in failures if status != "ok")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    found = [f"{len(documents)} runs, seeds {_seeds(documents)}: {name}", *lines, ""]
    return "\n".join(found + differences(documents, metrics))


def _seeds(documents: Sequence[Mapping[str, Any]]) -> list[int]:
    return [document["settings"]["seed"] for document in documents]


def differences(documents: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[str]:
    """Lines that say by how much the model of the highest boundary F1 differs from the others, with
    an interval over seeds; no lines where there is but one seed or one model. Windows of one seed
    are the same for all models, so this tells them apart where the intervals of means do not."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for document in documents:
        for model, record in document["models"].items():
            if record["control"] is None:
                for metric, value in record["metrics"].items():
                    if value is not None:
                        seeds = values.setdefault(model, {}).setdefault(metric, {})
                        seeds[document["settings"]["seed"]] = value
    f1s = {m: own["boundary_f1"] for m, own in values.items() if "boundary_f1" in own}
    if len(f1s) < 2 or len(documents) < 2:
        return []
    best = max(f1s, key=lambda model: over_seeds(list(f1s[model].values())).mean)
    lines = [f"{best}, which has the highest boundary F1, minus ..., paired by seed:"]
    for model in f1s:
        parts = []
        for metric in metrics:
            both = paired(values[best].get(metric, {}), values[model].get(metric, {}))
            if both is not None and both.low is not None:
                few = f" ({both.n} seeds)" if both.n < len(documents) else ""
                parts.append(f"{metric} {both.mean:+.3f} [{both.low:+.3f}, {both.high:+.3f}]{few}")
        if model != best:
            lines.append(f"  {model}: {', '.join(parts)}")
    return [*lines, ""]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["low"] is None:
        return f"{row['mean']:.3f}"
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
