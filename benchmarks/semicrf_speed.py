"""Speed of semicrf on a CPU as ratios against peers, same inputs, results compared, one run.

    python benchmarks/semicrf_speed.py            # a few minutes with all peers installed
    python benchmarks/semicrf_speed.py --threads 1

Peers that would run for hours are measured at smaller sizes and extrapolated by their number of
(position, duration) pairs; such rows say so. See semicrf_peers.py for an environment with peers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap

import semicrf
import semicrf_peers as peers
import torch
from semicrf_peers import Problem, forward_backward, seconds


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


def against_flash(sizes: tuple[int, int, int, int], measured: tuple[int, int], goal: str) -> None:
    """Our time at `sizes`; the peer's at `measured` (T, K), extrapolated."""
    batch, length, classes, longest = sizes
    if not peers.installed("flash_semicrf"):
        print("flash-semicrf is not installed: not compared")
        return
    small = peers.make(batch, measured[0], classes, measured[1], scale=0.0)
    result = []
    taken = seconds(lambda: result.append(forward_backward(peers.flash_semicrf, small)), 1)
    same(forward_backward(peers.ours, small), result[0])
    factor = pairs(length, longest) / pairs(*measured)
    note = f"peer measured at T={measured[0]}, K={measured[1]}: {taken:.1f} s, x {factor:.0f}"
    own = our_time(peers.make(*sizes, scale=0.0))
    row(f"flash-semicrf, forward+backward, {describe(sizes)}", own, taken * factor, goal, note)


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
    if not peers.installed("torchcrf"):
        print("pytorch-crf is not installed: not compared")
        return
    sizes = (2, 2000, 3, 1)
    p = peers.make(*sizes)
    result = []
    taken = seconds(lambda: result.append(forward_backward(peers.pytorch_crf, p)), 2)
    value, other = forward_backward(peers.ours, p)[0], result[0][0]
    assert ((value - other).abs() / other.abs()).max() < 1e-4
    row(f"pytorch-crf, forward+backward, {describe(sizes)}", our_time(p), taken, "> 1")


def against_the_machine(sizes: tuple[int, int, int, int]) -> None:
    """Ours over the limit, pair by pair, and over the fastest of each: others slow both."""
    p = peers.make(*sizes, scale=0.0)
    times = []
    for _ in range(25):
        limit = 3 * peers.multiply_adds(*sizes, repeats=3)
        times.append((seconds(lambda: forward_backward(peers.ours, p), 3), limit))
    own, limit = sorted(times, key=lambda x: x[0] / x[1])[len(times) // 2]
    fastest = min(x for x, _ in times) / min(x for _, x in times)
    note = f"{own / limit:.2f} times the limit; fastest over fastest {fastest:.2f}"
    row(f"multiply-add limit, forward+backward, {describe(sizes)}", own, limit, "> 0.25", note)


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
            ratio = taken / base
            print(
                f"  {function.__name__:<12} {taken * 1e3:9.1f} ms   {ratio:5.2f} (at most {goal})"
            )


def large() -> None:
    """In processes of their own, for their peak memory."""
    print()
    for length, longest in ((20_000, 10_000), (1_000_000, 1_000)):
        code = f"""
            import sys, time, torch
            sys.path.insert(0, {str(peers.__file__.rsplit("/", 1)[0])!r})
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
        )
        taken, memory = map(float, done.stdout.split())
        name = f"B=1 T={length} C=3 K={longest}, dense, forward+backward, first call"
        print(f"{name}: {taken * 1e3:.0f} ms, {memory:.0f} MB beyond the inputs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32")
    print("Scores alike at every position, the dense case, unless said otherwise.\n")
    print(f"{'peer, case':<58} {'ours ms':>10} {'peer ms':>14} {'ratio':>12}  {'goal':<10}")
    against_flash((2, 2000, 3, 1000), (150, 75), "> 10,000")
    against_flash((2, 2000, 24, 100), (60, 50), "> 1,000")
    against_torch((2, 2000, 3, 1000), "> 100")
    against_torch((2, 2000, 24, 100), "-")
    against_torch_struct()
    against_pytorch_crf()
    against_the_machine((2, 2000, 3, 1000))
    against_the_machine((2, 20_000, 3, 1000))
    derived((1, 20_000, 3, 10_000))
    large()


if __name__ == "__main__":
    main()
