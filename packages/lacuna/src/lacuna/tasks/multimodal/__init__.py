"""Multimodal: whole modalities of some cells are hidden, and a model integrates all cells and
predicts what was hidden."""

from lacuna.tasks.base import Task
from lacuna.tasks.multimodal.conditions import DATASETS, OPTIONS, conditions
from lacuna.tasks.multimodal.evaluate import evaluate
from lacuna.tasks.multimodal.importing import import_dataset
from lacuna.tasks.multimodal.prepare import prepare

TASK = Task(
    title="Multimodal integration and imputation",
    prediction="prediction.h5ad",
    folder="hidden",
    datasets=DATASETS,
    default_datasets=("mock",),
    options=OPTIONS,
    conditions=conditions,
    import_dataset=import_dataset,
    prepare=prepare,
    evaluate=evaluate,
    together=True,
    endings=(".h5mu",),
)
