"""The table of docs/segmentation_models.md: four models and the ceiling, five seeds, two presets.

    python benchmarks/segmentation_table.py --folder results/segmentation_table

Each seed draws data of its own and trains on them. What is finished is kept, so it can be stopped
and started again. K = 20,000, which splits no segment; --max-durations adds others, for the two
semi-Markov models alone. A seed takes about half an hour of one core. Learning rate and width are
those of the best validation loss of `semicrf`, see docs/segmentation_models.md.
"""

import argparse
from pathlib import Path

from lacuna.cli.synthetic import run

#: The same for all models.
NETWORK = (
    "--device=cpu", "--encoder=cnn", "--hidden-dim=32", "--num-layers=4", "--batch-size=1",
    "--lr=0.004",
)  # fmt: skip
LONGEST = 20_000


def words(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--presets", type=words, default="gene_like,motifs")
    parser.add_argument("--seeds", type=words, default="1,2,3,4,5")
    parser.add_argument("--max-durations", type=words, default=f"{LONGEST},1000")
    parser.add_argument("--seq-length", type=int, default=10_000)
    parser.add_argument("--num-train", type=int, default=2048)
    parser.add_argument("--num-val", type=int, default=32)
    parser.add_argument("--num-test", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args()
    for preset in args.presets:
        for seed in args.seeds:
            data = args.folder / f"data/{preset}_{seed}"
            if not (data / "truth.h5ad").is_file():
                sizes = ("seq_length", "num_train", "num_val", "num_test")
                given = [f"--{k.replace('_', '-')}={getattr(args, k)}" for k in sizes]
                run(["generate", f"--output-dir={data}", f"--preset={preset}", f"--seed={seed}",
                     *given])  # fmt: skip
            for longest in args.max_durations:
                folder = args.folder / f"{preset}_K{longest}_seed_{seed}"
                models = "all" if int(longest) == LONGEST else "semicrf,semicrf_uniform"
                if not (folder / "metrics.json").is_file():
                    run(["run", f"--data-dir={data}", f"--output-dir={folder}", *NETWORK,
                         f"--epochs={args.epochs}", f"--max-duration={longest}",
                         f"--models={models}", f"--seed={seed}", "--resume"])  # fmt: skip
    run(["compare", f"--results-dir={args.folder}"])


if __name__ == "__main__":
    main()
