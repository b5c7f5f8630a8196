"""What must hold of Mamba-2, the encoders and the features; test_segmenter.py runs it."""

import sys

import encoders
import features
import mamba2
import numpy as np
import shared
import torch
from shared import refused

from lacuna_contract.sequences import kmer_frequencies


def scans(length, dtype=torch.float64):
    torch.manual_seed(length)
    x, dt = torch.randn(2, length, 3, 4, dtype=dtype), torch.rand(2, length, 3, dtype=dtype)
    a = -16 * torch.rand(3, dtype=dtype)
    return [v.requires_grad_() for v in (x, dt, a, *torch.randn(2, 2, length, 5, dtype=dtype))]


def check_blocks_are_the_recurrence():
    for length in (1, 7, 64, 65, 200):
        given = scans(length)
        steps, blocks = mamba2.scan_in_steps(*given), mamba2.scan_in_blocks(*given)[0]
        assert torch.allclose(steps, blocks, atol=1e-9), (steps - blocks).abs().max()
        weight = torch.randn_like(steps)
        for one, other in zip(
            torch.autograd.grad((steps * weight).sum(), given),
            torch.autograd.grad((blocks * weight).sum(), given),
            strict=True,
        ):
            assert torch.allclose(one, other, atol=1e-8), (one - other).abs().max()


def check_strong_decay_does_not_overflow():
    x, dt, a, b, c = (v.detach().float() for v in scans(300))
    y, _ = mamba2.scan_in_blocks(x, 50 * dt, a, b, c)
    assert torch.allclose(y, mamba2.scan_in_steps(x, 50 * dt, a, b, c), rtol=1e-2, atol=1e-2)


def check_names_of_mamba_ssm():
    """Shapes as its Mamba2(d_model=32, d_state=64, headdim=64, ngroups=1) has them."""
    shapes = {k: tuple(v.shape) for k, v in mamba2.Mamba2(32).state_dict().items()}
    assert shapes == {
        "dt_bias": (1,), "A_log": (1,), "D": (1,), "in_proj.weight": (257, 32),
        "conv1d.weight": (192, 1, 4), "conv1d.bias": (192,), "norm.weight": (64,),
        "out_proj.weight": (32, 64),
    }, shapes  # fmt: skip


def check_mamba_without_its_kernels_on_a_gpu():
    assert "mamba_ssm" not in sys.modules
    refused(lambda: encoders.check("mamba", "cuda"), "mamba-ssm", "--encoder cnn", "pip")
    encoders.check("mamba", "cpu")
    encoders.check("cnn", "cuda")


def check_every_encoder_sees_both_sides():
    for name, encoder in encoders.ENCODERS.items():
        torch.manual_seed(0)
        built = encoder(5, 8, 2).eval()
        x = torch.randn(1, 40, 5)
        y = built(x)
        assert y.shape == (1, 40, 8), name
        other = x.clone()
        other[0, 20] += 1
        changed = (built(other) - y).abs().sum(-1)[0] > 0
        assert changed[:20].any(), name
        assert changed[21:].any(), name


def check_recomputing_changes_no_gradient():
    for name in ("cnn", "mamba"):
        torch.manual_seed(0)
        built = encoders.ENCODERS[name](5, 8, 2)
        x, found = torch.randn(1, 150, 5), []
        for limit in (1 << 30, 1):
            kept = encoders.RECOMPUTE, mamba2.PIECE
            encoders.RECOMPUTE, mamba2.PIECE = limit, 64 if limit == 1 else limit
            loss = built(x).square().sum()
            found.append(torch.autograd.grad(loss, list(built.parameters())))
            encoders.RECOMPUTE, mamba2.PIECE = kept
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True)), name


def check_features():
    codes = np.array([[0, 1, 2, 3, 4, 0]], np.uint8)
    hot = features.encode(codes, "onehot", "cpu")
    assert hot.argmax(-1).tolist() == codes.tolist()
    words = features.encode(np.repeat(codes, 30, 1), "kmer", "cpu")
    assert words.shape == (1, 180, features.WIDTHS["kmer"])
    assert torch.equal(words[0], torch.from_numpy(kmer_frequencies(np.repeat(codes[0], 30))))


def check_a_convolution_is_that_of_torch():
    torch.manual_seed(0)
    x = torch.randn(2, 60, 5, requires_grad=True)
    for dilation in (1, 3):
        made = encoders.Convolution(5, 7, 9, dilation)
        found = []
        for y in (made(x), torch.nn.Conv1d.forward(made, x.mT).mT):
            found.append((y, *torch.autograd.grad(y.square().sum(), [x, *made.parameters()])))
        for one, other in zip(*found, strict=True):
            assert torch.allclose(one, other, atol=1e-4), dilation


if __name__ == "__main__":
    shared.report(globals())
