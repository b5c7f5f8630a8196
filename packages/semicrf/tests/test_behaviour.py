"""As a part of a program: determinism, graphs, threads, processes, torch.compile, memory."""

import functools
import math
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from problems import make, with_gradients

import semicrf

PACKAGE = Path(__file__).parents[1]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_same_bits_for_any_number_of_threads(batch, threads):
    problem = make(1, batch=batch, length=1500, classes=3, longest=900, dtype=torch.float32)
    results = []
    for count in (1, 2, 3, 5, 8):
        threads(count)
        value, gradients = with_gradients(semicrf.partition, problem)
        m = semicrf.marginals(**problem)
        best = semicrf.viterbi(**problem)
        draws = semicrf.sample(**problem, count=3, generator=torch.Generator().manual_seed(0))
        entropy, of_entropy = with_gradients(semicrf.entropy, problem)
        log_prob = functools.partial(semicrf.log_prob, best.segments)
        of_score = with_gradients(log_prob, problem)[1]
        tensors = [value, *gradients.values(), m.positions, m.durations, m.before, best.score]
        tensors += [entropy, *of_entropy.values(), *of_score.values()]
        results.append((tensors, best.segments, draws))
    for tensors, segments, draws in results[1:]:
        assert all(map(torch.equal, tensors, results[0][0]))
        assert segments == results[0][1]
        assert draws == results[0][2]


def test_many_draws_are_made_in_parts(monkeypatch):
    from semicrf import cpu

    problem = make(2, batch=2, length=30, longest=9)
    results = []
    for size in (cpu.SAMPLE_BUFFER, 3 * 2 * 30 * 8, 1):  # all seven at once, three, one
        monkeypatch.setattr(cpu, "SAMPLE_BUFFER", size)
        generator = torch.Generator().manual_seed(0)
        results.append(semicrf.sample(**problem, count=7, generator=generator))
    assert results[0] == results[1] == results[2]
    assert [len(draws) for draws in results[0]] == [7, 7]


def test_a_short_sequence_after_a_long_one(threads):
    """Nothing is left of the last sequence, whose room in memory the next one gets."""
    problem = make(4, batch=2, length=900, longest=300, ragged=False)
    problem["lengths"] = torch.tensor([900, 480])
    alone = {k: x[1:] if k == "lengths" or x.dim() == 3 else x for k, x in problem.items()}
    threads(1)
    for function in (semicrf.partition, semicrf.entropy):
        value, gradients = with_gradients(function, problem)
        other, others = with_gradients(function, alone)
        assert torch.equal(value[1:], other)
        for name in ("emissions", "begin", "finish"):
            assert torch.equal(gradients[name][1:], others[name]), name
    assert semicrf.viterbi(**problem).segments[1:] == semicrf.viterbi(**alone).segments


def test_a_graph_can_be_used_twice():
    problem = make(2, batch=2, length=30, longest=9)
    emissions = problem.pop("emissions").requires_grad_()
    value = semicrf.partition(emissions, **problem).sum()
    (once,) = torch.autograd.grad(value, emissions, retain_graph=True)
    (twice,) = torch.autograd.grad(value, emissions)
    assert torch.equal(once, twice)


def test_second_derivatives():
    """The kernels' gradient is differentiable too."""
    problem = make(2, batch=2, length=100, longest=80)
    seconds = []
    for backend in ("cpu", "reference"):
        scores = {k: x.clone().requires_grad_() for k, x in problem.items() if k != "lengths"}
        value = semicrf.partition(**scores, lengths=problem["lengths"], backend=backend)
        gradients = torch.autograd.grad(value.sum(), list(scores.values()), create_graph=True)
        norm = sum(g.square().sum() for g in gradients)
        seconds.append(torch.autograd.grad(norm, list(scores.values())))
    for a, b in zip(*seconds, strict=True):
        torch.testing.assert_close(a, b)


def square_sums(backend):
    """A loss on posteriors."""

    def function(**problem):
        m = semicrf.marginals(**problem, backend=backend)
        parts = (m.positions, m.begins, m.ends, m.transitions, m.durations)
        return m.log_partition + sum((x + 0.1).square().flatten(1).sum(1) for x in parts)

    return function


def test_marginals_are_differentiable():
    problem = make(3, batch=2, length=90, longest=70)
    value, gradients = with_gradients(square_sums("cpu"), problem)
    expected, expected_gradients = with_gradients(square_sums("reference"), problem)
    torch.testing.assert_close(value, expected)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient)
    assert not semicrf.marginals(**problem).before.requires_grad


@pytest.mark.parametrize("names", [None, ["transitions"], ["durations"], ["begin", "finish"]])
def test_second_derivatives_along_a_direction(names):
    """The kernel's against a loop over positions in torch, which itself has no autograd in it."""
    from semicrf import cpu, tangents
    from semicrf._inputs import check

    for options in ({"longest": 300}, {"forbid": 0.3, "scale": 10.0}, {"scale": 1e3}):
        p = check(**make(5, batch=2, classes=3, **{"length": 330, "longest": 60, **options}))
        batch, length, classes, longest = p.sizes
        area = (batch, length, classes)
        shapes = {"emissions": area, "begin": area, "finish": area}
        shapes |= {"transitions": (batch, classes, classes), "durations": (batch, longest, classes)}
        g = torch.Generator().manual_seed(1)
        direction = {
            name: torch.randn(shape, generator=g, dtype=torch.float64)
            for name, shape in shapes.items()
            if names is None or name in names
        }
        actual, expected = cpu.curvature(p, direction), tangents.curvature(p, direction)
        for name, x in expected.items():
            scale = max(1.0, options.get("scale", 1.0))
            torch.testing.assert_close(actual[name], x, rtol=1e-7, atol=1e-9 * scale)


def test_third_derivatives_are_refused():
    emissions = torch.zeros(1, 4, 2, requires_grad=True)
    value = semicrf.entropy(emissions, torch.zeros(2, 2), torch.zeros(2, 2))
    (gradient,) = torch.autograd.grad(value, emissions, create_graph=True)
    with pytest.raises(RuntimeError, match='third ones use backend="reference"'):
        gradient.sum().backward()


@pytest.mark.parametrize("name", ["partition", "log_prob", "marginals", "entropy"])
def test_forward_mode_is_refused_not_zero(name):
    scores = torch.zeros(2, 2), torch.zeros(3, 2)
    segments = [[[(0, 3, 0), (3, 4, 1)]]] if name == "log_prob" else []

    def function(emissions, backend="cpu"):
        return getattr(semicrf, name)(*segments, emissions, *scores, backend=backend)

    emissions = torch.randn(1, 4, 2)
    ones = torch.ones_like(emissions)
    with pytest.raises(RuntimeError, match=r"no forward-mode .* backend=\"reference\""):
        torch.func.jvp(function, (emissions,), (ones,))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(emissions, ones)
        with pytest.raises(RuntimeError, match="no forward-mode"):
            function(dual)
    if name in ("partition", "log_prob"):  # each position has one label: log Z grows by T
        _, moved = torch.func.jvp(lambda e: function(e, "reference"), (emissions,), (ones,))
        torch.testing.assert_close(moved, torch.tensor([4.0 if name == "partition" else 0.0]))


def test_no_grad_and_partly_differentiable_scores():
    problem = make(4, length=20, longest=7)
    problem["durations"].requires_grad_()
    with torch.no_grad():
        assert not semicrf.partition(**problem).requires_grad
    semicrf.partition(**problem).sum().backward()
    assert problem["durations"].grad.abs().sum() > 0
    assert problem["emissions"].grad is None


def test_strides_do_not_matter():
    problem = make(5, batch=2, length=20, classes=3, longest=7)
    strided = {
        name: x.mT.contiguous().mT if x is not None and x.dim() > 1 else x
        for name, x in problem.items()
    }
    assert not strided["emissions"].is_contiguous()
    value, gradients = with_gradients(semicrf.partition, problem)
    other, others = with_gradients(semicrf.partition, strided)
    assert torch.equal(value, other)
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def test_calls_from_many_threads():
    """What DataParallel does on its replicas: one call per thread, at the same time."""
    problems = [make(seed, batch=2, length=200, longest=90) for seed in range(8)]
    alone = [with_gradients(semicrf.partition, p) for p in problems]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda p: with_gradients(semicrf.partition, p), problems))
    for (value, gradients), (other, others) in zip(alone, together, strict=True):
        assert torch.equal(value, other)
        assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=200
    )


def test_forked_workers():
    """A DataLoader's workers fork after the parent has used the kernel's threads."""
    done = run("""
        import torch, semicrf
        from torch.utils.data import DataLoader, Dataset
        torch.set_num_threads(2)
        scores = torch.zeros(2, 2), torch.zeros(300, 2)
        def log_z(seed):
            e = torch.randn(1, 3000, 2, generator=torch.Generator().manual_seed(seed))
            return semicrf.partition(e, *scores)
        class Sequences(Dataset):
            def __len__(self): return 4
            def __getitem__(self, i):
                torch.set_num_threads(2)
                return log_z(i)
        here = torch.stack([log_z(i) for i in range(4)])
        there = torch.cat(list(DataLoader(Sequences(), num_workers=2)))
        assert torch.equal(here, there)
        print("same")
    """)
    assert done.stdout == "same\n", done.stderr


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(4, 3)
        self.crf = semicrf.SemiCRF(3, 5)

    def forward(self, x, segments):
        return self.crf(self.encoder(x).tanh(), segments)


@pytest.mark.parametrize(
    ("packed", "breaks"), [(True, False), (False, True)], ids=["tensor", "lists"]
)
def test_torch_compile_of_a_model(packed, breaks):
    """One graph where segments are a tensor; lists of them are read outside it."""
    torch.manual_seed(0)
    model, x = Model(), torch.randn(1, 6, 4)
    segments = [[(0, 4, 1), (4, 6, 0)]]
    segments = semicrf.pack_segments(segments) if packed else segments
    model(x, segments).backward()
    eager = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=not breaks)
    compiled(x, segments).backward()
    for a, b in zip(eager, [p.grad for p in model.parameters()], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "function",
    [semicrf.partition, semicrf.entropy, semicrf.expected_durations, square_sums("cpu")],
    ids=["partition", "entropy", "expected_durations", "marginals"],
)
def test_torch_compile_of_a_function(function):
    problem = make(3, batch=2, length=20, longest=7, dtype=torch.float32)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    value, gradients = with_gradients(function, problem)
    other, others = with_gradients(compiled, problem)
    torch.testing.assert_close(value, other)
    for name in gradients:
        torch.testing.assert_close(gradients[name], others[name])
    with torch.no_grad():
        torch.testing.assert_close(compiled(**problem), function(**problem))


def test_torch_compile_still_sees_bad_values():
    compiled = torch.compile(semicrf.partition, backend="aot_eager", fullgraph=True)
    problem = make(3, length=6)
    compiled(**problem)
    problem["emissions"][0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r"emissions .* NaN"):
        compiled(**problem)


def test_torch_compile_around_the_rest():
    """Decoding makes lists and the reference loops over positions: they run as they are."""
    problem = make(3, length=6)

    def both(**p):
        return semicrf.viterbi(**p).score + semicrf.partition(**p, backend="reference")

    compiled = torch.compile(both, backend="aot_eager")
    torch.testing.assert_close(compiled(**problem), both(**problem))


def test_operators_are_what_torch_expects():
    """torch's own checks of schema, autograd registration and shapes without values."""
    from semicrf import _ops
    from semicrf._inputs import check_form

    scores = list(check_form(**make(3, batch=2, length=5)))
    scores = [x.requires_grad_() if x is not None and x.is_floating_point() else x for x in scores]
    torch.library.opcheck(_ops.posteriors, (*scores, False, "cpu"))
    torch.library.opcheck(_ops.posteriors, (*scores[:3], None, *[None] * 4, True, "cpu"))
    plain = [x if x is None else x.detach() for x in scores]
    torch.library.opcheck(_ops.log_partition, (*plain, "cpu"))
    area = torch.randn(2, 5, 2, dtype=torch.float64)
    torch.library.opcheck(_ops.curvature, (*plain, area, None, area, None, None, "cpu"))


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory as Linux has it"
)
def test_long_sequence_and_memory():
    """T = 1,000,000 at K = 1,000 in one call; nothing of size T times K is kept."""
    done = run("""
        import torch, semicrf
        def peak():
            status = open("/proc/self/status").read()
            return int(status.split("VmHWM:")[1].split()[0]) / 1024
        def loss(length, longest):
            e = torch.randn(1, length, 2, generator=torch.Generator().manual_seed(0))
            e.requires_grad_()
            value = semicrf.partition(e, torch.zeros(2, 2), torch.zeros(longest, 2))
            value.backward()
            assert value.isfinite() and abs(e.grad.sum() - length) < 1e-4 * length
        loss(10, 2)
        open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
        before = peak()
        loss(20_000, 10_000)
        assert peak() - before < 200, peak() - before
        held = torch.ones(2**26)  # 256 MiB, which the peak must show
        assert peak() - before > 200, peak() - before
        del held
        loss(1_000_000, 1_000)
        print("done")
    """)
    assert done.stdout == "done\n", done.stderr


def test_the_readme_s_code():
    text = (PACKAGE / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize(
    "name", ["posteriors", pytest.param("gene_structure", marks=pytest.mark.only_all)]
)
def test_examples(name):
    done = subprocess.run(
        [sys.executable, PACKAGE / "examples" / f"{name}.py"],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    if name == "gene_structure":  # borders that it was told of count for something
        found = re.search(r"Semi-CRF (\S+), linear chain (\S+)", done.stdout)
        assert float(found[1]) > float(found[2])


def test_documented_examples():
    import doctest

    from semicrf import _segments

    assert doctest.testmod(_segments).failed == 0
    assert doctest.testmod(_segments).attempted > 0


def test_durations_beyond_the_sequence():
    """K > T: rows of durations that no segment can have get no gradient and do no harm."""
    problem = make(6, length=5, longest=40)
    value, gradients = with_gradients(semicrf.partition, problem)
    problem["durations"] = problem["durations"][:5]
    assert torch.equal(value, semicrf.partition(**problem))
    assert gradients["durations"][5:].abs().max() == 0
    assert math.isfinite(value.item())
