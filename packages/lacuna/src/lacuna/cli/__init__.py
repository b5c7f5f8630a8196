"""The commands. What each one needs is imported when it runs, so that a stage starts quickly."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """``lacuna plan | import | prepare | evaluate | report``: the stages of the pipeline."""
    from lacuna.cli.stages import run

    return run(sys.argv[1:] if arguments is None else arguments)


def prepare_data(arguments: Sequence[str] | None = None) -> int:
    """``prepare-data``"""
    return _local("prepare-data", arguments)


def run_models(arguments: Sequence[str] | None = None) -> int:
    """``run-models``"""
    return _local("run-models", arguments)


def run_evaluation(arguments: Sequence[str] | None = None) -> int:
    """``run-evaluation``"""
    return _local("run-evaluation", arguments)


def run_benchmark(arguments: Sequence[str] | None = None) -> int:
    """``run-benchmark``"""
    return _local("run-benchmark", arguments)


def synthetic_benchmark(arguments: Sequence[str] | None = None) -> int:
    """``synthetic-benchmark generate | ...``"""
    from lacuna.cli.synthetic import run

    return run(sys.argv[1:] if arguments is None else arguments)


def train_model(arguments: Sequence[str] | None = None) -> int:
    """``train-<model>``, ``train-model <model>``: the name that it is called by, or its first word,
    says which model is trained."""
    from lacuna.training import main as train

    return train(sys.argv[0], sys.argv[1:] if arguments is None else arguments)


def _local(command: str, arguments: Sequence[str] | None) -> int:
    from lacuna.cli.people import run

    return run(command, sys.argv[1:] if arguments is None else arguments)
