"""Train a model's folder on a multimodal dataset, outside of any benchmark.

The command's name says which: ``train-mosaic-vae`` runs the folder ``mosaic_vae``, and
``train-model`` the one that its first word names. Nothing here knows what it does. Its entry is run
in its own environment, as in a benchmark, and gets two parameters besides its own: `state`, the
file of its checkpoint, and `resume`. Nothing is hidden on purpose: what cells lack is what is
imputed.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lacuna import local, watched
from lacuna.mock.config import Config, read_config
from lacuna.mock.layout import PLACES, modality_of
from lacuna.plan.runs import defaults
from lacuna.report.svg import Panel, asset, axis
from lacuna.setup.common import SetupError
from lacuna.setup.environments import build
from lacuna.setup.registry import Recipe
from lacuna.tasks.multimodal.evaluate import Posed, read_prediction
from lacuna.tasks.multimodal.importing import import_dataset
from lacuna.tasks.multimodal.plots import recorded
from lacuna.tasks.multimodal.prepare import write_as_it_is
from lacuna_contract.errors import ContractError, InvalidOutput, suggest
from lacuna_contract.h5ad import open_h5ad, read_column
from lacuna_contract.schema import read_json
from lacuna_contract.tasks.multimodal import MODALITIES, SLOTS

TASK = "multimodal"
RESERVED = ("state", "resume")
CHECKPOINT = "checkpoint.pt"
#: What a training leaves in its folder.
OUTPUTS = (CHECKPOINT, "prediction.h5ad", "metadata.json", "history.json", "curves.svg")


def overrides(words: Sequence[str]) -> dict[str, Any]:
    """``rate=0.01`` as {"rate": 0.01}; values are JSON or YAML."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise ContractError(f"'{word}' is not a parameter of the model such as epochs=100")
        if name in RESERVED:
            raise ContractError(f"'{name}' is set by this command (see --resume and --out)")
        found[name] = read_value(value)
    return found


def read_value(text: str) -> Any:
    """As JSON, else as YAML: YAML takes 1e-3 for a text."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ContractError(f"'{text}' is neither JSON nor YAML") from None


def curves(history: Mapping[str, Sequence[float]], best: Any = None) -> str:
    """Loss by epoch as an SVG: training and held-out cells, and each part of it."""
    panels = []
    joint = [name for name in ("train", "held_out") if name in history]
    rest = [name for name in history if name not in joint]
    for names in (joint, *([name] for name in rest)):
        if not names:
            continue
        # The first epochs are so far away that nothing else could be seen.
        late = [v for name in names for v in history[name][len(history[name]) // 20 :]]
        epochs = range(1, max(len(history[name]) for name in names) + 1)
        panel = Panel(axis("Epoch", epochs), axis("", late), ", ".join(names).replace("_", " "))
        for i, name in enumerate(names):
            inside = [p for p in enumerate(history[name], 1) if panel.inside(*p)]
            if inside:
                panel.line(inside, f"s{i}")
                panel.label(*inside[-1], name.replace("_", " "), f"s{i}")
        if isinstance(best, int | float) and 1 <= best <= len(epochs):
            panel.guide(best, across=False)
        panels.append(panel)
    width, height = 2 * panels[0].width, panels[0].height * -(-len(panels) // 2)
    drawn = "".join(
        panel.render().replace(
            "<svg ", f'<svg x="{panel.width * (i % 2)}" y="{panel.height * (i // 2)}" ', 1
        )
        for i, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}"><title>Training curves</title>'
        f"<style>{escape(asset('drawing.css'), quote=False)}</style>"
        f'<rect width="{width}" height="{height}" fill="var(--paper)"/>{drawn}</svg>\n'
    )


def check_config(config: Config) -> None:
    """`ContractError` where the dataset cannot be read as the configuration says."""
    if not config.file.is_file():
        maker = "; generate-all-mock-data makes it" if config.mock else ""
        raise ContractError(f"{config.file}: no such file{maker}")
    for name, where in config.keys.items():
        if name == "rna" and list(where) == ["layer"] and config.file.suffix != ".h5mu":
            continue
        expected = {"mod": name} if config.file.suffix == ".h5mu" else PLACES[name]
        if {k: modality_of(v) if k == "mod" else v for k, v in where.items()} != expected:
            raise ContractError(f"keys['{name}'] is {where}; training reads {expected}")


def check_keys(config: Config, raw: Path) -> None:
    """`ContractError` where `keys` does not name the modalities of an imported dataset."""
    with open_h5ad(raw) as file:
        # Mock data have a place for each modality, measured or not.
        has = {m: read_column(file, "obs", f"has_{m}") for m in MODALITIES if SLOTS[m] in file}
    there = [name for name, cells in has.items() if np.any(cells)]
    if set(config.keys) != set(there):
        raise ContractError(
            f"keys names {', '.join(config.keys)}, and {config.file} has {', '.join(there)}: "
            "training reads all that a file has"
        )


def check_prediction(recipe: Recipe, room: Path) -> None:
    """`ContractError` where a benchmark would not score what a model wrote into its folder."""
    if not (room / "prediction.h5ad").is_file():
        raise ContractError(f"{recipe.name} wrote no prediction (--output)")
    try:
        with open_h5ad(room / "input.h5ad") as file:
            read_prediction(room / "prediction.h5ad", Posed(file))
    except InvalidOutput as error:
        raise ContractError(f"{recipe.name} returned what is no prediction: {error}") from None


def check_out(out: Path, resume: bool, overwrite: bool) -> None:
    """`ContractError` where `out` has no checkpoint to resume from, or a training that would be
    lost."""
    if resume and not (out / CHECKPOINT).is_file():
        raise ContractError(f"there is no checkpoint {out / CHECKPOINT} to resume from")
    there = [name for name in OUTPUTS if (out / name).exists()]
    if there and not resume and not overwrite:
        raise ContractError(
            f"{out} holds a training already ({', '.join(there)}). --resume goes on with it, --out "
            "names another folder, --overwrite begins anew in this one"
        )


@contextmanager
def set_aside(out: Path) -> Iterator[None]:
    """An earlier training in `out` makes room for another. It is removed when that succeeds or
    leaves a checkpoint, and put back when that ends before, as on a parameter that the model
    refuses. A process that is killed leaves it in the folder ``.earlier-*``."""
    aside = Path(tempfile.mkdtemp(prefix=".earlier-", dir=out))
    try:
        for name in OUTPUTS:
            if (out / name).exists():
                (out / name).replace(aside / name)
        yield
    except BaseException:
        names = [path.name for path in aside.iterdir()]
        if names and not any((out / name).exists() for name in (CHECKPOINT, *names)):
            for name in names:
                (aside / name).replace(out / name)
            print(f"{out}: the earlier training is kept", file=sys.stderr)
        shutil.rmtree(aside)
        raise
    shutil.rmtree(aside)


def check_gpu(recipe: Recipe, gpu: bool) -> None:
    """`ContractError` where a GPU is asked for, and the model has no use for one."""
    resources = defaults("resources") | recipe.manifest.get("resources", {})
    if gpu and resources["gpu"] == "never":
        raise ContractError(
            f"{recipe.name} uses no GPU: resources.gpu in its model.json is 'never'"
        )


def train(
    recipe: Recipe,
    config: Config,
    params: Mapping[str, Any],
    out: Path,
    resume: bool,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run a model's folder; returns the metadata that it wrote.

    `out` gets ``checkpoint.pt``, ``prediction.h5ad`` (embedding and imputed values),
    ``metadata.json``, ``history.json`` and ``curves.svg``. What an earlier training left there is
    an error, unless this one is to `resume` or `overwrite` it.
    """
    check_config(config)
    check_out(out, resume, overwrite)
    try:
        build(recipe)
    except SetupError as error:
        raise ContractError(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    state = out / CHECKPOINT
    # As a benchmark runs it, but for what is asked for here.
    usual = recipe.manifest.get("variants", {}).get("default", {})
    given = {**usual, **config.model, **params, "state": str(state.absolute()), "resume": resume}
    with tempfile.TemporaryDirectory(prefix="lacuna-train-") as folder:
        room = Path(folder)
        layer = config.keys.get("rna", {}).get("layer")
        row = {"dataset": config.file.stem, "task": TASK, "layer": layer}
        note = import_dataset(row, config.file, room / "raw.h5ad", scored=False)
        print(f"{config.file}: {note}", file=sys.stderr)
        check_keys(config, room / "raw.h5ad")
        write_as_it_is(room / "raw.h5ad", room / "input.h5ad")
        (room / "params.json").write_text(json.dumps(given))
        words = ["--params", "params.json", "--input", "input.h5ad"]
        words += ["--output", "prediction.h5ad", "--metadata", "metadata.json"]
        with set_aside(out) if overwrite else nullcontext():
            if reason := watched.call(recipe, words, room):
                raise ContractError(f"{recipe.name} failed: {reason}")
            metadata = read_json(room / "metadata.json", "metadata")
            if reason := metadata.get("not_applicable"):
                raise ContractError(f"{recipe.name} declines this dataset: {reason}")
            check_prediction(recipe, room)
            for name in ("prediction.h5ad", "metadata.json"):
                # Beside where it goes: a move within a file system is whole or not at all.
                half = out / f".{name}.half"
                half.write_bytes((room / name).read_bytes())
                half.replace(out / name)
    details = metadata.get("details", {})
    (out / "history.json").write_text(json.dumps(details.get("history", {}), indent=1) + "\n")
    if history := recorded(details):
        (out / "curves.svg").write_text(curves(history, details.get("best_epoch")))
    return metadata


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP, as schedulers and terminals that close send them, end what is done here
    like Ctrl-C: `KeyboardInterrupt`, with the signal's number. What is ignored, as SIGHUP under
    nohup, stays so."""

    def stop(number: int, _: Any) -> None:
        raise KeyboardInterrupt(number)

    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {n: signal.signal(n, stop) for n in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(command: str, arguments: Sequence[str]) -> int:
    """``train-<model>``, or ``train-model <model>``; 1 and a sentence on stderr when something was
    wrong, 128 and the signal's number after an interruption."""
    name, arguments = Path(command).name.removeprefix("train-").replace("-", "_"), list(arguments)
    if own := name == "model":
        named = bool(arguments) and not arguments[0].startswith("-")
        name = arguments.pop(0) if named else "MODEL"
    parser = argparse.ArgumentParser(
        prog=Path(command).name + (f" {name}" if own else ""),
        description=f"Train the model {name} on a multimodal dataset.",
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML: data, model")
    parser.add_argument("--out", type=Path, help="default: results/training/<model>/<config>")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    again.add_argument("--overwrite", action="store_true", help="replace the training in --out")
    parser.add_argument("--gpu", action="store_true", help="train on a GPU")
    parser.add_argument("--models-dir", type=Path, action="append", default=[], help="more models")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. epochs=100")
    args = parser.parse_intermixed_args(arguments)
    out = args.out or Path("results/training") / name / args.config.stem
    try:
        config = read_config(args.config)
        params = overrides(args.overrides) | ({"device": "cuda"} if args.gpu else {})
        recipes, _ = local.discover(args.models_dir)
        able = {n: r for n, r in recipes.items() if TASK in r.manifest["tasks"] and r.has_venv}
        if name not in able:
            raise ContractError(suggest(name, able, "multimodal model"))
        check_gpu(able[name], args.gpu)
        with interruptible():
            metadata = train(able[name], config, params, out, args.resume, args.overwrite)
    except ContractError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        state = out / CHECKPOINT
        kept = f"--resume goes on from the checkpoint {state}"
        kept = kept if state.is_file() else "there is no checkpoint yet to --resume from"
        print(f"\n{parser.prog}: interrupted; {kept}", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    plain = {
        k: v for k, v in metadata.get("details", {}).items() if isinstance(v, (int, float, str))
    }
    print(f"{out}: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in plain.items()))
    return 0
