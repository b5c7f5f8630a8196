"""Small inputs of the task `segmentation`, for the check of a model."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from lacuna.authoring.cases import Case
from lacuna.genome.files import Sizes, write_pair
from lacuna.genome.law import Durations, Law
from lacuna.genome.presets import composition, preset
from lacuna_contract.h5ad import open_h5ad, read_names
from lacuna_contract.sequences import UNKNOWN
from lacuna_contract.supervise import sha256

SIZES = Sizes(train=24, val=6, test=6, length=1000)
#: Much G + C in exons and little between genes, so that little data suffice to learn it.
GC = {"intergenic": 0.15, "exon": 0.85, "intron": 0.5, "utr5": 0.7, "utr3": 0.3}


def law(classes: int = 3) -> Law:
    """Short segments of compositions that differ much."""
    base = preset("motifs", classes)
    short = {
        "intergenic": Durations(150, 0.5, 60, 400),
        "exon": Durations(60, 0.4, 30, 120),
        "intron": Durations(80, 0.4, 40, 200),
        "utr5": Durations(50, 0.3, 30, 100),
        "utr3": Durations(70, 0.3, 30, 150),
    }
    return replace(
        base,
        preset="check",
        durations={name: short[name] for name in base.classes},
        composition={name: composition(GC[name]) for name in base.classes},
    )


def cases(folder: Path) -> Iterator[Case]:
    """Write the inputs and truths into `folder`; the first is the plain one."""
    what = "24 training sequences of 1,000 positions, three classes"
    yield (plain := _write(Case("plain", what, folder / "plain", {}), law(), SIZES))

    what = "a tenth of all bases unknown (N)"
    case = _write(
        replace(plain, name="unknown", what=what, folder=folder / "unknown"), law(), SIZES
    )
    rng = np.random.default_rng(0)
    with h5py.File(case.input, "r+") as file:
        codes = file["X"][:]
        codes[rng.random(codes.shape) < 0.1] = UNKNOWN
        file["X"][:] = codes
    with h5py.File(case.truth, "r+") as file:
        file["uns/lacuna/input_sha256"][()] = sha256(case.input)
    yield case

    case = replace(plain, name="utrs", what="five classes", folder=folder / "utrs")
    yield _write(case, law(5), SIZES)

    what = "one sequence to learn from, one to choose by, one to segment"
    case = replace(plain, name="single", what=what, folder=folder / "single")
    yield _write(case, law(), Sizes(1, 1, 1, 1000))

    what = "sequences of 1,537 positions"
    case = replace(plain, name="odd", what=what, folder=folder / "odd")
    yield _write(case, law(), replace(SIZES, length=1537))


def _write(case: Case, drawn_from: Law, sizes: Sizes) -> Case:
    case.folder.mkdir(parents=True)
    parent = np.random.SeedSequence([0, sizes.length])
    write_pair(drawn_from, sizes, parent, case.input, case.truth, case.arguments)
    return case


def read(prediction: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Sequences, positions and classes of a prediction."""
    with open_h5ad(prediction) as file:
        return read_names(file, "obs"), read_names(file, "var"), file["X"][:]
