"""The metrics of reconstruction, over the hidden entries.

The report ranks by the metrics whose best possible prediction is the expected count, whatever the
distribution of counts around it: a model cannot gain by predicting anything else than what it
expects. The others are shown and not ranked by; each says why.
"""

import functools
import math

import numpy as np

from lacuna.metrics.needs import STRATA, Bins, Calibration, Mean, Moments, PerCell, PerGene
from lacuna.metrics.pieces import Pair
from lacuna.metrics.ranks import Ranking, Ranks
from lacuna.metrics.registry import Undefined, metric

#: The least rate of a Poisson distribution: a prediction of 0 is one count in a million.
RATE_FLOOR = 1e-6


@metric(
    "reconstruction",
    direction="min",
    range=(0, None),
    needs=Moments(),
    title="Mean squared error",
    rank=True,
    purpose="predict how many counts there are",
    strata=STRATA,
)
def mse(moments: Pair) -> float:
    """Mean of (prediction - truth)² of counts."""
    return moments.mean_squared_error


@metric(
    "reconstruction",
    direction="min",
    range=(0, None),
    needs=Moments(),
    title="Mean absolute error",
    strata=STRATA,
)
def mae(moments: Pair) -> float:
    """Mean of |prediction - truth| of counts. Not ranked by: its best prediction is the median,
    which is 0 where most counts are 0, so that predicting nothing can win."""
    return moments.mean_absolute_error


@metric(
    "reconstruction",
    direction="max",
    range=(-1, 1),
    needs=Moments(),
    title="Pearson correlation",
    rank=True,
    purpose="tell high from low values anywhere in the matrix",
    strata=STRATA,
)
def pearson(moments: Pair) -> float:
    """Pearson's correlation of predicted and true counts. Undefined among truly zero entries, whose
    truth does not vary."""
    return moments.correlation


@metric(
    "reconstruction",
    direction="max",
    range=(-1, 1),
    needs=Ranks(),
    title="Spearman correlation",
    strata=STRATA,
)
def spearman(ranking: Ranking) -> float:
    """Spearman's correlation of predicted and true counts, ties sharing their mean rank. Not ranked
    by: the order that it asks for depends on the dispersion of each gene, too. Undefined among
    truly zero entries."""
    return ranking.spearman().value


@metric(
    "reconstruction",
    direction="min",
    range=(0, None),
    needs=Moments("lognorm"),
    title="Mean squared error, log-normalised",
)
def mse_lognorm(moments: Pair) -> float:
    """Mean squared error of log1p(10,000 x counts / visible total). Not ranked by: its best
    prediction is the mean of the logarithm, which is less than the logarithm of the mean."""
    return moments.mean_squared_error


@metric(
    "reconstruction",
    direction="max",
    range=(-1, 1),
    needs=Moments("lognorm"),
    title="Pearson correlation, log-normalised",
)
def pearson_lognorm(moments: Pair) -> float:
    """Pearson's correlation of log1p(10,000 x counts / visible total). Not ranked by, as
    mse_lognorm is not."""
    return moments.correlation


@metric(
    "reconstruction",
    direction="max",
    range=(-1, 1),
    needs=PerGene(),
    title="Pearson correlation within genes (median)",
    rank=True,
    purpose="follow a gene from cell to cell",
)
def pearson_gene(correlations: np.ndarray) -> float:
    """Median over genes of Pearson's correlation over the gene's hidden entries. Genes whose hidden
    truth is constant are left out; one whose prediction alone is constant counts as 0."""
    return _median(correlations, "gene")


@metric(
    "reconstruction",
    direction="max",
    range=(-1, 1),
    needs=PerCell(),
    title="Pearson correlation within cells (median)",
    rank=True,
    purpose="tell which genes a cell expresses",
)
def pearson_cell(correlations: np.ndarray) -> float:
    """Median over cells of Pearson's correlation over the cell's hidden entries. Cells whose hidden
    truth is constant are left out; one whose prediction alone is constant counts as 0."""
    return _median(correlations, "cell")


@functools.cache
def _log_factorials() -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 1 << 16)))])


def log_factorial(counts: np.ndarray) -> np.ndarray:
    """log(count!) of whole counts. (Importing scipy.special costs more than most evaluations.)"""
    table = _log_factorials()
    values = table[np.minimum(counts, len(table) - 1).astype(np.int64)]
    for at in np.flatnonzero(counts >= len(table)):
        values[at] = math.lgamma(counts[at] + 1)
    return values


def poisson_loss(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """-log P(truth | Poisson(prediction)) of each entry; a rate is at least `RATE_FLOOR`."""
    rate = np.maximum(prediction, RATE_FLOOR)
    loss = rate.copy()
    # Of a truth of 0, the rate is all there is.
    at = np.flatnonzero(truth)
    loss[at] += log_factorial(truth[at]) - truth[at] * np.log(rate[at])
    return loss


@metric(
    "reconstruction",
    direction="min",
    range=(0, None),
    needs=Mean(poisson_loss),
    title="Poisson negative log-likelihood",
    rank=True,
    purpose="get rates for a model of counts",
)
def poisson_nll(mean: float) -> float:
    """Mean of -log P(true count | Poisson(predicted count)), with its constant term. A prediction
    below one in a million counts as that."""
    return mean


@metric(
    "reconstruction",
    direction="min",
    range=(0, None),
    needs=Calibration(),
    title="Calibration error",
)
def calibration(bins: Bins) -> float:
    """How far predicted from true counts are on average among entries with about equal predictions
    (within a factor of 2): the absolute differences of both sums, over the sum of all true counts.
    Not ranked by: a gene's mean is well calibrated, and useless."""
    if not bins.truth.sum():
        raise Undefined("all entries are truly zero")
    return float(np.abs(bins.prediction - bins.truth).sum() / bins.truth.sum())


@metric(
    "reconstruction",
    direction="max",
    range=(0, 1),
    needs=Ranks(),
    title="AUROC of zero against non-zero",
)
def auroc(ranking: Ranking) -> float:
    """Probability that a truly non-zero entry is predicted higher than a truly zero one, ties
    counting one half. Not ranked by, as spearman is not."""
    return ranking.auroc()


def _median(correlations: np.ndarray, what: str) -> float:
    if not len(correlations):
        raise Undefined(f"the truth is constant within every {what}")
    return float(np.median(correlations))
