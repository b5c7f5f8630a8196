"""The heads, in which alone the four variants differ: emissions to a loss, and to a decoding.

A head has ``begin(labels)``, which sets its scores to what is frequent among training labels;
``loss(emissions, labels)``, a number per position; ``prior(labels)``, what training adds to it;
``decode(emissions)``, classes and the probabilities of boundaries; and ``durations()``, learned
log-probabilities. Emissions are (B, T, C) float32 and labels (B, T); None stands for what a head
does not know.
"""

import math

import numpy as np
import semicrf
import torch
from settings import Settings
from torch import Tensor, nn
from torch.nn import functional as F

KNOTS_PER_OCTAVE = 3
HEAVIEST = 5.0


class Softmax(nn.Module):
    """Each position by itself, with a bias for each class."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(settings.classes))

    @torch.no_grad()
    def begin(self, labels: Tensor) -> None:
        self.bias.copy_(log_share(torch.bincount(labels.flatten(), minlength=len(self.bias))))

    def loss(self, emissions: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy((emissions + self.bias).flatten(0, 1), labels.flatten())

    def prior(self, labels: Tensor) -> float:
        return 0.0

    def decode(self, emissions: Tensor) -> tuple[Tensor, None]:
        return (emissions + self.bias).argmax(-1), None

    def durations(self) -> None:
        return None


class Log(nn.Module):
    """Scores of the durations 1..K by class, normalised: straight lines between knots that are
    evenly spaced in the logarithm of the duration. They begin at 1 / duration, the same for every
    class, and are free to take any shape that is smooth on that scale."""

    def __init__(self, classes: int, longest: int):
        super().__init__()
        d = torch.arange(1, longest + 1).double()
        knots = 1 + math.ceil(KNOTS_PER_OCTAVE * math.log2(max(2, longest)))
        at = d.log() / max(math.log(longest), math.log(2)) * (knots - 1)
        left = at.floor().clamp(max=knots - 2)
        self.register_buffer("left", left.long(), persistent=False)
        self.register_buffer("share", (at - left).float()[:, None], persistent=False)
        start = -torch.linspace(0, math.log(max(2, longest)), knots)
        self.scores = nn.Parameter(start[:, None].repeat(1, classes))

    def forward(self) -> Tensor:
        """(K, C)"""
        low, high = self.scores[self.left], self.scores[self.left + 1]
        return F.log_softmax(low + (high - low) * self.share, 0)


class Uniform(nn.Module):
    """The same for every duration: nothing to learn."""

    def __init__(self, classes: int, longest: int):
        super().__init__()
        scores = torch.full((longest, classes), -math.log(longest))
        self.register_buffer("scores", scores, persistent=False)

    def forward(self) -> Tensor:
        return self.scores


class Chain(nn.Module):
    """What both kinds of CRF share: transitions, and how a backend is called.

    backend
        "streaming": the exact kernels of `semicrf`, on the device of the emissions; "reference":
        its definition in plain torch, for short sequences.
    triton
        False keeps it off the GPU: emissions are brought to the CPU, and gradients back.
    """

    def __init__(self, settings: Settings):
        super().__init__()
        classes, self.triton = settings.classes, settings.triton
        self.backend = {"streaming": "auto", "reference": "reference"}[settings.backend]
        self.transitions = nn.Parameter(torch.zeros(classes, classes))
        self.start = nn.Parameter(torch.zeros(classes))

    @torch.no_grad()
    def begin(self, labels: Tensor) -> None:
        counts, first = torch.zeros_like(self.transitions), torch.zeros_like(self.start)
        for segments in self.gold(labels):
            label = torch.tensor([c for _, _, c in segments])
            counts.index_put_((label[:-1], label[1:]), torch.ones(len(label) - 1), accumulate=True)
            first[label[0]] += 1
        self.transitions.copy_(log_share(counts))
        self.start.copy_(log_share(first))

    def bring(self, emissions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Emissions and scores where the backend wants them."""
        scores = self.scores()
        if emissions.is_cuda and not self.triton:
            emissions, scores = emissions.cpu(), {k: v.cpu() for k, v in scores.items()}
        return emissions, scores

    def loss(self, emissions: Tensor, labels: Tensor) -> Tensor:
        gold = self.gold(labels)
        emissions, scores = self.bring(emissions)
        found = semicrf.log_prob(gold, emissions, backend=self.backend, **scores)
        return -found.mean() / labels.shape[1]

    def prior(self, labels: Tensor) -> Tensor | float:
        return 0.0


class Linear(Chain):
    """A linear-chain CRF: segments of one position."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.register_buffer("unit", torch.zeros(1, settings.classes), persistent=False)

    def scores(self) -> dict[str, Tensor]:
        return {"transitions": self.transitions, "durations": self.unit, "start": self.start}

    def gold(self, labels: Tensor) -> list[list[tuple[int, int, int]]]:
        return [[(t, t + 1, c) for t, c in enumerate(row)] for row in labels.tolist()]

    def decode(self, emissions: Tensor) -> tuple[Tensor, Tensor]:
        emissions, scores = self.bring(emissions)
        with torch.no_grad():
            best = semicrf.viterbi(emissions, backend=self.backend, **scores).segments
            labels = [[c for _, _, c in row] for row in best]
            found = semicrf.marginals(emissions, backend=self.backend, **scores)
            # log P(t - 1 is a and t is b) up to a number per t. `before` and `after` leave out the
            # emissions up to where a segment begins or ends: put back, they cancel but for these.
            total = emissions.double().cumsum(1)[:, :-1]
            left, right = found.before[:, :-1] + total, found.after[:, 1:] - total
            pairs = left[..., None] + scores["transitions"].double() + right[:, :, None]
            pairs = pairs.flatten(2).softmax(-1).unflatten(2, (emissions.shape[2],) * 2)
            stays = pairs.diagonal(dim1=2, dim2=3).sum(-1)
        return torch.tensor(labels), F.pad((1 - stays).clamp(0, 1), (1, 0)).float()

    def durations(self) -> None:
        return None


class SemiMarkov(Chain):
    """A semi-Markov CRF, whose segments have a score for their duration.

    A segment longer than K is split from its left into pieces of K and a rest; where that happens
    in training (`split`), a class may follow itself, else it may not.
    """

    def __init__(self, settings: Settings, split: bool):
        super().__init__(settings)
        classes, self.longest = settings.classes, settings.max_duration
        self.split, self.learned = split, settings.head == "semicrf"
        self.duration_scores = (Log if self.learned else Uniform)(classes, self.longest)
        forbidden = torch.eye(classes, dtype=torch.bool) & (not split)
        self.register_buffer("forbidden", forbidden, persistent=False)

    def scores(self) -> dict[str, Tensor]:
        return {
            "transitions": self.transitions.masked_fill(self.forbidden, -math.inf),
            "durations": self.duration_scores(),
            "start": self.start,
        }

    def gold(self, labels: Tensor) -> list[list[tuple[int, int, int]]]:
        return [semicrf.split_segments(runs(row), self.longest) for row in labels]

    def prior(self, labels: Tensor) -> Tensor | float:
        """-log of the duration scores' probability of the complete segments, per position.

        The likelihood of classes given bases leaves durations undecided that never compete, and
        trades durations for emissions. This ties the scores to lengths that are seen whole. Longer
        ones are seen whole less often, in T - d - 1 places of a window, so they count for
        T / (T - d - 1) times, `HEAVIEST` at most.
        """
        if not self.learned:
            return 0.0
        length, found, weights = labels.shape[1], [], []
        for row in labels:
            for segment in runs(row)[1:-1]:
                pieces = semicrf.split_segments([segment], self.longest)
                found += [(e - s - 1, c) for s, e, c in pieces]
                places = length - (segment[1] - segment[0]) - 1
                weights += [min(HEAVIEST, length / places)] * len(pieces)
        if not found:
            return 0.0
        d, label = torch.tensor(found, device=labels.device).T
        weight = torch.tensor(weights, device=labels.device)
        return -(weight * self.duration_scores()[d, label]).sum() / labels.numel()

    def decode(self, emissions: Tensor) -> tuple[Tensor, Tensor]:
        emissions, scores = self.bring(emissions)
        with torch.no_grad():
            best = semicrf.viterbi(emissions, backend=self.backend, **scores).segments
            states = [np.repeat(*np.array([(c, e - s) for s, e, c in row]).T) for row in best]
            labels = torch.from_numpy(np.stack(states))
            found = semicrf.marginals(emissions, backend=self.backend, **scores)
            boundaries = found.boundaries
            if self.split:
                boundaries = boundaries - self._within(emissions, scores["transitions"], found)
        return labels, boundaries.clamp(0, 1)

    def _within(self, emissions: Tensor, transitions: Tensor, found: semicrf.Marginals) -> Tensor:
        """(B, T) probability that pieces of one class meet at a position: that is no boundary."""
        # All that ends before t with a segment of a: P(one ends there) over what lies right of it.
        right = found.after - emissions.double().cumsum(1)
        left = torch.where(found.ends > 0, found.ends.double().log() - right, -math.inf)[:, :-1]
        came = (left[..., None] + transitions.double()).softmax(2).nan_to_num(0)
        same = came.diagonal(dim1=2, dim2=3) * found.begins[:, 1:]
        return F.pad(same.sum(-1), (1, 0)).float()

    def durations(self) -> Tensor | None:
        return self.duration_scores().detach() if self.learned else None


def log_share(counts: Tensor) -> Tensor:
    """Logarithms of the shares of counts along the last axis, half a count added to each."""
    counts = counts + 0.5
    return (counts / counts.sum(-1, keepdim=True)).log()


def runs(row: Tensor) -> list[tuple[int, int, int]]:
    """Classes per position to (start, end, class) of each run."""
    values, sizes = torch.unique_consecutive(row, return_counts=True)
    ends = sizes.cumsum(0)
    return list(zip((ends - sizes).tolist(), ends.tolist(), values.tolist(), strict=True))


def longest_run(labels: np.ndarray) -> int:
    """The longest run of one class in any row."""
    return max(e - s for row in labels for s, e, _ in runs(torch.from_numpy(row)))


def make(settings: Settings, split: bool) -> nn.Module:
    """The head of some settings; `split` as in `SemiMarkov`."""
    if settings.head == "softmax":
        return Softmax(settings)
    return Linear(settings) if settings.head == "linear" else SemiMarkov(settings, split)
