"""The exact posterior of a window under its law, as a semi-Markov CRF of expanded states.

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
import semicrf
import torch

from lacuna.genome.law import Law, Motif, State
from lacuna_contract.sequences import UNKNOWN

IMPOSSIBLE = np.exp(-50.0)
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
        bases = {name: _log(law.composition[name])[x] for name in law.classes}
        exon = Exons(law, x, self.frames)
        donor = _site(law.donor, x, slice(law.donor.exonic, None), 0, bases["intron"])
        inner = slice(0, law.acceptor.intronic)
        acceptor = _site(law.acceptor, x, inner, -law.acceptor.intronic, bases["intron"])
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


class Exons:
    """The log-probabilities of a padded window's bases as those of exons.

    mean
        float64 (T,): mean over frames of that of each base. It is taken out of all of the rest, so
        that sums along a sequence stay small.
    """

    def __init__(self, law: Law, x: np.ndarray, frames: int):
        self.law, self.x, self.frames = law, x, frames
        self.size = len(x)
        self.places = np.arange(self.size + 1)
        self.each = np.stack([self._bases(frame) for frame in range(frames)])
        self.mean = self.each.mean(axis=0)
        self.sums = np.pad((self.each - self.mean).cumsum(axis=1), ((0, 0), (1, 0)))

    def _bases(self, frame: int) -> np.ndarray:
        """Of each base, codons beginning at positions equal to `frame` modulo 3."""
        coding = self.law.coding
        if coding is None:
            return _log(self.law.composition["exon"])[self.x]
        x = self.x
        one, two = (np.concatenate([np.full(n, UNKNOWN), x[: len(x) - n]]) for n in (1, 2))
        first, second, third = (_log(t) for t in (coding.first, coding.second, coding.third))
        tables = (first[x], second[one, x], third[two, one, x])
        at = (np.arange(self.size) - frame) % 3
        return np.choose(at, tables)

    def frame(self, position: int) -> np.ndarray:
        """The frame of an exon whose base at each place 0..T has that codon position."""
        return (self.places - position) % self.frames

    def at_start(self, p: int) -> np.ndarray:
        """float64 (T + 1,): the sum before a place, in the frame of an exon that begins there."""
        return self.sums[self.frame(p), self.places]

    def at_end(self, q: int) -> np.ndarray:
        """The same, of an exon that ends there."""
        return self.sums[self.frame(q), self.places]

    def to_the_end(self, p: int) -> np.ndarray:
        """The sum of the whole window, of an exon that begins at each place."""
        return self.sums[self.frame(p), self.size]

    def before_donor(self, q: int) -> np.ndarray:
        """float64 (T + 1,): what a donor's exonic bases change for an exon that ends at a place."""
        motif, frame = self.law.donor, self.frame(q)
        found = np.zeros(self.size + 1)
        for j in range(1, motif.exonic + 1):
            there = self.places >= j
            at = self.places[there] - j
            column = _log(motif.probabilities[motif.exonic - j])
            found[there] += column[self.x[at]] - self.each[frame[there], at]
        return found

    def after_acceptor(self, p: int) -> np.ndarray:
        """float64 (T + 1,): what an acceptor's exonic bases, and a codon whose first bases are in
        another exon, change for an exon that begins at a place."""
        frame = self.frame(p)
        exonic = self.law.acceptor.probabilities[self.law.acceptor.intronic :]
        # As far as a base can depend on one of the motif that is not known.
        reach = max(len(exonic), (3 - p) % 3) if self.law.coding is not None else len(exonic)
        reach += 2 if self.law.coding is not None and len(exonic) else 0
        if not reach:
            return np.zeros(self.size + 1)
        padded = np.append(self.x, np.full(reach, UNKNOWN))
        windows = np.stack([padded[j : j + self.size + 1] for j in range(reach)], axis=1)
        found = self._opening(windows, p, exonic)
        # Bases are summed over where they are not known and others depend on them.
        for row in np.flatnonzero(
            (windows == UNKNOWN).any(axis=1) & (windows < UNKNOWN).any(axis=1)
        ):
            free = np.flatnonzero(windows[row] == UNKNOWN)
            fills = np.array(list(itertools.product(range(4), repeat=len(free)))).reshape(
                -1, len(free)
            )
            filled = np.repeat(windows[row][None], len(fills), axis=0)
            filled[:, free] = fills
            found[row] = np.logaddexp.reduce(self._opening(filled, p, exonic))
        for j in range(reach):
            there = self.places + j < self.size
            at = self.places[there] + j
            found[there] -= self.each[frame[there], at]
        return found

    def _opening(self, bases: np.ndarray, p: int, exonic: np.ndarray) -> np.ndarray:
        """The log-probability of each row of `bases`, the first ones of an exon."""
        found = np.zeros(len(bases))
        coding = self.law.coding
        unknown = np.full(len(bases), UNKNOWN)
        for j in range(bases.shape[1]):
            here = bases[:, j]
            if j < len(exonic):
                found += _log(exonic[j])[here]
            elif coding is None:
                found += _log(self.law.composition["exon"])[here]
            else:
                one, two = (bases[:, j - n] if j >= n else unknown for n in (1, 2))
                position = (p + j) % 3
                found += (
                    _log(coding.first)[here] if position == 0
                    else _log(coding.second)[one, here] if position == 1
                    else _log(coding.third)[two, one, here]
                )  # fmt: skip
        return found


def _log(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, with a last column for an unknown base, which is certain. What is impossible has
    a probability of exp(-50): its logarithm is subtracted, too, and sums of it along a sequence are
    to stay in a range in which the recurrences are fast."""
    logs = np.log(np.maximum(probabilities, IMPOSSIBLE))
    return np.concatenate([logs, np.zeros((*logs.shape[:-1], 1))], axis=-1)


def _site(
    motif: Motif, x: np.ndarray, columns: slice, first: int, instead: np.ndarray
) -> np.ndarray:
    """float64 (T + 1,): what the columns of a motif change where its site is at each place, the
    first column `first` positions from it; `instead` is what the bases count for otherwise."""
    found = np.zeros(len(x) + 1)
    for j, row in enumerate(motif.probabilities[columns], first):
        places = np.arange(len(x) + 1)
        there = (places + j >= 0) & (places + j < len(x))
        at = places[there] + j
        found[there] += _log(row)[x[at]] - instead[at]
    return found


@dataclass(frozen=True)
class Summary:
    """What decoding needs of the posterior of one window.

    positions
        float32 (T, classes): probability of each class.
    boundaries
        float64 (T,): probability that a segment begins at a position; 0 at position 0.
    segments
        int64 (n, 3) and float64 (n,): start, end and class of segments that are not improbable, and
        their probabilities.
    sample
        int8 (T,): classes, drawn from the posterior.
    log_likelihood
        log P(bases).
    """

    positions: np.ndarray
    boundaries: np.ndarray
    segments: tuple[np.ndarray, np.ndarray]
    sample: np.ndarray
    log_likelihood: float


#: A start or end less probable than this is of no segment that could be worth predicting.
IMPROBABLE = 2e-3
MOST_ENDS = 300
#: Labels that contribute less than this to a start or end are passed over.
FAINT = 1e-7


def summarise(machine: Machine, codes: np.ndarray, generator: torch.Generator) -> Summary:
    """The posterior of a window."""
    scores = machine.scores(codes)
    found = semicrf.marginals(**scores)
    window = slice(machine.pad, machine.pad + machine.length)
    classes = np.eye(len(machine.law.classes))[machine.classes]
    positions = found.positions[0].numpy() @ classes
    begins = found.begins[0].numpy()
    boundaries = begins.sum(axis=1)[window].copy()
    boundaries[0] = 0
    sample = np.empty(machine.padded, dtype=np.int8)
    for start, end, label in draw(found, scores, generator):
        sample[start:end] = machine.classes[label]
    return Summary(
        positions[window].astype(np.float32),
        np.clip(boundaries, 0, 1),
        _segments(machine, found),
        sample[window],
        float(found.log_partition[0]),
    )


def draw(
    found: semicrf.Marginals, scores: dict[str, torch.Tensor], generator: torch.Generator
) -> list[tuple[int, int, int]]:
    """One segmentation from the posterior that `found` describes, as (start, end, label).

    `semicrf.sample` would go through the recurrence, the dear part, a second time. With what is
    right of each segment known, a segment's end needs its durations alone, and the label of the
    next one what begins there: all that lies right of that, over all of its ends.
    """
    after, durations = found.after[0], found.duration_scores
    longest, (size, _) = len(durations), after.shape
    # `after` leaves out the emissions up to where a segment ends.
    emitted = torch.nn.functional.pad(scores["emissions"][0].cumsum(0), (0, 0, 1, 0))
    start, segments = 0, []
    chances = found.begins[0, 0].log()
    while True:
        label = _choose(chances, generator)
        reach = min(longest, size - start)
        ends = durations[:reach, label] + after[start : start + reach, label]
        end = start + 1 + _choose(ends, generator)
        segments.append((start, end, label))
        if end == size:
            return segments
        start, reach = end, min(longest, size - end)
        right = (durations[:reach] + after[start : start + reach]).logsumexp(0)
        chances = scores["transitions"][label] + scores["begin"][0, start] + right - emitted[start]


def _choose(logs: torch.Tensor, generator: torch.Generator) -> int:
    """An index, drawn with the weights whose logarithms are given."""
    sums = (logs - logs.max()).exp().cumsum(0)
    at = torch.rand(1, dtype=sums.dtype, generator=generator) * sums[-1]
    return int(torch.searchsorted(sums, at, right=True).clamp(max=len(logs) - 1))


def _segments(machine: Machine, found: semicrf.Marginals) -> tuple[np.ndarray, np.ndarray]:
    """See `Summary.segments`. A segment that the window cuts may begin or end anywhere in the
    padding."""
    pad, length, padded = machine.pad, machine.length, machine.padded
    begins, ends = found.begins[0].numpy(), found.ends[0].numpy()
    before, after = found.before[0].numpy(), found.after[0].numpy()
    scores = found.duration_scores.numpy()
    rows, chances = [], []
    for label in range(len(machine.law.classes)):
        own = np.flatnonzero(machine.classes == label)
        opens = begins[pad + 1 : pad + length][:, own].sum(axis=1)
        closes = ends[pad : pad + length - 1][:, own].sum(axis=1)
        s = np.concatenate([np.arange(pad + 1), pad + 1 + _likely(opens)])
        e = np.concatenate([pad + 1 + _likely(closes), np.arange(pad + length, padded + 1)])
        size = e[None] - s[:, None]
        fits = (size >= 1) & (size <= len(scores))
        table = np.zeros(size.shape)
        for one in own:
            i, j = begins[s, one] > FAINT, ends[e - 1, one] > FAINT
            if not (i.any() and j.any()):
                continue
            at = np.ix_(i, j)
            logs = scores[np.clip(size[at], 1, len(scores)) - 1, one]
            logs = logs + before[s[i], one][:, None] + after[e[j] - 1, one][None]
            table[at] += np.where(fits[at], np.exp(np.minimum(logs, 0)), 0)
        # All starts in the padding are one, at 0; all ends, at the window's.
        table = np.concatenate([table[: pad + 1].sum(axis=0, keepdims=True), table[pad + 1 :]])
        inner = len(e) - (pad + 1)
        table = np.concatenate([table[:, :inner], table[:, inner:].sum(axis=1, keepdims=True)], 1)
        s = np.append(0, s[pad + 1 :] - pad)
        e = np.append(e[:inner] - pad, length)
        i, j = np.nonzero(table > IMPROBABLE)
        rows.append(np.stack([s[i], e[j], np.full(len(i), label)], axis=1))
        chances.append(table[i, j])
    return np.concatenate(rows), np.concatenate(chances)


def _likely(chances: np.ndarray) -> np.ndarray:
    """Where a start or end is not improbable, in order; the likeliest where there are very many."""
    found = np.flatnonzero(chances > IMPROBABLE)
    if len(found) > MOST_ENDS:
        found = np.sort(found[np.argsort(-chances[found], kind="stable")[:MOST_ENDS]])
    return found
