"""Speed, memory and file size of the mock generator, beside a dense lower bound.

    python benchmarks/mock_generator.py                     # 600 cells, and 5,000
    python benchmarks/mock_generator.py --cells 100000      # the large case, about a minute

Each case is written to a file in a process of its own, so that the peak memory is its own. The
dense bound, one uniform number and one sigmoid per entry of the ATAC alone, in float32, is timed in
the same run, as only ratios mean something on a machine that does other work too. The peer is the
REMADOM mock generator: 25 s and 3.3 GiB for 2,000 cells x 60,000 peaks, 80 cells per second.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

PEER_RATE = 80.0  # cells per second at 60,000 peaks


def case(cells: int, problem: str, truth: bool, workers: int, folder: str) -> dict[str, float]:
    """Write one dataset of 2,000 genes x 60,000 peaks x 30 proteins; the figures of its process."""
    from lacuna.mock.files import write_mock
    from lacuna.mock.settings import Settings

    path = Path(folder) / "mock.h5ad"
    settings = Settings(problem=problem, n_cells=cells, n_genes=2000, n_peaks=60000, seed=42)
    before, cpu = time.perf_counter(), time.process_time()
    write_mock(path, settings, truth=path.with_suffix(".truth.h5ad") if truth else None,
               workers=workers)  # fmt: skip
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    return {
        "cells": cells,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_mb": path.stat().st_size / 1e6,
    }


def dense_bound(cells: int, folder: str) -> dict[str, float]:
    """One uniform number, one sigmoid and one comparison per entry, 256 cells at a time."""
    import numpy as np

    rng = np.random.default_rng(0)
    logits = np.full((256, 60000), -3.5, dtype=np.float32)
    before, cpu = time.perf_counter(), time.process_time()
    for _ in range(max(1, cells // 256)):
        # Summed, so that the work cannot be left out.
        (rng.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))).sum()
    made = max(1, cells // 256) * 256
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    return {"cells": made, "seconds": seconds, "cpu_seconds": cpu}


def own_process(function, *arguments) -> dict[str, float]:
    """The function's figures, from a fresh interpreter."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[600, 5000])
    parser.add_argument("--problem", default="bridge")
    parser.add_argument("--truth", action="store_true", help="write the truth as well")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, help="the figures as JSON")
    given = parser.parse_args()
    print(f"{given.problem}, 2,000 genes x 60,000 peaks x 30 proteins, {given.workers} workers, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        bound = own_process(dense_bound, 2048, folder)
        bound_rate = bound["cells"] / bound["seconds"]
        print(f"dense bound: {bound_rate:,.0f} cells/s, "
              f"{bound['cells'] / bound['cpu_seconds']:,.0f} per CPU second")  # fmt: skip
        for cells in given.cells:
            row = own_process(case, cells, given.problem, given.truth, given.workers, folder)
            row["rate"] = cells / row["seconds"]
            row["rate_to_dense"] = row["rate"] / bound_rate
            row["rate_to_peer"] = row["rate"] / PEER_RATE
            figures.append(row)
            print(
                f"{cells:>8,} cells: {row['seconds']:6.2f} s ({row['cpu_seconds']:.2f} CPU), "
                f"{row['rate']:,.0f} cells/s, {row['rate_to_dense']:.1f}x the dense bound, "
                f"{row['rate_to_peer']:.0f}x the peer; peak {row['peak_mb']:,.0f} MB, "
                f"file {row['file_mb']:.1f} MB"
            )
    if given.output:
        given.output.write_text(json.dumps({"dense": bound, "cases": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
