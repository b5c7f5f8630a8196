"""Speed, memory and file size of the mock generator, beside a dense lower bound.

    python benchmarks/mock_generator.py                     # 600 cells, and 5,000
    python benchmarks/mock_generator.py --cells 100000      # the large case, about a minute

Each case is written to a file in a process of its own, so that the peak memory is its own. Then
that process times the dense bound, one uniform number and one sigmoid per entry of the ATAC alone,
in float32: only ratios to what was run beside it mean something on a machine that does other work.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

PEAKS = 60_000


def case(cells: int, problem: str, truth: bool, workers: int, folder: str) -> dict[str, Any]:
    """Write one dataset of 2,000 genes x 60,000 peaks x 30 proteins, then time the dense bound; the
    figures of the process."""
    from lacuna.mock.files import write_mock
    from lacuna.mock.settings import Settings

    path = Path(folder) / "mock.h5ad"
    settings = Settings(problem=problem, n_cells=cells, n_genes=2000, n_peaks=PEAKS, seed=42)
    before, cpu = time.perf_counter(), time.process_time()
    write_mock(path, settings, truth=path.with_suffix(".truth.h5ad") if truth else None,
               workers=workers)  # fmt: skip
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"cells": cells, "seconds": seconds, "cpu_seconds": cpu}
    figures |= {"peak_mb": peak, "file_mb": path.stat().st_size / 1e6, "dense": dense_bound(2048)}
    for unit in ("seconds", "cpu_seconds"):
        rates = [row["cells"] / row[unit] for row in (figures, figures["dense"])]
        figures[f"to_dense_by_{unit}"] = rates[0] / rates[1]
    return figures


def dense_bound(cells: int) -> dict[str, float]:
    """One uniform number, one sigmoid and one comparison per entry, 256 cells at a time."""
    import numpy as np

    rng = np.random.default_rng(0)
    logits = np.full((256, PEAKS), -3.5, dtype=np.float32)
    before, cpu = time.perf_counter(), time.process_time()
    for _ in range(max(1, cells // 256)):
        # Summed, so that the work cannot be left out.
        (rng.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))).sum()
    made = max(1, cells // 256) * 256
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    return {"cells": made, "seconds": seconds, "cpu_seconds": cpu}


def own_process(function, *arguments) -> dict[str, Any]:
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
        for cells in given.cells:
            row = own_process(case, cells, given.problem, given.truth, given.workers, folder)
            figures.append(row)
            bound = row["dense"]
            print(
                f"{cells:>8,} cells: {row['seconds']:6.2f} s ({row['cpu_seconds']:.2f} CPU), "
                f"{cells / row['seconds']:,.0f} cells/s; the dense bound "
                f"{bound['cells'] / bound['seconds']:,.0f}: {row['to_dense_by_seconds']:.1f} times "
                f"it by the clock, {row['to_dense_by_cpu_seconds']:.1f} by CPU; "
                f"peak {row['peak_mb']:,.0f} MB, file {row['file_mb']:.1f} MB"
            )
    if given.output:
        given.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
