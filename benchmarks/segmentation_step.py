"""Time, memory and the Semi-CRF's share of a training step of containers/models/segmenter.

    python benchmarks/segmentation_step.py                       # small networks, three lengths
    python benchmarks/segmentation_step.py --hidden-dim 256 --lengths 50000 --batch-size 1 \\
        --heads semicrf --encoders cnn,mamba                     # has to stay under 4 GiB on a CPU

Every line is a process of its own in the model's environment: one step to warm up, then `--steps`
steps on sequences of the law `gene_like`; the time is that of the fastest. "peak" is the largest
resident size of the process, Python and torch (about 0.4 GiB) included, in GiB.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "containers/models/segmenter"


def measure(asked: dict) -> dict:
    """One line, in the model's environment."""
    sys.path.insert(0, str(FOLDER))
    import heads
    import numpy as np
    import torch
    import training
    from checkpoints import Checkpoints
    from network import Segmenter
    from settings import Settings

    from lacuna_contract.sequences import Sequences

    with np.load(asked["data"]) as found:
        codes, labels = found["codes"], found["labels"]
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    split = np.array(["train"] * (len(codes) - 2) + ["val", "test"])
    data = Sequences(codes, labels, split, ("intergenic", "exon", "intron"))
    names = ("head", "encoder", "hidden_dim", "num_layers", "max_duration", "batch_size")
    settings = Settings(classes=3, **{name: asked[name] for name in names})
    longest = heads.longest_run(labels)
    model = Segmenter(settings, longest > settings.max_duration, asked["device"])
    trainer = training.Trainer(model, data, Checkpoints(None, "step", settings, ""))
    batch, times = data.train, []
    for _ in range(1 + asked["steps"]):
        trainer.seconds = {"encoder": 0.0, "head": 0.0}
        began = time.perf_counter()
        trainer._train_step(batch)
        times.append((time.perf_counter() - began, trainer.seconds["head"]))
    seconds, head = min(times[1:])
    if asked["device"] == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "share": head / seconds, "peak": peak / 2**30}


def draw(folder: Path, length: int, sequences: int) -> Path:
    """Sequences of a length, and two more that are not trained on."""
    import numpy as np

    from lacuna.genome.draw import draw as windows
    from lacuna.genome.presets import preset

    path = folder / f"{length}.npz"
    if not path.is_file():
        parent = np.random.SeedSequence(0)
        codes, labels = windows(preset("gene_like"), length, range(sequences + 2), parent)
        np.savez(path, codes=codes, labels=labels)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--heads", default="softmax,linear,semicrf,semicrf_uniform")
    parser.add_argument("--encoders", default="cnn,mamba,mamba_stub,bilstm")
    parser.add_argument("--lengths", default="10000,20000,50000")
    parser.add_argument("--max-duration", type=int, default=20_000)
    parser.add_argument("--hidden-dim", type=int, default=32)
    parser.add_argument("--num-layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=100, help="of an epoch (%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one)))
        return

    from lacuna.setup.environments import build
    from lacuna.setup.registry import model

    recipe = model(FOLDER)
    build(recipe)
    asked = {k: v for k, v in vars(args).items() if k not in ("heads", "encoders", "lengths")}
    grid = itertools.product(
        args.lengths.split(","), args.encoders.split(","), args.heads.split(",")
    )
    print(f"{args.threads} threads, hidden {args.hidden_dim}, {args.num_layers} layers, "
          f"batch {args.batch_size}, K = {args.max_duration}, {args.device}")  # fmt: skip
    print(
        f"{'T':>6} {'encoder':10} {'head':15} {'s/step':>8} {'s/epoch':>8} {'head':>5} {'peak':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for length, encoder, head in grid:
            data = draw(Path(folder), int(length), args.batch_size)
            one = asked | {"data": str(data), "encoder": encoder, "head": head}
            done = subprocess.run(
                [recipe.env / "bin/python", "-W", "ignore", __file__, "--one", json.dumps(one)],
                capture_output=True, text=True,
            )  # fmt: skip
            start = f"{length:>6} {encoder:10} {head:15}"
            if done.returncode:
                print(start, (done.stderr.strip().splitlines() or ["failed"])[-1], flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            epoch = found["seconds"] * args.sequences / args.batch_size
            print(f"{start} {found['seconds']:8.3f} {epoch:8.1f} {found['share']:5.0%} "
                  f"{found['peak']:6.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
