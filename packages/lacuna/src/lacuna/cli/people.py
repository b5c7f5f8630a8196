"""prepare-data, run-models, run-evaluation and run-benchmark: the stages without Nextflow."""

import argparse
import sys
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from lacuna import tasks
from lacuna.cli.commands import OPTIONS, prepare_data, run_benchmark, run_evaluation, run_models
from lacuna.local import Outcome
from lacuna_contract.errors import ContractError

DATA: dict[str, dict[str, Any]] = {
    "--tasks": {"help": f"names, or all; without it, those of the datasets, or {tasks.DEFAULT}"},
    "--dataset": {"help": "names, joined by commas"},
    "--sheet": {"type": Path, "help": "a CSV of your own datasets"},
    **{
        o.flag: {"default": o.default, "help": o.help + (" (%(default)s)" if o.default else "")}
        for o in OPTIONS
    },
    "--seed": {"default": "42", "help": "seeds, joined by commas (%(default)s)"},
    "--salt": {"default": "", "help": "a secret, for a blind evaluation"},
}
MODELS: dict[str, dict[str, Any]] = {
    "--models": {
        "default": "all",
        "help": "all, core, or names: svd is all variants of it, svd.default one (%(default)s)",
    },
    "--models-dir": {
        "type": Path, "action": "append", "default": [],
        "help": "another folder of model folders; containers/models is always one",
    },
    "--checkpoints": {
        "type": Path, "metavar": "DIR",
        "help": "a folder that holds models' checkpoints, each in a folder of the model's name",
    },
    "--allow-controls": {"action": "store_true", "help": "give the truth to any ceiling"},
    "--gpu": {"action": "store_true", "help": "let models that can use a GPU use it"},
}  # fmt: skip
FOLDERS: dict[str, dict[str, Any]] = {
    "--data-dir": {"type": Path, "default": Path("data"), "help": "(%(default)s)"},
    "--results-dir": {"type": Path, "default": Path("results"), "help": "(%(default)s)"},
}
METRICS = {"--metrics": {"default": "all", "help": "all, or names; each is for the tasks with it"}}
SKIP = {
    f"--skip-{name}": {"action": "store_true", "help": "take what is there already"}
    for name in ("prepare-data", "models", "evaluation")
}
#: What the pipeline calls them; every other that there is here is called alike, with - for _.
PIPELINE = {"--seeds": "--seed", "--datasets": "--dataset", "--outdir": "--results-dir"}
PIPELINE |= {"--models": "--model"}  # of run-evaluation
PIPELINE |= {f"--{option.parameter}": option.flag for option in OPTIONS}
COMMANDS: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "prepare-data": (prepare_data, DATA | {"--data-dir": FOLDERS["--data-dir"]}),
    "run-models": (
        run_models,
        {
            "--dataset": {"help": "names, joined by commas; without it, all that are prepared"},
            "--sheet": {
                "type": Path,
                "help": "the datasets of this CSV, as prepare-data made them",
            },
            "--file": {"type": Path, "help": "one input instead of all of the dataset"},
        }
        | MODELS
        | FOLDERS,
    ),
    "run-evaluation": (
        run_evaluation,
        {
            "--model": {"help": "names; without it, all that have predictions"},
            "--dataset": {"help": "names; without it, all"},
            "--sheet": {"type": Path, "help": "the datasets of this CSV"},
            **{o.flag: {"help": f"{o.help}; without it, all"} for o in OPTIONS},
            "--seed": {"help": "seeds; without it, all"},
        }
        | METRICS
        | FOLDERS,
    ),
    "run-benchmark": (run_benchmark, DATA | MODELS | METRICS | FOLDERS | SKIP),
}


def run(command: str, arguments: Sequence[str]) -> int:
    """Run a command; 1 when something that should have worked did not."""
    function, options = COMMANDS[command]
    parser = argparse.ArgumentParser(prog=command, description=function.__doc__)
    for option, how in options.items():
        parser.add_argument(option, **how)
    words, extra = list(arguments), []
    parser.epilog = "The pipeline's names of options, such as --seeds and --outdir, are taken too. "
    if "--models" in options:
        parser.epilog += (
            "What follows -- goes as parameters to every variant of every chosen model: -- --rank "
            "5; it is an error when one of them does not take it. -- --svd.rank 5 is for the "
            "variants of svd alone, -- --svd.wide.rank 5 for one variant."
        )
    if "--" in words and "--models" in options:
        at = words.index("--")
        words, extra = words[:at], words[at + 1 :]
    args = parser.parse_args([_own_name(word, options) for word in words])
    args.extra = extra
    try:
        outcomes = function(args)
    except ContractError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    code = summary(outcomes)
    if function is run_benchmark:
        print(f"\n{(args.results_dir / 'summary.txt').read_text().strip()}\n")
        print(f"Report: {(args.results_dir / 'report.html').absolute()}")
    return code


def _own_name(word: str, options: Container[str]) -> str:
    """An option under the name that it has here; any other word as it is."""
    name, equals, value = word.partition("=")
    found = name if name in options else PIPELINE.get(name, name.replace("_", "-"))
    return found + equals + value if found in options else word


def summary(outcomes: Sequence[Outcome]) -> int:
    """Print what passed and what failed; 1 if anything failed."""
    for outcome in outcomes:
        reason = f": {outcome.reason}" if outcome.reason else ""
        word = "FAIL" if outcome.failed else "pass" if outcome.status == "ok" else "skip"
        label = "" if outcome.status == "ok" else f"  {outcome.status}"
        print(f"{word}  {outcome.what}{label}{reason}")
    counts = Counter(outcome.status for outcome in outcomes)
    print(", ".join(f"{n} {status}" for status, n in counts.most_common()) or "nothing to do")
    return int(any(outcome.failed for outcome in outcomes))
