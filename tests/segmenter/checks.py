"""What must hold of containers/models/segmenter, in its own environment, which has no pytest.

``python checks.py`` prints, as JSON, what went wrong in each function here that begins with
``check_``; test_segmenter.py runs it once and makes a test of each.
"""

import contextlib
import copy
import io
import itertools
import json
import math
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import encoders
import features
import heads
import main
import mamba2
import numpy as np
import semicrf
import torch
import training
from checkpoints import Checkpoints
from network import Segmenter
from settings import Settings

from lacuna_contract.errors import ContractError
from lacuna_contract.sequences import Segmentation, Sequences, kmer_frequencies

CLASSES = ("intergenic", "exon", "intron")
SMALL = Settings("semicrf", 3, hidden_dim=8, num_layers=1, max_duration=200, epochs=3, batch_size=2)


def data(length=200, seed=0, each=(6, 2, 2)):
    """Sequences whose bases say the class, with noise; no class follows itself."""
    rng = np.random.default_rng(seed)
    labels = np.empty((sum(each), length), np.int8)
    for row in labels:
        at, label = 0, int(rng.integers(3))
        while at < length:
            size = int(rng.integers(10, 60))
            row[at : at + size] = label
            at, label = at + size, (label + int(rng.integers(1, 3))) % 3
    noise = rng.random(labels.shape) < 0.4
    codes = np.where(noise, rng.integers(0, 4, labels.shape), labels).astype(np.uint8)
    split = np.repeat(["train", "val", "test"], each)
    truth = labels[split == "test"].copy()
    labels[split == "test"] = -1
    return Sequences(codes, labels, split, CLASSES), truth


def trainer(settings=SMALL, folder=None, sequences=None, name="m"):
    sequences = data()[0] if sequences is None else sequences
    torch.manual_seed(settings.seed)
    longest = heads.longest_run(sequences.labels[sequences.train])
    model = Segmenter(settings, longest > settings.max_duration)
    kept = Checkpoints(folder, name, settings, training.digest(sequences))
    return training.Trainer(model, sequences, kept)


def same(a, b):
    return all(torch.equal(x, b[k]) for k, x in a.items())


def refused(function, *words):
    """`function` refuses, and says why with all of `words`."""
    said = None
    try:
        function()
    except ContractError as error:
        said = str(error)
    assert said is not None, "nothing was refused"
    missing = [word for word in words if word not in said]
    assert not missing, f"{missing} not in: {said}"


def make(head, classes=2, split=False, longest=4, seed=0):
    """A head with random scores."""
    torch.manual_seed(seed)
    made = heads.make(Settings(head, classes, max_duration=longest), split)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


# Mamba-2


def scans(length, dtype=torch.float64):
    torch.manual_seed(length)
    x, dt = torch.randn(2, length, 3, 4, dtype=dtype), torch.rand(2, length, 3, dtype=dtype)
    a = -16 * torch.rand(3, dtype=dtype)
    return [v.requires_grad_() for v in (x, dt, a, *torch.randn(2, 2, length, 5, dtype=dtype))]


def check_blocks_are_the_recurrence():
    for length in (1, 7, 64, 65, 200):
        given = scans(length)
        steps, blocks = mamba2.scan_in_steps(*given), mamba2.scan_in_blocks(*given)[0]
        assert torch.allclose(steps, blocks, atol=1e-9), (steps - blocks).abs().max()
        weight = torch.randn_like(steps)
        for one, other in zip(
            torch.autograd.grad((steps * weight).sum(), given),
            torch.autograd.grad((blocks * weight).sum(), given),
            strict=True,
        ):
            assert torch.allclose(one, other, atol=1e-8), (one - other).abs().max()


def check_strong_decay_does_not_overflow():
    x, dt, a, b, c = (v.detach().float() for v in scans(300))
    y, _ = mamba2.scan_in_blocks(x, 50 * dt, a, b, c)
    assert torch.allclose(y, mamba2.scan_in_steps(x, 50 * dt, a, b, c), rtol=1e-2, atol=1e-2)


def check_names_of_mamba_ssm():
    """Shapes as its Mamba2(d_model=32, d_state=64, headdim=64, ngroups=1) has them."""
    shapes = {k: tuple(v.shape) for k, v in mamba2.Mamba2(32).state_dict().items()}
    assert shapes == {
        "dt_bias": (1,), "A_log": (1,), "D": (1,), "in_proj.weight": (257, 32),
        "conv1d.weight": (192, 1, 4), "conv1d.bias": (192,), "norm.weight": (64,),
        "out_proj.weight": (32, 64),
    }, shapes  # fmt: skip


def check_mamba_without_its_kernels_on_a_gpu():
    assert "mamba_ssm" not in sys.modules
    refused(lambda: encoders.check("mamba", "cuda"), "mamba-ssm", "--encoder cnn", "pip")
    encoders.check("mamba", "cpu")
    encoders.check("cnn", "cuda")


# Encoders and features


def check_every_encoder_sees_both_sides():
    for name, encoder in encoders.ENCODERS.items():
        torch.manual_seed(0)
        built = encoder(5, 8, 2).eval()
        x = torch.randn(1, 40, 5)
        y = built(x)
        assert y.shape == (1, 40, 8), name
        other = x.clone()
        other[0, 20] += 1
        changed = (built(other) - y).abs().sum(-1)[0] > 0
        assert changed[:20].any(), name
        assert changed[21:].any(), name


def check_recomputing_changes_no_gradient():
    for name in ("cnn", "mamba"):
        torch.manual_seed(0)
        built = encoders.ENCODERS[name](5, 8, 2)
        x, found = torch.randn(1, 150, 5), []
        for limit in (1 << 30, 1):
            kept = encoders.RECOMPUTE, mamba2.PIECE
            encoders.RECOMPUTE, mamba2.PIECE = limit, 64 if limit == 1 else limit
            loss = built(x).square().sum()
            found.append(torch.autograd.grad(loss, list(built.parameters())))
            encoders.RECOMPUTE, mamba2.PIECE = kept
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True)), name


def check_features():
    codes = np.array([[0, 1, 2, 3, 4, 0]], np.uint8)
    hot = features.encode(codes, "onehot", "cpu")
    assert hot.argmax(-1).tolist() == codes.tolist()
    words = features.encode(np.repeat(codes, 30, 1), "kmer", "cpu")
    assert words.shape == (1, 180, features.WIDTHS["kmer"])
    assert torch.equal(words[0], torch.from_numpy(kmer_frequencies(np.repeat(codes[0], 30))))


# Heads


def check_probabilities_of_all_labellings_sum_to_one():
    for name in heads_of("softmax", "linear", "semicrf", "semicrf_uniform"):
        head, emissions, total = make(name, longest=6), torch.randn(1, 5, 2), 0.0
        for labels in itertools.product(range(2), repeat=5):
            loss = head.loss(emissions, torch.tensor([labels]))
            total += math.exp(-5 * loss.item())
        assert abs(total - 1) < 1e-5, (name, total)


def heads_of(*names):
    from settings import HEADS

    assert set(names) == set(HEADS)
    return names


def check_linear_decoding_against_enumeration():
    head, emissions = make("linear", 3), torch.randn(1, 6, 3)
    best, total, boundaries = (-math.inf, None), 0.0, torch.zeros(6)
    for y in itertools.product(range(3), repeat=6):
        score = head.start[y[0]] + sum(emissions[0, t, c] for t, c in enumerate(y))
        score = float(score + sum(head.transitions[a, b] for a, b in itertools.pairwise(y)))
        best, total = max(best, (score, y)), total + math.exp(score)
        for t in range(1, 6):
            boundaries[t] += math.exp(score) * (y[t] != y[t - 1])
    labels, found = head.decode(emissions)
    assert tuple(labels[0].tolist()) == best[1]
    assert torch.allclose(found[0], boundaries / total, atol=1e-5)


def tilings(length, longest):
    if length == 0:
        yield []
    for d in range(1, min(length, longest) + 1):
        yield from ([d, *rest] for rest in tilings(length - d, longest))


def check_semicrf_decoding_against_enumeration():
    """With K below the sequence, so that pieces of one class meet: they are merged."""
    for split, longest in ((True, 2), (True, 3), (False, 6)):
        head, emissions = make("semicrf", split=split, longest=longest), torch.randn(1, 6, 2)
        scores = head.scores()
        best, total, boundaries = (-math.inf, None), 0.0, torch.zeros(6)
        for sizes in tilings(6, longest):
            starts = np.cumsum([0, *sizes])
            for labels in itertools.product(range(2), repeat=len(sizes)):
                if not split and any(a == b for a, b in itertools.pairwise(labels)):
                    continue
                pieces = [
                    (int(s), int(s + d), c) for s, d, c in zip(starts, sizes, labels, strict=False)
                ]
                score = semicrf.score([pieces], emissions, **scores).item()
                y = [c for s, e, c in pieces for _ in range(s, e)]
                best, total = max(best, (score, y)), total + math.exp(score)
                for t in range(1, 6):
                    boundaries[t] += math.exp(score) * (y[t] != y[t - 1])
        labels, found = head.decode(emissions)
        assert labels[0].tolist() == best[1], (split, longest)
        assert torch.allclose(found[0, 1:], boundaries[1:] / total, atol=1e-5), (split, longest)


def check_reference_backend_agrees():
    for name in ("linear", "semicrf", "semicrf_uniform"):
        head, emissions = make(name, 3, longest=40), torch.randn(2, 30, 3)
        labels = torch.from_numpy(data(30)[0].labels[:2]).long()
        other = heads.make(Settings(name, 3, max_duration=40, backend="reference"), False)
        other.load_state_dict(head.state_dict())
        assert other.backend == "reference"
        assert head.backend == "auto"
        assert torch.allclose(head.loss(emissions, labels), other.loss(emissions, labels), 1e-5)
        (a, p), (b, q) = head.decode(emissions), other.decode(emissions)
        assert torch.equal(a, b)
        assert torch.allclose(p, q, atol=1e-5)


def check_no_triton_brings_emissions_to_the_cpu():
    class OnGpu(torch.Tensor):
        is_cuda = True
        brought = False

        def cpu(self):
            OnGpu.brought = True
            return self.as_subclass(torch.Tensor)

    for triton in (True, False):
        OnGpu.brought = False
        head = heads.make(Settings("semicrf", 2, max_duration=9, triton=triton), False)
        head.bring(torch.randn(1, 9, 2).as_subclass(OnGpu))
        assert OnGpu.brought is not triton


def check_heads_begin_with_frequencies():
    labels = torch.tensor([[0] * 6 + [1] * 3 + [2], [1] * 5 + [0] * 5])
    counts = {
        "softmax": [11, 8, 1],
        "linear": [[9, 1, 0], [1, 6, 1], [0, 0, 0]],
        "semicrf": [[0, 1, 0], [1, 0, 1], [0, 0, 0]],
    }
    for name, found in counts.items():
        head = make(name, 3, longest=9)
        head.begin(labels)
        expected = torch.tensor(found) + 0.5
        shares = head.bias if name == "softmax" else head.transitions
        assert torch.allclose(shares.exp(), expected / expected.sum(-1, keepdim=True)), name
        if name != "softmax":
            assert torch.allclose(head.start.exp(), torch.tensor([1.5, 1.5, 0.5]) / 3.5)


def check_durations_are_probabilities():
    learned = make("semicrf", 3, longest=500).durations()
    assert learned.shape == (500, 3)
    assert torch.allclose(learned.exp().sum(0), torch.ones(3), atol=1e-5)
    for name in ("softmax", "linear", "semicrf_uniform"):
        assert make(name).durations() is None
    for longest in (1, 2, 3):
        assert make("semicrf", longest=longest).durations().shape == (longest, 2)


def check_duration_scores_can_be_learned():
    """From lengths alone: constant emissions, segments of 20 or of 50 positions by class."""
    labels = torch.tensor([([0] * 20 + [1] * 50) * 6])
    head = heads.make(Settings("semicrf", 2, max_duration=100), False)
    chosen = torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(60):
        chosen.zero_grad()
        head.loss(torch.zeros(1, labels.shape[1], 2), labels).backward()
        chosen.step()
    peak = head.durations().argmax(0) + 1
    assert abs(int(peak[0]) - 20) <= 5, peak
    assert abs(int(peak[1]) - 50) <= 12, peak


def check_the_prior_finds_the_law_of_complete_segments():
    """Durations of 20 and 60, equally often, seen through windows of 100: in windows, two of three
    complete segments are short, for a long one has fewer places there."""
    rng = np.random.default_rng(0)
    sizes = rng.choice([20, 60], 20_000)
    genome = torch.from_numpy(np.repeat(np.arange(len(sizes)) % 2, sizes))
    at = torch.from_numpy(rng.integers(0, len(genome) - 100, 600))
    labels = torch.stack([genome[i : i + 100] for i in at.tolist()])
    whole = [e - s for row in labels for s, e, _ in heads.runs(row)[1:-1]]
    assert np.mean(np.array(whole) == 20) > 0.62
    head = heads.make(Settings("semicrf", 2, max_duration=100), False)
    chosen = torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(100):
        chosen.zero_grad()
        head.prior(labels).backward()
        chosen.step()
    short = head.durations()[:35].exp().sum(0)
    assert ((short - 0.5).abs() < 0.06).all(), short


def check_the_prior_is_of_learned_durations_alone():
    labels = torch.tensor([[0] * 4 + [1] * 3 + [0] * 3])
    for name in ("softmax", "linear", "semicrf_uniform"):
        assert make(name, longest=9).prior(labels) == 0
    head = make("semicrf", longest=9)
    assert abs(head.prior(labels) + 10 / 6 * head.durations()[2, 1] / 10) < 1e-6
    assert head.prior(labels[:, :7]) == 0  # no segment that is seen whole
    split = make("semicrf", longest=2, split=True)
    expected = split.durations()[1, 1] + split.durations()[0, 1]
    assert abs(split.prior(labels) + 10 / 6 * expected / 10) < 1e-6


def check_gold_longer_than_k_is_split_from_the_left():
    head = heads.make(Settings("semicrf", 2, max_duration=3), True)
    gold = head.gold(torch.tensor([[0] * 7 + [1] * 2]))
    assert gold == [[(0, 3, 0), (3, 6, 0), (6, 7, 0), (7, 9, 1)]]


# Training


def check_every_model_learns():
    sequences, truth = data(each=(16, 4, 4))
    for name in ("softmax", "linear", "semicrf", "semicrf_uniform"):
        with contextlib.redirect_stderr(io.StringIO()):
            found = main.predict(
                sequences, head=name, hidden_dim=8, num_layers=1, epochs=15, batch_size=2,
                max_duration=200, lr=1e-2,
            )  # fmt: skip
        assert isinstance(found, Segmentation)
        assert found.labels.dtype == np.int8
        accuracy = (found.labels == truth).mean()
        assert accuracy > 0.8, (name, accuracy)
        assert (found.durations is not None) == (name == "semicrf")
        assert (found.boundaries is None) == (name == "softmax")


def check_same_seed_same_weights():
    one, two = trainer(), trainer()
    one.run(), two.run()
    assert one.history["epochs"][0]["train"] == two.history["epochs"][0]["train"]
    assert same(one.model.state_dict(), two.model.state_dict())
    other = trainer(replace(SMALL, seed=1))
    other.run()
    assert not same(one.model.state_dict(), other.model.state_dict())


def check_resumed_is_uninterrupted():
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as parts:
        plain = trainer(folder=whole)
        expected = plain.run()
        broken = trainer(folder=parts)
        validate, calls = broken._validate, []

        def interrupted():
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return validate()

        broken._validate = interrupted
        try:
            broken.run()
            raise AssertionError("it was to be interrupted")
        except KeyboardInterrupt:
            pass
        torch.manual_seed(99)
        again = trainer(folder=parts)
        found = again.run(resume=True)
        assert again.step == plain.step
        for a, b in zip(expected["epochs"], found["epochs"], strict=True):
            assert (a["train"], a["val"]) == (b["train"], b["val"])
        assert same(plain.model.state_dict(), again.model.state_dict())
        # A finished training is not gone on with; without `resume`, a new one begins.
        done = trainer(folder=parts)
        done.run(resume=True)
        assert done.step == plain.step
        assert len(done.history["epochs"]) == 3
        assert sorted(p.name for p in Path(parts).iterdir()) == ["m_best.pt", "m_last.pt"]


def check_small_pieces_make_the_gradient_of_the_batch():
    found = []
    for limit in (1 << 16, 1):
        training.AT_ONCE, kept = limit, training.AT_ONCE
        one = trainer()
        rows = one.data.train[:3]
        for piece in one._pieces(rows):
            one._gradient(piece, len(piece) / len(rows), rows)
        found.append([p.grad.clone() for p in one.model.parameters()])
        training.AT_ONCE = kept
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


def check_warm_up_and_decay():
    rates = [training.rate(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert abs(rates[99] - 1) < 1e-9
    assert rates[-1] < 1e-4
    assert np.all(np.diff(rates[:100]) > 0)
    assert np.all(np.diff(rates[100:]) < 0)


def check_early_stopping_keeps_the_best():
    one = trainer(replace(SMALL, epochs=9, patience=2))
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.1])
    states = []

    def validate():
        states.append(copy.deepcopy(one.model.state_dict()))
        return next(losses)

    one._validate = validate
    found = one.run()
    assert found["best_epoch"] == 2
    assert len(found["epochs"]) == 4
    assert same(one.model.state_dict(), states[1])


def check_a_loss_that_is_no_number():
    with tempfile.TemporaryDirectory() as folder:
        one = trainer(replace(SMALL, epochs=5), folder)
        step = one._train_step

        def poisoned(batch):
            if one.step == 4:  # in the second epoch of three steps each
                with torch.no_grad():
                    one.model.emissions.bias.fill_(math.nan)
            return step(batch)

        one._train_step = poisoned
        order = np.random.default_rng((0, 1)).permutation(one.data.train)[2:4]
        batch = ", ".join(map(str, order))
        refused(one.run, "step 5 ", "epoch 2", f"sequences {batch}", "m_best.pt", "epoch 1")
        kept = torch.load(Path(folder) / "m_best.pt", weights_only=True)
        assert all(v.isfinite().all() for v in kept["model"].values())
        assert torch.load(Path(folder) / "m_last.pt", weights_only=True)["epoch"] == 1


def check_a_loss_that_is_no_number_at_once():
    def run():
        main.predict(data()[0], head="semicrf", hidden_dim=8, num_layers=1, lr=1e30, epochs=2)

    with contextlib.redirect_stderr(io.StringIO()):
        refused(run, "not a finite number at step", "no checkpoint has been written")


# Bad input


def check_a_checkpoint_of_another_shape():
    with tempfile.TemporaryDirectory() as folder:
        trainer(folder=folder).run()
        for other, words in (
            (replace(SMALL, hidden_dim=16), ("hidden_dim is 8 there and 16 here", "m_last.pt")),
            (replace(SMALL, max_duration=100), ("max_duration is 200 there and 100 here",)),
        ):
            refused(lambda other=other: trainer(other, folder).run(resume=True), *words)
        sequences = data(seed=1)[0]
        again = trainer(folder=folder, sequences=sequences)
        refused(lambda: again.run(resume=True), "other data")
        path = Path(folder) / "m_last.pt"
        path.write_bytes(path.read_bytes()[:500])
        refused(lambda: trainer(folder=folder).run(resume=True), "not a readable checkpoint")
        torch.save({"version": 0}, path)
        refused(lambda: trainer(folder=folder).run(resume=True), "version")


def check_settings_that_cannot_be():
    refused(lambda: Settings("semicrf", 3, max_duration=0), "max_duration=0", "1 or more")
    refused(lambda: Settings("semicrff", 3), "Did you mean 'semicrf'")
    refused(lambda: Settings("linear", 3, encoder="cn"), "Did you mean 'cnn'")
    refused(lambda: Settings("linear", 3, features="kmers"), "Did you mean 'kmer'")
    refused(lambda: Settings("linear", 3, backend="triton"), "reference, streaming")
    refused(lambda: Settings("linear", 3, lr=0.0, epochs=0), "lr=0.0", "epochs=0")
    refused(lambda: Settings("linear", 3, encoder="bilstm", hidden_dim=7), "even")


CHECKS = {name: f for name, f in list(globals().items()) if name.startswith("check_")}


def run(names):
    for name in names:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                CHECKS[name]()
            yield name, None
        except Exception:
            yield name, traceback.format_exc()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(dict(run(sys.argv[1:] or CHECKS))))
