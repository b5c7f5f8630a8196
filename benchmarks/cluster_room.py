"""How much better clusters can be told than by k-means on principal components: the adjusted Rand
index of k-means (scikit-learn, as many clusters as there are) on those of log-normalised RNA, on
the most probable state of each cell for one who knows the law, and on the true state.

    python benchmarks/cluster_room.py --seeds 0,1,2,3,4,5,6,7
    python benchmarks/cluster_room.py --mock '{"cluster_separation": 4.5, "rna_signal": 0.4}'

Mock cells as in docs/mosaic_vae.md (600 x 1,000 genes x 5,000 peaks x 30 proteins), those with RNA.
Who knows the law has every parameter of the generator (loadings, baselines, dispersions, centres)
and what the cell shows, of RNA alone and of all its modalities; only its state and its depths are
unknown. A model has to learn the parameters besides. The mode is found by Fisher scoring. "Named"
is without k-means: the cluster whose known centre the state is nearest to.
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np
from mock_runs import shown
from scipy.special import expit, softmax
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from lacuna.mock import generate_mock_dataset
from lacuna.mock.latent import centres, latent_sd
from lacuna.mock.truth import Truth
from lacuna_contract.tasks.multimodal import MODALITIES

SIZES = {"n_cells": 600, "n_genes": 1000, "n_peaks": 5000, "n_proteins": 30}
STEPS = 12


def modes(truth: Truth, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The most probable state of each cell given what it shows of these modalities, (cells,
    latent_dim), and the cluster that it most probably belongs to; scenarios with shifts of batches
    are not allowed for."""
    settings, law = truth.settings, truth.plan.law
    middles, spread = centres(settings), latent_sd(settings)
    depth_sd = [law[name].depth_sd for name in MODALITIES]
    prior = 1 / np.concatenate([spread, depth_sd]) ** 2
    width = settings.latent_dim
    found = np.zeros((len(truth.z), len(prior)))
    y = {"rna": truth.rna.toarray(), "atac": truth.atac.toarray(), "adt": np.log(truth.adt)}

    def belongs() -> np.ndarray:
        away = ((found[:, None, :width] - middles) / spread) ** 2
        return softmax(-0.5 * away.sum(axis=-1), axis=1)

    for _ in range(STEPS):
        expected = np.zeros_like(found)
        expected[:, :width] = belongs() @ middles
        gradient = (expected - found) * prior
        for cell in range(len(found)):
            information = np.diag(prior)
            for at, name in enumerate(MODALITIES):
                if name in names and truth.has[cell, at]:
                    slopes, error, weight = scored(law[name], found[cell], at, y[name][cell])
                    gradient[cell] += slopes @ error
                    information += (slopes * weight) @ slopes.T
            found[cell] += np.clip(np.linalg.solve(information, gradient[cell]), -1, 1)
    return found[:, :width], belongs().argmax(axis=1)


def scored(law, state: np.ndarray, at: int, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of one cell and modality: how the linear predictors move with the state (states, features),
    the derivative of the log-likelihood by them, and their expected information."""
    loadings, base = law.response.loadings.astype(float), law.response.baseline
    width, n = loadings.shape
    slopes = np.zeros((len(state), n))
    slopes[:width], slopes[width + at] = loadings, 1
    linear, depth = state[:width] @ loadings + base, state[width + at]
    if law.name == "rna":
        mean = np.exp(linear + depth)
        weight = 1 / (1 + law.dispersion * mean)
        return slopes, (y - mean) * weight, mean * weight
    if law.name == "atac":
        p = expit(linear + depth)
        return slopes, y - p, p * (1 - p)
    # The depth scales background and signal alike, so it is not in the softplus.
    slopes[:width] *= expit(linear)
    error = (y - law.log_mean(linear) - depth) / law.noise**2
    return slopes, error, np.full(n, law.noise**-2)


def indices(scenario: str, seed: int, mock: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Adjusted Rand indices of the cells with RNA: of k-means by what it is run on, and of the
    clusters that one who knows the law would name."""
    sizes = SIZES | mock
    _, _, truth = generate_mock_dataset(scenario, seed=seed, return_truth=True, **sizes)
    rna = truth.has[:, 0]
    counts = truth.rna[rna].toarray()
    normal = np.log1p(1000 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    from_rna, from_all = modes(truth, ("rna",)), modes(truth, MODALITIES)
    points = {
        "components": PCA(20, svd_solver="randomized", random_state=0).fit_transform(normal),
        "law, RNA": from_rna[0][rna],
        "law, all": from_all[0][rna],
        "true state": truth.z[rna],
    }
    clusters = truth.cluster[rna]
    means = KMeans(len(np.unique(clusters)), n_init=10, random_state=0)
    for name, some in points.items():
        yield name, adjusted_rand_score(clusters, means.fit_predict(some))
    yield "law, named", adjusted_rand_score(clusters, from_all[1][rna])


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("--scenarios", default="paired,bridge,mosaic", help="(%(default)s)")
    cli.add_argument("--seeds", default="0,1,2,3,4,5,6,7", help="(%(default)s)")
    cli.add_argument("--mock", type=json.loads, default={}, help="settings of the generator, JSON")
    args = cli.parse_args()
    names = ("law, RNA", "law, all", "law, named", "true state")
    print(f"| | components | {' | '.join(f'lead of {name}' for name in names)} |")
    print(f"|{'---|' * (len(names) + 2)}")
    for scenario in args.scenarios.split(","):
        found = [dict(indices(scenario, int(seed), args.mock)) for seed in args.seeds.split(",")]
        leads = [shown([f[name] - f["components"] for f in found], 3) for name in names]
        print(
            f"| {scenario} | {' | '.join([shown([f['components'] for f in found], 3), *leads])} |"
        )


if __name__ == "__main__":
    main()
