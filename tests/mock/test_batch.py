"""A shift between batches where there should be one, and none where not."""

import numpy as np
import pytest
from scipy import stats

from lacuna.mock import generate_mock_dataset

SIZES = {"n_cells": 600, "n_genes": 300, "n_peaks": 1500, "seed": 3}


def batch_share(values, batch, cluster):
    """Share of the variance within clusters that lies between batches, mean over features, and the
    share that batches of these sizes have by chance. values: (cells, features)."""
    within = total = 0.0
    groups = 0
    for k in np.unique(cluster):
        x, b = values[cluster == k], batch[cluster == k]
        centred = x - x.mean(axis=0)
        total += (centred**2).sum(axis=0)
        for label in np.unique(b):
            part = x[b == label]
            within += ((part - part.mean(axis=0)) ** 2).sum(axis=0)
            groups += 1
        groups -= 1
    return np.mean(1 - within / total), groups / (len(values) - len(np.unique(cluster)))


def shares(name, **overrides):
    """Batch share above chance, by modality, in the truth of all cells."""
    _, _, truth = generate_mock_dataset(name, return_truth=True, **SIZES, **overrides)
    batch = truth.plan.cells.assignment.batch
    depth = np.asarray(truth.rna.sum(axis=1))
    measured = {
        "rna": np.log1p(300 * truth.rna.toarray() / depth),
        "atac": truth.atac.toarray(),
        "adt": np.log(truth.adt),
    }
    found = {}
    for modality, values in measured.items():
        kept = values[:, values.var(axis=0) > 0]
        share, chance = batch_share(kept, batch, truth.cluster)
        found[modality] = share - chance
    return found


def test_the_hierarchical_scenario_has_a_shift():
    found = shares("hierarchical")
    assert found["rna"] > 0.02
    assert found["atac"] > 0.001  # nearly all variance of 0 and 1 is that of the coin
    assert found["adt"] > 0.02


@pytest.mark.parametrize("name", ["unpaired", "bridge"])
def test_other_cohorts_have_none(name):
    for modality, share in shares(name).items():
        # What sampling leaves: the chance share is subtracted, so this is around 0.
        assert abs(share) < (0.0005 if modality == "atac" else 0.004), (modality, share)


def test_without_shifts_the_hierarchical_scenario_has_none():
    found = shares("hierarchical", study_shift=0.0, batch_shift=0.0)
    assert abs(found["rna"]) < 0.004
    assert abs(found["adt"]) < 0.008


def test_the_shift_grows_as_asked_and_batches_share_that_of_their_study():
    small, large = shares("hierarchical"), shares("hierarchical", study_shift=1.0)
    assert large["rna"] > 2 * small["rna"]
    _, _, truth = generate_mock_dataset(
        "hierarchical", return_truth=True, study_shift=1.0, batch_shift=0.1, **SIZES
    )
    shift = truth.plan.law.rna.response.shifts
    assert stats.pearsonr(shift[0], shift[1]).statistic > 0.95  # two batches of one study
    assert abs(stats.pearsonr(shift[0], shift[2]).statistic) < 0.2  # of two studies
    assert shift.std() == pytest.approx(1, rel=0.1)
