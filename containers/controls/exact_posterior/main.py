import json
import sys

import numpy as np
import torch
from decode import decode
from machine import Machine
from posterior import summarise

from lacuna.genome.law import from_text
from lacuna_contract import model
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.sequences import Segmentation

SAY_EVERY = 10  # windows


@model("segmentation")
def predict(data, *, truth, seed=0, threads=1):
    """The exact posterior under the law that drew the sequences, decoded for each metric. Of the
    truth, only the law is read."""
    with open_h5ad(truth) as file:
        law = from_text(read_uns(file)["law"], truth)
    torch.set_num_threads(threads)
    machine = Machine(law, data.sequences.shape[1])
    generator = torch.Generator().manual_seed(seed)
    found = []
    for row in data.test:
        found.append(summarise(machine, data.sequences[row], generator))
        if len(found) % SAY_EVERY == 0:
            print(f"exact posterior: {len(found)}/{len(data.test)} windows", file=sys.stderr)
    made = decode(found)
    durations = np.full((law.longest, len(law.classes)), -np.inf)
    for column, name in enumerate(law.classes):
        with np.errstate(divide="ignore"):
            known = np.log(law.durations[name].probabilities)
        durations[: len(known), column] = known
    return Segmentation(
        labels=made.labels,
        boundaries=np.stack([one.boundaries for one in found]).astype(np.float32),
        durations=durations,
        decodings=made.decodings,
        details={"states": len(machine.labels), "expected": json.loads(json.dumps(made.expected))},
    )
