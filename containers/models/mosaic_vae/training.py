"""Training: minibatches, modality dropout, KL warm-up, early stopping, checkpoints."""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inputs import CHUNK, Cells
from network import MosaicVAE
from torch import Tensor

from lacuna_contract.errors import ContractError

#: Whole numbers of a schedule, and the least that each can be.
LEAST = {
    "epochs": 1, "batch": 2, "warm_up": 0, "patience": 1, "starts": 1, "start_epochs": 1,
    "save_every": 1,
}  # fmt: skip
SAY_EVERY = 10  # epochs between reports of the loss
#: Of a schedule, what a training that goes on may have changed.
FREE = ("epochs", "patience", "starts", "start_epochs", "save_every")


@dataclass(frozen=True)
class Schedule:
    """How to train.

    epochs: at most; batch: cells of a step; rate, expert_rate: learning rates of decoders and of
    experts; warm_up: epochs over which both KL terms come in, and after which patience begins;
    muted: chance that a cell with several modalities shows only some; patience: epochs without
    improvement until the end, with the rates halved at each third of it; held_out: share of cells
    that are not trained on; batch_sd: prior standard deviation of batch offsets; starts: how many
    are tried for start_epochs each, where the best of them is trained; save_every: epochs between
    checkpoints; seed: which cells are held out.
    """

    epochs: int
    batch: int
    rate: float
    expert_rate: float
    warm_up: int
    muted: float
    patience: int
    held_out: float
    batch_sd: float
    starts: int
    start_epochs: int
    save_every: int
    seed: int

    def __post_init__(self):
        problems = []
        for name, least in LEAST.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                problems.append(f"{name}={value!r}; expected a whole number of {least} or more")
        for name in ("rate", "expert_rate", "batch_sd"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value > 0:
                problems.append(f"{name}={value!r}; expected a number greater than 0")
        for name in ("muted", "held_out"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                problems.append(f"{name}={value!r}; expected a share of 0 or more, below 1")
        if problems:
            raise ContractError("; ".join(problems))


@dataclass
class Progress:
    """What has been reached: a list per epoch for each curve, and the weights of the best epoch."""

    history: dict[str, list[float]] = field(default_factory=dict)
    best: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        return len(self.history.get("held_out", []))

    def add(self, **values: float) -> None:
        """Append the values of one epoch."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)


def split(cells: Cells, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers of the cells to train on and of those held out: `share` of the cells of each
    combination of modalities, rounded down where that would be a whole small group. They are the
    same whatever the network draws, so that settings can be compared."""
    names = cells.modalities
    pattern = sum(2**i * cells.has[name].long() for i, name in enumerate(names)).cpu()
    order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(seed))
    held = [
        group[: int(share * len(group) + 0.5) if len(group) > 5 else 0]
        for group in (order[pattern[order] == code] for code in pattern.unique())
    ]
    out = torch.cat(held)
    if not len(out):
        out = order[:1]
    inside = torch.ones(len(cells), dtype=torch.bool)
    inside[out] = False
    return inside.nonzero().squeeze(1), out.sort().values


def mute(has: dict[str, Tensor], chance: float) -> dict[str, Tensor]:
    """Which experts are heard while training: with this chance a random part of those a cell has,
    never none."""
    flags = torch.stack(list(has.values()), dim=1)
    some = flags * (torch.rand_like(flags) < 0.5)
    lone = torch.zeros_like(flags).scatter(
        1, (flags * torch.rand_like(flags)).argmax(1)[:, None], 1
    )
    some = torch.where(some.sum(1, keepdim=True) == 0, lone, some)
    muted = torch.rand_like(flags[:, :1]) < chance
    return dict(zip(has, torch.where(muted, some, flags).unbind(1), strict=True))


def log_likelihoods(
    net: MosaicVAE, cells: Cells, z: Tensor, rows: Tensor, names: list[str]
) -> dict[str, Tensor]:
    """By modality, of each cell (0 where it lacks the modality), (rows,)."""
    found = {}
    for name in names:
        there = (cells.has[name][rows] > 0).nonzero().squeeze(1)
        own = rows[there]
        depth = cells.depth[name][own] if name in cells.depth else None
        values = cells.dense(name, own)
        one = net.log_likelihood(name, z[there], cells.batch[own], values, depth, net.training)
        found[name] = torch.zeros_like(z[:, 0]).index_add(0, there, one)
    return found


@torch.no_grad()
def assess(net: MosaicVAE, cells: Cells, rows: Tensor) -> float:
    """The loss of held-out cells in nats a cell: the negative evidence lower bound at the mean of
    z, plus, where a cell has several modalities, minus the likelihood of each given the others."""
    net.eval()
    return sum(_assess(net, cells, part) for part in rows.split(CHUNK)) / len(rows)


def _assess(net: MosaicVAE, cells: Cells, rows: Tensor) -> float:
    has = {name: cells.has[name][rows] for name in cells.modalities}
    mean, var = net.infer(cells, rows, has)
    total = net.prior.divergence(mean, var).sum() - sum(
        x.sum() for x in log_likelihoods(net, cells, mean, rows, cells.modalities).values()
    )
    for name in cells.modalities if len(has) > 1 else ():
        others = {n: x * (n != name) for n, x in has.items()}
        both = ((has[name] > 0) & (sum(others.values()) > 0)).nonzero().squeeze(1)
        if len(both):
            mean, _ = net.infer(cells, rows, others)
            total -= log_likelihoods(net, cells, mean[both], rows[both], [name])[name].sum()
    return float(total)


def train_epoch(
    net: MosaicVAE, cells: Cells, rows: Tensor, optimiser: Any, how: Schedule, epoch: int
) -> dict[str, float]:
    """One pass over the cells; mean values in nats a cell."""
    net.train()
    weight = min(1.0, (epoch + 1) / max(1, how.warm_up))
    sums: dict[str, float] = {}
    order = rows[torch.randperm(len(rows))]
    for part in order.tensor_split(max(1, round(len(rows) / how.batch))):
        heard = mute({name: cells.has[name][part] for name in cells.modalities}, how.muted)
        mean, var = net.infer(cells, part, heard)
        z = mean + var.sqrt() * torch.randn_like(mean)
        terms = {n: -x for n, x in log_likelihoods(net, cells, z, part, cells.modalities).items()}
        kl = net.prior.divergence(mean, var)
        weights_kl = net.divergence(how.batch_sd) / len(rows)
        loss = (sum(terms.values()) + weight * kl).mean() + weight * weights_kl
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss became {loss.item()} in epoch {epoch + 1}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen = {"train": loss, "kl": kl.mean(), "kl_weights": weights_kl}
        for name, value in (seen | {n: x.mean() for n, x in terms.items()}).items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(part) / len(rows)
    return sums


def fit(
    net: MosaicVAE,
    cells: Cells,
    how: Schedule,
    state: Path | None = None,
    resume: bool = False,
    built: Mapping[str, Any] | None = None,
) -> Progress:
    """Train in place; `net` ends with the weights of its best epoch.

    With `state`, a checkpoint is written there; with `resume`, training goes on from it, and ends
    where it would have without the interruption. `built` are the parameters that the network is
    built from; the checkpoint keeps them. Raises `ContractError` for a checkpoint of another
    network or schedule, FloatingPointError where the loss is no longer a number.
    """
    inside, out = split(cells, how.held_out, how.seed)
    experts = list(net.experts.parameters())
    others = [p for name, p in net.named_parameters() if not name.startswith("experts.")]
    optimiser = torch.optim.Adam(
        [{"params": experts, "lr": how.expert_rate}, {"params": others, "lr": how.rate}]
    )
    kept = dict(built or {}) | fixed(how)
    progress = load(state, net, optimiser, kept) if resume else Progress()
    if resume:
        print(f"going on after epoch {progress.epochs}", file=sys.stderr)
    device = cells.batch.device
    inside, out = inside.to(device), out.to(device)
    for epoch in range(progress.epochs, how.epochs):
        since = epoch - 1 - max(progress.best, how.warm_up)
        if since >= how.patience:
            break
        if since > 0 and since % max(1, how.patience // 3) == 0:
            for group in optimiser.param_groups:
                group["lr"] /= 2
        seen = train_epoch(net, cells, inside, optimiser, how, epoch)
        score = assess(net, cells, out)
        if not np.isfinite(score):
            raise FloatingPointError(f"the held-out loss became {score} in epoch {epoch + 1}")
        progress.add(held_out=score, rate=optimiser.param_groups[1]["lr"], **seen)
        if progress.best < 0 or score < progress.history["held_out"][progress.best]:
            progress.best, progress.weights = epoch, copy.deepcopy(net.state_dict())
        if epoch in (0, how.epochs - 1) or (epoch + 1) % SAY_EVERY == 0:
            losses = f"loss {seen['train']:.6g}, of held-out cells {score:.6g}"
            print(f"epoch {epoch + 1}/{how.epochs}: {losses}", file=sys.stderr)
        if state and (epoch + 1) % how.save_every == 0:
            save(state, net, optimiser, progress, kept)
    if state:
        save(state, net, optimiser, progress, kept)
    net.load_state_dict(progress.weights)
    return progress


def best_start(
    begun: Callable[[int], MosaicVAE], cells: Cells, how: Schedule
) -> tuple[int, list[float]]:
    """Which start has the lowest loss of held-out cells after a few epochs; the losses of all."""
    brief, losses = replace(how, epochs=min(how.epochs, how.start_epochs)), []
    for start in range(how.starts):
        progress = fit(begun(start), cells, brief)
        losses.append(min(progress.history["held_out"]))
        print(
            f"start {start + 1}/{how.starts}: of held-out cells {losses[-1]:.6g}", file=sys.stderr
        )
    return int(np.argmin(losses)), losses


def listed(parameters: Mapping[str, Any], names: Sequence[str]) -> str:
    """Some of the parameters as they are given: "latent=12, width=32"."""
    return ", ".join(f"{name}={parameters[name]}" for name in names)


def fixed(how: Schedule) -> dict[str, Any]:
    """What of a schedule a training that goes on must have kept: rates come back with the
    optimiser, and other cells held out would be some that were trained on."""
    return {name: value for name, value in vars(how).items() if name not in FREE}


def save(
    path: Path, net: MosaicVAE, optimiser: Any, progress: Progress, kept: Mapping[str, Any]
) -> None:
    """Write a checkpoint; a reader finds the old one or the new one, never half of one."""
    half = path.with_name(f".{path.name}.half")
    content = {
        "network": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        # Without a GPU in use there are none; asking would not start one.
        "random_gpu": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "progress": vars(progress),
        "parameters": dict(kept),
    }
    torch.save(content, half)
    half.replace(path)


def load(path: Path | None, net: MosaicVAE, optimiser: Any, kept: Mapping[str, Any]) -> Progress:
    """Go back to a checkpoint. `ContractError` when there is none, or it is of other parameters
    or data."""
    if path is None or not path.is_file():
        raise ContractError(f"there is no checkpoint {path} to resume from")
    # Written on a GPU, it may go on without one: what loads it moves it.
    content = torch.load(path, weights_only=True, map_location="cpu")
    theirs = content.get("parameters", {})
    if theirs.keys() != kept.keys():
        raise ContractError(
            f"{path} was written by another version of this model: train anew without --resume"
        )
    if other := [name for name in kept if theirs[name] != kept[name]]:
        raise ContractError(
            f"{path} was trained with {listed(theirs, other)}, and this run has "
            f"{listed(kept, other)}: resume with the same, or train anew without --resume"
        )
    net.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"])
    for number, state in enumerate(content["random_gpu"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, number)
    return Progress(**content["progress"])
