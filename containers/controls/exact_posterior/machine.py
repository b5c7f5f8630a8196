"""A law as a semi-Markov CRF of expanded states.

What one label per class cannot say, more labels do: the number of an exon in its gene, because a
gene has so many; whether it is the last, because a donor follows or not; the frame in which it
begins and ends, because it goes on across introns; and the window's first and last segments, whose
durations are not those of whole ones.

A label's bases are emissions where they depend on the position alone. Those of an exon depend on
its frame, and so on where it begins: with S_f[t], the log-probability of the first t bases as
codons in frame f, they come as begin score -S_f[s] and finish score +S_f[e]. Both know their f: the
label has the codon position p of the first base, and q of the base after the last, and
f = s - p = e - q modulo 3. Splice sites are begin and finish scores, too.

The window is padded with unknown bases, as far as a boundary is felt, so that sites across its ends
need no rule of their own.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from exons import Exons, logs, site

from lacuna.genome.law import Law, State
from lacuna_contract.sequences import UNKNOWN

#: Where a segment lies: within the window, across its left end, its right end, or both.
WITHIN, LEFT, RIGHT, WHOLE = "within", "left", "right", "whole"


@dataclass(frozen=True)
class Label:
    """An expanded state. `exon` is the number of the exon (of an intron, of the one before); 0
    where nothing that follows depends on it. `p` and `q` are codon positions, see the module."""

    kind: str
    place: str
    exon: int = 0
    last: bool = False
    p: int = 0
    q: int = 0


class Machine:
    """A law as scores of a semi-Markov CRF, for windows of a length.

    labels
        The expanded states.
    classes
        int64 (labels,): the class of each.
    start, end, transitions, durations
        float64 log-weights, as `semicrf` takes them.
    """

    def __init__(self, law: Law, length: int):
        self.law, self.length = law, length
        self.pad = law.reach + 1
        self.padded = length + 2 * self.pad
        self.frames = 1 if law.coding is None else 3
        self.labels = list(self._labels())
        self.classes = np.array([law.classes.index(one.kind) for one in self.labels])
        self.phases = self._phases()
        longest = min(law.longest, self.padded)
        whole = any(law.durations[name].high > self.padded for name in law.classes)
        self.longest = self.padded if whole else longest
        size = len(self.labels)
        weights = np.zeros((self.longest, size))
        for column, label in enumerate(self.labels):
            weights[:, column] = self._durations(label)
        chances = np.array([[self._follows(a, b) for b in self.labels] for a in self.labels])
        places = np.array([one.place for one in self.labels])
        with np.errstate(divide="ignore"):
            self.durations = np.log(weights)
            self.transitions = np.log(chances)
            self.start = np.log(np.isin(places, [LEFT, WHOLE]).astype(float))
            self.end = np.log(np.isin(places, [RIGHT, WHOLE]).astype(float))

    def _labels(self):
        most, frames = self.law.most_exons, range(self.frames)
        outside = ["intergenic", *self.law.classes[3:]]
        for place in (WITHIN, LEFT, RIGHT, WHOLE):
            for kind in outside:
                yield Label(kind, place)
        for place in (WITHIN, LEFT):
            for n, q in itertools.product(range(1, most), frames):
                yield Label("intron", place, n, q=q)
                # What was before the window is of no consequence but for the frame at the end.
                for p in [0] if n == 1 or place == LEFT else frames:
                    yield Label("exon", place, n, False, p, q)
            for p, q in itertools.product([0] if place == LEFT else frames, frames):
                yield Label("exon", place, 0, True, p, q)
        yield Label("intron", RIGHT)
        yield Label("intron", WHOLE)
        yield Label("exon", RIGHT, 1)
        for p in frames:
            yield Label("exon", RIGHT, 0, p=p)
            yield Label("exon", WHOLE, 0, p=p)

    def _phases(self) -> np.ndarray:
        """float64 (exons + 1, frames): the law of the codon position at the start of exon n."""
        residues = np.bincount(
            np.arange(1, self.law.durations["exon"].high + 1) % self.frames,
            self.law.durations["exon"].probabilities,
            self.frames,
        )
        found = np.zeros((self.law.most_exons + 2, self.frames))
        found[1, 0] = 1
        for n in range(1, self.law.most_exons + 1):
            for p, r in itertools.product(range(self.frames), range(self.frames)):
                found[n + 1, (p + r) % self.frames] += found[n, p] * residues[r]
        return found

    def _durations(self, label: Label) -> np.ndarray:
        """Weights of the durations 1, 2, ... of a label; of first segments with how often there is
        one."""
        law, size = self.law, self.longest
        known = law.durations[label.kind].probabilities
        d = np.arange(1, len(known) + 1)
        in_frame = (label.p + d) % self.frames == label.q
        if label.place == WITHIN:
            found = known * in_frame if label.kind == "exon" else known
        elif label.place == RIGHT:
            found = law.durations[label.kind].survival
        elif label.place == LEFT:
            found = np.zeros(len(known))
            for state, often in self._states(label):
                if label.kind != "exon":
                    # The frame after an intron is the one in which the next exon begins.
                    if label.kind == "intron":
                        often = often * self.phases[state.exon + 1, label.q]
                    found += often * known[::-1].cumsum()[::-1]
                    continue
                for p in range(self.frames):
                    ends = known * ((p + d) % self.frames == label.q)
                    found += often * self.phases[state.exon, p] * ends[::-1].cumsum()[::-1]
            found = found / self._total()
        else:
            return self._whole(label)
        found = np.pad(found[:size], (0, max(0, size - len(found))))
        if label.place == LEFT:
            found[self.padded - 1 :] = 0  # that is the whole window
        return found

    def _whole(self, label: Label) -> np.ndarray:
        """The weight of a window within one segment."""
        found = np.zeros(self.longest)
        survival = self.law.durations[label.kind].survival
        beyond = survival[self.padded - 1 :]  # by how many positions lie before the window
        for state, often in self._states(label):
            chances = np.ones(len(beyond))
            if label.kind == "exon":
                at = (label.p - np.arange(len(beyond))) % self.frames
                chances = self.phases[state.exon][at]
            if len(beyond):
                found[self.padded - 1] += often * float(beyond @ chances) / self._total()
        return found

    def _states(self, label: Label) -> list[tuple[State, float]]:
        """The parts of a gene that a label stands for, with how often each occurs in a gene."""
        law = self.law
        if label.kind not in ("exon", "intron"):
            return [(State(label.kind), 1.0)]
        found = [(s, often) for s, often in law.states.items() if s.kind == label.kind]
        if label.place == WHOLE:
            return found
        if label.kind == "intron":
            return [(s, often) for s, often in found if s.exon == label.exon]
        if label.last:
            return [(s, float(law.exons[s.exon])) for s, _ in found]
        return [(s, law.at_least(s.exon + 1)) for s, _ in found if s.exon == label.exon]

    def _total(self) -> float:
        """Positions of a gene and an intergenic region, on average."""
        law = self.law
        return sum(often * law.durations[s.kind].mean for s, often in law.states.items())

    def _follows(self, a: Label, b: Label) -> float:
        """The probability that a segment of label b follows one of label a, in which a's own frame
        and b's are taken care of by durations."""
        if a.place in (RIGHT, WHOLE) or b.place in (LEFT, WHOLE):
            return 0.0
        law = self.law
        with_utrs = len(law.classes) > 3
        first = b.kind == "exon" and b.exon == 1 and b.p == 0
        if a.kind == "intergenic":
            return float(b.kind == "utr5" if with_utrs else first)
        if a.kind == "utr5":
            return float(first)
        if a.kind == "utr3":
            return float(b.kind == "intergenic")
        if a.kind == "exon" and a.last:
            return float(b.kind == ("utr3" if with_utrs else "intergenic"))
        if a.kind == "exon":
            fits = b.place == RIGHT or (b.exon == a.exon and b.q == a.q)
            return float(b.kind == "intron" and fits)
        n = a.exon + 1  # the exon that follows an intron
        if b.kind != "exon" or b.p != a.q or (b.place == RIGHT and b.exon == 1):
            return 0.0
        if b.place == RIGHT:
            return 1.0
        if b.last:
            return float(law.exons[n]) / law.at_least(n)
        return law.at_least(n + 1) / law.at_least(n) if b.exon == n else 0.0

    def scores(self, codes: np.ndarray) -> dict[str, torch.Tensor]:
        """The arguments of `semicrf` for one window, base codes uint8 (length,)."""
        law, pad, size = self.law, self.pad, self.padded
        x = np.full(size, UNKNOWN, dtype=np.int64)
        x[pad : pad + self.length] = codes
        shape = (size, len(self.labels))
        emissions, begin, finish = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        bases = {name: logs(law.composition[name])[x] for name in law.classes}
        exon = Exons(law, x, self.frames)
        donor = site(law.donor, x, slice(law.donor.exonic, None), 0, bases["intron"])
        inner = slice(0, law.acceptor.intronic)
        acceptor = site(law.acceptor, x, inner, -law.acceptor.intronic, bases["intron"])
        for column, label in enumerate(self.labels):
            opens, closes = label.place in (WITHIN, RIGHT), label.place in (WITHIN, LEFT)
            if label.kind != "exon":
                emissions[:, column] = bases[label.kind]
                if label.kind == "intron":
                    begin[:, column] += donor[:-1] if opens else 0
                    finish[:, column] += acceptor[1:] if closes else 0
                continue
            emissions[:, column] = exon.mean
            if opens:
                begin[:, column] = -exon.at_start(label.p)[:-1]
                if label.exon != 1:
                    begin[:, column] += exon.after_acceptor(label.p)[:-1]
            if closes:
                finish[:, column] = exon.at_end(label.q)[1:]
                if not label.last:
                    finish[:, column] += exon.before_donor(label.q)[1:]
            if label.place == RIGHT:
                begin[:, column] += exon.to_the_end(label.p)[:-1]
            elif label.place == WHOLE:
                begin[0, column] = exon.to_the_end(label.p)[0]
        arrays = {
            "emissions": emissions[None], "begin": begin[None], "finish": finish[None],
            "transitions": self.transitions, "durations": self.durations,
            "start": self.start, "end": self.end,
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in arrays.items()}
