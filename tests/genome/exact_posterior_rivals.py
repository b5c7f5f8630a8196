"""Run in the environment of the control exact_posterior: many small sequences, segmented by its
decodings and by others of the same posterior: the likeliest segmentation, the likeliest class of
each position, boundaries of probability above one half, a draw. Prints a line of JSON for each
metric."""

import json
import sys
from pathlib import Path

import numpy as np
import semicrf
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "containers/controls/exact_posterior")]

import decode  # noqa: E402
import posterior as control  # noqa: E402
from machine import Machine  # noqa: E402

from lacuna.authoring.segmentation import law as short  # noqa: E402
from lacuna.genome.draw import draw  # noqa: E402
from lacuna.genome.presets import composition  # noqa: E402
from lacuna.metrics import of_task  # noqa: E402
from lacuna.metrics.comparison import Comparison  # noqa: E402

SEQUENCES, LENGTH = 80, 500
NAMES = {
    "boundary_f1": "boundary_f1", "boundary_f1_near": "boundary_f1_near",
    "segment_f1": "segment_f1", "position_f1": "position_f1", "position_accuracy": None,
}  # fmt: skip


def main():
    torch.set_num_threads(1)
    law = short()
    # Harder than the law of the check of models, so that decodings differ.
    weak = {"intergenic": 0.3, "exon": 0.65, "intron": 0.45}
    law.composition.update({name: composition(gc) for name, gc in weak.items()})
    codes, truth = draw(law, LENGTH, range(SEQUENCES), np.random.SeedSequence(11))
    machine, generator = Machine(law, LENGTH), torch.Generator().manual_seed(1)
    found = [control.summarise(machine, row, generator) for row in codes]
    made = decode.decode(found)
    window = slice(machine.pad, machine.pad + LENGTH)
    likeliest = []
    for row in codes:
        labels = np.empty(machine.padded, dtype=np.int8)
        for start, end, label in semicrf.viterbi(**machine.scores(row)).segments[0]:
            labels[start:end] = machine.classes[label]
        likeliest.append(labels[window])
    half = np.stack([one.boundaries > 0.5 for one in found])
    table = np.argwhere(half)
    rivals = {
        "likeliest segmentation": Comparison(law, truth, np.stack(likeliest)),
        "likeliest classes": Comparison(
            law, truth, np.stack([one.positions.argmax(axis=1) for one in found]).astype(np.int8)
        ),
        "a draw": Comparison(law, truth, made.decodings["durations"]),
        "above one half": Comparison(
            law, truth, made.labels, decodings={"boundaries": table, "boundaries_tolerant": table}
        ),
    }
    mine = Comparison(law, truth, made.labels, decodings=made.decodings)
    metrics = of_task("segmentation")
    for name, expected in NAMES.items():
        score = metrics[name].function
        each = {rival: score(found) for rival, found in rivals.items()}
        if name in ("segment_f1", "position_f1", "position_accuracy"):
            del each["above one half"]  # it has boundaries only
        # Of the difference between two decodings of the same 80 sequences, some hundred boundaries.
        line = {"metric": name, "ceiling": score(mine), "rivals": each, "noise": 0.02}
        if name == "position_accuracy":
            line["noise"] = 0.05  # it is decoded for the mean of F1, not for this
        line["expected"] = made.expected.get(expected) if expected else None
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
