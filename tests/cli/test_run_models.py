"""run-models and run-evaluation: on what is prepared, with which models, parameters and metrics."""

import json
from pathlib import Path

import pytest
from own_dataset import own_dataset

from lacuna import metrics
from lacuna.cli.extra import model_parameters
from lacuna.cli.people import run
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import read_json


def read(path):
    return json.loads(Path(path).read_text())


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
