import logging
import warnings
from pathlib import Path

import bins
import numpy as np
import published
import torch
from genes import SAMPLE, components, scales
from package import GeneVocab, binning, masked_mse_loss, scgpt, tokenize_and_pad_batch

from lacuna_contract import NotApplicable, model
from lacuna_contract.held_out import hold_out

logging.getLogger("scGPT").setLevel(logging.ERROR)
# PyTorch's path for inference holds all attention weights at once, and takes ten times as long.
torch.backends.mha.set_fastpath_enabled(False)
warnings.filterwarnings("ignore", message=".*nested tensor.*")
VOCABULARY = Path(scgpt.__file__).parent / "tokenizer/default_census_vocab.json"
HUMAN = ("human", "homo sapiens", "h. sapiens", "hs", "9606")
CLIP = 10.0  # of the gradient's norm: losses are squares of bins, up to 50 each
WARM_UP = 20
TOKENS = 20_000  # that go through a network at once
SCORED = 200  # cells whose held-out entries choose the weights


def match(names, vocab):
    """(genes,) token of each gene, -1 for one that the vocabulary lacks or has given away.

    `names` are one or more lists, such as symbols and Ensembl ids, tried in this order.
    """
    tokens, taken = [], set()
    for aliases in zip(*names, strict=True):
        token = next((vocab[name] for name in aliases if name in vocab), -1)
        tokens.append(-1 if token in taken else token)
        taken.add(token)
    return np.array(tokens)


class Cells:
    """Cells as scGPT sees them: tokens of genes, and binned counts."""

    def __init__(self, counts, hidden, tokens, vocab, sizes):
        self.counts, self.hidden, self.tokens = counts, hidden, tokens
        self.vocab, self.sizes = vocab, sizes
        self.known = np.flatnonzero(tokens >= 0)
        self.column = np.full(len(vocab), -1)
        self.column[tokens[self.known]] = self.known

    def dense(self, rows):
        """Visible counts, their bins and what is hidden, (rows, genes) each."""
        counts = self.counts[rows].toarray()
        # It draws from NumPy's global generator.
        binned = np.stack([binning(row, self.sizes.n_bins) for row in counts]).astype(np.int64)
        return counts, binned, self.hidden[rows].toarray() > 0

    def tokenise(self, values, genes, zeros):
        """Token numbers, values and padding, (cells, tokens) tensors, of some genes."""
        sizes = self.sizes
        batch = tokenize_and_pad_batch(
            values[:, genes], self.tokens[genes], max_len=len(genes) + 1, vocab=self.vocab,
            pad_token=sizes.pad_token, pad_value=sizes.pad_value, include_zero_gene=zeros,
        )  # fmt: skip
        return batch["genes"], batch["values"], batch["genes"] == self.vocab[sizes.pad_token]

    def spread(self, rng):
        """Each gene's distribution over bins, in a sample of cells."""
        found = bins.Spread(self.counts.shape[1], self.sizes.n_bins)
        sample = np.sort(rng.permutation(self.counts.shape[0])[:SAMPLE])
        for rows in np.array_split(sample, 1 + len(sample) // 500):
            _, binned, dark = self.dense(rows)
            found.add(binned, ~dark)
        return found.shares()


class Predictor:
    """A network, and how its bins become counts."""

    def __init__(self, network, cells, shares, context, zeros, device):
        self.network, self.cells, self.inverse = network, cells, bins.Inverse(shares)
        self.context, self.zeros, self.device = context, zeros, device

    def forward(self, genes, values, padding):
        """(cells, tokens) predicted bins."""
        # PyTorch's attention is slower with a mask, of which nothing is set most often.
        mask = padding.to(self.device) if padding.any() else None
        found = self.network(genes.to(self.device), values.to(self.device), mask)
        if self.cells.sizes.explicit_zero_prob:
            return found["mlm_output"] * found["mlm_zero_probs"]
        return found["mlm_output"]

    @torch.inference_mode()
    def mean_bins(self, binned, masked, rng):
        """(cells, genes) predicted bins of the entries that are True in `masked`, NaN elsewhere.

        A cell's genes are dealt at random into as few batches as its context has room for, and each
        entry is predicted from the batch that it is in.
        """
        self.network.eval()
        values = np.where(masked, self.cells.sizes.mask_value, binned).astype(np.float32)
        found = np.full(values.shape, np.nan)
        known = self.cells.known
        parts = -(-len(known) // (self.context - 1))
        for genes in np.array_split(rng.permutation(known), parts):
            tokens, given, padding = self.cells.tokenise(values, genes, self.zeros)
            output = self.forward(tokens, given, padding).float().cpu().numpy()
            row, at = np.nonzero((given == self.cells.sizes.mask_value).numpy())
            found[row, self.cells.column[tokens[row, at]]] = output[row, at]
        self.network.train()
        return found

    def expected(self, rows, wanted, rng):
        """Expected counts of the entries of `wanted`, a CSR matrix of the cells `rows`, in CSR
        order; NaN for genes without a token and for cells without a visible count."""
        counts, binned, dark = self.cells.dense(rows)
        means = self.mean_bins(binned, dark, rng)
        if not self.zeros:
            # This network knows genes that are expressed: so often a gene is.
            means *= 1 - self.inverse.shares[:, 0]
        values = bins.stands_for(counts, binned, ~dark, self.cells.sizes.n_bins)
        row = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
        means = means[row, wanted.indices]
        found = np.full(wanted.nnz, np.nan)
        mine = ~np.isnan(means) & (counts.sum(axis=1)[row] > 0)
        found[mine] = self.inverse(means[mine], wanted.indices[mine], values[row[mine]])
        return found

    def everything(self, wanted, floor, seed):
        """Expected counts of all entries of `wanted`; those without one get `floor`'s."""
        rng, found = np.random.default_rng(seed), []
        size = max(1, TOKENS // self.context)
        for first in range(0, wanted.shape[0], size):
            rows = np.arange(first, min(first + size, wanted.shape[0]))
            found.append(self.expected(rows, wanted[rows], rng))
        found = np.concatenate(found)
        missing = np.isnan(found)
        found[missing] = floor[missing]
        return found, int(missing.sum())


def train(predictor, score, *, steps, every, patience, rate, batch, mask, rng):
    """Fit a network to the visible values of cells: a share of them, drawn anew for each cell from
    the range `mask`, is masked and predicted.

    `score()` is asked every so many steps for a figure that is less for a better network; the best
    weights stay. With a `patience`, the fit ends when that many scores in a row were no better, and
    its rate is constant; without, it has `steps` steps, and its rate falls to 0 as a cosine.

    Returns the figures by step, and the step of the best.
    """
    network, cells = predictor.network, predictor.cells
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0)
    warm = min(WARM_UP, steps)

    def share(step):
        fall = 1 if patience else 0.5 + 0.5 * np.cos(np.pi * step / steps)
        return min((step + 1) / warm, fall)

    plan = torch.optim.lr_scheduler.LambdaLR(optimiser, share)

    def copy():
        return {name: weight.clone() for name, weight in network.state_dict().items()}

    many, scores, best, weights = cells.counts.shape[0], {0: score()}, 0, copy()
    since = 0  # scores since the best
    network.train()
    waiting = np.empty(0, dtype=int)
    for step in range(1, steps + 1):
        if len(waiting) < min(batch, many):
            waiting = rng.permutation(many)
        rows, waiting = waiting[:batch], waiting[batch:]
        _, binned, dark = cells.dense(rows)
        genes = rng.permutation(cells.known)[: predictor.context - 1]
        masked = ~dark & (rng.random(dark.shape) < rng.uniform(*mask, (len(rows), 1)))
        values = np.where(masked | dark, cells.sizes.mask_value, binned).astype(np.float32)
        tokens, given, padding = cells.tokenise(values, genes, zeros=True)
        # With zeros among the tokens, they are the genes in order, behind <cls>.
        learnt = torch.from_numpy(masked[:, genes]).to(predictor.device)
        if learnt.any():
            target = torch.from_numpy(binned[:, genes]).float().to(predictor.device)
            loss = masked_mse_loss(predictor.forward(tokens, given, padding)[:, 1:], target, learnt)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
        plan.step()
        if step % every and step < steps:
            continue
        scores[step] = score()
        if not np.isfinite(scores[step]):
            raise FloatingPointError(f"the fit diverged: held-out likelihood {scores[step]}")
        since += 1
        if scores[step] <= min(scores.values()):
            best, weights, since = step, copy(), 0
        if patience and since >= patience:
            break
    network.load_state_dict(weights)
    return scores, best


def begin(network, cells, shares, most, rng):
    """Start a new network from what visible counts say of genes: outputs of the usual size, and
    embeddings whose first dimensions are the genes' `components`, the others random. Genes that
    vary together are near each other from the first step on, which attention needs to learn much
    from few cells."""
    usual = shares[cells.known].mean(axis=0) @ np.arange(cells.sizes.n_bins)
    weight = network.encoder.embedding.weight
    most = min(most, weight.shape[1] - 1)
    first = components(cells.counts[:, cells.known], cells.hidden[:, cells.known], most, rng)
    first[:, 0] *= 2  # a single dimension against many
    tokens = torch.from_numpy(cells.tokens[cells.known])
    with torch.no_grad():
        network.decoder.fc[-1].bias.fill_(float(usual))
        weight[tokens, : first.shape[1]] = weight.std() * torch.from_numpy(first).float()


def start(checkpoint, symbols, sizes):
    """A network with its vocabulary and sizes: the checkpoint's, or a new one whose vocabulary is
    that part of scGPT's which the data have."""
    if checkpoint is not None:
        return published.read(checkpoint)
    whole = GeneVocab.from_file(VOCABULARY)
    vocab = published.with_specials(GeneVocab(sorted({s for s in symbols if s in whole})))
    return published.network(sizes, vocab), vocab, sizes, {}


@model("reconstruction", value_space="counts")
def predict(
    counts, hidden, *, pretrained=False, steps=600, every=200, patience=0, passes=20, rate=4e-3,
    batch=16, context=400, width=64, layers=2, heads=2, loadings=60, mask=(0.15, 0.5),
    held_out=0.05, genes, symbols, organism=None, checkpoint=None, device="cpu", threads=1, seed=0,
):  # fmt: skip
    """scGPT's masked value prediction: from a checkpoint (`pretrained`), as it is (0 `steps`) or
    fitted further; or a small network of the same kind, fitted to the visible values alone. A fit
    has `steps` steps, or, with a `patience`, ends when held-out values are no longer predicted
    better; never more than `passes` times through the cells."""
    if pretrained and checkpoint is None:
        names = "args.json, vocab.json and best_model.pt"
        raise NotApplicable(f"needs a published checkpoint ({names}); name it with --checkpoints")
    if organism and organism.strip().lower() not in HUMAN:
        raise NotApplicable(f"scGPT's vocabulary is of human genes; these are of {organism}")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # scGPT's binning draws from it
    rng = np.random.default_rng(seed)

    sizes = published.Sizes(width, heads, width, layers, 1, include_zero_gene=True)
    network, vocab, sizes, loaded = start(checkpoint if pretrained else None, symbols, sizes)
    tokens = match([symbols, genes], vocab)
    if not (tokens >= 0).any():
        raise NotApplicable(
            f"none of the {len(genes)} genes, such as '{symbols[0]}', is in scGPT's vocabulary of "
            f"{len(vocab)} tokens; it needs human gene symbols, by name or in the column symbol"
        )
    if not counts.nnz:
        raise NotApplicable("nothing is visible")
    network.to(device)
    context = min(context if steps else sizes.max_seq_len, sizes.max_seq_len)

    details = loaded | {
        "genes_in_vocabulary": int((tokens >= 0).sum()),
        "genes_predicted_by_the_floor": int((tokens < 0).sum()),
        "vocabulary": len(vocab),
        "sizes": {"width": sizes.embsize, "layers": sizes.nlayers, "heads": sizes.nheads},
    }
    zeros = bool(steps) or sizes.include_zero_gene
    if steps:
        held = hold_out(hidden, held_out, rng)
        rest, both = (counts - counts.multiply(held)).tocsr(), (hidden + held).tocsr()
        inside = Cells(rest, both, tokens, vocab, sizes)
        shares = inside.spread(rng)
        if not pretrained:
            begin(network, inside, shares, loadings, rng)
        fitted = Predictor(network, inside, shares, context, zeros, device)
        steps = min(steps, -(-passes * counts.shape[0] // batch))
        some = np.sort(rng.permutation(counts.shape[0])[:SCORED])
        some_held = held[some]
        true = (counts[some].multiply(some_held) + some_held.astype(np.float32)).tocsr().data - 1
        if not len(true):
            raise NotApplicable("too little is visible to hold anything out")

        def score():
            """Poisson likelihood of the held-out counts; of those that the network predicts."""
            again = np.random.default_rng(seed)
            guess = np.concatenate(
                [fitted.expected(some[part], some_held[part], again)
                 for part in np.array_split(np.arange(len(some)), 1 + len(some) // 64)]
            )  # fmt: skip
            mine = ~np.isnan(guess)
            guess = guess[mine].clip(1e-6)
            return float(np.mean(guess - true[mine] * np.log(guess)))

        scores, best = train(
            fitted, score, steps=steps, every=every, patience=patience, rate=rate, batch=batch,
            mask=mask, rng=rng,
        )  # fmt: skip
        details |= {"steps": best, "held_out": scores}
    cells = Cells(counts, hidden, tokens, vocab, sizes)
    final = Predictor(network, cells, cells.spread(rng), context, zeros, device)
    depth, rate_of = scales(counts, hidden)
    row = np.repeat(np.arange(counts.shape[0]), np.diff(hidden.indptr))
    values, by_floor = final.everything(hidden, depth[row] * rate_of[hidden.indices], seed)
    return values, details | {"entries_predicted_by_the_floor": by_floor}
