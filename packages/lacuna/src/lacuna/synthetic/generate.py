"""Draw sequences of known law, and write them as h5ad, FASTA and BED."""

import argparse
from pathlib import Path

from lacuna.genome.files import Sizes, generate
from lacuna.genome.presets import GC, PRESETS, preset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to write")
    for split, default, use in (
        ("train", 1000, "learn from"),
        ("val", 200, "choose by"),
        ("test", 200, "segment"),
    ):
        parser.add_argument(
            f"--num-{split}", type=int, default=default, help=f"sequences to {use} (%(default)s)"
        )
    parser.add_argument(
        "--seq-length", type=int, default=20_000, help="positions of each sequence (%(default)s)"
    )
    parser.add_argument(
        "--num-classes", type=int, default=3,
        help="3: intergenic, exon, intron; 5: with UTRs (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=42, help="(%(default)s)")
    parser.add_argument(
        "--preset", default="gene_like", help=f"{' or '.join(PRESETS)} (%(default)s)"
    )
    parser.add_argument(
        "--splice-motifs", action=argparse.BooleanOptionalAction, default=True,
        help="whether splice sites have motifs",
    )  # fmt: skip
    parser.add_argument(
        "--gc", type=float, default=GC, help="G + C outside of exons and UTRs (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the folder."""
    law = preset(args.preset, args.num_classes, gc=args.gc, splice_motifs=args.splice_motifs)
    sizes = Sizes(args.num_train, args.num_val, args.num_test, args.seq_length)
    asked = {
        "preset": args.preset,
        "num_classes": args.num_classes,
        "gc": args.gc,
        "splice_motifs": args.splice_motifs,
        "length": args.seq_length,
        "num_train": args.num_train,
        "num_val": args.num_val,
        "num_test": args.num_test,
        "seed": args.seed,
    }
    generate(args.output_dir, law, sizes, args.seed, asked)
    total = args.num_train + args.num_val + args.num_test
    print(f"{total} sequences of {args.seq_length} positions in {args.output_dir}")
    return 0
