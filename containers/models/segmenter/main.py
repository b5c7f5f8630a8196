"""Segmentation by an encoder and one of four heads: what the pipeline runs, and the command
``synthetic-benchmark run``."""

from dataclasses import asdict

import checkpoints
import encoders
import heads
import network
import torch
import training
from settings import Settings

from lacuna_contract import model
from lacuna_contract.sequences import Segmentation


@model("segmentation")
def predict(
    data, *, head, encoder="cnn", features="onehot", max_duration=20_000, hidden_dim=32,
    num_layers=4, batch_size=1, lr=4e-3, duration_lr=10.0, epochs=2, patience=5, prior=1.0,
    backend="streaming", triton=True, checkpoint_dir=None, name=None, resume=False, log_every=10,
    device="cpu", threads=1, seed=0,
):  # fmt: skip
    """Train on the train sequences, choose the epoch by the validation ones, decode the test ones.

    `checkpoint_dir` keeps ``<name>_best.pt`` and ``<name>_last.pt`` there, which `resume` goes on
    from; `log_every` is in steps. The rest is described in `Settings`.
    """
    settings = Settings(
        head=head, classes=len(data.classes), encoder=encoder, features=features,
        max_duration=max_duration, hidden_dim=hidden_dim, num_layers=num_layers,
        batch_size=batch_size, lr=lr, duration_lr=duration_lr, epochs=epochs,
        patience=patience, prior=prior, backend=backend, triton=triton, seed=seed,
    )  # fmt: skip
    encoders.check(encoder, device)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    longest = heads.longest_run(data.labels[data.train])
    network_ = network.Segmenter(settings, longest > max_duration, device)
    kept = checkpoints.Checkpoints(checkpoint_dir, name or head, settings, training.digest(data))
    history = training.Trainer(network_, data, kept, log_every).run(resume)
    labels, boundaries = network_.decode(data.sequences[data.test])
    sizes = sum(p.numel() for p in network_.parameters())
    return Segmentation(
        labels,
        boundaries,
        network_.durations(),
        details={
            "training": history,
            "settings": asdict(settings),
            "parameters": sizes,
            "longest_segment": longest,
        },
    )
