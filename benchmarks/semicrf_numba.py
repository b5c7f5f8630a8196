"""The kernel's inner loop in C++ and in numba: rate, time to first result, size installed.

    python benchmarks/semicrf_numba.py

Why the kernel is C++: see "Why C++" in packages/semicrf/README.md.
"""

import time

t_import = time.perf_counter()
import numba  # noqa: E402 (timed)

t_import = time.perf_counter() - t_import

import numpy as np  # noqa: E402
import semicrf_peers as peers  # noqa: E402
import torch  # noqa: E402

N = 64


@numba.njit(fastmath=True, cache=False)
def toeplitz(x, table, out):
    """Every block of 64 sources against every table of 127 weights, eight sources at a time."""
    blocks, deltas = len(x) // N, len(table) // (2 * N)
    z = np.empty(N, np.float32)
    total = 0.0
    for block in range(blocks):
        z[:] = 0
        for delta in range(deltas):
            at = delta * 2 * N
            for s in range(0, N, 8):
                a = x[block * N + s : block * N + s + 8]
                y = table[at + s : at + s + N + 8]
                for k in range(N):
                    z[k] += (
                        (a[0] * y[k] + a[1] * y[k + 1]) + (a[2] * y[k + 2] + a[3] * y[k + 3])
                    ) + ((a[4] * y[k + 4] + a[5] * y[k + 5]) + (a[6] * y[k + 6] + a[7] * y[k + 7]))
        total += z[N - 1]
    out[0] = total


def main() -> None:
    torch.set_num_threads(1)
    length, longest = 20_000 // N * N, 1000 // N * N
    x = np.full(length, 0.5, np.float32)
    table = np.full(longest * 2, 0.001, np.float32)
    out = np.zeros(1)
    began = time.perf_counter()
    toeplitz(x, table, out)
    compiled = time.perf_counter() - began

    times = []
    for _ in range(15):
        own = peers.multiply_adds(1, length, 1, longest, repeats=3)
        times.append((peers.seconds(lambda: toeplitz(x, table, out), 3), own))
    jit, own = (min(column) for column in zip(*times, strict=True))
    work = length * longest / 1e9
    ratio = sorted(a / b for a, b in times)[len(times) // 2]
    print(
        f"C++   {work / own:6.1f} G multiply-adds/s, one thread, float32, fastest of {len(times)}"
    )
    print(
        f"numba {work / jit:6.1f} G multiply-adds/s; C++ is {ratio:.2f} times as fast (median pair)"
    )
    print(f"numba import {t_import:.2f} s, compilation of this one loop {compiled:.2f} s")


if __name__ == "__main__":
    main()
