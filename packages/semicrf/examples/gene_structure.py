"""Segment a synthetic chromosome into intergenic, exon and intron, with durations that matter.

    python examples/gene_structure.py

A convolutional encoder sees noisy per-base evidence; splice-site signals go into begin and finish,
scores of segment borders. A linear-chain CRF on an encoder of the same kind is the comparison: it
has neither borders nor durations to score. Takes about half a minute on two cores.
"""

import torch
from torch import nn

import semicrf

NAMES = ("intergenic", "exon", "intron")
LENGTH, LONGEST = 2000, 800
MEAN = (400.0, 60.0, 150.0)


def chromosome(generator: torch.Generator) -> tuple[torch.Tensor, list[tuple[int, int, int]]]:
    """(T, 5) features and the true segmentation: intergenic, then exon (intron exon)*, again."""

    def duration(label: int) -> int:
        # Gamma-like: a sum of three exponentials, so that very short segments are rare.
        draws = -torch.rand(3, generator=generator).clamp(min=1e-6).log()
        return int((draws.mean() * MEAN[label]).clamp(2, LONGEST))

    segments, at, label = [], 0, 0
    while at < LENGTH:
        end = min(at + duration(label), LENGTH)
        segments.append((at, end, label))
        more = torch.rand(1, generator=generator).item() < 0.7
        label = {0: 1, 1: 2 if more else 0, 2: 1}[label]
        at = end
    x = torch.randn(LENGTH, 5, generator=generator)
    for start, end, label in segments:
        x[start:end, label] += 0.4
        x[start, 3] += 2.0  # acceptor-like signal at a border
        x[end - 1, 4] += 2.0  # donor-like
    return x, segments


class Annotator(nn.Module):
    """Encoder and Semi-CRF; `scores` are emissions, begin and finish, each (B, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(5, 3 * len(NAMES), 9, padding=4)
        self.crf = semicrf.SemiCRF(
            len(NAMES),
            LONGEST,
            durations="negative_binomial",
            mean_duration=[100.0] * len(NAMES),
            self_transitions=False,
        )

    def scores(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        emissions, begin, finish = self.encoder(x.mT).mT.chunk(3, -1)
        return {"emissions": emissions, "begin": begin, "finish": finish}


def boundary_f1(decoded, truth) -> float:
    """F1 of exactly placed (position, label on the right) borders."""
    found = {(b, s, c) for b, row in enumerate(decoded) for s, _, c in row if s > 0}
    true = {(b, s, c) for b, row in enumerate(truth) for s, _, c in row if s > 0}
    return 2 * len(found & true) / max(1, len(found) + len(true))


def labels_of(truth) -> torch.Tensor:
    rows = [[c for s, e, c in row for _ in range(s, e)] for row in truth]
    return torch.tensor(rows)


def main() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train = [chromosome(generator) for _ in range(16)]
    test = [chromosome(generator) for _ in range(8)]
    x, truth = torch.stack([x for x, _ in train]), [s for _, s in train]
    held, held_truth = torch.stack([x for x, _ in test]), [s for _, s in test]

    model = Annotator()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(40):
        optimiser.zero_grad()
        loss = model.crf(segments=truth, **model.scores(x))
        loss.backward()
        optimiser.step()
        if step % 20 == 0 or step == 39:
            print(f"step {step:3}: negative log-likelihood {loss.item():9.1f}")

    linear, encoder = semicrf.LinearCRF(len(NAMES)), nn.Conv1d(5, len(NAMES), 9, padding=4)
    parameters = [*linear.parameters(), *encoder.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.03)
    for _ in range(40):
        optimiser.zero_grad()
        linear(encoder(x.mT).mT, labels_of(truth)).backward()
        optimiser.step()

    with torch.no_grad():
        decoded = model.crf.decode(**model.scores(held))
        chains = linear.decode(encoder(held.mT).mT)
    chains = [semicrf.merge_segments([(t, t + 1, c) for t, c in enumerate(row)]) for row in chains]
    print(f"exact boundary F1: Semi-CRF {boundary_f1(decoded, held_truth):.2f}, ", end="")
    print(f"linear chain {boundary_f1(chains, held_truth):.2f}")
    print("expected durations on held-out sequences, posterior and true:")
    with torch.no_grad():
        posterior = model.crf.marginals(**model.scores(held))
    counts = posterior.begins.sum((0, 1))
    for c, name in enumerate(NAMES):
        true = [e - s for row in held_truth for s, e, label in row if label == c]
        expected = posterior.positions[..., c].sum() / counts[c]
        print(f"  {name:<10} {expected.item():6.1f} {sum(true) / len(true):6.1f}")


if __name__ == "__main__":
    main()
