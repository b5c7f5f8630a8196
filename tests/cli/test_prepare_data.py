"""prepare-data: what it writes of which data, and what it refuses."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from own_dataset import own_dataset
from scipy import sparse

from lacuna.cli.people import run
from lacuna_contract.h5ad import open_h5ad, read_column, read_names, read_uns

PBMC = Path("data/pbmc")


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
