"""The laws that have a name. docs/segmentation.md says where each number is from."""

import numpy as np

from lacuna.genome.law import NO_MOTIF, Durations, Law, Motif, check, class_names
from lacuna_contract.errors import ContractError, suggest

PRESETS = ("gene_like", "motifs")

#: The published setting. UTRs: means of about 200 and 1,000; their shapes are assumptions.
DURATIONS = {
    "intergenic": Durations(5000, 0.8, 500, 20_000),
    "exon": Durations(150, 0.5, 30, 500),
    "intron": Durations(3000, 1.0, 100, 10_000),
    "utr5": Durations(150, 0.7, 30, 1000),
    "utr3": Durations(700, 0.9, 50, 5000),
}
FEWEST_EXONS, MOST_EXONS = 2, 8
GC = 0.42

#: Skews of human introns, (T - A) / (T + A) and (G - C) / (G + C). Both are above zero (Touchon et
#: al. 2003); their sizes are assumptions.
INTRON_TA, INTRON_GC = 0.0449, 0.0329
#: G + C of human UTRs. The 5' ones are richer (Pesole et al. 1997); the numbers are assumptions.
UTR5_GC, UTR3_GC = 0.60, 0.45

#: Human codon usage, per thousand (Codon Usage Database, GenBank 160; Nakamura et al. 2000): rows
#: by the first two bases TT, TC, TA, TG, CT, ...; columns by the third, T C A G.
HUMAN_CODONS = """
    17.6 20.3  7.7 12.9   15.2 17.7 12.2  4.4   12.2 15.3  1.0  0.8   10.6 12.6  1.6 13.2
    13.2 19.6  7.2 39.6   17.5 19.8 16.9  6.9   10.9 15.1 12.3 34.2    4.5 10.4  6.2 11.4
    16.0 20.8  7.5 22.0   13.1 18.9 15.1  6.1   17.0 19.1 24.4 31.9   12.1 19.5 12.2 12.0
    11.0 14.5  7.1 28.1   18.4 27.7 15.8  7.4   21.8 25.1 29.0 39.6   10.8 22.2 16.5 16.5
"""
#: Human splice sites in loci of low G + C (Zhang 1998): three exonic and six intronic columns of a
#: donor, fifteen intronic and two exonic ones of an acceptor; rows A, C, G, T.
DONOR = """
    .38 .62 .12 0 0 .71 .73 .11 .21
    .31 .10 .04 0 0 .02 .06 .06 .10
    .18 .12 .77 1 0 .24 .08 .75 .14
    .13 .16 .07 0 1 .03 .13 .08 .55
"""
ACCEPTOR = """
    .15 .14 .13 .11 .10 .10 .11 .12 .13 .11 .10 .26 .07 1 0 .26 .24
    .24 .21 .20 .22 .21 .22 .25 .28 .28 .25 .22 .25 .55 0 0 .11 .15
    .10 .12 .10 .09 .10 .09 .10 .10 .08 .05 .05 .15 .01 0 1 .50 .20
    .51 .53 .57 .58 .59 .59 .54 .50 .51 .59 .63 .33 .37 0 0 .13 .41
"""


def composition(gc: float, ta_skew: float = 0.0, gc_skew: float = 0.0) -> np.ndarray:
    """float64 (4,): A, C, G, T with a share of G + C and skews (T - A)/(T + A), (G - C)/(G + C)."""
    at = 1 - gc
    return (
        np.array([at * (1 - ta_skew), gc * (1 - gc_skew), gc * (1 + gc_skew), at * (1 + ta_skew)])
        / 2
    )


def codon_usage() -> np.ndarray:
    """float64 (64,): in the order AAA, AAC, ..., TTT, normalised. As it is published, with the stop
    codons of the ends of genes: in frame they are rare (0.3 %), not impossible."""
    order = [3, 1, 0, 2]  # of T, C, A, G among A, C, G, T
    table = np.zeros((4, 4, 4))
    table[np.ix_(order, order, order)] = np.array(HUMAN_CODONS.split(), float).reshape(4, 4, 4)
    return table.ravel() / table.sum()


def _motif(text: str, exonic: int) -> Motif:
    columns = np.array([line.split() for line in text.split("\n") if line.strip()], float).T
    return Motif(exonic, columns / columns.sum(axis=1, keepdims=True))


def _letters(text: str) -> Motif:
    return Motif(0, np.eye(4)[["ACGT".index(base) for base in text]])


def preset(
    name: str = "gene_like", classes: int = 3, *, gc: float = GC, splice_motifs: bool = True
) -> Law:
    """A law by name.

    Parameters
    ----------
    name
        "motifs": every class has the same composition, and only GT...AG at the ends of introns
        tells anything. "gene_like": compositions, codons and splice sites of human genes.
    classes
        3, or 5 with UTRs.
    gc
        G + C of intergenic regions and introns; in "motifs" of everything.
    splice_motifs
        False: no splice site has a motif.
    """
    if name not in PRESETS:
        raise ContractError(suggest(name, PRESETS, "preset"))
    if not 0 < gc < 1:
        raise ContractError(f"gc={gc}: expected a share greater than 0 and less than 1")
    names = class_names(classes)
    exons = np.zeros(MOST_EXONS + 1)
    exons[FEWEST_EXONS:] = 1 / (MOST_EXONS + 1 - FEWEST_EXONS)
    if name == "motifs":
        bases = {kind: composition(gc) for kind in names}
        codons, donor, acceptor = None, _letters("GT"), _letters("AG")
    else:
        usage = codon_usage().reshape(4, 4, 4)
        exonic = sum(usage.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)) / 3
        bases = {
            "intergenic": composition(gc),
            "exon": exonic,
            "intron": composition(gc, INTRON_TA, INTRON_GC),
            "utr5": composition(UTR5_GC),
            "utr3": composition(UTR3_GC),
        }
        codons, donor, acceptor = usage.ravel(), _motif(DONOR, 3), _motif(ACCEPTOR, 2)
    law = Law(
        name,
        names,
        {kind: DURATIONS[kind] for kind in names},
        exons,
        {kind: bases[kind] for kind in names},
        codons,
        donor if splice_motifs else NO_MOTIF,
        acceptor if splice_motifs else NO_MOTIF,
    )
    check(law)
    return law
