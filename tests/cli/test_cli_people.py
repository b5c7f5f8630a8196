"""prepare-data, run-models, run-evaluation, run-benchmark: each row of the interface."""

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from own_dataset import own_dataset
from scipy import sparse

from lacuna import cli, metrics
from lacuna.cli.extra import model_parameters
from lacuna.cli.people import COMMANDS, run
from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import open_h5ad, read_column, read_names, read_uns
from lacuna_contract.schema import read_json

ROOT = Path(__file__).parents[2]
PBMC = Path("data/pbmc")

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


@pytest.mark.usefixtures("here")
def test_prepare_data(capsys):
    assert run("prepare-data", ["--dataset", "pbmc", "--mask-percentage", "0.15"]) == 0
    files = sorted(str(p) for p in Path("data").rglob("*.h5ad"))
    assert files == [
        "data/pbmc/masked/mask_15_seed_42.h5ad",
        "data/pbmc/raw/data.h5ad",
        "data/pbmc/truth/mask_15_seed_42.h5ad",
    ]
    assert "2 ok" in capsys.readouterr().out
    first = (PBMC / "masked/mask_15_seed_42.h5ad").read_bytes()
    arguments = ["--mask-percentage", "0.15,0.125", "--mask-strategy", "per_gene", "--seed", "1,2"]
    assert run("prepare-data", [*arguments, "--data-dir", "other"]) == 0
    assert sorted(p.name for p in Path("other/pbmc/masked").iterdir()) == [
        f"mask_{p}_per_gene_seed_{s}.h5ad" for p in ("12.5", "15") for s in (1, 2)
    ]
    assert run("prepare-data", []) == 0
    assert (PBMC / "masked/mask_15_seed_42.h5ad").read_bytes() == first


def test_progress_is_for_a_terminal(here, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    words = ["--sheet", own_dataset(here)]
    assert run("prepare-data", words) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert run("prepare-data", words) == 0
    assert "prepare: " in sys.stderr.getvalue()
    assert "/2 [" in sys.stderr.getvalue()


def test_prepare_data_from_a_sheet(here):
    sheet = own_dataset(here)
    assert run("prepare-data", ["--sheet", sheet, "--mask-percentage", "0.3"]) == 0
    assert (here / "data/mine/masked/mask_30_seed_42.h5ad").is_file()


def test_prepare_data_from_a_folder_with_an_mtx_by_two_strategies(here):
    folder = here / "ten"
    folder.mkdir()
    rng = np.random.default_rng(0)
    scipy.io.mmwrite(folder / "matrix.mtx", sparse.coo_matrix(rng.poisson(1, (30, 80))))
    (folder / "barcodes.tsv").write_text("".join(f"cell{i}\n" for i in range(80)))
    (folder / "genes.tsv").write_text("".join(f"ENSG{i}\tSYM{i}\n" for i in range(30)))
    columns = "dataset,path,organism,subsample,subsample_seed"
    (here / "datasets.csv").write_text(f"{columns}\nmine,ten,human,50,3\n")
    words = ["--sheet", "datasets.csv", "--mask-strategy", "uniform,count_thinning"]
    assert run("prepare-data", words) == 0
    masked = here / "data/mine/masked"
    names = ["mask_15_count_thinning_seed_42.h5ad", "mask_15_seed_42.h5ad"]
    assert sorted(path.name for path in masked.iterdir()) == names
    for name, kind in zip(names, ("thinned", "hidden"), strict=True):
        with open_h5ad(masked / name) as file:
            assert read_uns(file)["kind"] == kind
            assert read_uns(file)["organism"] == "human"
            assert len(read_names(file, "obs")) == 50
            assert read_column(file, "var", "symbol")[:2] == ["SYM0", "SYM1"]


def test_fewer_cells_than_were_asked_for_are_all_taken(here, capsys):
    own_dataset(here)
    (here / "datasets.csv").write_text("dataset,path,subsample\nmine,mine.h5ad,5000\n")
    assert run("prepare-data", ["--sheet", "datasets.csv"]) == 0
    said = "pass  mine: subsample is 5000, and there are 60 cells: all of them are taken"
    assert said in capsys.readouterr().out
    with open_h5ad(here / "data/mine/raw/data.h5ad") as file:
        assert len(read_names(file, "obs")) == 60


@pytest.mark.parametrize("percentage", ["0", "1", "15", "a"])
@pytest.mark.usefixtures("here")
def test_prepare_data_with_a_bad_percentage(capsys, percentage):
    assert run("prepare-data", ["--mask-percentage", percentage]) == 1
    assert f"mask percentage '{percentage}': expected a fraction" in capsys.readouterr().err
    assert not Path("data").exists()


def test_prepare_data_says_everything_that_is_wrong(here, capsys):
    (here / "datasets.csv").write_text("dataset,path\nmine,nothing.h5ad\n")
    assert run("prepare-data", ["--sheet", "datasets.csv", "--seed", "x"]) == 1
    error = capsys.readouterr().err
    assert "dataset 'mine': nothing.h5ad: no such file or folder" in error
    assert "seed 'x'" in error
    assert run("prepare-data", ["--dataset", "pmbc"]) == 1
    assert "Did you mean 'pbmc'?" in capsys.readouterr().err


def test_one_bad_dataset_does_not_stop_the_others(here, capsys):
    own_dataset(here)
    (here / "bad.h5ad").write_bytes(b"no")
    (here / "datasets.csv").write_text("dataset,path\nbad,bad.h5ad\nmine,mine.h5ad\n")
    assert run("prepare-data", ["--sheet", "datasets.csv"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  bad  failed: bad.h5ad is not a readable HDF5 file" in out
    assert "pass  mine/mask_15_seed_42" in out


def test_run_models_and_run_evaluation(here, room, capsys):
    run("prepare-data", ["--sheet", own_dataset(here), "--seed", "1,2"])
    options = ["--dataset", "mine", "--models-dir", str(room), "--models"]
    assert run("run-models", [*options, "good,truth"]) == 0
    folder = here / "results/good.half/mine/mask_15_seed_1"
    assert sorted(p.name for p in folder.iterdir()) == [
        "metadata.json",
        "reconstruction.h5ad",
        "status.json",
    ]
    status = read_json(folder / "status.json", "status")
    assert status["status"] == "ok"
    assert status["run"]["name"] == "good.half"
    assert status["run"]["params"]["factor"] == 0.5
    assert not list((here / "results").rglob("metrics.json"))

    assert (
        run("run-evaluation", ["--model", "good", "--seed", "1", "--metrics", "mse,pearson"]) == 0
    )
    scored = sorted(
        str(p.parent.relative_to("results")) for p in Path("results").rglob("metrics.json")
    )
    assert scored == ["good.half/mine/mask_15_seed_1", "good/mine/mask_15_seed_1"]
    assert set(read(folder / "metrics.json")["metrics"]) == {"mse", "pearson"}
    assert run("run-evaluation", []) == 0
    assert len(list(Path("results").rglob("metrics.json"))) == 6
    ceiling = read("results/truth/mine/mask_15_seed_2/metrics.json")
    assert ceiling["metrics"]["mse"] == 0
    assert set(ceiling["metrics"]) == set(metrics.of_task("reconstruction"))
    assert "6 ok" in capsys.readouterr().out


def test_run_evaluation_picks(here, room, capsys):
    run("prepare-data", ["--sheet", own_dataset(here), "--mask-percentage", "0.15,0.3"])
    run("run-models", ["--models-dir", str(room), "--models", "good.default"])
    assert run("run-evaluation", ["--mask-percentage", "0.3"]) == 0
    (only,) = Path("results").rglob("metrics.json")
    assert only.parent.name == "mask_30_seed_42"
    capsys.readouterr()
    for arguments, message in (
        (["--model", "god"], "no prediction of model 'god' in results. There are: good"),
        (["--dataset", "pbmc"], "There are: mine"),
        (["--metrics", "mes"], "Did you mean 'mse'?"),
        (["--mask-percentage", "15"], "for 15 % write 0.15"),
        (["--seed", "-1"], "expected a whole number"),
    ):
        assert run("run-evaluation", arguments) == 1
        assert message in capsys.readouterr().err


def test_models_and_evaluation_of_the_datasets_of_a_sheet(here, room, capsys):
    sheet = own_dataset(here)
    (here / "datasets.csv").write_text("dataset,path\nmine,mine.h5ad\nother,mine.h5ad\n")
    run("prepare-data", ["--sheet", sheet])
    (here / "some.csv").write_text("dataset,path\nmine,mine.h5ad\nabsent,new.h5ad\n")
    options = ["--models-dir", str(room), "--models", "good.default"]
    capsys.readouterr()
    assert run("run-models", [*options, "--sheet", "some.csv"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  absent  failed: data: unknown dataset 'absent'. There are: mine, other; " in out
    assert "prepare-data --sheet some.csv makes it" in out
    assert {path.parent.parent.name for path in Path("results").rglob("status.json")} == {"mine"}
    assert run("run-models", [*options, "--sheet", sheet]) == 0
    assert run("run-evaluation", ["--sheet", "some.csv"]) == 0
    assert {path.parent.parent.name for path in Path("results").rglob("metrics.json")} == {"mine"}
    assert run("run-models", [*options, "--dataset", "mine,other"]) == 0
    (here / "new.csv").write_text("dataset,path\nnew,new.h5ad\n")
    capsys.readouterr()
    assert run("run-models", [*options, "--sheet", "new.csv"]) == 1
    assert "prepare-data --sheet new.csv makes it" in capsys.readouterr().err
    assert run("run-evaluation", ["--sheet", "new.csv"]) == 1
    assert "no prediction of a dataset of new.csv in results" in capsys.readouterr().err


def test_run_evaluation_leaves_tasks_without_the_metric_as_they_are(here, room, capsys):
    run("prepare-data", ["--sheet", own_dataset(here)])
    run("run-models", ["--models-dir", str(room), "--models", "good.default"])
    status = read("results/good/mine/mask_15_seed_42/status.json")
    other = here / "results/good/mock/paired_seed_1"
    other.mkdir(parents=True)
    status["run"] |= {"id": "good/mock/paired_seed_1", "task": "multimodal", "dataset": "mock"}
    (other / "status.json").write_text(json.dumps(status))
    (other / "metrics.json").write_text("as it was")
    assert run("run-evaluation", ["--metrics", "mse"]) == 0
    assert (other / "metrics.json").read_text() == "as it was"
    assert set(read("results/good/mine/mask_15_seed_42/metrics.json")["metrics"]) == {"mse"}
    capsys.readouterr()
    assert run("run-evaluation", ["--metrics", "ari", "--dataset", "mine"]) == 1
    said = capsys.readouterr().err
    assert "metric 'ari' is one of multimodal; asked for: reconstruction" in said


def test_run_evaluation_goes_on_past_what_is_broken(here, room, capsys):
    run("prepare-data", ["--sheet", own_dataset(here), "--seed", "1,2,3"])
    run("run-models", ["--models-dir", str(room), "--models", "good.default"])
    results = Path("results/good/mine")
    (results / "mask_15_seed_1/status.json").write_text("{")
    Path("data/mine/truth/mask_15_seed_2.h5ad").write_bytes(b"no")
    capsys.readouterr()
    assert run("run-evaluation", []) == 1
    out = capsys.readouterr().out
    assert "FAIL  good/mine/mask_15_seed_1  lost" in out
    assert "mask_15_seed_2.h5ad is not a readable HDF5 file" in out
    assert "pass  good/mine/mask_15_seed_3" in out


def test_a_ceiling_without_its_truth_is_a_failed_run(here, capsys):
    run("prepare-data", ["--sheet", own_dataset(here)])
    Path("data/mine/truth/mask_15_seed_42.h5ad").unlink()
    assert run("run-models", ["--models", "truth,zeros"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  truth/mine/mask_15_seed_42  failed: no such file" in out
    assert "pass  zeros/mine/mask_15_seed_42" in out


def test_run_models_on_one_file(here, room):
    run("prepare-data", ["--sheet", own_dataset(here), "--seed", "1,2"])
    options = ["--models-dir", str(room), "--models", "good.default", "--results-dir", "out"]
    assert run("run-models", [*options, "--file", "data/mine/masked/mask_15_seed_2.h5ad"]) == 0
    assert [p.parent.name for p in Path("out").rglob("status.json")] == ["mask_15_seed_2"]
    named = ["--dataset", "mine", "--file", "mask_15_seed_1.h5ad"]
    assert run("run-models", [*options, *named]) == 0
    assert len(list(Path("out").rglob("status.json"))) == 2


def test_what_follows_two_dashes_goes_to_the_models(here, room, capsys):
    run("prepare-data", ["--sheet", own_dataset(here)])
    options = ["--models-dir", str(room), "--models", "good.default"]
    assert run("run-models", [*options, "--", "--factor", "3"]) == 0
    run_of = read("results/good/mine/mask_15_seed_42/status.json")["run"]
    assert run_of["params"]["factor"] == 3
    before = Path("results/good/mine/mask_15_seed_42/status.json").read_bytes()
    assert run("run-models", [*options, "--", "--facto", "3"]) == 1
    said = capsys.readouterr().err
    assert "unknown parameter of good: 'facto'. Did you mean 'factor'? There are: factor" in said
    # Said before anything was run.
    assert Path("results/good/mine/mask_15_seed_42/status.json").read_bytes() == before


def test_a_parameter_that_some_models_do_not_take(here, room, capsys):
    run("prepare-data", ["--sheet", own_dataset(here)])
    options = ["--models-dir", str(room), "--models", "good,zeros,gene_mean,crashes"]
    for command in ("run-models", "run-benchmark"):
        assert run(command, [*options, "--", "--factor", "3", "--good.facto", "1"]) == 1
        said = capsys.readouterr().err
        # What `crashes` takes cannot be seen: its entry is its own.
        assert "--factor is no parameter of gene_mean, zeros. Choose those that take it" in said
        assert "--models good,crashes, or say whose it is: --good.factor 3" in said
        assert "unknown parameter of good: 'facto'" in said
        assert not Path("results").exists()
    assert run("run-models", [*options, "--", "--goood.factor", "3"]) == 1
    assert "unknown model in this run 'goood'. Did you mean 'good'?" in capsys.readouterr().err
    options[-1] = "good,zeros"
    whose = ["--good.factor", "3", "--good.half.factor", "4", "--seed", "7"]
    assert run("run-models", [*options, "--", *whose]) == 0
    params = {
        path.parts[1]: read(path)["run"]["params"] for path in Path("results").rglob("status.json")
    }
    assert params == {
        "good": {"factor": 3, "seed": 7},
        "good.half": {"factor": 4, "seed": 7},
        "zeros": {"seed": 7},
    }


def test_parameters_for_models_that_are_not_run(here, capsys):
    run("prepare-data", ["--sheet", own_dataset(here)])
    assert run("run-benchmark", ["--skip-models", "--", "--rank", "3"]) == 1
    assert "and --skip-models: none would be run" in capsys.readouterr().err


def test_a_checkpoint_from_a_folder_of_checkpoints(here, room, capsys):
    run("prepare-data", ["--dataset", "pbmc"])
    words = ["--models-dir", str(room), "--models", "trained"]
    place = Path("results/trained/pbmc/mask_15_seed_42")
    assert run("run-models", words) == 0
    assert "needs weights (published: in the zoo)" in capsys.readouterr().out
    assert read(place / "status.json")["status"] == "not_applicable"

    (here / "zoo/trained").mkdir(parents=True)
    (here / "zoo/trained/weights").write_text("3")
    assert run("run-models", [*words, "--checkpoints", "zoo"]) == 0
    assert list(read(place / "metadata.json")["checkpoint"]) == ["weights"]
    assert (place / "reconstruction.h5ad").is_file()


def test_parameters_of_models():
    words = ["--rank", "5", "--fast", "--learning-rate=0.1", "--name", "a b"]
    assert model_parameters(words) == {
        "rank": 5,
        "fast": True,
        "learning_rate": 0.1,
        "name": "a b",
    }
    with pytest.raises(ContractError, match="found '5'"):
        model_parameters(["5"])


@pytest.mark.usefixtures("here")
def test_run_models_without_data(room, capsys):
    assert run("run-models", ["--dataset", "pbmc"]) == 1
    assert "prepare-data --dataset pbmc makes it" in capsys.readouterr().err
    run("prepare-data", [])
    assert run("run-models", ["--models", "god", "--models-dir", str(room)]) == 1
    assert "Did you mean 'good'?" in capsys.readouterr().err
    assert run("run-models", ["--file", "data/pbmc/raw/data.h5ad"]) == 1
    assert "is no input of a model" in capsys.readouterr().err


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
