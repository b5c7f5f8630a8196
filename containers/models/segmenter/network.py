"""Encoder, emissions and head as one module."""

import contextlib

import encoders
import features
import heads
import numpy as np
import torch
from settings import Settings
from torch import Tensor, nn


class Segmenter(nn.Module):
    """Base codes (B, T) to emissions (B, T, C) float32; `head` makes a loss or a decoding of them.

    `split` says whether some segment of the training sequences is longer than K.
    """

    def __init__(self, settings: Settings, split: bool, device: str = "cpu"):
        super().__init__()
        self.settings, self.device = settings, device
        width = settings.hidden_dim
        encoder = encoders.ENCODERS[settings.encoder]
        self.encoder = encoder(features.WIDTHS[settings.features], width, settings.num_layers)
        self.emissions = nn.Linear(width, settings.classes)
        # Training begins with the frequencies of labels, see `heads`, and little from the bases.
        nn.init.normal_(self.emissions.weight, std=0.1 * width**-0.5)
        nn.init.zeros_(self.emissions.bias)
        self.head = heads.make(settings, split)
        self.to(device)

    def forward(self, codes: np.ndarray) -> Tensor:
        x = features.encode(codes, self.settings.features, self.device)
        # bfloat16 has the exponents of float32, so gradients need no scaling.
        mixed = self.device == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if mixed else contextlib.nullcontext():
            found = self.emissions(self.encoder(x))
        return found.float()

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Classes (n, T) int8 and probabilities of boundaries (n, T) float32, row by row."""
        self.eval()
        found = [self.head.decode(self(row[None])) for row in codes]
        labels = np.concatenate([labels.cpu().numpy() for labels, _ in found]).astype(np.int8)
        if found[0][1] is None:
            return labels, None
        return labels, np.concatenate([boundaries.cpu().numpy() for _, boundaries in found])

    def durations(self) -> np.ndarray | None:
        """(K, C) learned log-probabilities."""
        found = self.head.durations()
        return None if found is None else found.cpu().numpy()
