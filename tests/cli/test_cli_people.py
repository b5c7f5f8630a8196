"""prepare-data, run-models, run-evaluation, run-benchmark: each row of the interface."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from own_dataset import own_dataset

from lacuna import cli
from lacuna.cli.people import COMMANDS, run
from lacuna_contract.schema import read_json

ROOT = Path(__file__).parents[2]

FOLDERS = {"--data-dir": Path("data"), "--results-dir": Path("results")}
HIDDEN = {"--mask-percentage": "0.15", "--mask-strategy": "uniform", "--seed": "42"}
PREPARED = {"--dataset": None, "--sheet": None} | HIDDEN
MODELS = {"--models": "all", "--models-dir": []}  # in addition to containers/models
SKIPS = dict.fromkeys(("--skip-prepare-data", "--skip-models", "--skip-evaluation"))
#: What can be given to each command, and what is taken without it.
INTERFACE = {
    "prepare-data": PREPARED | {"--data-dir": Path("data")},
    "run-models": {"--dataset": None, "--sheet": None, "--file": None} | MODELS | FOLDERS,
    "run-evaluation": dict.fromkeys(
        ("--model", "--dataset", "--sheet", "--mask-percentage", "--seed")
    )
    | {"--metrics": "all"}
    | FOLDERS,
    "run-benchmark": PREPARED | MODELS | {"--metrics": "all"} | FOLDERS | SKIPS,
}


def read(path):
    return json.loads(Path(path).read_text())


def test_the_commands_are_installed():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name in ("prepare-data", "run-models", "run-evaluation", "run-benchmark"):
        module, _, function = scripts[name].partition(":")
        assert module == "lacuna.cli"
        assert callable(getattr(cli, function))
        # Where `pip install -e .` put it, as `make test` does.
        command = [Path(sys.executable).with_name(name), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"usage: {name}" in done.stdout


@pytest.mark.parametrize("command", INTERFACE)
def test_flags_and_their_defaults(command):
    options, flags = COMMANDS[command][1], INTERFACE[command]
    assert {flag: options[flag].get("default") for flag in flags} == flags


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        (
            "prepare-data",
            "--datasets a --seeds=1,2 --mask_percentages 0.3 --data_dir d",
            {"dataset": "a", "seed": "1,2", "mask_percentage": "0.3", "data_dir": Path("d")},
        ),
        (
            "run-models",
            "--datasets a --models b --outdir c",
            {"dataset": "a", "models": "b", "results_dir": Path("c")},
        ),
        (
            "run-evaluation",
            "--models b --seeds 1 --outdir c",
            {"model": "b", "seed": "1", "results_dir": Path("c")},
        ),
        ("run-benchmark", "--seeds 1 --models_dir m", {"seed": "1", "models_dir": [Path("m")]}),
    ],
)
def test_the_names_that_the_pipeline_has_are_taken_too(
    command, words, expected, monkeypatch, capsys
):
    got = {}

    def note(args):
        got.update(vars(args))
        return []

    monkeypatch.setitem(COMMANDS, command, (note, COMMANDS[command][1]))
    assert run(command, words.split()) == 0
    assert got | expected == got
    with pytest.raises(SystemExit):
        run(command, ["--sede", "1"])
    assert "unrecognized arguments: --sede 1" in capsys.readouterr().err


def test_run_benchmark_records_every_failure_and_goes_on(here, room, capsys):
    names = "good.default,crashes,not_a_number,declines,writes_nothing,hangs,renames,zeros,truth"
    options = ["--sheet", own_dataset(here), "--models-dir", str(room), "--metrics", "mse,mae"]
    assert run("run-benchmark", [*options, "--models", names]) == 1
    found = {
        path.parts[1]: read_json(path, "status")
        for path in Path("results").glob("*/*/*/status.json")
    }
    assert {name: status["status"] for name, status in found.items()} == {
        "good": "ok",
        "zeros": "ok",
        "truth": "ok",
        "crashes": "failed",
        "not_a_number": "invalid_output",
        "declines": "not_applicable",
        "writes_nothing": "invalid_output",
        "hangs": "timed_out",
        "renames": "invalid_output",
    }
    assert "the checkpoint is missing" in found["crashes"]["reason"]
    assert found["not_a_number"]["reason"].startswith("the model returned ")
    assert "NaN or infinite values" in found["not_a_number"]["reason"]
    assert "gene names are not those of the input" in found["renames"]["reason"]
    assert all("run" in status for status in found.values())
    scored = {path.parts[1] for path in Path("results").glob("*/*/*/metrics.json")}
    assert scored == {"good", "zeros", "truth"}
    out = capsys.readouterr().out
    assert "FAIL  crashes/mine/mask_15_seed_42" in out
    assert "skip  declines/mine/mask_15_seed_42" in out
    assert "pass  good/mine/mask_15_seed_42" in out
    assert Path("results/results.csv").is_file()
    assert Path("results/report.html").is_file()


def test_skipping_stages(here, room):
    options = ["--sheet", own_dataset(here), "--models-dir", str(room)]
    options += ["--models", "good.default", "--metrics", "mse"]
    assert run("run-benchmark", options) == 0
    result = Path("results/good/mine/mask_15_seed_42")
    first = {p: p.stat().st_mtime_ns for p in [*Path("data").rglob("*.h5ad"), *result.iterdir()]}
    assert run("run-benchmark", [*options, "--skip-prepare-data", "--skip-models"]) == 0
    changed = {path.name for path, at in first.items() if path.stat().st_mtime_ns != at}
    assert changed == {"metrics.json", "status.json", "metadata.json"}
    (result / "metrics.json").unlink()
    skips = ["--skip-prepare-data", "--skip-models", "--skip-evaluation"]
    assert run("run-benchmark", [*options, *skips]) == 1
    assert not (result / "metrics.json").exists()


def test_a_new_input_makes_old_predictions_stale(here, room, capsys):
    """Prepared again with another salt, the input is another: the old prediction is not scored."""
    sheet = own_dataset(here)
    run("prepare-data", ["--sheet", sheet])
    run("run-models", ["--models-dir", str(room), "--models", "good.default"])
    run("prepare-data", ["--sheet", sheet, "--salt", "secret"])
    assert run("run-evaluation", []) == 1
    assert "Prepare the data and run the model again" in capsys.readouterr().out


def test_an_environment_that_cannot_be_made_is_a_failed_run(here, room, monkeypatch):
    from lacuna import local
    from lacuna.setup.common import SetupError

    def fail(recipe):
        raise SetupError("no network")

    monkeypatch.setattr(local, "build", fail)
    options = ["--sheet", own_dataset(here), "--models-dir", str(room), "--models", "good.default"]
    assert run("run-benchmark", options) == 1
    status = read("results/good/mine/mask_15_seed_42/status.json")
    assert status["status"] == "failed"
    assert status["reason"] == "its environment could not be made: no network"
