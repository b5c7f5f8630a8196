"""Encoders: (B, T, features) to (B, T, width), every position with a view to both sides."""

import torch
from mamba2 import Mamba2, kernels
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lacuna_contract.sequences import BASES

STEM = 15  # positions that the first convolution of the cnn sees: a splice site
WORD = 5  # bases of the words that the cnn looks up: a codon and what is beside it
#: Layers are computed again in the backward pass above so many numbers per layer.
RECOMPUTE = 1 << 22


class Layer(nn.Module):
    """x + f(norm(x)). A large layer keeps its input alone for the backward pass, and is computed
    again there, which takes a third more time and changes no number; not so where its branches see
    to that themselves (`recompute`)."""

    def __init__(self, width: int, *branches: nn.Module, recompute: bool = True):
        super().__init__()
        self.recompute = recompute
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        for branch in self.branches:
            if self.recompute and torch.is_grad_enabled() and x.numel() > RECOMPUTE:
                x = x + checkpoint(self._run, branch, x, use_reentrant=False)
            else:
                x = x + self._run(branch, x)
        return x

    def _run(self, branch: nn.Module, x: Tensor) -> Tensor:
        return branch(self.norm(x))


class Convolution(nn.Conv1d):
    """A convolution along positions of (B, T, width), as long as its input. To torch it is one of
    pictures of one row, whose channels lie together: on a CPU that is faster than a `Conv1d`."""

    def __init__(self, features: int, width: int, taps: int, dilation: int = 1):
        super().__init__(features, width, taps, padding="same", dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        picture, weight = x.mT.unsqueeze(2), self.weight.unsqueeze(2)
        dilation = (1, *self.dilation)
        found = F.conv2d(picture, weight, self.bias, padding="same", dilation=dilation)
        return found.squeeze(2).mT


class Dilated(nn.Module):
    """A convolution of 9 taps, `dilation` positions apart, and a product per position."""

    def __init__(self, width: int, dilation: int, taps: int = 9):
        super().__init__()
        self.conv = Convolution(width, width, taps, dilation)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.conv(x)))


class Reversed(nn.Module):
    """A module that goes through positions from the other side."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.flip(1)).flip(1)


class Gated(nn.Module):
    """A Mamba block without its state space: a causal convolution of 4 taps and a gate."""

    def __init__(self, width: int, taps: int = 4):
        super().__init__()
        self.taps = taps
        self.in_proj = nn.Linear(width, 2 * width, bias=False)
        self.conv = nn.Conv1d(width, width, taps, groups=width)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, mixed = self.in_proj(x).chunk(2, -1)
        mixed = self.conv(F.pad(mixed.mT, (self.taps - 1, 0))).mT
        return self.out_proj(F.silu(mixed) * F.silu(gate))


class Stack(nn.Module):
    """A linear map of the features, then layers, then a norm."""

    def __init__(self, stem: nn.Module, layers: list[nn.Module], width: int):
        super().__init__()
        self.stem, self.layers = stem, nn.Sequential(*layers)
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.stem(x)))


class Stem(nn.Module):
    """A convolution over the features; where they are one-hot bases, a vector for the word of
    `WORD` bases around each position, too. What tells exons is how often codons are used: a
    convolution, which adds up bases, has no number for a codon, and many layers learn it slowly."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.conv = Convolution(features, width, STEM)
        self.words = None
        if features == len(BASES):
            self.words = nn.Embedding(len(BASES) ** WORD, width)
            nn.init.normal_(self.words.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        return found if self.words is None else found + self.words(words(x))


def words(onehot: Tensor) -> Tensor:
    """(B, T, bases) to (B, T) the number of the word around each position; N beyond the ends."""
    codes = F.pad(onehot.argmax(-1), (WORD // 2, WORD // 2), value=BASES.index("N"))
    places = len(BASES) ** torch.arange(WORD, device=codes.device)
    return codes.unfold(1, WORD, 1) @ places


class BiLSTM(nn.Module):
    """Layers of LSTMs in both directions, half of the width each."""

    def __init__(self, features: int, width: int, layers: int):
        super().__init__()
        self.lstm = nn.LSTM(features, width // 2, layers, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


def cnn(features: int, width: int, layers: int) -> nn.Module:
    """Dilations 1, 3, 9, 27, 81 and again: with 9 taps no position between them is left out, and
    from the second layer on what is added up is in one frame of codons."""
    blocks = [Layer(width, Dilated(width, 3 ** (i % 5))) for i in range(layers)]
    return Stack(Stem(features, width), blocks, width)


def mamba(features: int, width: int, layers: int) -> nn.Module:
    """Mamba-2 in both directions, one after the other, in each layer."""
    blocks = [
        Layer(width, Mamba2(width), Reversed(Mamba2(width)), recompute=False) for _ in range(layers)
    ]
    return Stack(nn.Linear(features, width), blocks, width)


def mamba_stub(features: int, width: int, layers: int) -> nn.Module:
    """The blocks of `mamba` without their memory, for quick trials: it sees 6 positions a layer."""
    blocks = [Layer(width, Gated(width), Reversed(Gated(width))) for _ in range(layers)]
    return Stack(nn.Linear(features, width), blocks, width)


ENCODERS = {"cnn": cnn, "mamba": mamba, "mamba_stub": mamba_stub, "bilstm": BiLSTM}


def check(encoder: str, device: str) -> None:
    """`ContractError` where an encoder lacks what it needs on a device."""
    if encoder == "mamba" and device == "cuda":
        kernels()
