"""Triton kernels of triton.py. C is padded to CLASSES, a power of two; labels past C are -inf."""

import triton
import triton.language as tl


@triton.jit
def _row(tile, pick):
    """The row of a (N, C) tile where `pick` (N, 1) is true."""
    return tl.sum(tl.where(pick, tile, 0.0), 0)


@triton.jit
def _exp(x, SINGLE: tl.constexpr):
    """exp in the bulk precision, as float64."""
    if SINGLE:
        return tl.exp(x.to(tl.float32)).to(tl.float64)
    else:
        return tl.exp(x)


@triton.jit
def recurrence(
    emissions,  # (sides, B, T, C), as begin, finish and the float64 outputs before, inside, alpha
    transitions,  # (sides, C, C) as [from, to]
    durations_,  # (K, C)
    lengths,  # (B,) int64
    start,  # (sides, C)
    begin,
    finish,
    before,
    inside,
    alpha,
    B,
    T,
    C,
    K,
    HAS_BEGIN: tl.constexpr,
    HAS_FINISH: tl.constexpr,
    MAXIMUM: tl.constexpr,
    SINGLE: tl.constexpr,
    TARGETS: tl.constexpr,
    SOURCES: tl.constexpr,
    CLASSES: tl.constexpr,
):
    """before, inside and alpha of one sequence in one direction, with max for sum if MAXIMUM."""
    NEG: tl.constexpr = float("-inf")
    program = tl.program_id(0)
    side = program // B
    length = tl.load(lengths + program % B)
    base = program.to(tl.int64) * T * C
    c = tl.arange(0, CLASSES)
    real = c < C
    i = tl.arange(0, TARGETS)
    grid = i[:, None] * C + c[None, :]

    a_at = transitions + side * C * C + c[:, None] * C + c[None, :]
    a = tl.load(a_at, mask=real[:, None] & real[None, :], other=NEG).to(tl.float64)
    reach = tl.load(start + side * C + c, mask=real, other=NEG).to(tl.float64)
    passed = tl.zeros((CLASSES,), tl.float64)

    for t0 in range(0, length, TARGETS):
        here = ((t0 + i)[:, None] < length) & real[None, :]
        at = base + t0 * C + grid
        f = tl.load(emissions + at, mask=here, other=0.0).to(tl.float64)
        through = passed[None, :] + tl.cumsum(f, 0)
        until = through - f
        if HAS_BEGIN:
            first_score = tl.load(begin + at, mask=here, other=0.0).to(tl.float64)
        else:
            first_score = tl.zeros((TARGETS, CLASSES), tl.float64)
        if HAS_FINISH:
            last_score = tl.load(finish + at, mask=here, other=0.0).to(tl.float64)
        else:
            last_score = tl.zeros((TARGETS, CLASSES), tl.float64)

        # Sources of earlier blocks, nearest first, for all targets of this one together.
        top = tl.full((TARGETS, CLASSES), NEG, tl.float64)
        total = tl.zeros((TARGETS, CLASSES), tl.float64)
        span = tl.minimum(t0, K - 1)
        for back in range(0, span, SOURCES):
            s = t0 - back - 1 - tl.arange(0, SOURCES)
            source_at = base + s[:, None] * C + c[None, :]
            source_ok = (s[:, None] >= 0) & real[None, :]
            source = tl.load(before + source_at, mask=source_ok, other=NEG)
            lag = (t0 + i)[:, None] - s[None, :]  # d - 1
            w_at = durations_ + lag[:, :, None] * C + c[None, None, :]
            w_ok = (lag[:, :, None] < K) & real[None, None, :]
            w = tl.load(w_at, mask=w_ok, other=NEG).to(tl.float64)
            x = source[None, :, :] + w
            higher = tl.maximum(top, tl.max(x, 1))
            if not MAXIMUM:
                safe = tl.where(higher == NEG, 0.0, higher)
                total = total * _exp(top - safe, SINGLE)
                total += tl.sum(_exp(x - safe[:, None, :], SINGLE), 1)
            top = higher

        # This block, position after position.
        sources = tl.full((TARGETS, CLASSES), NEG, tl.float64)
        for n in range(0, tl.minimum(TARGETS, length - t0)):
            pick = (i == n)[:, None]
            new = reach + _row(first_score, pick) - _row(until, pick)
            sources = tl.where(pick, new[None, :], sources)
            lag = n - i
            near_ok = ((lag >= 0) & (lag < K))[:, None] & real[None, :]
            w = tl.load(durations_ + lag[:, None] * C + c[None, :], mask=near_ok, other=NEG)
            x = sources + w.to(tl.float64)
            far = tl.max(tl.where(pick, top, NEG), 0)
            higher = tl.maximum(far, tl.max(x, 0))
            if MAXIMUM:
                value = higher
            else:
                safe = tl.where(higher == NEG, 0.0, higher)
                weight = _row(total, pick) * _exp(far - safe, SINGLE)
                weight += tl.sum(_exp(x - safe[None, :], SINGLE), 0)
                value = tl.where(weight > 0, tl.log(tl.where(weight > 0, weight, 1.0)) + safe, NEG)
            ended = value + _row(through, pick) + _row(last_score, pick)
            row = base + (t0 + n) * C + c
            tl.store(before + row, new, mask=real)
            tl.store(inside + row, value, mask=real)
            tl.store(alpha + row, ended, mask=real)

            step = tl.where(real, ended, NEG)[:, None] + a
            reach = tl.max(step, 0)
            if not MAXIMUM:
                safe = tl.where(reach == NEG, 0.0, reach)
                weight = tl.sum(_exp(step - safe[None, :], SINGLE), 0)
                reach = tl.where(weight > 0, tl.log(tl.where(weight > 0, weight, 1.0)) + safe, NEG)
        passed += tl.sum(f, 0)
        # The next block reads `before` as other threads of this program have written it.
        tl.debug_barrier()


@triton.jit
def positions(begins, ends, out, lengths, T, C, TARGETS: tl.constexpr, CLASSES: tl.constexpr):
    """(B, T, C) running sum of begins up to t less ends before t, all float64."""
    b = tl.program_id(0)
    length = tl.load(lengths + b)
    c = tl.arange(0, CLASSES)
    i = tl.arange(0, TARGETS)
    held = tl.zeros((CLASSES,), tl.float64)
    for t0 in range(0, length, TARGETS):
        ok = ((t0 + i)[:, None] < length) & (c < C)[None, :]
        at = b.to(tl.int64) * T * C + (t0 + i)[:, None] * C + c[None, :]
        opened = tl.load(begins + at, mask=ok, other=0.0)
        closed = tl.load(ends + at, mask=ok, other=0.0)
        inside = held[None, :] + tl.cumsum(opened, 0) - (tl.cumsum(closed, 0) - closed)
        tl.store(out + at, inside, mask=ok)
        held += tl.sum(opened - closed, 0)


@triton.jit
def durations(
    before,  # (B, T, C) float64
    after,  # (B, T, C) float64, over Z
    scores,  # (K, C)
    out,  # (B, K, C)
    lengths,
    T,
    C,
    K,
    SINGLE: tl.constexpr,
    LAGS: tl.constexpr,
    SOURCES: tl.constexpr,
):
    """Expected number of segments of LAGS durations of one label in one sequence."""
    lag = tl.program_id(0) * LAGS + tl.arange(0, LAGS)  # d - 1
    c = tl.program_id(1)
    b = tl.program_id(2)
    length = tl.load(lengths + b)
    base = b.to(tl.int64) * T * C + c
    w = tl.load(scores + lag * C + c, mask=lag < K, other=float("-inf")).to(tl.float64)
    total = tl.zeros((LAGS,), tl.float64)
    for s0 in range(0, length - tl.program_id(0) * LAGS, SOURCES):
        s = s0 + tl.arange(0, SOURCES)
        left = tl.load(before + base + s * C, mask=s < length, other=float("-inf"))
        e = s[:, None] + lag[None, :]
        right = tl.load(after + base + e * C, mask=e < length, other=float("-inf"))
        total += tl.sum(_exp(left[:, None] + right + w[None, :], SINGLE), 0)
    tl.store(out + b.to(tl.int64) * K * C + lag * C + c, total, mask=lag < K)
