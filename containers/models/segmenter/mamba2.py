"""Mamba-2: a selective state space layer (Dao & Gu, ICML 2024, arXiv:2405.21060).

One set of weights, named as mamba-ssm names them, and two ways through them: on a GPU mamba-ssm's
kernels, on a CPU the block-matrix form of the same recurrence, `scan_in_blocks`. `scan_in_steps` is
the definition, and what tests hold the other against.
"""

import importlib
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lacuna_contract.errors import ContractError

BLOCK = 64
GPU_BLOCK = 256
#: Positions that a layer takes at a time on a CPU; a multiple of BLOCK.
PIECE = 2048


def scan_in_steps(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """y[t] = c[t] · h[t],  h[t] = exp(dt[t] a) h[t-1] + dt[t] b[t] x[t], one position at a time.

    x (B, T, H, P), dt (B, T, H) positive, a (H,) negative, b and c (B, T, N); returns (B, T, H, P).
    """
    state = x.new_zeros(*x.shape[0::2], x.shape[3], b.shape[2])  # (B, H, P, N)
    out = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * a)[..., None, None]
        inflow = (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, None, None, :]
        state = decay * state + inflow
        out.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]))
    return torch.stack(out, 1)


def scan_in_blocks(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same as `scan_in_steps`, as products of matrices within and between blocks: y, and the
    state (B, H, P, N) at the end. `state` is the one at the start, 0 where None.

    Within a block, y = (L * (c bᵀ)) (dt x) with L[i, j] = exp(sum of dt a over j+1..i) for j <= i;
    the blocks before it enter through the state at its start.
    """
    batch, length, heads, width = x.shape
    missing = -length % BLOCK
    # A dt of 0 keeps the state and adds nothing to it.
    x, dt, b, c = (
        F.pad(v, (0, 0) * (v.dim() - 2) + (0, missing)).unflatten(1, (-1, BLOCK))
        for v in (x, dt, b, c)
    )
    inflow = (x * dt[..., None]).transpose(2, 3)  # (B, blocks, H, Q, P)
    total = (dt * a).transpose(2, 3).cumsum(-1)  # (B, blocks, H, Q)
    steps = total[..., :, None] - total[..., None, :]
    later = torch.ones(BLOCK, BLOCK, dtype=torch.bool, device=x.device).triu(1)
    within = steps.masked_fill(later, -math.inf).exp()
    within = within * (c @ b.mT)[:, :, None]
    y = within @ inflow

    to_end = (total[..., -1:] - total).exp()
    gained = (inflow * to_end[..., None]).mT @ b[:, :, None]  # (B, blocks, H, P, N)
    kept = total[..., -1].exp()[..., None, None]
    state = torch.zeros_like(gained[:, 0]) if state is None else state
    states = []
    for decay, inside in zip(kept.unbind(1), gained.unbind(1), strict=True):
        states.append(state)
        state = decay * state + inside
    carried = c[:, :, None] @ torch.stack(states, 1).mT  # (B, blocks, H, Q, P)
    y = y + total.exp()[..., None] * carried
    return y.transpose(2, 3).reshape(batch, -1, heads, width)[:, :length], state


def scan_on_gpu(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The same by mamba-ssm's Triton kernels."""
    scan = kernels().mamba_chunk_scan_combined
    return scan(x, dt.to(x.dtype), a, b[:, :, None], c[:, :, None], chunk_size=GPU_BLOCK)


def kernels():
    """mamba-ssm's module of kernels; `ContractError` where it is not installed."""
    try:
        return importlib.import_module("mamba_ssm.ops.triton.ssd_combined")
    except ImportError as error:
        raise ContractError(
            f"the encoder 'mamba' on a GPU needs mamba-ssm, which cannot be imported here "
            f"({error}). Take --encoder cnn, mamba_stub or bilstm, or --device cpu; or install it "
            "into this environment: MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE uv pip "
            "install --no-build-isolation --no-deps mamba-ssm==2.3.2.post1 einops transformers"
        ) from None


class Mamba2(nn.Module):
    """One direction of a layer: (B, T, width) to the same shape.

    Parameters have the names, shapes and initial values of ``mamba_ssm.modules.mamba2.Mamba2`` with
    ngroups=1, so that weights can be carried over.
    """

    def __init__(self, width: int, d_state: int = 64, d_conv: int = 4, expand: int = 2):
        super().__init__()
        self.inner, self.d_state = expand * width, d_state
        self.headdim = math.gcd(64, self.inner)
        self.heads = self.inner // self.headdim
        channels = self.inner + 2 * d_state
        self.in_proj = nn.Linear(width, self.inner + channels + self.heads, bias=False)
        self.conv1d = nn.Conv1d(channels, channels, d_conv, groups=channels, padding=d_conv - 1)
        low, high = math.log(1e-3), math.log(1e-1)
        dt = torch.exp(low + (high - low) * torch.rand(self.heads)).clamp(min=1e-4)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.RMSNorm(self.inner, eps=1e-5)
        self.out_proj = nn.Linear(self.inner, width, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        if u.is_cuda:
            return self._piece(u, None, None)[0]
        # A long sequence goes through in pieces, each computed again in the backward pass: memory
        # is that of one piece, and of what passes from each to the next.
        found, before, state = [], None, None
        for piece in u.split(PIECE, 1):
            if torch.is_grad_enabled() and u.shape[1] > PIECE:
                done = checkpoint(self._piece, piece, before, state, use_reentrant=False)
            else:
                done = self._piece(piece, before, state)
            out, before, state = done
            found.append(out)
        return torch.cat(found, 1)

    def _piece(
        self, u: Tensor, before: Tensor | None, state: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The output of some positions; their last ones before the convolution, and the state at
        their end, which are `before` and `state` to the next."""
        parts = [self.inner, self.inner + 2 * self.d_state, self.heads]
        gate, mixed, dt = self.in_proj(u).split(parts, -1)
        taps = self.conv1d.kernel_size[0]
        mixed = (
            F.pad(mixed, (0, 0, taps - 1, 0)) if before is None else torch.cat([before, mixed], 1)
        )
        before = mixed[:, 1 - taps :].clone()  # a view would keep all of it
        mixed = F.conv1d(mixed.mT, self.conv1d.weight, self.conv1d.bias, groups=mixed.shape[-1])
        x, b, c = F.silu(mixed.mT).split([self.inner, self.d_state, self.d_state], -1)
        x = x.unflatten(-1, (self.heads, self.headdim))
        dt = F.softplus(dt.float() + self.dt_bias)
        a = -self.A_log.float().exp()
        if u.is_cuda:
            y = scan_on_gpu(x, dt, a, b, c)
        else:
            y, state = scan_in_blocks(x, dt, a, b, c, state)
        y = y + self.D[:, None] * x
        return self.out_proj(self.norm(y.flatten(2) * F.silu(gate))), before, state
