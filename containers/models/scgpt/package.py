"""What is used of scGPT's package, which imports the stand-in as torchtext."""

import torchtext_standin  # noqa: F401

# isort: split
import scgpt
from scgpt.loss import masked_mse_loss
from scgpt.model import TransformerModel
from scgpt.preprocess import binning
from scgpt.tokenizer import GeneVocab, tokenize_and_pad_batch

__all__ = [
    "GeneVocab",
    "TransformerModel",
    "binning",
    "masked_mse_loss",
    "scgpt",
    "tokenize_and_pad_batch",
]
