"""Work of forward + backward over T and over K, with the peers as far as they can go: a plot.

    python benchmarks/semicrf_scaling.py --output scaling.png

Processor time of one thread, which other work on the machine disturbs least, ours the least of five
runs. Each peer is measured at growing sizes until one run takes longer than --patience seconds.
"dense" has equal scores at every position, so that nothing can be skipped; "random" is what real
scores look like to the kernel, where blocks of sources that cannot matter are.
"""

from __future__ import annotations

import argparse

import matplotlib
import semicrf_peers as peers
import torch
from semicrf_peers import forward_backward, least_work

matplotlib.use("Agg")
from matplotlib import pyplot

LENGTHS = [100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
LONGEST = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]
CLASSES = 3
MOST = {peers.torch_struct: 6_000, peers.torch_loop: 2e7}  # T K beyond which memory is gigabytes


def curves():
    """(name, function, scale of the emissions, whether it is ours)"""
    yield "semicrf, dense", peers.ours, 0.0, True
    yield "semicrf, random", peers.ours, 1.0, True
    yield "plain torch", peers.torch_loop, 0.0, False
    for name, function in (
        ("flash_semicrf", peers.flash_semicrf),
        ("torch_struct", peers.torch_struct),
    ):
        if peers.installed(name):
            yield name.replace("_", "-"), function, 0.0, False


def measure(sizes, function, scale, ours, patience):
    """[(size, seconds)] up to the first that takes longer than `patience`."""
    points = []
    for size, (length, longest) in sizes:
        if length * longest > MOST.get(function, length * longest):
            break
        p = peers.make(1, length, CLASSES, longest, scale=scale)
        taken = least_work(lambda p=p: forward_backward(function, p), 5 if ours else 1)
        points.append((size, taken))
        print(f"    T={length:<8} K={longest:<6} {taken:10.5f} s", flush=True)
        if taken > patience:
            break
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", default="semicrf_scaling.png")
    parser.add_argument("--patience", type=float, default=10.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    panels = [
        ("positions T, at K = 100", [(t, (t, 100)) for t in LENGTHS]),
        ("longest duration K, at T = 20,000", [(k, (20_000, k)) for k in LONGEST]),
    ]
    for axis, (title, sizes) in zip(axes, panels, strict=True):
        for name, function, scale, ours in curves():
            print(f"{title}: {name}")
            points = measure(sizes, function, scale, ours, arguments.patience)
            if points:
                axis.loglog(*zip(*points, strict=True), "o-", label=name, markersize=4)
        axis.set_xlabel(title)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"processor seconds, B = 1, C = {CLASSES}")
    axes[0].legend()
    figure.suptitle("forward + backward, one CPU thread, float32")
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=150)
    print("wrote", arguments.output)


if __name__ == "__main__":
    main()
