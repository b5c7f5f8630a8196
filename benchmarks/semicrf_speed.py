"""Speed of semicrf on a CPU as ratios against peers, same inputs, results compared, one run.

    python benchmarks/semicrf_speed.py            # about five minutes with all peers installed
    python benchmarks/semicrf_speed.py --threads 1
    python benchmarks/semicrf_speed.py --full     # flash-semicrf at full size too: up to 20 minutes

flash-semicrf is measured at two smaller sizes and extrapolated from the larger by its number of
(position, duration) pairs; what the smaller foretells of the larger is printed along, for how far
that holds. --full measures the size itself, for 10 minutes at most. See semicrf_peers.py for an
environment with peers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import semicrf
import semicrf_peers as peers
import torch
from semicrf_peers import Problem, forward_backward, seconds

FULL = 600  # seconds that a peer is given at full size


def row(name: str, own: float, other: float, goal: str, note: str = "") -> None:
    times = f"{own * 1e3:>10.3f} {other * 1e3:>14.2f} {other / own:>12,.2f}"
    print(f"{name:<58} {times}  {goal:<10} {note}", flush=True)


def pairs(length: int, longest: int) -> float:
    """(position, duration) pairs of one sequence."""
    longest = min(length, longest)
    return longest * (length - longest) + longest * (longest + 1) / 2


def same(a, b, tolerance: float = 1e-4) -> None:
    """Stop where two implementations do not agree on log Z and the gradients both have."""
    (value, gradients), (other, others) = a, b
    error = ((value - other).abs() / other.abs().clamp(min=1)).max()
    assert error < tolerance, f"log Z differs by {error:.2g}"
    for name in ("emissions", "durations"):
        scale = others[name].abs().max()
        error = (gradients[name] - others[name]).abs().max() / scale
        assert error < 20 * tolerance, f"gradient of {name} differs by {error:.2g}"


def our_time(p: Problem) -> float:
    return seconds(lambda: forward_backward(peers.ours, p), 9)


def flash(sizes: tuple[int, int, int, int]) -> float:
    """Seconds of flash-semicrf at sizes (B, T, C, K), its result held against ours."""
    p = peers.make(*sizes, scale=0.0)
    result = []
    taken = seconds(lambda: result.append(forward_backward(peers.flash_semicrf, p)), 1)
    same(forward_backward(peers.ours, p), result[0])
    return taken


def against_flash(
    sizes: tuple[int, int, int, int], measured: list[tuple[int, int]], goal: str, full: bool
) -> None:
    """Our time at `sizes`; the peer's at each (T, K) of `measured`, extrapolated from the last."""
    if not peers.installed("flash_semicrf"):
        print("flash-semicrf is not installed: not compared")
        return
    batch, length, classes, longest = sizes
    times = [flash((batch, t, classes, k)) for t, k in measured]
    foretold = times[0] * pairs(*measured[1]) / pairs(*measured[0])
    factor = pairs(length, longest) / pairs(*measured[-1])
    (small, small_k), (large, large_k) = measured
    note = (
        f"peer measured: T={small} K={small_k} {times[0]:.1f} s, T={large} K={large_k} "
        f"{times[1]:.1f} s ({foretold:.1f} s foretold), x {factor:.1f}"
    )
    own = our_time(peers.make(*sizes, scale=0.0))
    name = f"flash-semicrf, forward+backward, {describe(sizes)}"
    row(name, own, times[-1] * factor, goal, note)
    if full:
        code = (
            "import json, sys, semicrf_speed; print(semicrf_speed.flash(json.loads(sys.argv[1])))"
        )
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, json.dumps(sizes)],
                stdout=subprocess.PIPE, text=True, check=True, timeout=FULL,
                cwd=Path(__file__).parent,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            row(name, own, FULL, goal, f"peer did not finish in {FULL} s: at least this ratio")
        else:
            row(name, own, float(done.stdout), goal, "peer measured at this size")


def describe(sizes: tuple[int, int, int, int]) -> str:
    return "B={} T={} C={} K={}".format(*sizes)


def against_torch(sizes: tuple[int, int, int, int], goal: str) -> None:
    p = peers.make(*sizes, scale=0.0)
    result = []
    taken = seconds(lambda: result.append(forward_backward(peers.torch_loop, p)), 1)
    # The peer's float32 cumulative sums are the less exact of the two.
    same(forward_backward(peers.ours, p), result[0], 1e-3)
    name = f"plain torch, forward+backward, {describe(sizes)}"
    row(name, our_time(p), taken, goal, "float32, same threads")


def against_torch_struct() -> None:
    if not peers.installed("torch_struct"):
        print("torch-struct is not installed: not compared")
        return
    sizes = (1, 200, 3, 20)
    p = peers.make(*sizes)
    result = []
    taken = seconds(lambda: result.append(forward_backward(peers.torch_struct, p)), 1)
    same(forward_backward(peers.ours, p), result[0])
    row(f"torch-struct, forward+backward, {describe(sizes)}", our_time(p), taken, "-")


def against_pytorch_crf() -> None:
    """Loss and its gradient as a training step has them: labels in, gradients of all scores out."""
    if not peers.installed("torchcrf"):
        print("pytorch-crf is not installed: not compared")
        return
    batch, length, classes = 2, 2000, 3
    for lengths in (None, torch.tensor([length, length // 2])):
        # In float64, as the peer's float32 gradient of the transitions is off by 0.3 %.
        own, other = peers.linear_chains(batch, length, classes, lengths, torch.float64)
        for a, b in zip(own(), other(), strict=True):
            error = (a - b).abs().max() / b.abs().max()
            assert error < 1e-6, f"differs by {error:.2g}"
        own, other = peers.linear_chains(batch, length, classes, lengths, torch.float32)
        ragged = "" if lengths is None else ", ragged"
        name = f"pytorch-crf, loss+backward, B={batch} T={length} C={classes} K=1{ragged}"
        row(name, seconds(own, 9), seconds(other, 3), "> 1")


def against_the_machine(sizes: tuple[int, int, int, int], threads: int) -> None:
    """Ours over the limit, pair by pair, and over the fastest of each: others slow both."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    p = peers.make(*sizes, scale=0.0)
    times = []
    for _ in range(25):
        limit = 3 * peers.multiply_adds(*sizes, repeats=3)
        times.append((seconds(lambda: forward_backward(peers.ours, p), 3), limit))
    torch.set_num_threads(before)
    own, limit = sorted(times, key=lambda x: x[0] / x[1])[len(times) // 2]
    fastest = min(x for x, _ in times) / min(x for _, x in times)
    note = f"{own / limit:.2f} times the limit; fastest over fastest {fastest:.2f}"
    name = f"multiply-adds alone, {threads} thread(s), {describe(sizes)}"
    row(name, own, limit, "> 0.25", note)


def derived(sizes: tuple[int, int, int, int]) -> None:
    for scale, kind in ((0.0, "dense"), (1.0, "random")):
        p = peers.make(*sizes, scale=scale)
        base = our_time(p)
        print(f"\n{describe(sizes)}, {kind} scores: forward+backward {base * 1e3:.1f} ms")
        for function, goal in (
            (semicrf.viterbi, 3),
            (semicrf.marginals, 3),
            (semicrf.sample, 5),
            (semicrf.entropy, 5),
        ):
            taken = seconds(lambda f=function, p=p: f(**p), 5)
            named = f"  {function.__name__:<30}"
            print(f"{named} {taken * 1e3:9.1f} ms   {taken / base:5.2f} (at most {goal})")
        taken = seconds(lambda p=p: forward_backward(lambda q: semicrf.entropy(**q), p), 3)
        print(f"  {'entropy and its gradient':<30} {taken * 1e3:9.1f} ms   {taken / base:5.2f}")


def structured() -> None:
    """Many labels, most of them short-lived: durations that a label forbids should cost nothing."""
    print()
    length, classes, longest = 20_000, 40, 20_000
    for name, every in (("all labels up to K", 1), ("one label in ten up to K, others to 200", 10)):
        p = peers.make(1, length, classes, longest)
        others = torch.arange(classes) % every > 0
        p["durations"][200:, others] = -torch.inf
        ms = [
            seconds(lambda p=p: semicrf.partition(**p), 3) * 1e3,
            seconds(lambda p=p: forward_backward(peers.ours, p), 3) * 1e3,
            seconds(lambda p=p: semicrf.viterbi(**p), 3) * 1e3,
        ]
        print(f"B=1 T={length} C={classes} K={longest}, random, {name}:")
        print("  forward {:.0f} ms, forward+backward {:.0f} ms, viterbi {:.0f} ms".format(*ms))


def large() -> None:
    """In processes of their own, for their peak memory."""
    print()
    for length, longest in ((20_000, 10_000), (1_000_000, 1_000)):
        code = f"""
            import sys, time, torch
            import semicrf_peers as peers
            torch.set_num_threads({torch.get_num_threads()})
            def peak():
                status = open("/proc/self/status").read()
                return int(status.split("VmHWM:")[1].split()[0]) / 1024
            peers.forward_backward(peers.ours, peers.make(1, 100, 3, 10))
            p = peers.make(1, {length}, 3, {longest}, scale=0.0)
            open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
            before = peak()
            began = time.perf_counter()
            peers.forward_backward(peers.ours, p)
            print(time.perf_counter() - began, peak() - before)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
        taken, memory = map(float, done.stdout.split())
        name = f"B=1 T={length} C=3 K={longest}, dense, forward+backward, first call"
        print(f"{name}: {taken * 1e3:.0f} ms, {memory:.0f} MB beyond the inputs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--full", action="store_true", help="flash-semicrf at full size as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32")
    print("Scores alike at every position, the dense case, unless said otherwise.\n")
    print(f"{'peer, case':<58} {'ours ms':>10} {'peer ms':>14} {'ratio':>12}  {'goal':<10}")
    against_flash((2, 2000, 3, 1000), [(200, 100), (500, 250)], "> 10,000", arguments.full)
    against_flash((2, 2000, 24, 100), [(150, 50), (300, 100)], "> 1,000", arguments.full)
    against_torch((2, 2000, 3, 1000), "> 100")
    against_torch((2, 2000, 24, 100), "-")
    against_torch_struct()
    against_pytorch_crf()
    for threads in sorted({1, arguments.threads}):
        against_the_machine((2, 2000, 3, 1000), threads)
        against_the_machine((2, 20_000, 3, 1000), threads)
    derived((1, 20_000, 3, 10_000))
    structured()
    large()


if __name__ == "__main__":
    main()
