"""What must hold of a training, its checkpoints and its settings; test_segmenter.py runs it."""

import contextlib
import copy
import io
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import main
import numpy as np
import shared
import torch
import training
from settings import Settings
from shared import SMALL, data, refused, same, trainer

from lacuna_contract.sequences import Segmentation


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


def check_scores_of_durations_alone_learn_faster():
    for head, faster in (
        ("softmax", []), ("linear", []), ("semicrf_uniform", []),
        ("semicrf", ["head.duration_scores.scores"]),
    ):  # fmt: skip
        one = trainer(replace(SMALL, head=head, duration_lr=10.0))
        one._train_step(one.data.train[:2])
        groups = one.optimiser.param_groups
        base = SMALL.lr * training.rate(0, one.steps)
        names = {id(p): k for k, p in one.model.named_parameters()}
        rates = {names[id(p)]: group["lr"] / base for group in groups for p in group["params"]}
        assert rates.keys() == set(names.values())
        assert [k for k, rate in rates.items() if rate == 10] == faster
        assert set(rates.values()) <= {1, 10}


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


if __name__ == "__main__":
    shared.report(globals())
