"""Drawing sequences from a law: windows cut out of an endless genome.

Each sequence has a random generator of its own, so that it is the same whatever else is drawn, in
whatever order. A window's first segment is the one that covers a random position of the genome:
longer segments cover more, and the window begins anywhere within it.
"""

from collections.abc import Iterator

import numpy as np

from lacuna import seeds
from lacuna.genome.law import Durations, Law, State

UNDRAWN = 255


class Sampler:
    """Draws windows from a law; the tables are made once."""

    def __init__(self, law: Law):
        self.law = law
        self._number = {name: i for i, name in enumerate(law.classes)}
        self._durations = {name: found.probabilities.cumsum() for name, found in _all(law)}
        self._biased = {
            name: (found.probabilities * np.arange(1, found.high + 1)).cumsum() / found.mean
            for name, found in _all(law)
        }
        self._states = list(law.occupancy)
        self._occupancy = np.cumsum(list(law.occupancy.values()))
        self._bases = {name: law.composition[name].cumsum() for name in law.classes}
        self._donor, self._acceptor = (
            motif.probabilities.cumsum(axis=1) for motif in (law.donor, law.acceptor)
        )
        coding = law.coding
        if coding is not None:
            tables = (coding.first, coding.second, coding.third)
            self._codons = tuple(table.cumsum(axis=-1) for table in tables)

    def window(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(base codes uint8, classes int8) of a window of `length` positions."""
        state = self._states[_index(self._occupancy, rng.random())]
        duration = 1 + _index(self._biased[state.kind], rng.random())
        offset = int(rng.integers(duration))
        exons = self._number_of_exons(rng, state)
        # The frame that exons before this one left.
        before = (self._duration(rng, "exon") for _ in range(self._exons_before(state)))
        phase = sum(before) % 3
        codes, labels, there = [], [], -offset
        while there < length:
            codes.append(self._segment(rng, state, duration, phase, exons))
            labels.append(np.full(duration, self._number[state.kind], dtype=np.int8))
            there += duration
            if state.kind == "exon":
                phase = (phase + duration) % 3
            state = self.following(state, exons)
            if state.kind == "intergenic":
                exons, phase = self._number_of_exons(rng, state), 0
            duration = self._duration(rng, state.kind)
        cut = slice(offset, offset + length)
        return np.concatenate(codes)[cut], np.concatenate(labels)[cut]

    def following(self, state: State, exons: int) -> State:
        """The part that follows in a gene of so many exons."""
        with_utrs = len(self.law.classes) > 3
        match state.kind:
            case "intergenic":
                return State("utr5") if with_utrs else State("exon", 1)
            case "utr5":
                return State("exon", 1)
            case "intron":
                return State("exon", state.exon + 1)
            case "exon" if state.exon < exons:
                return State("intron", state.exon)
            case "exon" if with_utrs:
                return State("utr3")
        return State("intergenic")

    def _exons_before(self, state: State) -> int:
        """How many exons of the gene have shifted the frame by the start of a part."""
        return {"exon": state.exon - 1, "intron": state.exon}.get(state.kind, 0)

    def _number_of_exons(self, rng: np.random.Generator, state: State) -> int:
        """Of the gene that a part belongs to, or that follows it; given how many there are."""
        fewest = state.exon + (state.kind == "intron")
        chances = np.where(np.arange(len(self.law.exons)) >= fewest, self.law.exons, 0).cumsum()
        return _index(chances / chances[-1], rng.random())

    def _duration(self, rng: np.random.Generator, kind: str) -> int:
        return 1 + _index(self._durations[kind], rng.random())

    def _segment(
        self, rng: np.random.Generator, state: State, size: int, phase: int, exons: int
    ) -> np.ndarray:
        """The bases of a whole segment."""
        found = np.full(size, UNDRAWN, dtype=np.uint8)
        law = self.law
        if state.kind == "intron":
            _place(rng, found, 0, self._donor[law.donor.exonic :])
            acceptor = self._acceptor[: law.acceptor.intronic]
            _place(rng, found, size - len(acceptor), acceptor)
        elif state.kind == "exon":
            if state.exon > 1:
                _place(rng, found, 0, self._acceptor[law.acceptor.intronic :])
            if state.exon < exons:
                donor = self._donor[: law.donor.exonic]
                _place(rng, found, size - len(donor), donor)
            if law.coding is not None:
                return self._translate(rng, found, phase)
        left = found == UNDRAWN
        found[left] = _below(rng.random(int(left.sum())), self._bases[state.kind])
        return found

    def _translate(self, rng: np.random.Generator, found: np.ndarray, phase: int) -> np.ndarray:
        """Fill an exon in frame, where nothing has been drawn yet."""
        size = len(found)
        codons = np.full(-(-(phase + size) // 3) * 3, UNDRAWN, dtype=np.uint8)
        codons[:phase] = 4  # in the exon before
        codons[phase : phase + size] = found
        codons = codons.reshape(-1, 3)
        for column, table in enumerate(self._codons):
            left = codons[:, column] == UNDRAWN
            before = tuple(codons[left, i] for i in range(column))
            given = table[before] if column else np.broadcast_to(table, (int(left.sum()), 4))
            drawn = rng.random(len(given))
            codons[left, column] = (drawn[:, None] >= given[:, :3]).sum(axis=1)
        return codons.ravel()[phase : phase + size]


def _all(law: Law) -> Iterator[tuple[str, Durations]]:
    return ((name, law.durations[name]) for name in law.classes)


def _index(cumulative: np.ndarray, drawn: float) -> int:
    return min(int(np.searchsorted(cumulative, drawn, side="right")), len(cumulative) - 1)


def _below(drawn: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    return np.searchsorted(cumulative[:3], drawn, side="right").astype(np.uint8)


def _place(rng: np.random.Generator, found: np.ndarray, at: int, columns: np.ndarray) -> None:
    drawn = rng.random(len(columns))
    found[at : at + len(columns)] = (drawn[:, None] >= columns[:, :3]).sum(axis=1)


def draw(
    law: Law,
    length: int,
    numbers: range,
    parent: np.random.SeedSequence,
    split: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(base codes uint8, classes int8), each (n, length), of the windows numbered `numbers` of a
    split. A number's window is the same whichever others are drawn with it."""
    sampler = Sampler(law)
    codes = np.empty((len(numbers), length), dtype=np.uint8)
    labels = np.empty((len(numbers), length), dtype=np.int8)
    for row, number in enumerate(numbers):
        rng = seeds.generator(parent, split, number)
        codes[row], labels[row] = sampler.window(rng, length)
    return codes, labels
