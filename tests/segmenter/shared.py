"""What checks_*.py share, which run in the environment of containers/models/segmenter."""

import contextlib
import io
import json
import sys
import traceback
from collections.abc import Callable

import heads
import numpy as np
import torch
import training
from checkpoints import Checkpoints
from network import Segmenter
from settings import Settings

from lacuna_contract.errors import ContractError
from lacuna_contract.sequences import Sequences

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


def report(module: dict[str, Callable]) -> None:
    """Print, as JSON, what went wrong in each function ``check_*`` of a module, None for nothing;
    only in those that the command line names, if it names any."""
    torch.set_num_threads(1)
    found = {}
    for name in sys.argv[1:] or [name for name in module if name.startswith("check_")]:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                module[name]()
            found[name] = None
        except Exception:
            found[name] = traceback.format_exc()
    print(json.dumps(found))
