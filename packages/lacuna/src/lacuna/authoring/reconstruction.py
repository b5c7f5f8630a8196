"""Small simulated inputs of the task `reconstruction`, for the check of a model."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from lacuna.authoring.cases import Case
from lacuna.tasks.reconstruction import thinning
from lacuna.tasks.reconstruction.evaluate import Prediction, Truth
from lacuna.tasks.reconstruction.masking import Block, hide
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_names, read_uns
from lacuna_contract.values import SPACES

ERROR_METRIC = "mse"  # about the same for the same data in another order
SPACE_METRIC = "mse_lognorm"  # low only if the values are what they are declared to be
ARGUMENTS = {"percentage": 0.15, "strategy": "uniform"}


def simulate(cells: int, genes: int, seed: int, groups: int = 4) -> np.ndarray:
    """Poisson counts (cells, genes) of cells of some groups, each with marker genes of its own, at
    depths that differ between cells."""
    rng = np.random.default_rng(seed)
    rates = np.tile(rng.lognormal(-0.5, 1.0, genes), (groups, 1))
    for group in range(groups):
        rates[group, rng.choice(genes, max(1, genes // 5), replace=False)] *= 6
    depths = rng.lognormal(0, 0.4, cells)
    counts = rng.poisson(depths[:, None] * rates[rng.integers(0, groups, cells)])
    return counts.astype(np.float32)


def cases(folder: Path) -> Iterator[Case]:
    """Write the inputs and truths into `folder`; the first is the plain one."""
    rng = np.random.default_rng(0)
    counts = simulate(300, 100, seed=1)
    hidden = rng.random(counts.shape) < 0.15
    names = [f"cell_{i}" for i in range(300)], [f"gene_{j}" for j in range(100)]
    plain = Case("plain", "300 cells x 100 genes, 15 % hidden", folder / "plain", ARGUMENTS)
    yield _write(plain, counts, hidden, *names)

    rows, columns = rng.permutation(300), rng.permutation(100)
    case = replace(
        plain, name="permuted", what="the same cells and genes in another order",
        folder=folder / "permuted", alike=True,
    )  # fmt: skip
    order = [names[0][i] for i in rows], [names[1][j] for j in columns]
    yield _write(case, counts[rows][:, columns], hidden[rows][:, columns], *order)

    dark = hidden.copy()
    dark[7], dark[:, 11] = True, True
    what = "a cell and a gene of which nothing is visible, a cell and a gene without counts"
    empty = counts.copy()
    empty[8], empty[:, 12] = 0, 0
    yield _write(replace(plain, name="dark", what=what, folder=folder / "dark"),
                 empty, dark, *names)  # fmt: skip

    one = np.zeros_like(hidden)
    one[17, 23] = True
    yield _write(replace(plain, name="single", what="one hidden entry", folder=folder / "single"),
                 counts, one, *names)  # fmt: skip

    half = rng.random(counts.shape) < 0.5
    case = replace(
        plain, name="half", what="half of the entries hidden", folder=folder / "half", level=True
    )
    yield _write(case, counts, half, *names)

    arguments = {"percentage": 0.2, "strategy": thinning.NAME}
    split = thinning.thin(
        iter([sparse.csr_matrix(counts)]), counts.shape, 0.2, np.random.SeedSequence(5)
    )
    case = replace(
        plain, name="thinned", what="a fifth of the counts held out, no entry hidden",
        folder=folder / "thinned", arguments=arguments, level=True,
    )  # fmt: skip
    yield _store(case, next(split), "thinned", *names)

    counts = simulate(40, 200, seed=2)
    hidden = rng.random(counts.shape) < 0.3
    names = [f"cell_{i}" for i in range(40)], [f"gene_{j}" for j in range(200)]
    case = replace(plain, name="wide", what="40 cells x 200 genes", folder=folder / "wide")
    yield _write(case, counts, hidden, *names)


def _write(
    case: Case, counts: np.ndarray, hidden: np.ndarray, cells: list[str], genes: list[str]
) -> Case:
    block = hide(sparse.csr_matrix(counts), np.flatnonzero(hidden))
    return _store(case, block, "hidden", cells, genes)


def _store(case: Case, block: Block, kind: str, cells: list[str], genes: list[str]) -> Case:
    case.folder.mkdir(parents=True)
    n_hidden = len(cells) * len(genes) if kind == "thinned" else block.truth.nnz
    about = {"task": "reconstruction", "kind": kind, "n_hidden": n_hidden}
    with H5adWriter(case.input, cells, genes) as out:
        out.csr("X", np.float32).append(block.input)
        out.uns(about)
    digest = hashlib.sha256(case.input.read_bytes()).hexdigest()
    with H5adWriter(case.truth, cells, genes) as out:
        out.csr("X", np.float32).append(block.truth)
        out.column("obs", "visible_total", block.visible_total)
        out.uns(about | {"input_sha256": digest, "arguments": case.arguments})
    return case


def read(prediction: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Cells, genes and stored values of a prediction."""
    with open_h5ad(prediction) as file:
        values = np.concatenate([block.ravel() for block in Matrix(file["X"]).values()])
        return read_names(file, "obs"), read_names(file, "var"), values


def level(prediction: Path, truth: Path) -> tuple[float, float]:
    """Mean of the predicted and of the true values, in the value space of the prediction."""
    sums, entries = np.zeros(2), 0
    with ExitStack() as stack:
        answer = Truth(stack.enter_context(open_h5ad(truth)), truth)
        given = Prediction(stack, prediction, answer)
        for piece in answer.pieces(given):
            entries += len(piece.gene)
            sums += piece.prediction(given.space).sum(), piece.truth(given.space).sum()
    return tuple(sums / entries)


def in_other_space(prediction: Path, copy: Path) -> tuple[str, str]:
    """Copy a prediction as if its values were of the other value space. Returns both spaces."""
    copy.write_bytes(prediction.read_bytes())
    with h5py.File(copy, "r+") as file:
        space = read_uns(file)["value_space"]
        other = next(name for name in SPACES if name != space)
        del file["uns/lacuna/value_space"]
        stored = file["uns/lacuna"].create_dataset("value_space", data=other)
        stored.attrs.update({"encoding-type": "string", "encoding-version": "0.2.0"})
    return space, other
