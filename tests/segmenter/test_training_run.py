"""synthetic-benchmark run and compare: flags, what they refuse, and what they write."""

import argparse
import csv
import json
import shutil

import pytest

from lacuna import seeds
from lacuna.cli.synthetic import run as command
from lacuna.synthetic import run as module
from lacuna_contract.errors import ContractError

HEADS = ["softmax", "linear", "semicrf", "semicrf_uniform"]
SMALL = [
    "--device=cpu", "--encoder=cnn", "--hidden-dim=8", "--num-layers=1", "--batch-size=4",
    "--epochs=2", "--lr=1e-2", "--max-duration=2000",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    sizes = ["--num-train=12", "--num-val=4", "--num-test=6", "--seq-length=2000", "--seed=3"]
    assert command(["generate", "--output-dir", str(folder), *sizes]) == 0
    return folder


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "a"
    words = ["run", "--data-dir", str(data), "--output-dir", str(folder), "--seed", "7", *SMALL]
    assert command(words) == 0
    return folder


def refusal(capsys, *words):
    assert command(["run", *map(str, words)]) == 1
    return capsys.readouterr().err


def test_flags_and_defaults_are_those_that_people_know():
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    found = vars(parser.parse_args(["--data-dir", "d", "--output-dir", "o"]))
    found = {k: v for k, v in found.items() if k not in ("data_dir", "output_dir")}
    # None stands for the default cuda and mamba: it can be told whether they were asked for.
    assert found == {
        "models": "all", "encoder": None, "features": "onehot", "max_duration": 1000,
        "hidden_dim": 256, "num_layers": 4, "batch_size": 16, "lr": 1e-3, "epochs": 100,
        "device": None, "log_every": 10, "backend": "streaming", "no_triton": False, "seed": 42,
        "resume": False,
    }  # fmt: skip
    assert (module.DEVICE, module.ENCODER) == ("cuda", "mamba")


def test_the_device():
    choose = module.choose_device
    assert choose(None, None, True) == choose("cuda", "cnn", True) == "cuda"
    assert choose("cpu", None, True) == choose("cpu", "cnn", False) == "cpu"
    with pytest.raises(ContractError, match="--device cpu --encoder cnn"):
        choose(None, None, False)
    with pytest.raises(ContractError, match="--device cpu --encoder bilstm"):
        choose(None, "bilstm", False)
    with pytest.raises(ContractError, match="nvidia-smi finds no GPU"):
        choose("cuda", "cnn", False)


def test_models_by_name():
    everything = module.choose("all")
    controls = [name for name, (recipe, _) in everything.items() if "control" in recipe.manifest]
    assert all(everything[name][0].manifest["control"] == "ceiling" for name in controls)
    assert list(everything) == [*controls, *HEADS]
    assert list(module.choose("linear,segmenter.semicrf")) == ["linear", "semicrf"]
    with pytest.raises(ContractError, match="Did you mean 'semicrf'"):
        module.choose("semicrff")


def test_what_cannot_be(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "gpu_answers", lambda: False)
    base = ("--data-dir", data, "--output-dir", tmp_path / "o")
    assert "--device cpu --encoder cnn" in refusal(capsys, *base)
    assert "nvidia-smi finds no GPU" in refusal(capsys, *base, "--device", "cuda")
    assert "--max-duration 0; expected 1" in refusal(capsys, *base, *SMALL, "--max-duration", 0)
    said = refusal(capsys, *base, *SMALL, "--epochs", 0, "--lr", 0)
    assert "--epochs 0; expected 1 or more" in said
    assert "--lr 0.0; expected more than 0" in said
    assert "no law.json" in refusal(capsys, "--data-dir", tmp_path, *base[2:], *SMALL)
    older = tmp_path / "older"
    shutil.copytree(data, older)
    law = json.loads((older / "law.json").read_text())
    (older / "law.json").write_text(json.dumps(law | {"version": 0}))
    said = refusal(capsys, "--data-dir", older, *base[2:], *SMALL)
    assert "make the data again" in said
    assert not (tmp_path / "o").exists()


def test_words_that_there_are_not(tmp_path, capsys):
    base = ["run", "--data-dir", str(tmp_path), "--output-dir", str(tmp_path / "o")]
    for flag, there in (
        ("--encoder", "mamba_stub"), ("--features", "kmer"), ("--backend", "reference"),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            command([*base, flag, "cn"])
        said = capsys.readouterr().err
        assert f"{flag}: invalid choice: 'cn'" in said
        assert there in said


def test_what_takes_long_comes_after_what_may_refuse(data, tmp_path, monkeypatch):
    ran = []

    def refuses(name, *_):
        ran.append(name)
        return module._results.failed("it refuses", None)

    monkeypatch.setattr(module, "_run_model", refuses)
    words = ["run", "--data-dir", data, "--output-dir", tmp_path, *SMALL]
    assert command([str(word) for word in words]) == 1
    assert ran == [*HEADS, "exact_posterior"]
    found = json.loads((tmp_path / "metrics.json").read_text())["models"]
    assert list(found) == ["exact_posterior", *HEADS]


def test_a_run_that_is_interrupted_keeps_what_is_finished(data, tmp_path, monkeypatch, capsys):
    words = ["run", "--data-dir", data, "--output-dir", tmp_path, *SMALL]
    given = []

    def interrupted(name, recipe, params, *_):
        if given:
            raise KeyboardInterrupt
        given.append(params)
        return module._results.failed("it refuses", None)

    monkeypatch.setattr(module, "_run_model", interrupted)
    assert command([str(word) for word in words]) == 130
    said = capsys.readouterr().err
    assert "synthetic-benchmark run: interrupted; there is no checkpoint yet" in said
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert list(document["models"]) == HEADS[:1]
    assert document["settings"]["seed"] == 42
    assert document["data"] == json.loads((data / "generated.json").read_text())
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/softmax_last.pt").touch()
    assert command([str(word) for word in words]) == 130
    assert "interrupted; --resume goes on from" in capsys.readouterr().err


def test_models_of_an_earlier_run_into_the_folder_stay(data, tmp_path, monkeypatch):
    def fails(name, *_):
        return module._results.failed(f"{name} in run {len(runs)}", None)

    def models(*more):
        runs.append(more)
        assert command([*words, *more]) == 1
        found = json.loads((tmp_path / "metrics.json").read_text())["models"]
        return [(name, int(record["reason"].split()[-1])) for name, record in found.items()]

    runs = []
    monkeypatch.setattr(module, "_run_model", fails)
    words = ["run", "--data-dir", str(data), "--output-dir", str(tmp_path), *SMALL]
    assert models("--models", "semicrf,exact_posterior") == [("exact_posterior", 1), ("semicrf", 1)]
    assert models("--models=linear,semicrf", "--resume") == [
        ("exact_posterior", 1), ("linear", 2), ("semicrf", 2)
    ]  # fmt: skip
    # Of other settings they are not.
    assert models("--models", "linear", "--lr", "0.5") == [("linear", 3)]


def test_what_it_writes(results):
    document = json.loads((results / "metrics.json").read_text())
    assert list(document["models"])[-len(HEADS) :] == HEADS
    for name, record in document["models"].items():
        assert record["status"] == "ok", record["reason"]
        assert 0 <= record["metrics"]["boundary_f1"] <= 1
        assert record["control"] == (None if name in HEADS else "ceiling")
        if name in HEADS:
            assert len(record["training"]["epochs"]) == 2
            assert record["training"]["steps"] or document["settings"]["log_every"] > 6
    assert document["models"]["semicrf"]["metrics"]["learned_kl_exon"] is not None
    assert document["settings"]["seed"] == 7
    told = json.loads((results / "predictions/linear.params.json").read_text())
    assert told["seed"] == seeds.integer(7, "model")
    for name in HEADS:
        assert (results / f"checkpoints/{name}_best.pt").stat().st_size > 1000
    for name in ("duration_comparison", "training_curves"):
        assert (results / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_resuming_and_a_checkpoint_of_another_shape(data, results, tmp_path, capfd):
    folder = tmp_path / "b"
    shutil.copytree(results, folder)
    words = ["run", "--data-dir", str(data), "--output-dir", str(folder), "--models", "linear"]
    words += ["--seed", "7", "--resume", *SMALL]
    assert command(words) == 0
    again = json.loads((folder / "metrics.json").read_text())["models"]["linear"]
    before = json.loads((results / "metrics.json").read_text())["models"]["linear"]
    assert again["metrics"] == before["metrics"]
    assert again["training"]["epochs"] == before["training"]["epochs"]
    assert command([*words, "--hidden-dim", "16"]) == 1
    record = json.loads((folder / "metrics.json").read_text())["models"]["linear"]
    assert record["status"] == "failed"
    assert "hidden_dim is 8 there and 16 here" in record["reason"]


def test_a_loss_that_is_no_number_is_a_failed_model(data, tmp_path, capfd):
    words = ["run", "--data-dir", str(data), "--output-dir", str(tmp_path / "c")]
    words += ["--models", "softmax", *SMALL, "--lr", "1e30"]
    assert command(words) == 1
    record = json.loads((tmp_path / "c/metrics.json").read_text())["models"]["softmax"]
    assert record["status"] == "failed"
    assert "not a finite number at step" in record["reason"]


def test_compare_pools_seeds(results, tmp_path, capsys):
    first = json.loads((results / "metrics.json").read_text())
    for seed, shift in ((1, -0.01), (2, 0.0), (3, 0.01)):
        document = json.loads(json.dumps(first))
        document["settings"]["seed"] = seed
        for i, record in enumerate(document["models"].values()):
            record["metrics"]["boundary_f1"] = 0.9 - 0.1 * i + shift
        folder = tmp_path / f"s{seed}"
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(document))
    assert command(["compare", "--results-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    # Student's t for three runs with a standard deviation of 0.01: 4.3027 / sqrt(3) hundredths.
    assert "0.900 [0.875, 0.925]" in said
    assert "3 runs, seeds [1, 2, 3]" in said
    # Seeds shift every model alike, so the differences within a seed have no spread.
    assert "paired by seed" in said
    assert "linear: boundary_f1 +0.100 [+0.100, +0.100]" in said
    with (tmp_path / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    row = next(r for r in rows if (r["model"], r["metric"]) == ("linear", "boundary_f1"))
    assert (row["runs"], round(float(row["mean"]), 6)) == ("3", 0.7)
    for name in ("duration_comparison", "training_curves"):
        assert (tmp_path / f"compare_{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_compare_says_which_models_have_fewer_seeds(results, tmp_path, capsys):
    first = json.loads((results / "metrics.json").read_text())
    for seed in (1, 2, 3):
        document = json.loads(json.dumps(first))
        document["settings"]["seed"] = seed
        if seed == 2:
            del document["models"]["linear"]
        (tmp_path / f"s{seed}").mkdir()
        (tmp_path / f"s{seed}" / "metrics.json").write_text(json.dumps(document))
    assert command(["compare", "--results-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("linear"))
    assert row.startswith("linear (seeds [1, 3] alone)")
    assert sum("alone)" in line for line in lines) == 1
    assert any("] (2 seeds)" in line for line in lines if line.startswith("  "))


def test_compare_keeps_settings_apart(results, tmp_path, capsys):
    first = json.loads((results / "metrics.json").read_text())
    for longest in (1000, 20000):
        folder = tmp_path / f"k{longest}"
        folder.mkdir()
        settings = first["settings"] | {"max_duration": longest}
        (folder / "metrics.json").write_text(json.dumps(first | {"settings": settings}))
    assert command(["compare", "--results-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("1 runs, seeds [7]") == 2
    assert len({r["group"] for r in csv.DictReader((tmp_path / "compare.csv").open())}) == 2


def test_compare_refuses(tmp_path, capsys):
    assert command(["compare", "--results-dir", str(tmp_path)]) == 1
    assert "no metrics.json" in capsys.readouterr().err
    (tmp_path / "metrics.json").write_text('{"version": 0}')
    assert command(["compare", "--results-dir", str(tmp_path)]) == 1
    assert "version" in capsys.readouterr().err
