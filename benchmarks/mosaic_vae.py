"""The table of docs/mosaic_vae.md: what the Mosaic VAE covers of the gap between floor and ceiling,
and how well its embedding is clustered, by scenario.

    python benchmarks/mosaic_vae.py --folder results/mosaic_vae
    python benchmarks/mosaic_vae.py --folder results/batch_64 --seeds 3,4 -- --mosaic_vae.batch 64

Mock cells (600 x 1,000 genes x 5,000 peaks x 30 proteins). The model runs in its own environment,
and is scored by the metrics of the benchmark, as are floor (modality_mean) and ceiling
(multimodal_oracle) on the same cells. k-means is that of scikit-learn, with as many clusters as
there are, on the embedding, on the true state z, and on principal components of log-normalised RNA,
each of the cells with RNA. What is finished is kept, so it can be stopped and started again; other
parameters need another folder.
"""

import argparse
import resource
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from lacuna import local, plan
from lacuna.cli.extra import give, model_parameters
from lacuna.setup.environments import build
from lacuna_contract.h5ad import open_h5ad, read_column
from lacuna_contract.schema import read_json
from lacuna_contract.tasks.multimodal import read

MODEL, FLOOR, CEILING = "mosaic_vae", "modality_mean", "multimodal_oracle"
# By column: a metric, and the power in which errors are compared.
GAPS = {
    "RNA r": ("rna_pearson_gene", 1),
    "ATAC peak": ("atac_auroc_peak", 1),
    "ATAC pooled": ("atac_auroc", 1),
    "ADT r": ("adt_pearson", 1),
    "ADT MSE": ("adt_rmse_log", 2),
}
SIZES = {"cells": 600, "genes": 1000, "peaks": 5000, "proteins": 30}


def planned(scenarios: str, seeds: str, words: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan of all runs, and the model folders by name."""
    recipes, discovered = local.discover([])
    given = SIZES | {
        "tasks": "multimodal", "datasets": "mock", "scenarios": scenarios, "seeds": seeds,
        "models": f"{MODEL},{FLOOR},{CEILING}", "engine": "venv",
    }  # fmt: skip
    made = plan.make_plan(given, discovered)
    give(made["runs"], recipes, model_parameters(words))
    return made, recipes


def run(made: dict[str, Any], recipes: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run and score what is not there yet. Processor seconds of the model's runs of this call, by
    condition."""
    spent = {}
    names = [name for name, _ in GAPS.values()]
    for condition in made["conditions"]:
        runs = [r for r in made["runs"] if r["key"] == condition["key"]]
        if all((folder / r["id"] / "metrics.json").is_file() for r in runs):
            continue
        outcomes = list(local.prepare(made["datasets"], [condition], folder / "data"))
        for one in runs:
            build(recipes[one["model"]])
            before = processor()
            data = (folder / "data").absolute()
            outcomes.append(
                local.run_model(one, recipes[one["model"]], data, condition["files"], folder)
            )
            if one["model"] == MODEL:
                spent[condition["key"]] = processor() - before
            outcomes.append(local.evaluate(folder / one["id"], one, data, names, lambda _: True))
        if wrong := [f"{o.what} {o.status}: {o.reason}" for o in outcomes if o.status != "ok"]:
            sys.exit("; ".join(wrong))
    return spent


def processor() -> float:
    """Processor seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(made: dict[str, Any], condition: dict[str, Any], folder: Path) -> dict[str, float]:
    """The figures of one condition, by column; those that there are none of are left out."""
    runs = {r["model"]: folder / r["id"] for r in made["runs"] if r["key"] == condition["key"]}
    scores = {
        name: read_json(place / "metrics.json", "metrics")["metrics"]
        for name, place in runs.items()
    }
    found = {}
    for column, (metric, power) in GAPS.items():
        mine, low, high = (scores[name][metric] for name in (MODEL, FLOOR, CEILING))
        if mine is not None:
            found[column] = (mine**power - low**power) / (high**power - low**power)
    details = read_json(runs[MODEL] / "metadata.json", "metadata")["details"]
    found |= clusterings(folder / "data", condition["files"], runs[MODEL] / "prediction.h5ad")
    found["active"] = details["active_dimensions"]
    found["epoch"] = details["best_epoch"]
    found["held out"] = min(details["history"]["held_out"])
    return found


def clusterings(data: Path, files: dict[str, str], prediction: Path) -> dict[str, float]:
    """Adjusted Rand indices of k-means, the last three for the cells with RNA."""
    seen = read(data / files["input"])
    with open_h5ad(data / files["truth"]) as file:
        cluster, z = np.array(read_column(file, "obs", "cluster")), file["obsm/z"][:]
    with open_h5ad(prediction) as file:
        embedding = file["obsm/X_embedding"][:]
    rna = seen.has["rna"]
    counts = seen.counts["rna"][rna].toarray()
    normal = np.log1p(1000 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    components = PCA(20, svd_solver="randomized", random_state=0).fit_transform(normal)

    def index(points: np.ndarray, labels: np.ndarray) -> float:
        means = KMeans(len(np.unique(cluster)), n_init=10, random_state=0)
        return adjusted_rand_score(labels, means.fit_predict(points))

    return {
        "ARI all": index(embedding, cluster),
        "ARI": index(embedding[rna], cluster[rna]),
        "ARI PCs": index(components, cluster[rna]),
        "ARI z": index(z[rna], cluster[rna]),
    }


def show(name: str, found: dict[str, float], columns: list[str]) -> str:
    """A line of a Markdown table."""
    cells = [("" if c not in found else f"{found[c]:.{digits(c)}f}") for c in columns]
    return f"| {name} | {' | '.join(cells)} |"


def digits(column: str) -> int:
    """Decimals of a column."""
    return {"active": 0, "epoch": 0, "held out": 1, "CPU s": 1}.get(column, 3)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--folder", type=Path, required=True)
    cli.add_argument("--scenarios", default="all", help="joined by commas (%(default)s)")
    cli.add_argument("--seeds", default="0,1,2,3,4", help="joined by commas (%(default)s)")
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    args = cli.parse_args(words[:at])
    made, recipes = planned(args.scenarios, args.seeds, words[at + 1 :])
    spent = run(made, recipes, args.folder)
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for condition in made["conditions"]:
        found = row(made, condition, args.folder)
        if condition["key"] in spent:
            found["CPU s"] = spent[condition["key"]]
        rows.setdefault(condition["arguments"]["scenario"], {})[condition["seed"]] = found
    every = [*GAPS, "ARI all", "ARI", "ARI PCs", "ARI z", "active", "epoch", "held out", "CPU s"]
    print(f"| | {' | '.join(every)} |")
    print(f"|{'---|' * (len(every) + 1)}")
    for scenario, by_seed in rows.items():
        for seed, found in by_seed.items():
            print(show(f"{scenario} {seed}", found, every))
        there = [c for c in every if all(c in found for found in by_seed.values())]
        mean = {c: fmean(found[c] for found in by_seed.values()) for c in there}
        print(show(f"**{scenario}**", mean, every))


if __name__ == "__main__":
    main()
