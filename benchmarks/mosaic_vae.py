"""The table of docs/mosaic_vae.md: what the Mosaic VAE covers of the gap between floor and ceiling,
and how well its embedding is clustered, by scenario: each seed, and the mean with its interval.

    python benchmarks/mosaic_vae.py --folder results/mosaic_vae
    python benchmarks/mosaic_vae.py --folder results/batch_64 --seeds 3,4 -- --mosaic_vae.batch 64
    python benchmarks/mosaic_vae.py --folder results/noisy --mock '{"rna_signal": 0.4}'

Mock cells (600 x 1,000 genes x 5,000 peaks x 30 proteins). The model runs in its own environment,
and is scored by the metrics of the benchmark, as are floor (modality_mean) and ceiling
(multimodal_oracle) on the same cells. k-means is that of scikit-learn, with as many clusters as
there are, on the embedding, on the true state z, and on principal components of log-normalised RNA,
each of the cells with RNA. What is finished is kept, so it can be stopped and started again; other
parameters need another folder.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mock_runs import CEILING, FLOOR, GAPS, covered, planned, run, scores, shown
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from lacuna_contract.h5ad import open_h5ad, read_column
from lacuna_contract.schema import read_json
from lacuna_contract.tasks.multimodal import read

MODEL = "mosaic_vae"
SIZES = {"cells": 600, "genes": 1000, "peaks": 5000, "proteins": 30}


def row(made: dict[str, Any], condition: dict[str, Any], folder: Path) -> dict[str, float]:
    """The figures of one condition, by column; those that there are none of are left out."""
    runs = {r["model"]: folder / r["id"] for r in made["runs"] if r["key"] == condition["key"]}
    found = covered(*(scores(runs[name]) for name in (MODEL, FLOOR, CEILING)))
    details = read_json(runs[MODEL] / "metadata.json", "metadata")["details"]
    found |= clusterings(folder / "data", condition["files"], runs[MODEL] / "prediction.h5ad")
    found["over PCs"] = found["ARI"] - found["ARI PCs"]
    found["active"] = details["active_dimensions"]
    found["epoch"] = details["best_epoch"]
    found["held out"] = min(details["history"]["held_out"])
    found["CPU s"] = float((runs[MODEL] / "cpu_seconds").read_text())
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


def line(name: str, found: dict[str, list[float]], columns: list[str]) -> str:
    """A line of a Markdown table: means over seeds, with their intervals."""
    cells = [("" if c not in found else shown(found[c], digits(c))) for c in columns]
    return f"| {name} | {' | '.join(cells)} |"


def digits(column: str) -> int:
    """Decimals of a column."""
    return {"active": 0, "epoch": 0, "held out": 1, "CPU s": 1}.get(column, 3)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--folder", type=Path, required=True)
    cli.add_argument("--scenarios", default="all", help="joined by commas (%(default)s)")
    cli.add_argument("--seeds", default="0,1,2", help="joined by commas (%(default)s)")
    cli.add_argument("--mock", type=json.loads, default={}, help="settings of the generator, JSON")
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    args = cli.parse_args(words[:at])
    given = SIZES | {"models": f"{MODEL},{FLOOR},{CEILING}"}
    given |= {"scenarios": args.scenarios, "seeds": args.seeds}
    made, recipes = planned(given, words[at + 1 :])
    run(made, recipes, args.folder, [name for name, _ in GAPS.values()], **args.mock)
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for condition in made["conditions"]:
        found = row(made, condition, args.folder)
        rows.setdefault(condition["arguments"]["scenario"], {})[condition["seed"]] = found
    every = [*GAPS, "ARI all", "ARI", "ARI PCs", "over PCs", "ARI z"]
    every += ["active", "epoch", "held out", "CPU s"]
    print(f"| | {' | '.join(every)} |")
    print(f"|{'---|' * (len(every) + 1)}")
    for scenario, by_seed in rows.items():
        for seed, found in by_seed.items():
            print(line(f"{scenario} {seed}", {c: [x] for c, x in found.items()}, every))
        there = [c for c in every if all(c in found for found in by_seed.values())]
        print(line(f"**{scenario}**", {c: [f[c] for f in by_seed.values()] for c in there}, every))


if __name__ == "__main__":
    main()
