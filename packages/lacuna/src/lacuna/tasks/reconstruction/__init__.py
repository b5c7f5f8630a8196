"""Reconstruction: entries of a count matrix are hidden, and a model predicts them."""

from lacuna.tasks.base import Task
from lacuna.tasks.reconstruction.conditions import OPTIONS, conditions
from lacuna.tasks.reconstruction.evaluate import evaluate
from lacuna.tasks.reconstruction.prepare import import_dataset, prepare

TASK = Task(
    title="Reconstruction of hidden expression",
    prediction="reconstruction.h5ad",
    folder="masked",
    datasets={
        "pbmc": "700 PBMC x 765 genes, there offline",
        "simulated": "1,000 cells x 765 genes, drawn from a known law that was fitted to pbmc",
        "pbmc3k": "2,700 PBMC x 32,738 genes, downloaded when asked for",
    },
    default_datasets=("pbmc",),
    options=OPTIONS,
    conditions=conditions,
    import_dataset=import_dataset,
    prepare=prepare,
    evaluate=evaluate,
)
