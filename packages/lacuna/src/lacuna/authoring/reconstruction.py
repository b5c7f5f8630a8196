"""Small simulated inputs of the task `reconstruction`, for the check of a model."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from lacuna.authoring.cases import Case
from lacuna.tasks.reconstruction import simulated, thinning
from lacuna.tasks.reconstruction.evaluate import Prediction, Truth
from lacuna.tasks.reconstruction.masking import hide
from lacuna_contract.h5ad import H5adWriter, Matrix, open_h5ad, read_names, read_uns
from lacuna_contract.supervise import sha256
from lacuna_contract.values import SPACES

ERROR_METRIC = "mse"  # about the same for the same data in another order
SPACE_METRIC = "mse_lognorm"  # low only if the values are what they are declared to be
ARGUMENTS = {"percentage": 0.15, "strategy": "uniform"}
# Human genes, the zinc fingers of these numbers: some models know genes by their names.
ZNF = """
2 3 7 8 10 12 14 16 17 18 19 20 22 23 24 25 26 28 30 32 34 35 41 43 44 45 48 57 66 69 70 71 74 76
77 79 80 81 83 84 85 90 91 92 93 98 99 100 101 106 107 112 114 117 121 124 131 132 133 134 135 136
138 140 141 142 143 146 148 154 155 157 160 165 169 174 175 177 180 181 182 184 185 189 195 197
200 202 205 207 208 211 212 213 214 215 217 219 221 222 223 224 225 226 227 229 230 232 233 234
235 236 239 248 250 251 253 254 256 257 260 263 264 266 267 268 273 274 275 276 277 281 282 283
284 285 287 292 296 300 302 304 311 316 317 318 319 320 322 324 326 329 330 331 333 334 335 337
341 343 345 346 347 350 358 362 365 366 367 382 383 384 391 394 395 396 397 398 404 407
"""

LEVEL_TODO = (
    "take no hidden entry for a zero, in means or in depths; predict thinned counts at the depth "
    "at which they are given; look at the value space"
)


@dataclass(frozen=True)
class World:
    """Simulated counts (cells, genes), what is hidden of them, names, and the law (as
    `lacuna.tasks.reconstruction.simulated` has it)."""

    counts: np.ndarray
    hidden: np.ndarray
    cells: np.ndarray
    genes: np.ndarray
    depth: np.ndarray
    component: np.ndarray
    share: np.ndarray

    def order(self, rows: np.ndarray, columns: np.ndarray) -> "World":
        """The same cells and genes, in another order."""
        return World(
            self.counts[rows][:, columns],
            self.hidden[rows][:, columns],
            self.cells[rows],
            self.genes[columns],
            self.depth[rows],
            self.component[rows],
            self.share[:, columns],
        )


def world(cells: int, genes: int, seed: int, hidden: float, groups: int = 4) -> World:
    """Poisson counts of cells of some groups, each with marker genes of its own, at depths that
    differ between cells; a share `hidden` of the entries to hide."""
    rng = np.random.default_rng(seed)
    rates = np.tile(rng.lognormal(-0.5, 1.0, genes), (groups, 1))
    for group in range(groups):
        rates[group, rng.choice(genes, max(1, genes // 5), replace=False)] *= 6
    depths = rng.lognormal(0, 0.4, cells)
    component = rng.integers(0, groups, cells)
    counts = rng.poisson(depths[:, None] * rates[component]).astype(np.float32)
    totals = rates.sum(axis=1)
    return World(
        counts,
        rng.random(counts.shape) < hidden,
        np.array([f"cell_{i}" for i in range(cells)], dtype=object),
        gene_names(genes),
        depths * totals[component],
        component,
        rates / totals[:, None],
    )


def gene_names(count: int) -> np.ndarray:
    """Names of up to 200 genes. Nine in ten are symbols of human genes, the last are none."""
    symbols = [f"ZNF{number}" for number in ZNF.split()][: count - count // 10]
    others = [f"gene_{j}" for j in range(len(symbols), count)]
    return np.array([*symbols, *others], dtype=object)


def cases(folder: Path) -> Iterator[Case]:
    """Write the inputs and truths into `folder`; the first is the plain one."""
    rng = np.random.default_rng(0)
    base = world(300, 100, seed=1, hidden=0.15)
    plain = Case("plain", "300 cells x 100 genes, 15 % hidden", folder / "plain", ARGUMENTS)
    yield _write(plain, base)

    case = replace(
        plain, name="permuted", what="the same cells and genes in another order",
        folder=folder / "permuted", alike=True,
    )  # fmt: skip
    yield _write(case, base.order(rng.permutation(300), rng.permutation(100)))

    empty, dark = base.counts.copy(), base.hidden.copy()
    empty[8], empty[:, 12] = 0, 0
    dark[7], dark[:, 11] = True, True
    what = "a cell and a gene of which nothing is visible, a cell and a gene without counts"
    case = replace(plain, name="dark", what=what, folder=folder / "dark")
    yield _write(case, replace(base, counts=empty, hidden=dark))

    one = np.zeros_like(base.hidden)
    one[17, 23] = True
    case = replace(plain, name="single", what="one hidden entry", folder=folder / "single")
    yield _write(case, replace(base, hidden=one))

    half = rng.random(base.counts.shape) < 0.5
    case = replace(
        plain, name="half", what="half of the entries hidden", folder=folder / "half", level=True
    )
    yield _write(case, replace(base, hidden=half))

    case = replace(
        plain, name="thinned", what="a fifth of the counts held out, no entry hidden",
        folder=folder / "thinned", level=True,
        arguments={"percentage": 0.2, "strategy": thinning.NAME},
    )  # fmt: skip
    yield _write(case, base)

    case = replace(plain, name="wide", what="40 cells x 200 genes", folder=folder / "wide")
    yield _write(case, world(40, 200, seed=2, hidden=0.3))

    what = "12 cells x 6 genes, fewer than neighbours and ranks"
    case = replace(plain, name="tiny", what=what, folder=folder / "tiny")
    yield _write(case, world(12, 6, seed=3, hidden=0.2))


def _write(case: Case, data: World) -> Case:
    case.folder.mkdir(parents=True)
    counts, thinned = sparse.csr_matrix(data.counts), case.arguments["strategy"] == thinning.NAME
    if thinned:
        seed = np.random.SeedSequence(5)
        block = next(thinning.thin([counts], counts.shape, case.arguments["percentage"], seed))
    else:
        block = hide(counts, np.flatnonzero(data.hidden))
    about = {
        "task": "reconstruction",
        "kind": "thinned" if thinned else "hidden",
        "n_hidden": data.counts.size if thinned else block.truth.nnz,
    }
    names = list(data.cells), list(data.genes)
    with H5adWriter(case.input, *names) as out:
        out.csr("X", np.float32).append(block.input)
        out.uns(about)
    digest = sha256(case.input)
    with H5adWriter(case.truth, *names) as out:
        out.csr("X", np.float32).append(block.truth)
        out.column("obs", "visible_total", block.visible_total)
        nothing = np.zeros(len(data.genes))
        simulated.write_law(out, data.depth, data.component, data.share, nothing)
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


def in_other_space(prediction: Path, copy: Path) -> tuple[str, str, str]:
    """Copy a prediction as if its values were of the other value space. Returns what is said of the
    one, the other, and what to do if that fits better."""
    copy.write_bytes(prediction.read_bytes())
    with h5py.File(copy, "r+") as file:
        space = read_uns(file)["value_space"]
        other = next(name for name in SPACES if name != space)
        del file["uns/lacuna/value_space"]
        stored = file["uns/lacuna"].create_dataset("value_space", data=other)
        stored.attrs.update({"encoding-type": "string", "encoding-version": "0.2.0"})
    return f"declared {space}", other, f'write value_space="{other}" in @model'
