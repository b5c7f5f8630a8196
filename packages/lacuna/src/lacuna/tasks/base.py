"""What a task is: a few functions and names behind one interface."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Condition:
    """One way of hiding something, with one seed. `name` ends in ``_seed_<seed>``, and is the name
    of the condition's files and of the folders of its results; `elsewhere` names datasets that it
    is not for. `if_possible`: it was asked for as one of all, and not by its name, so that of a
    dataset that cannot have it nothing is missing."""

    name: str
    seed: int
    arguments: dict[str, Any]
    elsewhere: Sequence[str] = ()
    if_possible: bool = False


@dataclass(frozen=True)
class Option:
    """A parameter of a task's conditions, as an option of the commands without Nextflow.

    parameter
        What the pipeline calls it, e.g. "mask_percentages".
    flag
        E.g. "--mask-percentage". Takes several values, joined by commas.
    argument
        The name of the value among a condition's arguments.
    read
        Text to that value; `ContractError` for what is none.
    default
        As text; None where nothing is taken.
    """

    parameter: str
    flag: str
    argument: str
    read: Callable[[str], Any]
    default: str | None
    help: str

    @property
    def name(self) -> str:
        """Its name among parsed arguments."""
        return self.flag.lstrip("-").replace("-", "_")


@dataclass(frozen=True)
class Scores:
    """What the evaluation of one run found.

    metrics
        Value by metric name; None where a metric is not defined.
    undefined
        For each None, why.
    strata
        Metrics among parts of what was hidden, a row each: {"by", "stratum", "n", "metric",
        "value"}, as in {"by": "cell_type", "stratum": "B cell", "n": 90, "metric": "mse", ...}.
    details
        Summaries that the task's plots are drawn from: JSON, at most some tens of kilobytes.
    """

    metrics: dict[str, float | None]
    undefined: dict[str, str]
    n_hidden: int
    value_space: str
    details: dict[str, Any] = field(default_factory=dict)
    strata: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Task:
    """A task. All files are h5ad; `condition` is an entry of plan.json (schema `condition`).

    title
        As people write it.
    prediction
        File name of a prediction in the folder of its run.
    folder
        Where the inputs of a dataset are published: ``data/<dataset>/<folder>/``.
    datasets
        Datasets that need no sheet: name to what it is, in a sentence.
    default_datasets
        Those that are taken when none is asked for.
    options
        The parameters of its conditions, other than seeds.
    conditions(parameters)
        The conditions that the pipeline's parameters ask for; `ContractError` with all problems.
    import_dataset(row, source, output)
        Bring a dataset (schema `dataset`) into the raw form; `source` is None for a built-in one.
        Returns what a person should know of it, or None.
    prepare(condition, raw, input, truth, salt)
        Write what a model gets, and what it is scored against. Returns what a person should know of
        the condition, or None. `NotApplicable` where the dataset
        cannot have a condition that is wanted only `if_possible`.
    evaluate(truth, prediction, metrics, drawn=True)
        Score a prediction; `InvalidOutput` where it cannot be scored. Where nothing is to be
        `drawn` from it, the scores come without details and strata.
    together
        Whether all runs of a condition are scored by one process: for metrics that take long to
        start.
    endings
        Endings of the names of files that hold data for this task and for no other.
    """

    title: str
    prediction: str
    folder: str
    datasets: Mapping[str, str]
    default_datasets: Sequence[str]
    options: Sequence[Option]
    conditions: Callable[[Mapping[str, Any]], list[Condition]]
    import_dataset: Callable[[Mapping[str, Any], Path | None, Path], str | None]
    prepare: Callable[[Mapping[str, Any], Path, Path, Path, str], str | None]
    evaluate: Callable[..., Scores]
    together: bool = False
    endings: Sequence[str] = ()

    def files(self, dataset: str, condition: str) -> dict[str, str]:
        """Where the files of a condition are published, relative to the data folder."""
        return {
            "raw": raw_file(dataset),
            "input": f"{dataset}/{self.folder}/{condition}.h5ad",
            "truth": f"{dataset}/truth/{condition}.h5ad",
        }


def raw_file(dataset: str) -> str:
    """Where a dataset is published, relative to the data folder."""
    return f"{dataset}/raw/data.h5ad"
