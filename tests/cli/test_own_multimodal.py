"""Multimodal data of one's own, from a sheet to a report: what they can have is run, and what they
cannot is said."""

from importlib import import_module
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

from lacuna.cli import main
from lacuna.cli.people import run
from lacuna.mock import generate_mock_dataset
from lacuna.parameters import Problems
from lacuna.plan import plan_data
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.schema import read_json, write_json
from lacuna_contract.tasks.multimodal import read

CONTROLS = ("modality_mean", "multimodal_oracle")
OPTIONS = ["--models", ",".join(CONTROLS), "--metrics", "rna_nb_deviance,adt_pearson"]


def write(name, lacking):
    """120 cells with RNA and ADT, the second not in those that are `lacking`, in a sheet."""
    adata, _ = generate_mock_dataset(
        "paired", n_cells=120, n_genes=30, n_peaks=40, n_proteins=5, seed=1
    )
    del adata.obsm["X_atac"], adata.obs["has_atac"]
    adata.obs["has_adt"] = ~lacking
    adata.obsm["X_adt"][lacking] = 0
    adata.write_h5ad(f"{name}.h5ad")
    Path("datasets.csv").write_text(f"dataset,path,task\n{name},{name}.h5ad,multimodal\n")
    return "datasets.csv"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """UMAP, which nothing here is about, takes half a minute to compile."""
    evaluate = import_module("lacuna.tasks.multimodal.evaluate")
    monkeypatch.setattr(evaluate, "picture", lambda *_: None)


@pytest.fixture
def mosaic(here):
    return write("mosaic", np.arange(120) < 40)


def by_condition():
    """The statuses and reasons of each scenario's runs."""
    found = {}
    for row in read_json("results/results.json", "results")["runs"]:
        scenario = row["condition"].removesuffix("_seed_42")
        found.setdefault(scenario, set()).add((row["status"], row["reason"]))
    return found


def test_a_mosaic_has_one_scenario_and_nothing_is_missing(mosaic, capsys):
    assert run("run-benchmark", ["--sheet", mosaic, *OPTIONS]) == 0
    found = by_condition()
    assert found.pop("holdout") == {("ok", None)}
    why = "80 of 120 have adt; for a mosaic there is the scenario 'holdout'"
    assert len(found) == 6
    for statuses in found.values():
        ((status, reason),) = statuses
        assert status == "not_applicable"
        assert why in reason
    out = capsys.readouterr().out
    assert out.count(why) == 6 + 1, "a line for each condition, and one in the summary"
    assert "skip  mosaic/bridge_seed_42  not_applicable: expected cells that have ev" in out
    names = "paired, unpaired, bridge, mosaic, prediction and hierarchical"
    said = f"mosaic cannot have {names}: expected cells that have everything, and {why}"
    assert said in out
    assert "1 condition (holdout)" in out
    assert "All 2 runs gave a score." in out
    assert said in Path("results/report.html").read_text().replace("&#x27;", "'")
    board = read_json("results/results.json", "results")["leaderboard"]
    assert {row["name"] for row in board} == set(CONTROLS)
    for name in CONTROLS:
        record = read_json(f"results/{name}/mosaic/bridge_seed_42/status.json", "status")
        assert record["status"] == "not_applicable"
    assert not list(Path("data/mosaic/hidden").glob("bridge*"))


def test_again_without_preparing(mosaic, capsys):
    assert run("run-benchmark", ["--sheet", mosaic, *OPTIONS]) == 0
    first = by_condition()
    assert run("run-benchmark", ["--sheet", mosaic, *OPTIONS, "--skip-prepare-data"]) == 0
    assert by_condition() == first
    next(Path("data/mosaic/hidden").glob("holdout*")).unlink()
    assert run("run-benchmark", ["--sheet", mosaic, *OPTIONS, "--skip-prepare-data"]) == 1
    assert "prepare-data makes it" in capsys.readouterr().out


def test_what_is_asked_for_by_name_has_to_be_there(mosaic, capsys):
    assert run("run-benchmark", ["--sheet", mosaic, *OPTIONS, "--scenarios", "bridge,holdout"]) == 1
    found = by_condition()
    assert found["holdout"] == {("ok", None)}
    ((status, reason),) = found["bridge"]
    assert status == "lost"
    assert "its input could not be prepared: expected cells that have everything" in reason
    assert "FAIL  mosaic/bridge_seed_42  failed: expected cells that" in capsys.readouterr().out


def test_data_that_lack_a_modality_have_what_can_do_without(here, capsys):
    sheet = write("citeseq", np.zeros(120, dtype=bool))
    assert run("prepare-data", ["--sheet", sheet]) == 0
    made = {path.stem for path in Path("data/citeseq/hidden").iterdir()}
    having = ("paired", "mosaic", "prediction", "hierarchical", "holdout")
    assert made == {f"{s}_seed_42" for s in having}
    out = capsys.readouterr().out
    assert "6 ok, 2 not_applicable" in out
    said = "read rna (X) and adt (obsm['X_adt']); labels batch, dataset, cluster"
    assert f"pass  citeseq: {said}\n" in out
    note = "pass  citeseq/prediction_seed_42: adt is what test cells hide, as there is no atac"
    assert note in out
    data = read("data/citeseq/hidden/prediction_seed_42.h5ad")
    assert list(data.asked) == ["adt"]
    assert len(data.asked["adt"].cells) == 24
    assert (
        "skip  citeseq/unpaired_seed_42  not_applicable: scenario 'unpaired' has cells that keep "
        "atac alone; these data have rna and adt"
    ) in out
    with open_h5ad("data/citeseq/truth/prediction_seed_42.h5ad") as file:
        assert read_uns(file)["arguments"]["target"] == "adt"
    for target, code in (("atac", 1), ("rna", 0)):
        words = ["--sheet", sheet, "--scenarios", "prediction", "--target", target]
        assert run("prepare-data", words) == code
    assert list(read("data/citeseq/hidden/prediction_rna_seed_42.h5ad").asked) == ["rna"]
    said = "scenario 'prediction' hides atac; these data have rna and adt"
    assert said in capsys.readouterr().out


def test_the_stage_leaves_a_note(here):
    sheet = write("citeseq", np.zeros(120, dtype=bool))
    assert run("prepare-data", ["--sheet", sheet, "--scenarios", "prediction"]) == 0
    given = {"tasks": "multimodal", "scenarios": "prediction,mosaic"}
    _, planned = plan_data(given, Path(sheet), Problems())
    files = ["--raw", "data/citeseq/raw/data.h5ad", "--input", "i.h5ad", "--truth", "t.h5ad"]
    for one in planned:
        write_json("condition.json", one, "condition")
        note = f"{one['arguments']['scenario']}.txt"
        assert main(["prepare", "--condition", "condition.json", *files, "--note", note]) == 0
    assert Path("prediction.txt").read_text() == (
        "citeseq/prediction_seed_42: adt is what test cells hide, as there is no atac\n"
    )
    assert not Path("mosaic.txt").exists()


def test_a_sheet_that_does_not_say_the_task(here, capsys):
    """What is plainly multimodal is not taken for counts alone without a word."""
    adata, _ = generate_mock_dataset(
        "paired", n_cells=80, n_genes=30, n_peaks=40, n_proteins=5, seed=1
    )
    adata.write_h5ad("mine.h5ad")
    counts = anndata.AnnData(adata.X, obs=adata.obs[[]], var=adata.var)
    proteins = pd.DataFrame(index=list(adata.uns["adt_names"]))
    adt = anndata.AnnData(adata.obsm["X_adt"], obs=adata.obs[[]], var=proteins)
    MuData({"rna": counts, "prot": adt}).write_h5mu("theirs.h5mu")
    sheet = here / "datasets.csv"
    sheet.write_text("dataset,path\nmine,mine.h5ad\n")
    assert run("prepare-data", ["--sheet", "datasets.csv"]) == 1
    out = capsys.readouterr().out
    assert "mine.h5ad has obsm/X_atac and obsm/X_adt beside the counts, and the sheet does" in out
    assert "write multimodal into its column 'task', or reconstruction to take the counts" in out
    sheet.write_text(
        "dataset,path,task\nmine,mine.h5ad,reconstruction\ntheirs,theirs.h5mu,\n"
        "again,mine.h5ad,multimodal\n"
    )
    assert run("prepare-data", ["--sheet", "datasets.csv", "--scenarios", "holdout"]) == 0
    made = {str(path.parent) for path in Path("data").rglob("*_seed_42.h5ad")}
    assert made == {"data/mine/masked", "data/mine/truth"} | {
        f"data/{name}/{folder}" for name in ("theirs", "again") for folder in ("hidden", "truth")
    }
    sheet.write_text("dataset,path,task\ntheirs,theirs.h5mu,reconstruction\n")
    capsys.readouterr()
    assert run("prepare-data", ["--sheet", "datasets.csv"]) == 1
    said = "dataset 'theirs': theirs.h5mu is for the task multimodal, and the sheet says reconst"
    assert said in capsys.readouterr().err
