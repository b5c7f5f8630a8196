"""Run in the environment of the control exact_posterior: its posterior beside one written out base
by base. Prints a line of JSON for each law: the largest differences."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "containers/controls/exact_posterior")]

import posterior as control  # noqa: E402
import written_out  # noqa: E402
from machine import Machine  # noqa: E402

from lacuna.genome.draw import draw  # noqa: E402
from lacuna.genome.law import NO_MOTIF, Durations, Law, Motif, check  # noqa: E402
from lacuna_contract.sequences import CLASSES  # noqa: E402


def small(classes, codons, motifs, seed, exon=(8, 9), intron=(5, 7), outside=(2, 4)):
    """A law whose segments are so short that it can be written out."""
    rng = np.random.default_rng(seed)
    names = CLASSES[:classes]
    ranges = {"exon": exon, "intron": intron}
    durations = {n: Durations(6.0, 0.6, *ranges.get(n, outside)) for n in names}
    donor, acceptor = NO_MOTIF, NO_MOTIF
    if motifs:
        donor = Motif(2, rng.dirichlet(np.ones(4), 4))
        acceptor = Motif(2, rng.dirichlet(np.ones(4), 5))
    law = Law(
        "small", names, durations, np.array([0, 0, 0.6, 0.4]),
        {n: rng.dirichlet(np.ones(4)) for n in names},
        rng.dirichlet(np.full(64, 0.3)) if codons else None, donor, acceptor,
    )  # fmt: skip
    check(law)
    return law


LAWS = {
    "bases": small(3, False, True, 1, exon=(7, 9)),
    "codons": small(3, True, False, 2, exon=(3, 5), intron=(1, 3)),
    "codons and motifs": small(3, True, True, 3),
    "five classes": small(5, True, True, 4),
    "longer than the window": replace(
        small(3, True, True, 5), durations={
            "intergenic": Durations(6.0, 1.0, 2, 30), "exon": Durations(20.0, 0.5, 29, 30),
            "intron": Durations(30.0, 0.5, 31, 31),
        },
    ),
}  # fmt: skip


def drawn(machine, codes, classes, count=400):
    """float64 (T, classes): shares of `count` draws from the posterior."""
    scores = machine.scores(codes)
    found = control.semicrf.marginals(**scores)
    generator, window = torch.Generator().manual_seed(1), slice(machine.pad, -machine.pad)
    shares = np.zeros((machine.padded, classes))
    for _ in range(count):
        for start, end, label in control.draw(found, scores, generator):
            shares[start:end, machine.classes[label]] += 1 / count
    return shares[window], count


def compare(law, length, seed):
    codes, _ = draw(law, length, range(1), np.random.SeedSequence(seed))
    log_total, positions, begins, segments = written_out.posterior(law, codes[0])
    machine = Machine(law, length)
    found = control.summarise(machine, codes[0], torch.Generator().manual_seed(0))
    mine = dict(zip(map(tuple, found.segments[0].tolist()), found.segments[1], strict=True))
    inner = {key: value for key, value in mine.items() if key[0] > 0 and key[1] < length}
    likely = {key: value for key, value in segments.items() if value > 0.01}
    off = [abs(inner.get(key, 0) - value) for key, value in likely.items()]
    off += [abs(segments.get(key, 0) - value) for key, value in inner.items()]
    shares, count = drawn(machine, codes[0], len(law.classes))
    noise = np.sqrt(positions * (1 - positions) / count) + 1 / count
    edge = sum(value for key, value in mine.items() if key[0] == 0)
    return {
        "log_likelihood": abs(found.log_likelihood - log_total),
        "positions": float(np.abs(found.positions - positions).max()),
        "boundaries": float(np.abs(found.boundaries - begins).max()),
        "segments": float(max(off)),
        "drawn": float((np.abs(shares - positions) / noise).max()),
        "first": abs(edge - 1),
        "compared": len(likely),
        "least_certain": float(positions.max(axis=1).min()),
    }


if __name__ == "__main__":
    for name, law in LAWS.items():
        print(json.dumps({"law": name, **compare(law, 16, 7)}), flush=True)
