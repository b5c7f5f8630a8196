"""Train models on generated sequences, score them beside the ceiling, and draw what they learned.

Models are found by their manifests: every variant of a model folder of the task `segmentation` that
says "training", and the task's ceilings. Each runs in its own environment, through the same entry
as in the pipeline.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacuna import local, parameters, seeds, watched
from lacuna.genome import files
from lacuna.setup.common import SetupError
from lacuna.setup.environments import build
from lacuna.setup.registry import Recipe
from lacuna.synthetic import _plots, _results
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.schema import read_json

TASK = "segmentation"
DEVICE, ENCODER = "cuda", "mamba"
CPU_RUN = "--device cpu --encoder cnn"
#: Options that become parameters of a model of the same name.
PASSED = (
    "encoder", "features", "max_duration", "hidden_dim", "num_layers", "batch_size", "lr", "epochs",
    "log_every", "backend", "seed", "resume",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, help="folder of synthetic-benchmark generate")
    add("--output-dir", type=Path, required=True, help="folder to write")
    add("--models", default="all", help="all, or names: softmax,semicrf (%(default)s)")
    add("--encoder", choices=("cnn", "mamba", "mamba_stub", "bilstm"), help=f"({ENCODER})")
    add("--features", default="onehot", choices=("onehot", "kmer"), help="(%(default)s)")
    add("--max-duration", type=int, default=1000, help="longest segment, K (%(default)s)")
    add("--hidden-dim", type=int, default=256, help="numbers per position (%(default)s)")
    add("--num-layers", type=int, default=4, help="of the encoder (%(default)s)")
    add("--batch-size", type=int, default=16, help="sequences per step (%(default)s)")
    add("--lr", type=float, default=1e-3, help="highest learning rate (%(default)s)")
    add("--epochs", type=int, default=100, help="at most (%(default)s)")
    add("--device", choices=("cuda", "cpu"), help=f"({DEVICE})")
    add("--log-every", type=int, default=10, help="steps between reports of the loss (%(default)s)")
    add("--backend", default="streaming", choices=("streaming", "reference"),
        help="exact kernels, or plain torch, which is slow (%(default)s)")  # fmt: skip
    add("--no-triton", action="store_true", help="keep the CRFs off the GPU")
    add("--seed", type=int, default=42, help="(%(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoints in --output-dir")


def run(args: argparse.Namespace) -> int:
    """Write metrics.json, two plots and checkpoints; 1 when a model failed. Models that an earlier
    run into the same folder had, with the same data and settings, stay in them."""
    try:
        return _run(args)
    except KeyboardInterrupt:
        folder = args.output_dir / "checkpoints"
        if not any(folder.glob("*_last.pt")):
            raise KeyboardInterrupt("there is no checkpoint yet to --resume from") from None
        raise KeyboardInterrupt(f"--resume goes on from the checkpoints in {folder}") from None


def _run(args: argparse.Namespace) -> int:
    device = choose_device(args.device, args.encoder, gpu_answers())
    args.encoder = args.encoder or ENCODER
    check(args)
    chosen = choose(args.models)
    files.folder_law(args.data_dir)  # says what is wrong with the folder before anything is built
    args.output_dir.mkdir(parents=True, exist_ok=True)
    given = {name: getattr(args, name) for name in PASSED} | {"triton": not args.no_triton}
    given["checkpoint_dir"] = str((args.output_dir / "checkpoints").absolute())
    about = {
        "data": read_json_object(args.data_dir / "generated.json"),
        "settings": {**given, "device": device, "models": args.models},
    }
    path, found = args.output_dir / "metrics.json", {}
    kept = _results.kept(path, about)
    order = dict.fromkeys([*choose("all"), *chosen, *kept])
    with tempfile.TemporaryDirectory(prefix="lacuna-synthetic-") as room:
        whole = Path(room) / "input.h5ad"
        files.assemble(args.data_dir, whole)
        # Ceilings last: they take minutes, and a model that refuses its parameters a second.
        for name in sorted(chosen, key=lambda name: "control" in chosen[name][0].manifest):
            recipe, variant = chosen[name]
            params = dict(recipe.manifest.get("variants", {}).get(variant, {}))
            if recipe.manifest.get("training"):
                # As in a plan: not the seed that the sequences may have been drawn with.
                own = {"seed": seeds.integer(args.seed, "model"), "device": device, "name": name}
                params |= given | own
            truth = args.data_dir / "truth.h5ad"
            predictions = args.output_dir / "predictions"
            found[name] = _run_model(name, recipe, params, whole, truth, predictions)
            print(_results.line(name, found[name]), flush=True)
            # After each, so that a run that is killed keeps what is finished.
            records = kept | found
            ordered = {name: records[name] for name in order if name in records}
            document = _results.write(path, about, ordered)
    _plots.duration_comparison([document], args.output_dir / "duration_comparison.png")
    _plots.training_curves([document], args.output_dir / "training_curves.png")
    return int(any(record["status"] != "ok" for record in found.values()))


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; `ContractError` where there is none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ContractError(f"{path}: {error}") from None


def gpu_answers() -> bool:
    """Whether a GPU is there, as its driver's own program says."""
    program = shutil.which("nvidia-smi")
    return bool(program) and not subprocess.run([program, "-L"], capture_output=True).returncode


def choose_device(device: str | None, encoder: str | None, gpu: bool) -> str:
    """The device to train on. The default is a GPU, and without one nothing is taken in its place:
    `ContractError` says which flags make a run on the CPU."""
    if device == "cpu" or gpu:
        return device or DEVICE
    if device == "cuda":
        raise ContractError(f"--device cuda, but nvidia-smi finds no GPU here; try {CPU_RUN}")
    if encoder is None:
        raise ContractError(
            f"there is no GPU here, for which the defaults --device {DEVICE} --encoder {ENCODER} "
            f"are meant. A run on the CPU: {CPU_RUN}"
        )
    raise ContractError(
        f"there is no GPU here, and --device is {DEVICE} unless given. A run on the CPU: --device "
        f"cpu --encoder {encoder}"
    )


def check(args: argparse.Namespace) -> None:
    """`ContractError` with every number that cannot be."""
    problems = parameters.Problems()
    numbers = ("max_duration", "hidden_dim", "num_layers", "batch_size", "epochs", "log_every")
    for name in numbers:
        if getattr(args, name) < 1:
            flag = "--" + name.replace("_", "-")
            problems.add(f"{flag} {getattr(args, name)}; expected 1 or more")
    if not args.lr > 0:
        problems.add(f"--lr {args.lr}; expected more than 0")
    with problems.catch():
        parameters.seed(str(args.seed))
    problems.check("cannot run")


def choose(wanted: str) -> dict[str, tuple[Recipe, str]]:
    """By short name, the (folder, variant) pairs that `wanted` asks for, controls first.

    A short name is the variant's, or the folder's where it has but one; ``folder.variant`` is
    understood too. "all" is every trained variant and every ceiling.
    """
    recipes, _ = local.discover([])
    there: dict[str, tuple[Recipe, str]] = {}
    extra: dict[str, tuple[Recipe, str]] = {}
    for recipe in recipes.values():
        manifest = recipe.manifest
        if TASK not in manifest.get("tasks", ()):
            continue
        known = manifest.get("training") or manifest.get("control") == "ceiling"
        variants = list(manifest.get("variants", {"default": {}}))
        for variant in variants:
            full = recipe.name if variant == "default" else f"{recipe.name}.{variant}"
            short = recipe.name if variant == "default" else variant
            taken = short in there or not known
            (there if known else extra)[full if taken else short] = (recipe, variant)
    there = dict(sorted(there.items(), key=lambda item: item[1][0].manifest.get("control") is None))
    asked = parameters.words(wanted) or ["all"]
    full = {f"{recipe.name}.{v}": name for name, (recipe, v) in (there | extra).items()}
    asked = [full.get(word, word) for word in asked]
    problems = parameters.Problems()
    for word in asked:
        if word not in (*there, *extra, "all"):
            problems.add(suggest(word, [*there, *extra, "all"], "model"))
    problems.check()
    return {
        name: pair
        for name, pair in (there | extra).items()
        if name in asked or ("all" in asked and name in there)
    }


def _run_model(
    name: str,
    recipe: Recipe,
    params: Mapping[str, Any],
    whole: Path,
    truth: Path,
    predictions: Path,
) -> dict[str, Any]:
    """Run one model, score it, and say what became of it (see `_results`)."""
    control = recipe.manifest.get("control")
    predictions.mkdir(exist_ok=True)
    prediction, metadata = predictions / f"{name}.h5ad", predictions / f"{name}.json"
    for path in (prediction, metadata):
        path.unlink(missing_ok=True)
    try:
        build(recipe)
    except SetupError as error:
        return _results.failed(f"its environment could not be made: {error}", control)
    asked = predictions / f"{name}.params.json"
    asked.write_text(json.dumps(params, indent=1) + "\n")
    words = ["--input", whole, "--output", prediction.absolute()]
    words += ["--metadata", metadata.absolute(), "--params", asked.absolute()]
    words += ["--truth", truth.absolute()] if control == "ceiling" else []
    reason = watched.call(recipe, words, cpus=len(os.sched_getaffinity(0)))
    if reason is not None:
        said = read_json(metadata, "metadata") if metadata.is_file() else {}
        if "invalid_output" in said:
            return _results.failed(said["invalid_output"], control, "invalid_output")
        return _results.failed(reason, control)
    details = read_json(metadata, "metadata")
    if "not_applicable" in details:
        return _results.failed(details["not_applicable"], control, "not_applicable")
    return _results.scored(prediction, truth, details, control)
