"""The Triton kernels against the reference: on a GPU where there is one, else interpreted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from problems import make, problems
from test_backends import both, check_derived, check_partition

import semicrf

pytest.importorskip("triton")
on_gpu = torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1"
few = 100 if on_gpu else 4


def to_device(function):
    """Run a check on problems moved to the GPU where there is one."""

    def run(problem):
        if on_gpu:
            problem = {k: x if x is None else x.cuda() for k, x in problem.items()}
        function(problem, backend="triton")

    return run


@given(problems(lengths=(1, 9), longest=(1, 12), dtypes=both, batch=(1, 2)))
@settings(max_examples=few)
def test_partition_tiny(problem):
    to_device(check_partition)(problem)


@given(problems(lengths=(1, 9), longest=(1, 12), dtypes=both, batch=(1, 2)))
@settings(max_examples=few)
def test_derived_tiny(problem):
    to_device(check_derived)(problem)


@pytest.mark.parametrize("dtype", both)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_across_blocks(dtype, scale):
    problem = make(3, length=45, classes=3, longest=40, scale=scale, dtype=dtype)
    to_device(check_partition)(problem)
    to_device(check_derived)(problem)


def test_samples_and_segments_are_those_of_the_reference():
    problem = make(4, batch=2, length=40, classes=3, longest=20, forbid=0.2)
    if on_gpu:
        problem = {k: x.cuda() for k, x in problem.items()}
    results = []
    for backend in ("triton", "reference"):
        generator = torch.Generator().manual_seed(1)
        draws = semicrf.sample(**problem, count=2, generator=generator, backend=backend)
        results.append((draws, semicrf.viterbi(**problem, backend=backend).segments))
    assert results[0] == results[1]


def test_they_compile_for_gpus():
    """To PTX and machine code, without a GPU; nothing is summed by atomics, which have no order."""
    program = Path(__file__).with_name("compile_for_gpus.py")
    environment = {k: x for k, x in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == 6
    for case in cases:
        assert case["target"], case
        assert case["atomics"] == 0, case
        assert case["shared"] <= 48 * 1024, case  # what every GPU has without asking


def test_lengths_of_any_stride():
    problem = make(3, batch=2, length=9, ragged=False)
    both_halves = torch.tensor([4, 0, 7, 0])
    problem["lengths"] = both_halves[::2]
    strided = semicrf.partition(**problem, backend="triton")
    problem["lengths"] = torch.tensor([4, 7])
    assert torch.equal(strided, semicrf.partition(**problem, backend="triton"))


def test_it_says_why_it_cannot_run(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(RuntimeError, match='backend "triton" cannot run: it takes CUDA tensors'):
        semicrf.partition(**make(0), backend="triton")
