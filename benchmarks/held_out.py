"""Settings of a multimodal model by the loss of held-out cells: the rule by which the networks'
settings are chosen. No truth is looked at.

    python benchmarks/held_out.py mosaic_vae --folder results/held_out --scenarios bridge,mosaic \\
        rate=0.02 rate=0.01 rate=0.01,batch=64

Each setting is trained on the same mock cells with the same seed, so that the same cells are held
out, and its lowest loss on these is printed, in the model's own units. The inputs are of the seed
that no other benchmark has. What is finished is kept.
"""

import argparse
from pathlib import Path

from mock_runs import planned, run

from lacuna_contract.schema import read_json

SEED = 2101
SIZES = {"cells": 600, "genes": 500, "peaks": 2000, "proteins": 30}


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("model")
    cli.add_argument("settings", nargs="+", help="name=value, joined by commas")
    cli.add_argument("--folder", type=Path, required=True)
    cli.add_argument("--scenarios", default="bridge,mosaic")
    cli.add_argument("--seed", type=int, default=SEED)
    for name, size in SIZES.items():
        cli.add_argument(f"--{name}", type=int, default=size)
    args = cli.parse_args()
    sizes = {name: getattr(args, name) for name in SIZES}
    given = sizes | {"models": args.model, "scenarios": args.scenarios, "seeds": args.seed}
    scenarios = args.scenarios.split(",")
    print(f"| {args.model} | {' | '.join(scenarios)} |\n|{'---|' * (len(scenarios) + 1)}")
    for setting in args.settings:
        made, recipes = planned(given, [f"--{word}" for word in setting.split(",")])
        folder = args.folder / args.model / setting
        run(made, recipes, folder, [])
        cells = []
        for scenario in scenarios:
            place = folder / args.model / "mock" / f"{scenario}_seed_{args.seed}"
            details = read_json(place / "metadata.json", "metadata")["details"]
            losses = details["history"]["held_out"]
            best = losses.index(min(losses))
            seconds = float((place / "cpu_seconds").read_text())
            when = f"epoch {best + 1} of {len(losses)}, {seconds:.0f} CPU-s"
            cells.append(f"{losses[best]:.5g} ({when})")
        print(f"| {setting} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
