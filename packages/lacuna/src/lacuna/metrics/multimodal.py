"""The metrics of the task multimodal: hidden values of each modality, and the joint embedding.

The report ranks by imputation metrics whose best possible prediction is the expectation E[y | z],
and by those embedding metrics that noise cannot win. An imputation metric is a function of truth
and prediction, (asked cells, asked features) each; an embedding metric of an
`lacuna.tasks.multimodal.embedding.Space`.
"""

import numpy as np

from lacuna.metrics.registry import Undefined, metric
from lacuna_contract.values import TARGET

#: Of the NB deviance: the median of real PBMC. For any fixed dispersion the expected count is best.
DISPERSION = 0.2
#: The least rate of a count: a prediction of 0 is one count in a million.
RATE_FLOOR = 1e-6
BETTER = {"direction": "max", "range": (0, 1)}
CORRELATION = {"direction": "max", "range": (-1, 1)}
ERROR = {"direction": "min", "range": (0, None)}


def correlations(truth: np.ndarray, prediction: np.ndarray, axis: int) -> np.ndarray:
    """Pearson's correlations along an axis of two arrays of one shape.

    Those of which the truth is constant are left out; a prediction that alone is constant counts
    as 0.
    """
    x = truth - truth.mean(axis=axis, keepdims=True, dtype=np.float64)
    y = prediction - prediction.mean(axis=axis, keepdims=True, dtype=np.float64)
    xx, yy, xy = (np.sum(v, axis=axis) for v in (x * x, y * y, x * y))
    # Rounding leaves a constant prediction with a spread of its own.
    flat = np.ptp(prediction, axis=axis) <= 1e-6 * np.abs(prediction).max(axis=axis, initial=0)
    varied = np.ptp(truth, axis=axis) > 0
    return np.where(flat, 0.0, xy / np.sqrt(np.where(flat | (xx * yy == 0), 1, xx * yy)))[varied]


def _median(values: np.ndarray, what: str) -> float:
    if not len(values):
        raise Undefined(f"the truth is constant within every {what}")
    return float(np.median(values))


def lognorm(counts: np.ndarray) -> np.ndarray:
    """log1p(10,000 x counts / the cell's total over these genes), (cells, genes)."""
    total = counts.sum(axis=1, keepdims=True, dtype=np.float64)
    return np.log1p(counts * (TARGET / np.where(total > 0, total, 1)))


@metric(
    "multimodal",
    needs="rna",
    title="RNA: Pearson within genes (median)",
    rank=True,
    purpose="follow a gene's hidden expression from cell to cell",
    **CORRELATION,
)
def rna_pearson_gene(truth, prediction):
    """Median over genes of Pearson's correlation of hidden and predicted counts over cells. Genes
    whose hidden counts are constant are left out; a constant prediction counts as 0."""
    return _median(correlations(truth, prediction, 0), "gene")


@metric("multimodal", needs="rna", title="RNA: Pearson within cells (median)", **CORRELATION)
def rna_pearson_cell(truth, prediction):
    """Median over cells of Pearson's correlation over genes, log-normalised. Not ranked by: what
    the mean of each gene gives is most of it."""
    return _median(correlations(lognorm(truth), lognorm(prediction), 1), "cell")


@metric("multimodal", needs="rna", title="RNA: RMSE, log-normalised", **ERROR)
def rna_rmse_lognorm(truth, prediction):
    """Root mean squared error of log1p(10,000 x counts / the cell's total over the genes asked
    for). Not ranked by: its best prediction is the mean of the logarithm, not the logarithm of the
    mean."""
    return float(np.sqrt(np.mean((lognorm(truth) - lognorm(prediction)) ** 2)))


@metric(
    "multimodal",
    needs="rna",
    title="RNA: negative binomial deviance",
    rank=True,
    purpose="predict hidden RNA counts",
    **ERROR,
)
def rna_nb_deviance(truth, prediction):
    """Mean deviance of hidden counts under a negative binomial distribution with the predicted mean
    and a dispersion of 0.2. A prediction below one in a million counts as that."""
    rate, phi = np.maximum(prediction, RATE_FLOOR).astype(np.float64), DISPERSION
    both = np.log1p(phi * truth) - np.log1p(phi * rate)
    own = np.where(truth > 0, truth * np.log(np.where(truth > 0, truth, 1) / rate), 0)
    return float(np.mean(2 * (own - (truth + 1 / phi) * both)))


def aurocs(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each column with both classes, ties counting one half."""
    from scipy.stats import rankdata  # takes longer to import than other tasks' evaluations

    ranks = rankdata(prediction, axis=0)
    positive = truth > 0
    n1 = positive.sum(axis=0)
    n0 = len(truth) - n1
    both = (n1 > 0) & (n0 > 0)
    wins = np.sum(ranks * positive, axis=0) - n1 * (n1 + 1) / 2
    return wins[both] / (n0 * n1)[both]


def average_precisions(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Average precision (area under the precision-recall curve, by steps) of each column that has
    a positive. Equal predictions are one step."""
    found = []
    for y, p in zip((truth > 0).T, prediction.T, strict=True):
        if not y.any():
            continue
        order = np.argsort(-p, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
        hits = np.cumsum(y[order])[ends]
        gained = np.diff(hits, prepend=0)
        found.append(np.sum(gained * hits / (ends + 1)) / hits[-1])
    return np.array(found)


def _mean(values: np.ndarray, without: str) -> float:
    if not len(values):
        raise Undefined(without)
    return float(np.mean(values))


@metric("multimodal", needs="atac", title="ATAC: AUROC, all entries", **BETTER)
def atac_auroc(truth, prediction):
    """Probability that an open entry is predicted higher than a closed one, over all cells and
    peaks. Not ranked by: how often each peak is open is most of it."""
    found = aurocs(truth.reshape(-1, 1), prediction.reshape(-1, 1))
    return _mean(found, "all hidden entries are open, or all are closed")


@metric(
    "multimodal",
    needs="atac",
    title="ATAC: AUROC within peaks (mean)",
    rank=True,
    purpose="tell in which cells a peak is open",
    **BETTER,
)
def atac_auroc_peak(truth, prediction):
    """Mean over peaks of the probability that a cell in which the peak is open is predicted higher
    than one in which it is closed, ties counting one half; 0.5 for a constant prediction."""
    found = aurocs(truth, prediction)
    return _mean(found, "no peak is open in some hidden cells and closed in others")


@metric("multimodal", needs="atac", title="ATAC: AUPRC, all entries", **BETTER)
def atac_auprc(truth, prediction):
    """Average precision over all cells and peaks."""
    found = average_precisions(truth.reshape(-1, 1), prediction.reshape(-1, 1))
    return _mean(found, "no hidden entry is open")


@metric("multimodal", needs="atac", title="ATAC: AUPRC within peaks (mean)", **BETTER)
def atac_auprc_peak(truth, prediction):
    """Mean over peaks of the average precision over cells. A constant prediction has the share of
    cells in which the peak is open."""
    return _mean(average_precisions(truth, prediction), "no peak is open in a hidden cell")


@metric(
    "multimodal",
    needs="atac",
    title="ATAC: Brier score",
    direction="min",
    range=(0, 1),
    rank=True,
    purpose="get probabilities of open peaks",
)
def atac_brier(truth, prediction):
    """Mean squared difference of the probability and what was seen. All peaks have the same cells,
    so it is the mean over peaks, too."""
    return float(np.mean((truth - prediction.astype(np.float64)) ** 2))


@metric(
    "multimodal",
    needs="adt",
    title="ADT: Pearson within proteins (median)",
    rank=True,
    purpose="follow a hidden protein from cell to cell",
    **CORRELATION,
)
def adt_pearson(truth, prediction):
    """Median over proteins of Pearson's correlation of log1p intensities over cells."""
    return _median(correlations(np.log1p(truth), prediction, 0), "protein")


@metric(
    "multimodal",
    needs="adt",
    title="ADT: RMSE of log",
    rank=True,
    purpose="predict how much protein there is",
    **ERROR,
)
def adt_rmse_log(truth, prediction):
    """Root mean squared error of log1p of the intensity."""
    return float(np.sqrt(np.mean((np.log1p(truth) - prediction.astype(np.float64)) ** 2)))


@metric(
    "multimodal",
    needs="embedding",
    title="Clusters: adjusted Rand index",
    rank=True,
    purpose="find cell types",
    direction="max",
    range=(-1, 1),
)
def ari(space):
    """Agreement of k-means clusters of the embedding, as many as there are true clusters, with the
    true ones (scIB)."""
    return space.clustering["ari"]


@metric("multimodal", needs="embedding", title="Clusters: normalised mutual information", **BETTER)
def nmi(space):
    """Agreement of k-means clusters with the true ones, as mutual information (scIB)."""
    return space.clustering["nmi"]


@metric("multimodal", needs="embedding", title="Clusters: silhouette", **BETTER)
def silhouette_label(space):
    """How much nearer cells are to their own cluster than to the next, 0 to 1 (scIB)."""
    return space.scib("silhouette_label", space.clusters())


@metric("multimodal", needs="embedding", title="Clusters: cLISI", **BETTER)
def clisi(space):
    """Whether neighbours are of one cluster, 0 to 1 (scIB)."""
    return space.scib_neighbours("clisi_knn", space.clusters())


@metric("multimodal", needs="embedding", title="Clusters: isolated labels", **BETTER)
def isolated_labels(space):
    """How well clusters that occur in few groups of cells are kept apart (scIB)."""
    return space.scib("isolated_labels", space.clusters(), space.groups())


@metric("multimodal", needs="embedding", title="Clusters: graph connectivity", **BETTER)
def graph_connectivity(space):
    """How much of each cluster is connected in the graph of neighbours (scIB)."""
    return space.scib_neighbours("graph_connectivity", space.clusters())


@metric("multimodal", needs="embedding", title="Mixing: iLISI", **BETTER)
def ilisi(space):
    """Whether neighbours come from all groups (batch and modalities), 0 to 1 (scIB). Not ranked by,
    nor are the others of mixing: an embedding of nothing but noise mixes best."""
    return space.scib_neighbours("ilisi_knn", space.groups())


@metric("multimodal", needs="embedding", title="Mixing: batch silhouette (BRAS)", **BETTER)
def bras(space):
    """How little the groups of a cluster lie apart, 0 to 1 (scIB's batch-removal adapted
    silhouette)."""
    return space.scib("bras", space.clusters(), space.groups())


@metric("multimodal", needs="embedding", title="Mixing: kBET", **BETTER)
def kbet(space):
    """Share of cells, within clusters, around which the groups are as frequent as they are overall
    (scIB)."""
    return space.scib_neighbours("kbet_per_label", space.groups(), space.clusters())


@metric(
    "multimodal",
    needs="embedding",
    title="Alignment: FOSCTTM",
    direction="min",
    range=(0, 1),
    rank=True,
    purpose="match the same cell across modalities",
)
def foscttm(space):
    """Of cells that are there twice, each time with another modality: the fraction of cells of the
    other modality that lie closer than the true match; 0.5 for chance. Over at most 2,000 rows."""
    return space.foscttm()


@metric(
    "multimodal",
    needs="embedding",
    title="Alignment: label transfer",
    rank=True,
    purpose="carry cell types from one modality to another",
    **BETTER,
)
def label_transfer(space):
    """Share of the cells with the one modality whose cluster is that of most of their 15 nearest
    among the cells with the other modality, both ways."""
    return space.label_transfer()


@metric(
    "multimodal",
    needs="embedding",
    title="Correlation of distances with those of the true state",
    rank=True,
    purpose="keep distances between cell states",
    **CORRELATION,
)
def z_distance(space):
    """Pearson's correlation of the distances between cells in the embedding with those in the
    generator's latent space."""
    return space.z_distance()
