import pytest

from lacuna.datasets import locate, read_sheet
from lacuna_contract.errors import ContractError


def sheet(tmp_path, text):
    path = tmp_path / "datasets.csv"
    path.write_text(text)
    return path


def test_rows(tmp_path):
    path = sheet(
        tmp_path,
        "\ufeffdataset,path, layer,cell_type\nmine,a/b.h5ad,counts,\nother, /x.h5ad,,kind\n",
    )
    assert read_sheet(path) == [
        {"dataset": "mine", "path": "a/b.h5ad", "layer": "counts"},
        {"dataset": "other", "path": "/x.h5ad", "cell_type": "kind"},
    ]
    assert locate({"path": "a/b.h5ad"}, path) == str(tmp_path / "a/b.h5ad")
    assert locate({"path": "/x.h5ad"}, path) == "/x.h5ad"
    assert locate({"path": "s3://bucket/x.h5ad"}, path) == "s3://bucket/x.h5ad"


@pytest.mark.parametrize("sign", [";", "\t", "; "])
def test_columns_as_spreadsheets_separate_them(tmp_path, sign):
    lines = [["dataset", "path", "layer"], ["mine", "a,b.h5ad", "counts"], ["other", "c.h5ad", ""]]
    path = sheet(tmp_path, "\n".join(sign.join(cells) for cells in lines))
    assert read_sheet(path) == [
        {"dataset": "mine", "path": "a,b.h5ad", "layer": "counts"},
        {"dataset": "other", "path": "c.h5ad"},
    ]


def test_a_path_from_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert locate({"path": "~/a.h5ad"}, tmp_path / "s.csv") == "/home/me/a.h5ad"
    assert locate({"path": "~a.h5ad"}, tmp_path / "s.csv") == str(tmp_path / "~a.h5ad")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset,file\nmine,a.h5ad\n", "column 'path' is missing; there are: dataset, file"),
        ("dataset,path,cel_type\nm,a,b\n", "unknown column 'cel_type'. Did you mean 'cell_type'?"),
        ("dataset,path,path\nm,a,b\n", "column 'path' is given twice"),
        ("dataset,path\nm,a\nm,b\n", "line 3: dataset 'm' is there already, in line 2"),
        ("dataset,path\nm\n", "csv: line 2: 'path' is a required property"),
        ("dataset,path\nm,a,b\n", "line 2: more values than columns: ..b.."),
        ("dataset,path\nmy data,a\n", "csv: line 2: dataset: expected letters, digits"),
        ("dataset,path\n", "the sheet has no rows"),
        ("dataset,path,subsample\nm,a,0\n", "csv: line 2: subsample: expected a whole number"),
        ("dataset,path,subsample_seed\nm,a,x\n", "csv: line 2: subsample_seed: expected a"),
        ("", "column 'dataset' is missing"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, message):
    with pytest.raises(ContractError, match=message):
        read_sheet(sheet(tmp_path, text))


def test_everything_is_said_at_once(tmp_path):
    with pytest.raises(ContractError) as caught:
        read_sheet(sheet(tmp_path, "dataset,path\na b,x\nc,\nd,y\nd,z\n"))
    assert all(f"line {n}" in str(caught.value) for n in (2, 3, 5))


def test_no_sheet(tmp_path):
    with pytest.raises(ContractError, match="no such dataset sheet"):
        read_sheet(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00d")
    with pytest.raises(ContractError, match="not a CSV in UTF-8"):
        read_sheet(tmp_path / "binary.csv")
