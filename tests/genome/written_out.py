"""The law of a small genome written out base by base, as an independent check of the ceiling.

A micro-state is all that there is to know at a position: the part of the gene, the number of exons
of the gene, the duration of the segment, how many of its bases came before, and the codon position
of its first base. So the chain is an ordinary hidden Markov model, and every probability follows
from one forward and one backward pass over its states. Bases before the window, which later ones
may depend on, are summed over.
"""

import itertools
from dataclasses import dataclass

import numpy as np

BEFORE = 2  # bases to the left of the window that are summed over: a codon has no more


@dataclass(frozen=True)
class Micro:
    kind: str
    number: int  # of the exon; of an intron, of the one before
    exons: int
    duration: int
    offset: int
    phase: int


def micro_states(law):
    """Every micro-state, and how often each occurs in a gene and the region before it."""
    residues = {}
    for d, chance in enumerate(law.durations["exon"].probabilities, 1):
        residues[d % 3] = residues.get(d % 3, 0) + chance
    found = {}

    def add(kind, number, exons, phase, weight):
        for d, chance in enumerate(law.durations[kind].probabilities, 1):
            if chance * weight > 0:
                for offset in range(d):
                    found[Micro(kind, number, exons, d, offset, phase)] = chance * weight

    for n, often in enumerate(law.exons):
        if not often:
            continue
        for kind in ("intergenic", *law.classes[3:]):
            add(kind, 0, n, 0, often)
        phases = {0: 1.0}
        for number in range(1, n + 1):
            after = {}
            for phase, chance in phases.items():
                add("exon", number, n, phase, often * chance)
                for r, more in residues.items():
                    at = (phase + r) % 3
                    after[at] = after.get(at, 0) + chance * more
            phases = after
            if number < n:
                for phase, chance in phases.items():
                    add("intron", number, n, phase, often * chance)
    return found


def starts(law, state):
    """(kind, number, phase) of what follows the segment of a micro-state, in the same gene, and
    whether a new number of exons is drawn."""
    utrs = len(law.classes) > 3
    phase = (state.phase + state.duration) % 3
    if state.kind == "intergenic":
        return ("utr5", 0, 0, False) if utrs else ("exon", 1, 0, False)
    if state.kind == "utr5":
        return ("exon", 1, 0, False)
    if state.kind == "intron":
        return ("exon", state.number + 1, state.phase, False)
    if state.kind == "exon" and state.number < state.exons:
        return ("intron", state.number, phase, False)
    if state.kind == "exon" and utrs:
        return ("utr3", 0, 0, False)
    return ("intergenic", 0, 0, True)


def chance_of_base(law, state, base, before):
    """P(base | micro-state, the bases before it, the nearest last)."""
    from_end = state.duration - state.offset  # 1 for the last base
    if state.kind == "intron":
        if state.offset < law.donor.intronic:
            return law.donor.probabilities[law.donor.exonic + state.offset, base]
        if from_end <= law.acceptor.intronic:
            return law.acceptor.probabilities[law.acceptor.intronic - from_end, base]
    if state.kind == "exon":
        if state.number > 1 and state.offset < law.acceptor.exonic:
            return law.acceptor.probabilities[law.acceptor.intronic + state.offset, base]
        if state.number < state.exons and from_end <= law.donor.exonic:
            return law.donor.probabilities[law.donor.exonic - from_end, base]
        if law.codons is not None:
            table = law.codons.reshape(4, 4, 4)
            position = (state.phase + state.offset) % 3
            known = list(before[len(before) - min(position, state.offset, len(before)) :])
            if min(position, state.offset) == 0:
                known = []
            # Sum over those of the codon that are in another exon.
            for _ in range(position - len(known)):
                table = table.sum(axis=0)
            for one in known:
                table = table[one]
            while table.ndim > 1:
                table = table.sum(axis=-1)
            return table[base] / table.sum()
    return law.composition[state.kind][base]


def posterior(law, codes):
    """log P(bases), P(class) (T, classes), P(a segment begins) (T,), and P(segment) by (start, end,
    class) as far as a segment's ends can be told in the window."""
    weights = micro_states(law)
    states = list(weights)
    index = {state: i for i, state in enumerate(states)}
    initial = np.array([weights[s] for s in states])
    initial /= initial.sum()
    move = np.zeros((len(states), len(states)))
    for i, state in enumerate(states):
        if state.offset + 1 < state.duration:
            grown = Micro(**{**vars(state), "offset": state.offset + 1})
            move[i, index[grown]] = 1
            continue
        kind, number, phase, fresh = starts(law, state)
        counts = enumerate(law.exons) if fresh else [(state.exons, 1.0)]
        for n, chance in counts:
            for d, more in enumerate(law.durations[kind].probabilities, 1):
                if chance * more > 0:
                    move[i, index[Micro(kind, number, n, d, 0, phase)]] += chance * more
    classes = np.array([law.classes.index(s.kind) for s in states])
    offsets = np.array([s.offset for s in states])
    length, total = len(codes), 0.0
    positions = np.zeros((length, len(law.classes)))
    begins = np.zeros(length)
    found = {}
    for fill in itertools.product(range(4), repeat=BEFORE):
        whole = np.array([*fill, *codes])
        emission = np.array(
            [[chance_of_base(law, s, b, whole[:t]) for s in states] for t, b in enumerate(whole)]
        )
        forward = np.zeros_like(emission)
        forward[0] = initial * emission[0]
        for t in range(1, len(whole)):
            forward[t] = (forward[t - 1] @ move) * emission[t]
        backward = np.ones_like(emission)
        for t in range(len(whole) - 2, -1, -1):
            backward[t] = move @ (emission[t + 1] * backward[t + 1])
        joint = (forward * backward)[BEFORE:]
        total += forward[-1].sum()
        for c in range(len(law.classes)):
            positions[:, c] += joint[:, classes == c].sum(axis=1)
        begins += joint[:, offsets == 0].sum(axis=1)
        # A whole segment: it begins at s with duration d, so it ends at s + d.
        for s in range(1, length):
            for i in np.flatnonzero(offsets == 0):
                end = s + states[i].duration
                if end < length:
                    key = (s, end, int(classes[i]))
                    found[key] = found.get(key, 0) + joint[s, i]
    begins[0] = 0
    found = {key: value / total for key, value in found.items()}
    return np.log(total), positions / total, begins / total, found
