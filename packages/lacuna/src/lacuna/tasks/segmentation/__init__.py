"""Segmentation: the classes of test sequences are hidden, and a model predicts them."""

from lacuna.tasks.base import Task
from lacuna.tasks.segmentation.conditions import OPTIONS, conditions
from lacuna.tasks.segmentation.evaluate import evaluate
from lacuna.tasks.segmentation.prepare import import_dataset, prepare

TASK = Task(
    title="Segmentation of genomic sequences",
    prediction="prediction.h5ad",
    folder="sequences",
    datasets={"synthetic": "sequences drawn from a law that is known exactly"},
    default_datasets=("synthetic",),
    options=OPTIONS,
    conditions=conditions,
    import_dataset=import_dataset,
    prepare=prepare,
    evaluate=evaluate,
)
