"""Runs in scGPT's environment, once for all tests: writes checkpoints in the published layout, good
and bad ones, and runs the model on inputs with and without them.

    python main.py MODEL_FOLDER ROOM

ROOM holds ``jobs.json``, a list of {"name", "input", "params", "checkpoint"}. Into it go
``checkpoints/<name>/``, ``<job>.h5ad``, ``<job>.json`` and ``said.json``: by job, the exit code and
what was written to standard error.
"""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

model_folder, room = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(model_folder))

import main as scgpt_model  # noqa: E402
import numpy as np  # noqa: E402
import published  # noqa: E402
import torch  # noqa: E402

from lacuna_contract import harness  # noqa: E402
from lacuna_contract.h5ad import Matrix, open_h5ad, read_names  # noqa: E402
from lacuna_contract.tasks.reconstruction import split  # noqa: E402


class RunsCode:
    """What a malicious pickle holds."""

    def __reduce__(self):
        return Path.write_text, (room / "code_was_run", "yes")


def train():
    """A scratch model of the plain input: its state, vocabulary and sizes."""
    with open_h5ad(room / "plain.h5ad") as file:
        genes = read_names(file, "var")
        data = split(Matrix(file["X"]).rows(0, len(read_names(file, "obs"))), 0)
    torch.manual_seed(0)
    sizes = published.Sizes(16, 2, 16, 2, 1, include_zero_gene=True)
    network, vocab, sizes, _ = scgpt_model.start(None, genes, sizes)
    tokens = scgpt_model.match([genes], vocab)
    cells = scgpt_model.Cells(data.counts, data.hidden, tokens, vocab, sizes)
    rng = np.random.default_rng(0)
    fitted = scgpt_model.Predictor(network, cells, cells.spread(rng), 60, True, "cpu")
    settings = {"steps": 60, "every": 60, "patience": 0, "rate": 5e-3, "batch": 16}
    scgpt_model.train(fitted, lambda: 0.0, mask=(0.15, 0.5), rng=rng, **settings)
    return network.state_dict(), vocab, sizes


def write(folder, state, vocab, sizes, flash):
    """A checkpoint as it is published: with heads for other tasks, and either spelling."""
    folder.mkdir(parents=True)
    args = vars(sizes) | {"fast_transformer": flash, "input_style": "binned", "MVC": True}
    (folder / "args.json").write_text(json.dumps(args))
    vocab.save_json(folder / "vocab.json")
    if flash:
        state = {
            name.replace("self_attn.in_proj_", "self_attn.Wqkv."): w for name, w in state.items()
        }
    torch.save(state | {"mvc_decoder.W.weight": torch.ones(2, 2)}, folder / "best_model.pt")
    return state


def spoil(good, state):
    """Copies of a checkpoint, each broken in its way."""
    names = ("missing", "vocabulary", "truncated", "code", "strange", "args", "not_json")
    bad = {name: shutil.copytree(good, good.with_name(name)) for name in names}
    weights = "best_model.pt"
    torch.save(dict(list(state.items())[:-20]), bad["missing"] / weights)
    tokens = json.loads((good / "vocab.json").read_text())
    more = tokens | {f"EXTRA{i}": len(tokens) + i for i in range(10)}
    (bad["vocabulary"] / "vocab.json").write_text(json.dumps(more))
    whole = (good / weights).read_bytes()
    (bad["truncated"] / weights).write_bytes(whole[: len(whole) // 2])
    torch.save({"encoder.embedding.weight": RunsCode()}, bad["code"] / weights)
    torch.save(state | {"dsbn.weight": torch.ones(2)}, bad["strange"] / weights)
    args = json.loads((good / "args.json").read_text())
    del args["nlayers"]
    (bad["args"] / "args.json").write_text(json.dumps(args))
    (bad["not_json"] / "vocab.json").write_text('{"<pad>": 0,')


class Watched(scgpt_model.Predictor):
    """Keeps what its network is shown."""

    def forward(self, genes, values, padding):
        self.shown.append((genes, values, padding))
        return super().forward(genes, values, padding)


def shown(sizes, network, vocab):
    """How a network that knows no zeros is shown the plain input, 19 genes at a time."""
    with open_h5ad(room / "plain.h5ad") as file:
        genes = read_names(file, "var")
        data = split(Matrix(file["X"]).rows(0, 40), 0)
    cells = scgpt_model.Cells(
        data.counts, data.hidden, scgpt_model.match([genes], vocab), vocab, sizes
    )
    rng = np.random.default_rng(0)
    watched = Watched(network, cells, cells.spread(rng), 20, False, "cpu")
    watched.shown = []
    _, binned, dark = cells.dense(np.arange(40))
    watched.mean_bins(binned, dark, rng)
    masked, seen = np.zeros(dark.shape, int), np.zeros(dark.shape, int)
    for tokens, values, padding in watched.shown:
        for row, at in np.argwhere((~padding).numpy()):
            gene = cells.column[tokens[row, at]]
            if gene >= 0:  # else it is <cls>
                table = masked if values[row, at] == sizes.mask_value else seen
                table[row, gene] += 1
    known = cells.known
    filling = {float(v) for _, values, padding in watched.shown for v in values[padding]}
    return {
        "hidden_are_masks_once": bool((masked[:, known] == dark[:, known]).all()),
        "others_are_their_counts": bool((seen[:, known] == ((binned > 0) & ~dark)[:, known]).all()),
        "padding_holds": sorted(filling),
        "largest": max(tokens.shape[1] for tokens, _, _ in watched.shown),
        "bins": sizes.n_bins,
        "mask": sizes.mask_value,
        "pad": sizes.pad_value,
        "top": int(binned.max()),
    }


def run(job):
    """One run of the model as its container runs it."""
    (room / "params.json").write_text(json.dumps(job["params"]))
    words = [str(model_folder / "main.py"), "--input", str(room / job["input"])]
    words += ["--output", str(room / f"{job['name']}.h5ad"), "--params", str(room / "params.json")]
    words += ["--metadata", str(room / f"{job['name']}.json")]
    if job.get("checkpoint"):
        words += ["--checkpoint", str(room / "checkpoints" / job["checkpoint"])]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = harness.main(words)
    return {"code": code, "said": said.getvalue()}


state, vocab, sizes = train()
good = room / "checkpoints" / "plain"
write(good, state, vocab, sizes, flash=False)
write(room / "checkpoints" / "flash", state, vocab, sizes, flash=True)
spoil(good, state)
network, vocab, sizes, _ = published.read(good)
(room / "shown.json").write_text(json.dumps(shown(sizes, network, vocab)))
jobs = json.loads((room / "jobs.json").read_text())
(room / "said.json").write_text(json.dumps({job["name"]: run(job) for job in jobs}))
