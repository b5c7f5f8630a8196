"""How sure is a segmentation? Posteriors, samples and entropy of one sequence.

    python examples/posteriors.py

A signal whose level changes a few times, a Semi-CRF with a minimum duration and no training: what
the best segmentation hides, the posterior shows.
"""

import math

import torch

import semicrf

LEVELS = torch.tensor([0.0, 1.0, 2.0])
SHORTEST, LONGEST = 5, 60


def main() -> None:
    g = torch.Generator().manual_seed(4)
    truth = [(0, 40, 0), (40, 70, 1), (70, 78, 2), (78, 120, 0)]
    signal = torch.cat([LEVELS[c].repeat(e - s) for s, e, c in truth])
    signal = signal + 0.8 * torch.randn(len(signal), generator=g)

    # Log density of the signal under each level: emissions need no training here.
    scores = {
        "emissions": -0.5 * ((signal[None, :, None] - LEVELS) / 0.8) ** 2,
        "transitions": torch.full((3, 3), -math.log(2)).fill_diagonal_(-math.inf),
        "durations": torch.zeros(LONGEST, 3) - math.log(LONGEST),
    }
    scores["durations"][: SHORTEST - 1] = -math.inf

    best = semicrf.viterbi(**scores)
    posterior = semicrf.marginals(**scores)
    log_prob = semicrf.log_prob(best.segments, **scores)
    entropy = semicrf.entropy(**scores)
    print("true:", truth)
    print("best:", best.segments[0])
    print(f"its probability: {log_prob.exp().item():.4f}; entropy: {entropy.item():.2f} nats")

    print("segment posteriors:")
    for segment, p in zip(best.segments[0], posterior.segments(best.segments)[0], strict=True):
        print(f"  {segment}: {p.item():.3f}")

    print("where a segment may begin (posterior over 0.15):")
    for t in (posterior.boundaries[0] > 0.15).nonzero().flatten().tolist():
        print(f"  {t:3}: {posterior.boundaries[0, t].item():.3f}")

    draws = semicrf.sample(**scores, count=1000, generator=torch.Generator().manual_seed(0))[0]
    counts = torch.tensor([len(d) for d in draws], dtype=torch.float64)
    print(f"number of segments: {counts.mean():.2f} +- {counts.std():.2f} over 1,000 samples,")
    print(f"  {posterior.begins.sum().item():.2f} expected exactly")
    means = ", ".join(f"{x:.1f}" for x in posterior.expected_durations[0].tolist())
    print(f"expected duration per level: {means}")


if __name__ == "__main__":
    main()
