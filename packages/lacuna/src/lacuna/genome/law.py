"""The law of a synthetic genome: a semi-Markov model that is written down exactly.

A genome is endless: intergenic, a gene, intergenic, a gene, ... A gene is (5' UTR) exon (intron
exon)* (3' UTR), with a number of exons of a given law. Durations are independent log-normals cut to
a range; bases are independent given the segments, but for codons: in `codons`, three exonic bases
in frame are drawn together, and the frame goes on across introns. The last exonic and the first
intronic bases of a donor, and the last intronic and first exonic ones of an acceptor, come from a
position weight matrix each, in the place of what they would be otherwise.

A codon that an intron splits, or that the window cuts, is drawn in its parts: each part given only
those of its bases that are in the same exon. So exons are independent of each other but for the
frame.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacuna_contract.errors import ContractError
from lacuna_contract.schema import read_json, validate
from lacuna_contract.sequences import CLASSES

VERSION = 1


@dataclass(frozen=True)
class Durations:
    """A log-normal, rounded to whole positions and conditioned on low..high."""

    median: float
    sigma: float
    low: int
    high: int

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """float64 (high,): of the durations 1..high; 0 below `low`."""
        edges = np.arange(self.low - 0.5, self.high + 1)
        z = (np.log(edges) - math.log(self.median)) / self.sigma
        below = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z])
        found = np.zeros(self.high)
        found[self.low - 1 :] = np.diff(below)
        return found / found.sum()

    @functools.cached_property
    def mean(self) -> float:
        """Positions."""
        return float(self.probabilities @ np.arange(1, self.high + 1))

    @functools.cached_property
    def survival(self) -> np.ndarray:
        """float64 (high,): P(duration >= d) for d = 1..high."""
        return self.probabilities[::-1].cumsum()[::-1]

    def in_window(self, length: int) -> np.ndarray:
        """float64 (min(high, length - 2),): the law of the durations of segments that lie complete
        within a window of `length` positions, touching neither end. A segment of d positions has
        length - d - 1 places there. Empty where none fits."""
        d = np.arange(1, min(self.high, length - 2) + 1)
        weights = self.probabilities[: len(d)] * (length - d - 1)
        total = weights.sum()
        return weights / total if total > 0 else weights[:0]


@dataclass(frozen=True)
class Motif:
    """A position weight matrix across a splice site.

    exonic
        How many of its columns lie in the exon: the first of a donor, the last of an acceptor.
    probabilities
        float64 (columns, 4).
    """

    exonic: int
    probabilities: np.ndarray

    @property
    def intronic(self) -> int:
        """How many of its columns lie in the intron."""
        return len(self.probabilities) - self.exonic


NO_MOTIF = Motif(0, np.zeros((0, 4)))


class Codons:
    """The laws of the three bases of a codon, each given those before it in the same exon.

    first, second, third
        float64 (4,), (5, 4), (5, 5, 4): by the bases before it, where 4 stands for one that is not
        known because it is in another exon, outside the window, or an N.
    """

    def __init__(self, probabilities: np.ndarray):
        joint = np.asarray(probabilities).reshape(4, 4, 4)
        # Row 4 of an axis is the sum over it.
        a = np.concatenate([joint, joint.sum(0, keepdims=True)])
        ab = np.concatenate([a, a.sum(1, keepdims=True)], axis=1)
        self.first = joint.sum((1, 2))
        pairs = ab[:, :4].sum(2)
        self.second = pairs / pairs.sum(1, keepdims=True)
        self.third = ab / ab.sum(2, keepdims=True)


@dataclass(frozen=True)
class State:
    """A part of a gene. `exon` counts exons of the gene from 1; 0 outside; an intron has the number
    of the exon before it."""

    kind: str
    exon: int = 0


@dataclass(frozen=True)
class Law:
    """See the module's text.

    durations
        By class.
    exons
        float64: P(a gene has n exons), for n = 0, 1, ...
    composition
        By class, float64 (4,): of A, C, G, T.
    codons
        float64 (64,) in the order AAA, AAC, ..., TTT, or None: exons have a composition then.
    """

    preset: str
    classes: tuple[str, ...]
    durations: Mapping[str, Durations]
    exons: np.ndarray
    composition: Mapping[str, np.ndarray]
    codons: np.ndarray | None
    donor: Motif
    acceptor: Motif

    @functools.cached_property
    def coding(self) -> Codons | None:
        """The laws of a codon's bases."""
        return None if self.codons is None else Codons(self.codons)

    @property
    def most_exons(self) -> int:
        """The largest number of exons of a gene."""
        return len(self.exons) - 1

    def at_least(self, n: int) -> float:
        """P(a gene has n exons or more)."""
        return float(self.exons[n:].sum())

    @functools.cached_property
    def states(self) -> dict[State, float]:
        """The parts of a gene and the intergenic region, with how often each occurs in a gene."""
        found = {State("intergenic"): 1.0}
        utr = {State(name): 1.0 for name in self.classes[3:]}
        for n in range(1, self.most_exons + 1):
            found[State("exon", n)] = self.at_least(n)
            if n < self.most_exons:
                found[State("intron", n)] = self.at_least(n + 1)
        return found | utr

    @functools.cached_property
    def occupancy(self) -> dict[State, float]:
        """The share of the genome that each part takes."""
        weight = {s: often * self.durations[s.kind].mean for s, often in self.states.items()}
        total = sum(weight.values())
        return {state: value / total for state, value in weight.items()}

    def share(self, name: str) -> float:
        """The share of the genome that a class takes."""
        return sum(value for state, value in self.occupancy.items() if state.kind == name)

    @property
    def longest(self) -> int:
        """The longest segment that there can be."""
        return max(law.high for law in self.durations.values())

    @property
    def reach(self) -> int:
        """How many bases from its boundary a segment's start or end is felt, at most."""
        sides = (self.donor.exonic, self.donor.intronic, self.acceptor.exonic)
        return max(3, *sides, self.acceptor.intronic)

    def to_json(self) -> dict[str, Any]:
        """As a document of schema `segmentation_law`."""

        def motif(found: Motif) -> dict[str, Any]:
            return {"exonic": found.exonic, "probabilities": found.probabilities.tolist()}

        made = {
            "version": VERSION,
            "preset": self.preset,
            "classes": list(self.classes),
            "durations": {name: vars(self.durations[name]) for name in self.classes},
            "exons": self.exons.tolist(),
            "composition": {name: self.composition[name].tolist() for name in self.classes},
            "codons": None if self.codons is None else self.codons.tolist(),
            "donor": motif(self.donor),
            "acceptor": motif(self.acceptor),
        }
        for name, law in self.durations.items():
            fields = ("median", "sigma", "low", "high")
            made["durations"][name] = {field: getattr(law, field) for field in fields}
        return made


def from_json(document: Mapping[str, Any], where: str | Path = "the law") -> Law:
    """A law from a document of schema `segmentation_law`; `ContractError` for what is none."""
    validate(document, "segmentation_law", where=where)

    def motif(found: Mapping[str, Any]) -> Motif:
        return Motif(found["exonic"], np.array(found["probabilities"], float).reshape(-1, 4))

    law = Law(
        document["preset"],
        tuple(document["classes"]),
        {name: Durations(**document["durations"][name]) for name in document["classes"]},
        np.array(document["exons"], float),
        {name: np.array(document["composition"][name], float) for name in document["classes"]},
        None if document["codons"] is None else np.array(document["codons"], float),
        motif(document["donor"]),
        motif(document["acceptor"]),
    )
    check(law, where)
    return law


def check(law: Law, where: str | Path = "the law") -> None:
    """`ContractError` for a law that cannot be drawn from."""
    sums = {"exons": law.exons, "codons": law.codons}
    sums |= {f"composition of {name}": law.composition[name] for name in law.classes}
    for name in ("donor", "acceptor"):
        rows = getattr(law, name).probabilities
        sums |= {f"column {i} of the {name}": row for i, row in enumerate(rows)}
    for name, values in sums.items():
        if values is not None and not math.isclose(values.sum(), 1, abs_tol=1e-6):
            raise ContractError(f"{where}: {name} sums to {values.sum():.6g}, expected 1")
    if law.exons[:2].any():
        raise ContractError(f"{where}: a gene of fewer than 2 exons; expected none")
    for name, found in law.durations.items():
        if found.low > found.high:
            raise ContractError(f"{where}: durations of {name} from {found.low} to {found.high}")
    taken = {
        "exon": law.donor.exonic + law.acceptor.exonic + 3,
        "intron": law.donor.intronic + law.acceptor.intronic,
    }
    for name, size in taken.items():
        if size > law.durations[name].low:
            raise ContractError(
                f"{where}: the motifs take {size} bases of each {name}, and the shortest has "
                f"{law.durations[name].low}"
            )


def read_law(path: Path) -> Law:
    """A law from a file."""
    return from_json(read_json(path, "segmentation_law"), path)


def from_text(text: str, where: str | Path = "the law") -> Law:
    """A law from JSON."""
    return from_json(json.loads(text), where)


def class_names(number: int) -> tuple[str, ...]:
    """The classes of a scheme of 3 or 5; `ContractError` for another number."""
    if number not in (3, len(CLASSES)):
        raise ContractError(
            f"{number} classes; expected 3 ({', '.join(CLASSES[:3])}) or 5 (with "
            f"{' and '.join(CLASSES[3:])})"
        )
    return CLASSES[:number]
