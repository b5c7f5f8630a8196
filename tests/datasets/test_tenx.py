"""10x files: .h5 of old and new Cell Rangers, and folders with an .mtx."""

import gzip
import io

import anndata
import h5py
import numpy as np
import pytest
from scipy import io as scipy_io
from scipy import sparse

from lacuna import tenx
from lacuna.counts import import_counts
from lacuna.tasks.reconstruction import TASK
from lacuna_contract.descriptor import check_h5ad
from lacuna_contract.errors import ContractError

CELLS = [f"AAAC{i:03d}-1" for i in range(60)]
IDS = [f"ENSG{i:011d}" for i in range(20)]
NAMES = ["MATR3", "MATR3", *(f"SYM{i}" for i in range(18))]
KINDS = ["Gene Expression"] * 15 + ["Antibody Capture"] * 5


@pytest.fixture(scope="module")
def dense():
    counts = np.random.default_rng(0).poisson(0.4, (60, 20))
    counts[[0, 9, 59]], counts[:, [3, 19]] = 0, 0
    return counts


def imported(tmp_path, path, **options):
    import_counts(path, tmp_path / "out.h5ad", **options)
    check_h5ad(tmp_path / "out.h5ad", "reconstruction_raw")
    return anndata.read_h5ad(tmp_path / "out.h5ad")


def write_h5(path, dense, kinds=KINDS, genome=None):
    by_column = sparse.csc_matrix(dense.T)
    with h5py.File(path, "w") as file:
        group = file.create_group(genome or "matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(by_column, name)
        group["shape"], group["barcodes"] = by_column.shape, np.array(CELLS, dtype="S")
        if genome:
            group["genes"], group["gene_names"] = (np.array(x, dtype="S") for x in (IDS, NAMES))
        else:
            for name, values in (("id", IDS), ("name", NAMES), ("feature_type", kinds)):
                group[f"features/{name}"] = np.array(values, dtype="S")
    return path


def write_mtx(folder, dense, order=None, zipped=False, prefix="", kinds=KINDS, turned=False,
              features="features"):  # fmt: skip
    folder.mkdir(exist_ok=True)
    rows = sparse.coo_matrix(dense if turned else dense.T)
    if order is not None:
        at = order(rows)
        rows = sparse.coo_matrix((rows.data[at], (rows.row[at], rows.col[at])), shape=rows.shape)
    else:
        at = np.lexsort((rows.row, rows.col))
        rows = sparse.coo_matrix((rows.data[at], (rows.row[at], rows.col[at])), shape=rows.shape)
    lines = io.BytesIO()
    scipy_io.mmwrite(lines, rows, comment="made for a test", field="integer")
    table = ["\t".join(row) for row in zip(IDS, NAMES, kinds, strict=True)]
    texts = {
        "matrix.mtx": lines.getvalue(),
        "barcodes.tsv": "\n".join(CELLS).encode() + b"\n",
        f"{features}.tsv": "\n".join(table).encode() + b"\n",
    }
    for name, text in texts.items():
        path = folder / f"{prefix}{name}{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(text) if zipped else text)
    return folder


def is_what_was_written(found, dense, genes=15):
    assert (found.X.toarray() == dense[:, :genes]).all()
    assert list(found.obs_names) == CELLS
    assert list(found.var_names) == IDS[:genes]
    assert list(found.var["symbol"]) == NAMES[:genes]


def test_h5_of_cell_ranger_3_and_later(tmp_path, dense):
    is_what_was_written(imported(tmp_path, write_h5(tmp_path / "a.h5", dense)), dense)


def test_h5_of_cell_ranger_2(tmp_path, dense):
    path = write_h5(tmp_path / "a.h5", dense, genome="GRCh38")
    is_what_was_written(imported(tmp_path, path), dense, 20)


def test_several_genomes_are_refused(tmp_path, dense):
    path = write_h5(tmp_path / "a.h5", dense, genome="GRCh38")
    with h5py.File(path, "a") as file:
        file.copy("GRCh38", "mm10")
    with pytest.raises(ContractError, match="several genomes: GRCh38, mm10; expected one"):
        imported(tmp_path, path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("block", [100, 1 << 22])
def test_a_folder_with_an_mtx(tmp_path, dense, zipped, block, monkeypatch):
    monkeypatch.setattr(tenx, "BLOCK", block)
    folder = write_mtx(tmp_path / "d", dense, zipped=zipped)
    is_what_was_written(imported(tmp_path, folder), dense)


def test_an_mtx_by_its_own_path_with_a_prefix_and_genes(tmp_path, dense):
    folder = write_mtx(tmp_path / "d", dense, prefix="GSM1_", features="genes", zipped=True)
    is_what_was_written(imported(tmp_path, folder / "GSM1_matrix.mtx.gz"), dense)
    is_what_was_written(imported(tmp_path, folder), dense)


ORDERS = {
    "by gene": lambda rows: np.lexsort((rows.col, rows.row)),
    "none": lambda rows: np.random.default_rng(1).permutation(rows.nnz),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("window", [25, 10**6])
def test_an_mtx_in_another_order(tmp_path, dense, order, window, monkeypatch):
    monkeypatch.setattr(tenx, "WINDOW_ENTRIES", window)
    monkeypatch.setattr(tenx, "BLOCK", 200)
    folder = write_mtx(tmp_path / "d", dense, ORDERS[order])
    is_what_was_written(imported(tmp_path, folder), dense)


def test_an_mtx_with_the_cells_in_rows(tmp_path, dense):
    folder = write_mtx(tmp_path / "d", dense, turned=True)
    is_what_was_written(imported(tmp_path, folder), dense)


def test_a_subsample(tmp_path, dense):
    found = imported(tmp_path, write_mtx(tmp_path / "d", dense), subsample=7, organism="mouse")
    rows = [CELLS.index(name) for name in found.obs_names]
    assert len(rows) == 7
    assert (found.X.toarray() == dense[rows, :15]).all()


def test_a_row_of_a_sheet(tmp_path, dense):
    row = {"task": "reconstruction", "dataset": "d", "source": "x", "file": "f", "subsample": 9}
    source = write_mtx(tmp_path / "d", dense)
    TASK.import_dataset(row | {"subsample_seed": 4}, source, tmp_path / "a.h5ad")
    TASK.import_dataset(row, source, tmp_path / "b.h5ad")
    names = [list(anndata.read_h5ad(tmp_path / f"{n}.h5ad").obs_names) for n in "ab"]
    assert len(names[0]) == len(names[1]) == 9
    assert names[0] != names[1]


def test_fractions_are_no_counts(tmp_path, dense):
    folder = write_mtx(tmp_path / "d", dense, kinds=["Gene Expression"] * 20)
    text = (folder / "matrix.mtx").read_text().replace("integer", "real").rstrip()
    last = text.splitlines()[-1]
    row, column, _ = last.split()
    (folder / "matrix.mtx").write_text(text.removesuffix(last) + f"{row} {column} 0.5\n")
    where = f"at cell '{CELLS[int(column) - 1]}', gene '{IDS[int(row) - 1]}'"
    with pytest.raises(ContractError, match=f"fractional values: 0.5 {where}"):
        imported(tmp_path, folder)


def spoil(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


DAMAGE = [
    ("matrix.mtx", lambda b: b.replace(b"coordinate", b"array", 1), "begins with '%%matrixmarket "
     "matrix array integer general'; expected"),
    ("matrix.mtx", lambda b: b.replace(b"general", b"symmetric", 1), "symmetric'; expected"),
    ("matrix.mtx", lambda b: b"hello\n" + b, "begins with 'hello'; expected '%%MatrixMarket"),
    ("matrix.mtx", lambda b: b"", "begins with ''; expected"),
    ("matrix.mtx", lambda b: b[: len(b) // 2].rsplit(b"\n", 1)[0], "entries, and its header says"),
    ("matrix.mtx", lambda b: b + b"1 2\n", "a line has not three numbers"),
    ("matrix.mtx", lambda b: b + b"21 1 1\n", "an index is 21, expected 1 to 20"),
    ("matrix.mtx", lambda b: b + b"0 1 1\n", "an index is 0, expected 1 to 20"),
    ("matrix.mtx", lambda b: b + b"one 1 1\n", "is damaged"),
    ("barcodes.tsv", lambda b: b + b"AAAC999-1\n", "the matrix is 20 x 60, but there are 20 feat"),
    ("features.tsv", lambda b: b.replace(b"Gene Expression", b"Peaks"), "no features of the type "
     "'Gene Expression'; there are: Antibody Capture, Peaks"),
    ("barcodes.tsv", lambda b: b"\xff\xfe", "barcodes.tsv cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), DAMAGE)
def test_what_is_wrong_is_said(tmp_path, dense, name, change, message):
    folder = write_mtx(tmp_path / "d", dense)
    spoil(folder, name, change)
    with pytest.raises(ContractError, match=message):
        imported(tmp_path, folder)
    assert not (tmp_path / "out.h5ad").exists()


def test_a_truncated_archive(tmp_path, dense):
    folder = write_mtx(tmp_path / "d", dense, zipped=True)
    spoil(folder, "matrix.mtx.gz", lambda b: b[: len(b) // 2])
    with pytest.raises(ContractError, match=r"matrix.mtx.gz is damaged"):
        imported(tmp_path, folder)


def test_what_is_missing_is_said_with_what_is_there(tmp_path, dense):
    folder = write_mtx(tmp_path / "d", dense)
    (folder / "barcodes.tsv").unlink()
    with pytest.raises(ContractError, match="expected barcodes.tsv or .* there is: features.tsv"):
        imported(tmp_path, folder)
    (folder / "matrix.mtx").unlink()
    with pytest.raises(ContractError, match="0 files that end in matrix.mtx.* is: features.tsv"):
        imported(tmp_path, folder)
    with pytest.raises(ContractError, match="none.mtx: no such file"):
        imported(tmp_path, tmp_path / "none.mtx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "counts"}, "has no layers; layer 'counts' was asked for"),
        ({"cell_type": "kind"}, "has no columns of cells; column 'kind' was asked for"),
        ({"symbol": "name"}, "has its symbols in a place of its own"),
    ],
)
def test_columns_that_a_10x_file_cannot_have(tmp_path, dense, options, message):
    with pytest.raises(ContractError, match=message):
        imported(tmp_path, write_mtx(tmp_path / "d", dense), **options)


def test_damaged_h5(tmp_path, dense):
    path = write_h5(tmp_path / "a.h5", dense)
    with h5py.File(path, "a") as file:
        file["matrix/indices"][3] = 99
    with pytest.raises(ContractError, match="an index is 99, but there are 20 genes"):
        imported(tmp_path, path)
    path = write_h5(tmp_path / "b.h5", dense)
    with h5py.File(path, "a") as file:
        file["matrix/shape"][:] = [20, 61]
    with pytest.raises(ContractError, match="the matrix is 20 x 61, but there are 20 features"):
        imported(tmp_path, path)
