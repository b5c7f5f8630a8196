"""Training by sequences: AdamW with warm-up, clipping and early stopping; the best weights stay."""

import hashlib
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from checkpoints import Checkpoints
from network import Segmenter
from settings import Settings
from torch import nn
from tqdm import tqdm

from lacuna_contract.errors import ContractError
from lacuna_contract.sequences import Sequences

#: Positions that pass through the model at a time, whatever the size of a batch.
AT_ONCE = 1 << 16
WARM_UP = 100  # steps; no more than a tenth of all


class Diverged(ContractError):
    """A loss that is no number."""


def digest(data: Sequences) -> str:
    """Of the sequences and labels to learn from and to choose by."""
    total = hashlib.sha256(repr((data.classes, data.sequences.shape)).encode())
    for rows in (data.train, data.val):
        total.update(data.sequences[rows].tobytes() + data.labels[rows].tobytes())
    return total.hexdigest()


def optimiser(model: Segmenter, settings: Settings) -> torch.optim.AdamW:
    """AdamW; matrices of the encoder decay, scores of durations learn faster."""
    rest = [*model.encoder.parameters(), *model.emissions.parameters()]
    durations = [p for k, p in model.head.named_parameters() if k.startswith("duration_scores.")]
    scores = [p for k, p in model.head.named_parameters() if not k.startswith("duration_scores.")]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.dim() <= 1] + scores, "weight_decay": 0.0},
        {"params": durations, "weight_decay": 0.0},
    ]
    for group, scale in zip(groups, (1.0, 1.0, settings.duration_lr), strict=True):
        group["scale"] = scale
    return torch.optim.AdamW([g for g in groups if g["params"]], settings.lr, betas=(0.9, 0.98))


def rate(step: int, steps: int) -> float:
    """The learning rate of a step, 0, 1, ..., as a share of the highest."""
    warm = max(1, min(WARM_UP, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Trainer:
    """One training. `run` returns its history; the model then has the best weights."""

    def __init__(
        self,
        model: Segmenter,
        data: Sequences,
        checkpoints: Checkpoints,
        log_every: int = 10,
    ):
        self.model, self.data, self.checkpoints = model, data, checkpoints
        self.settings, self.log_every = model.settings, log_every
        self.optimiser = optimiser(model, self.settings)
        self.per_epoch = math.ceil(len(data.train) / self.settings.batch_size)
        self.steps = self.per_epoch * self.settings.epochs
        self.step = self.epoch = self.best_epoch = 0
        self.best = math.inf
        self.weights: dict[str, torch.Tensor] | None = None
        self.history: dict[str, list] = {"steps": [], "epochs": []}
        #: Seconds in the encoder and in the head, loss and gradient.
        self.seconds = {"encoder": 0.0, "head": 0.0}

    def run(self, resume: bool = False) -> dict[str, Any]:
        """Train until the last epoch, or until validation sequences no longer gain."""
        if not resume or not self._resume():
            self.checkpoints.forget()
            self.model.head.begin(torch.from_numpy(self.data.labels[self.data.train]).long())
        while self.epoch < self.settings.epochs and not self._patience_ended():
            began = time.perf_counter()
            train = self._train_epoch()
            self.epoch += 1
            val = self._validate()
            if val < self.best:
                self.best, self.best_epoch = val, self.epoch
                self.weights = {k: v.clone() for k, v in self.model.state_dict().items()}
                self.checkpoints.save("best", {"model": self.weights, "epoch": self.epoch})
            seconds = round(time.perf_counter() - began, 3)
            self.history["epochs"].append(
                {"epoch": self.epoch, "train": train, "val": val, "seconds": seconds}
            )
            self._save()
        self.model.load_state_dict(self.weights)
        head = self.seconds["head"] / max(1e-9, sum(self.seconds.values()))
        return self.history | {
            "best_epoch": self.best_epoch, "best_val": self.best, "head_share": round(head, 4),
        }  # fmt: skip

    def _patience_ended(self) -> bool:
        return self.epoch - self.best_epoch >= self.settings.patience

    def _train_epoch(self) -> float:
        """One pass over the training sequences in a random order: the mean loss."""
        self.model.train()
        rng = np.random.default_rng((self.settings.seed, self.epoch))
        order = rng.permutation(self.data.train)
        size = self.settings.batch_size
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        losses, name = [], self.checkpoints.name
        # disable=None: no bar where nobody watches, such as in a log file; lines instead.
        what = f"{name} {self.epoch + 1}/{self.settings.epochs}"
        with tqdm(batches, desc=what, disable=None, leave=False) as bar:
            for batch in bar:
                losses.append(self._train_step(batch))
                if self.step % self.log_every == 0:
                    recent = float(np.mean(losses[-self.log_every :]))
                    self.history["steps"].append([self.step, recent])
                    bar.set_postfix(loss=f"{recent:.4g}")
                    if bar.disable:
                        print(f"{what}: step {self.step}: loss {recent:.6g}", file=sys.stderr)
        return float(np.mean(losses))

    def _train_step(self, batch: np.ndarray) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * group["scale"] * rate(self.step, self.steps)
        self.step += 1
        self.optimiser.zero_grad()
        total = 0.0
        for rows in self._pieces(batch):
            total += self._gradient(rows, len(rows) / len(batch), batch)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        return total

    def _gradient(self, rows: np.ndarray, weight: float, batch: np.ndarray) -> float:
        """Add the gradient of some sequences of a batch; their weighted loss."""
        began = self._now()
        emissions = self.model(self.data.sequences[rows])
        middle = self._now()
        # The head's gradient first, for the emissions: its time is seen apart from the encoder's.
        given = emissions.detach().requires_grad_()
        self._finite(bool(given.isfinite().all()), batch)
        labels = self._labels(rows)
        loss = self.model.head.loss(given, labels) * weight
        self._finite(bool(loss.isfinite()), batch)
        (loss + self.settings.prior * weight * self.model.head.prior(labels)).backward()
        after = self._now()
        emissions.backward(given.grad)
        self.seconds["head"] += after - middle
        self.seconds["encoder"] += self._now() - after + middle - began
        return loss.item()

    def _labels(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.data.labels[rows]).long().to(self.model.device)

    def _finite(self, good: bool, batch: np.ndarray) -> None:
        if good:
            return
        kept = "no checkpoint has been written yet"
        if self.checkpoints.folder is not None and self.best_epoch:
            path = self.checkpoints.path("best")
            kept = f"the best weights so far, of epoch {self.best_epoch}, are kept in {path}"
        raise Diverged(
            f"the loss is not a finite number at step {self.step} (epoch {self.epoch + 1}, "
            f"sequences {', '.join(map(str, batch))}); {kept}. Try a lower --lr"
        )

    @torch.no_grad()
    def _validate(self) -> float:
        """The mean loss of the validation sequences."""
        self.model.eval()
        total, rows = 0.0, self.data.val
        for piece in self._pieces(rows):
            emissions = self.model(self.data.sequences[piece])
            loss = math.nan
            if emissions.isfinite().all():
                loss = self.model.head.loss(emissions, self._labels(piece))
            total += float(loss) * len(piece) / len(rows)
        self._finite(math.isfinite(total), rows)
        return total

    def _pieces(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        size = max(1, AT_ONCE // self.data.sequences.shape[1])
        return (rows[i : i + size] for i in range(0, len(rows), size))

    def _now(self) -> float:
        if self.model.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _save(self) -> None:
        numbers = {k: getattr(self, k) for k in ("step", "epoch", "best", "best_epoch")}
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        state |= {"history": self.history, "best_model": self.weights, "seconds": self.seconds}
        self.checkpoints.save("last", state | numbers | {"random": torch.get_rng_state()})

    def _resume(self) -> bool:
        """Take up what the last checkpoint holds. False where there is none."""
        found = self.checkpoints.load("last", self.model.device)
        if found is None:
            return False
        self.model.load_state_dict(found["model"])
        self.optimiser.load_state_dict(found["optimiser"])
        for name in ("step", "epoch", "best", "best_epoch", "history", "seconds"):
            setattr(self, name, found[name])
        self.weights = found["best_model"]
        torch.set_rng_state(found["random"].cpu())
        return True
