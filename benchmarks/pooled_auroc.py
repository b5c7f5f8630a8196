"""How much of two gaps, AUROC within peaks and pooled over peaks, one state of knowledge covers.

    python benchmarks/pooled_auroc.py [--scenario bridge] [--seed 0]

Mock cells (600 x 5,000 peaks). A pretended model knows the share r of the variance of each peak's
logit, with the noise that leaves it calibrated, and predicts the expected openness. What it covers
of the gap from the mean of each peak to E[y | z] is printed for peaks' levels that are known, and
for levels estimated from the cells that show ATAC.

The last line is a bound: one who is told the state z of every cell, the depth of those that show
ATAC, shifts of the batches in which ATAC was measured, the loadings of all genes and the law that
peaks' loadings and levels are drawn from, and has to learn only these of each peak, from the cells
that show ATAC. Nobody is told this much. Shifts of batches without ATAC leave no trace in what is
measured, so that they are not told (with --all-shifts, they are).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from lacuna.metrics.multimodal import aurocs
from lacuna.mock import Settings, write_mock
from lacuna.mock.files import read_plan
from lacuna.mock.generate import Plan
from lacuna.mock.modalities import MASSES, NODES
from lacuna_contract.h5ad import Matrix, open_h5ad, read_column
from lacuna_contract.tasks.multimodal import MODALITIES, SLOTS


def mock(scenario: str, seed: int) -> tuple[Plan, np.ndarray, np.ndarray, np.ndarray]:
    """The law and the cells' states; E[y | z] and y, (cells, peaks) each; which cells show ATAC."""
    with tempfile.TemporaryDirectory() as folder:
        seen, whole = Path(folder, "seen.h5ad"), Path(folder, "whole.h5ad")
        settings = Settings(problem=scenario, n_cells=600, n_genes=1000, n_peaks=5000, seed=seed)
        write_mock(seen, settings, truth=whole, labels=False)
        with open_h5ad(whole) as file:
            opened = Matrix(file[SLOTS["atac"]]).rows(0, settings.n_cells).toarray() > 0
        with open_h5ad(seen) as file:
            shown = np.asarray(read_column(file, "obs", "has_atac"), dtype=bool)
        plan = read_plan(whole)
        return plan, plan.expected("atac", 0, settings.n_cells), opened, shown


def levels(opened: np.ndarray, offsets: np.ndarray, sd: float) -> np.ndarray:
    """The most probable level of each peak, given what is added to it in each cell, (peaks,)."""
    found = np.full(opened.shape[1], -3.5)
    middle = found.mean()
    for _ in range(40):
        p = expit(offsets + found)
        slope = (opened - p).sum(axis=0) - (found - middle) / sd**2
        found = found + np.clip(slope / ((p * (1 - p)).sum(axis=0) + 1 / sd**2), -1, 1)
        middle = found.mean()
    return found


def told(plan: Plan, opened: np.ndarray, shown: np.ndarray, all_shifts: bool) -> np.ndarray:
    """P(open) of all cells for one who learns nothing but the peaks, (cells, peaks).

    A peak's level and loadings have a normal prior, around the mean of all levels and a multiple of
    its gene's loadings, with the variances that are true; their posterior is taken for normal at
    its mode.
    """
    batches = plan.cells.assignment.batch
    traced = all_shifts | np.isin(batches, batches[shown])
    batch = plan.law.atac.response.shifts[batches] * traced[:, None]
    known = plan.cells.depth[:, [MODALITIES.index("atac")]] + batch
    design = np.column_stack([np.ones(len(shown)), plan.cells.z]).astype(np.float64)
    own, peak_gene = plan.law.atac.response, plan.law.peak_gene
    loadings, genes = own.loadings, plan.law.rna.response.loadings[:, peak_gene]
    # loadings (axes, peaks): what a gene's say of its peaks', axis by axis, is known too.
    link = (loadings * genes).sum(axis=1) / (genes**2).sum(axis=1)
    centre = np.vstack([np.full(len(peak_gene), own.baseline.mean()), link[:, None] * genes])
    away = np.vstack([own.baseline, loadings]) - centre
    precision = 1 / (away**2).mean(axis=1)
    seen, found = design[shown], centre.astype(np.float64)
    for _ in range(15):
        p = expit(seen @ found + known[shown])
        slope = seen.T @ (opened[shown] - p) - precision[:, None] * (found - centre)
        curve = np.einsum("ca,cb,cp->pab", seen, seen, p * (1 - p), optimize=True)
        curve += np.diag(precision)
        step = np.linalg.solve(curve, slope.T[..., None])[..., 0].T
        found = found + np.clip(step, -1, 1)
    doubt = np.einsum("ca,pab,cb->cp", design, np.linalg.inv(curve), design, optimize=True)
    return openness(design @ found + batch, np.sqrt(doubt + plan.law.atac.depth_sd**2))


def openness(logits: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """E[logistic(x)] for x normal around `logits` (cells, peaks), with `sd` (peaks,) or of each."""
    return sum(m * expit(logits + x * sd) for x, m in zip(NODES, MASSES, strict=True))


def scores(opened: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mean AUROC within peaks, and pooled."""
    pooled = aurocs(opened.reshape(-1, 1), prediction.reshape(-1, 1))
    return np.array([aurocs(opened, prediction).mean(), pooled[0]])


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--scenario", default="bridge", help="one that hides ATAC (%(default)s)")
    cli.add_argument("--all-shifts", action="store_true", help="tell those of all batches")
    args = cli.parse_args()
    seed = args.seed
    plan, expected, opened, shown = mock(args.scenario, seed)
    logits = logit(np.clip(expected, 1e-6, 1 - 1e-6))
    true = logits.mean(axis=0)
    state = logits - true
    sd = state.std(axis=0)
    estimated = levels(opened[shown], state[shown], true.std())
    hidden = opened[~shown]
    floor = scores(hidden, np.tile(opened[shown].mean(axis=0), (len(hidden), 1)))
    gap = scores(hidden, expected[~shown]) - floor
    noise = np.random.default_rng(seed).normal(size=hidden.shape)
    print("share covered: within peaks, pooled (levels known), pooled (levels estimated)")
    for r in (0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        guess = r * state[~shown] + np.sqrt(r * (1 - r)) * sd * noise
        rest = np.sqrt(1 - r) * sd
        (within, known), (_, learned) = (
            (scores(hidden, openness(level + guess, rest)) - floor) / gap
            for level in (true, estimated)
        )
        print(f"r = {r:.1f}: {within:.2f} {known:.2f} {learned:.2f}")
    best = told(plan, opened, shown, args.all_shifts)[~shown]
    within, learned = (scores(hidden, best) - floor) / gap
    print(f"all but the peaks is told: {within:.2f}      {learned:.2f}")


if __name__ == "__main__":
    main()
