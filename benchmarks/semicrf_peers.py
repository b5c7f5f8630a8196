"""What semicrf is measured against: most peers as a function from a problem to log Z (B,).

flash-semicrf, torch-struct and pytorch-crf are used where they are installed, which an environment
of their own is best for:

    uv venv peers && uv pip install --python peers/bin/python ./packages/semicrf matplotlib numba \
        flash-semicrf==0.2.0 torch-struct==0.5 pytorch-crf==0.7.2
    peers/bin/python benchmarks/semicrf_speed.py
"""

from __future__ import annotations

import ctypes
import importlib
import math
import statistics
import time
from collections.abc import Callable

import semicrf
import torch
from torch import Tensor

Problem = dict[str, Tensor]


def make(batch: int, length: int, classes: int, longest: int, *, scale: float = 1.0) -> Problem:
    """Random scores in float32. scale=0 makes every position alike: no block can be skipped."""
    g = torch.Generator().manual_seed(0)
    transitions = torch.randn(classes, classes, generator=g) * 0.1
    return {
        "emissions": torch.randn(batch, length, classes, generator=g) * scale,
        "transitions": transitions,
        "durations": torch.randn(longest, classes, generator=g) * 0.1 - math.log(longest),
        # flash-semicrf sums over a label before the first; as a start score that is this.
        "start": torch.logsumexp(transitions, 0),
    }


def ours(p: Problem) -> Tensor:
    return semicrf.partition(**p)


def torch_loop(p: Problem) -> Tensor:
    """The best plain torch: edges factored, a loop over t, float32 tensors over (B, K, C)."""
    emissions, durations = p["emissions"], p["durations"]
    batch, length, classes = emissions.shape
    passed = torch.nn.functional.pad(emissions.cumsum(1), (0, 0, 1, 0)).unbind(1)
    window = emissions.new_full((batch, len(durations), classes), -torch.inf)
    reach = p["start"].expand(batch, classes)
    for t in range(length):
        window = torch.cat([(reach - passed[t])[:, None], window[:, :-1]], 1)
        alpha = torch.logsumexp(window + durations, 1) + passed[t + 1]
        reach = torch.logsumexp(alpha[:, :, None] + p["transitions"], 1)
    return torch.logsumexp(alpha, 1)


def flash_semicrf(p: Problem) -> Tensor:
    forward = importlib.import_module("flash_semicrf").semi_crf_streaming_forward
    emissions = p["emissions"]
    batch, length, _ = emissions.shape
    cumulative = torch.nn.functional.pad(emissions.double().cumsum(1), (0, 0, 1, 0))
    lengths = torch.full((batch,), length, device=emissions.device)
    # It has no start score of its own: adding ours twice would be another model.
    return forward(
        cumulative, p["transitions"].double(), p["durations"].double(), lengths, len(p["durations"])
    )


def torch_struct(p: Problem) -> Tensor:
    """Over a materialised edge tensor (B, T - 1, K + 1, C, C), label of the next point first."""
    module = importlib.import_module("torch_struct")
    emissions, durations = p["emissions"], p["durations"]
    batch, length, classes = emissions.shape
    longest = len(durations)
    passed = torch.nn.functional.pad(emissions.cumsum(1), (0, 0, 1, 0))
    edges = emissions.new_full((batch, length, longest + 1, classes, classes), -1e9)
    for d in range(1, min(longest, length) + 1):
        gain = passed[:, d:] - passed[:, : length + 1 - d] + durations[d - 1]
        edges[:, : length + 1 - d, d] = gain[..., None] + p["transitions"].T
    first = p["start"] - torch.logsumexp(p["transitions"], 0)
    edges = torch.cat([edges[:, :1] + first[:, None], edges[:, 1:]], 1)
    return module.SemiMarkovCRF(edges, lengths=torch.full((batch,), length + 1)).partition


def linear_chains(
    batch: int, length: int, classes: int, lengths: Tensor | None, dtype: torch.dtype
) -> tuple[Callable[[], list[Tensor]], Callable[[], list[Tensor]]]:
    """The same linear chain as our layer and as pytorch-crf's: loss and gradients of each."""
    g = torch.Generator().manual_seed(0)
    emissions = torch.randn(batch, length, classes, generator=g).to(dtype)
    labels = torch.randint(0, classes, (batch, length), generator=g)
    scores = [torch.randn(n, generator=g) for n in ((classes, classes), (classes,), (classes,))]
    own = semicrf.LinearCRF(classes).to(dtype)
    other = importlib.import_module("torchcrf").CRF(classes, batch_first=True).to(dtype)
    of_own = [own.crf.transitions, own.crf.start, own.crf.end]
    of_other = [other.transitions, other.start_transitions, other.end_transitions]
    with torch.no_grad():
        for x, mine, theirs in zip(scores, of_own, of_other, strict=True):
            mine.copy_(x)
            theirs.copy_(x)
    mask = None if lengths is None else torch.arange(length) < lengths[:, None]

    def step(loss: Callable[[Tensor], Tensor], parameters: list[Tensor]) -> list[Tensor]:
        leaf = emissions.clone().requires_grad_()
        value = loss(leaf)
        return [value.detach(), *torch.autograd.grad(value, [leaf, *parameters])]

    return (
        lambda: step(lambda x: own(x, labels, lengths), of_own),
        lambda: step(lambda x: -other(x, labels, mask=mask, reduction="mean"), of_other),
    )


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median of `repeats` runs, after one that does not count where there are several."""
    if repeats > 1:
        function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def least_work(function: Callable[[], object], repeats: int) -> float:
    """Processor seconds of this process in the least of `repeats` runs."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


def forward_backward(function: Callable[[Problem], Tensor], p: Problem) -> tuple[Tensor, Problem]:
    """log Z and its gradient by score."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in p.items()}
    value = function(leaves)
    value.sum().backward()
    return value.detach(), {name: x.grad for name, x in leaves.items()}


def multiply_adds(batch: int, length: int, classes: int, longest: int, repeats: int = 9) -> float:
    """Seconds of the kernel's own inner loop for B T K C multiply-adds, without a recurrence."""
    from semicrf import cpu

    threads = torch.get_num_threads()
    sums = (ctypes.c_double * threads)()
    sizes = [ctypes.c_int64(x) for x in (batch * length, longest, classes)]

    def run() -> None:
        cpu._library().semicrf_multiply_adds(cpu.instruction_set(), 0, *sizes, threads, sums)

    return seconds(run, repeats)
