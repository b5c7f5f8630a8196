"""scGPT's networks: built from a published checkpoint, or new ones of the same architecture.

A checkpoint is a folder of args.json (the sizes), vocab.json (token: number) and best_model.pt (the
weights). Nothing of it is loaded in silence: a weight that is missing, has another shape or has no
place is an error.
"""

import json
import pickle
from dataclasses import dataclass

import torch
from package import GeneVocab, TransformerModel

from lacuna_contract import ContractError

SPECIALS = ("<pad>", "<cls>", "<eoc>")
# What a prediction of masked values goes through. FlashAttention is another way to compute the same
# attention; its layers call the same weights Wqkv that PyTorch's call in_proj.
NEEDED = ("encoder.", "value_encoder.", "transformer_encoder.", "decoder.")
SPELLINGS = ("self_attn.Wqkv.", "self_attn.in_proj_")
# Heads for other tasks, which published checkpoints have, too.
OTHER_HEADS = ("cls_decoder.", "mvc_decoder.", "flag_encoder.", "grad_reverse_discriminator.")


@dataclass(frozen=True)
class Sizes:
    """Those fields of args.json that a prediction depends on, under their published names."""

    embsize: int
    nheads: int
    d_hid: int
    nlayers: int
    n_layers_cls: int = 3
    dropout: float = 0.0
    n_bins: int = 51
    pad_token: str = "<pad>"
    pad_value: int = -2
    mask_value: int = -1
    max_seq_len: int = 1200
    input_emb_style: str = "continuous"
    include_zero_gene: bool = False
    explicit_zero_prob: bool = False


def network(sizes, vocab):
    """A new network of these sizes, with PyTorch's own attention."""
    return TransformerModel(
        len(vocab), sizes.embsize, sizes.nheads, sizes.d_hid, sizes.nlayers,
        nlayers_cls=sizes.n_layers_cls, n_cls=1, vocab=vocab, dropout=sizes.dropout,
        pad_token=sizes.pad_token, pad_value=sizes.pad_value, n_input_bins=sizes.n_bins,
        input_emb_style=sizes.input_emb_style, explicit_zero_prob=sizes.explicit_zero_prob,
        use_fast_transformer=False,
    )  # fmt: skip


def read(folder):
    """The network of a checkpoint, its vocabulary, its sizes, and how many weights were loaded.

    `ContractError` for what is no such checkpoint.
    """
    sizes = _sizes(_json(folder / "args.json"))
    vocab = _vocabulary(folder / "vocab.json")
    if sizes.pad_token not in vocab:
        raise ContractError(f"args.json has the padding '{sizes.pad_token}', vocab.json has not")
    made = network(sizes, vocab)
    return made, vocab, sizes, _load(made, _weights(folder / "best_model.pt"))


def _json(path):
    try:
        found = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ContractError(f"the checkpoint's {path.name} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ContractError(f"the checkpoint's {path.name} holds {found!r:.60}; expected an object")
    return found


def _sizes(args):
    fields = Sizes.__dataclass_fields__
    missing = [name for name in ("embsize", "nheads", "d_hid", "nlayers") if name not in args]
    if missing:
        there = ", ".join(sorted(args)) or "nothing"
        raise ContractError(
            f"the checkpoint's args.json lacks {', '.join(missing)}; there are: {there}"
        )
    if args.get("input_style", "binned") != "binned":
        raise ContractError(
            f"the checkpoint was trained on '{args['input_style']}' values; expected 'binned'"
        )
    return Sizes(**{name: args[name] for name in fields if name in args})


def _vocabulary(path):
    tokens = _json(path)
    if sorted(tokens.values(), key=str) != sorted(range(len(tokens)), key=str):
        raise ContractError(
            "the checkpoint's vocab.json does not number its tokens from 0 without gaps"
        )
    return with_specials(GeneVocab.from_file(path))


def with_specials(vocab):
    """A vocabulary with scGPT's special tokens appended, where it has not got them."""
    for token in SPECIALS:
        if token not in vocab:
            vocab.append_token(token)
    vocab.set_default_index(vocab["<pad>"])
    return vocab


def _weights(path):
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        lines = str(error).strip().splitlines()
        # PyTorch's text starts with advice on how to run the code after all.
        why = next((line for line in lines if "WeightsUnpickler" in line), lines[-1]).strip()
        raise ContractError(
            f"the checkpoint's {path.name} is no file of weights alone, and is not run: {why}"
        ) from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        why = (str(error).strip().splitlines() or ["it ends too early"])[0]
        raise ContractError(
            f"the checkpoint's {path.name} is damaged or no file of weights: {why}"
        ) from None
    if not isinstance(found, dict) or not all(torch.is_tensor(w) for w in found.values()):
        raise ContractError(f"the checkpoint's {path.name} is no table of weights by name")
    return {name.replace(*SPELLINGS): weight for name, weight in found.items()}


def _load(made, weights):
    """Put weights into a network; says how many, and which were left out."""
    own = {name: w for name, w in made.state_dict().items() if name.startswith(NEEDED)}
    missing = [name for name in own if name not in weights]
    other = [n for n in own if n in weights and weights[n].shape != own[n].shape]
    unused = [name for name in weights if name.startswith(OTHER_HEADS)]
    strange = [name for name in weights if name not in own and name not in unused]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(own)} weights are missing, such as {missing[0]}")
    if other:
        name = other[0]
        problems.append(
            f"{len(other)} have another shape, such as {name}: {tuple(weights[name].shape)}, "
            f"expected {tuple(own[name].shape)} by args.json and vocab.json"
        )
    if strange:
        problems.append(f"{len(strange)} have no place in this network, such as {strange[0]}")
    if problems:
        raise ContractError(f"the checkpoint does not fit: {'; '.join(problems)}")
    made.load_state_dict({name: weights[name] for name in own}, strict=False)
    return {"weights_loaded": len(own), "weights_of_other_heads": len(unused)}
