"""What an encoder reads of sequences: numbers per position."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lacuna_contract.sequences import BASES, kmer_frequencies

#: By name, how many numbers there are per position.
WIDTHS = {"onehot": len(BASES), "kmer": 4**4}


def encode(codes: np.ndarray, name: str, device: str) -> Tensor:
    """(B, T) base codes to (B, T, width) float32."""
    if name == "kmer":
        return torch.from_numpy(np.stack([kmer_frequencies(row) for row in codes])).to(device)
    return F.one_hot(torch.from_numpy(codes).to(device).long(), len(BASES)).float()
