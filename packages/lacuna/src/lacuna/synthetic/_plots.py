"""The plots of ``synthetic-benchmark``: durations by model and class, and curves of training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # a file is all that is wanted; there may be no display

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from lacuna_contract.errors import ContractError  # noqa: E402

TRUTH, CEILING = "#444444", "#999999"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
SHORTEST = 20  # where the axis of durations begins
Document = Mapping[str, Any]


def order(documents: Iterable[Document]) -> list[str]:
    """Names of the models: controls first, then as they were run."""
    names = {n: m["control"] is None for d in documents for n, m in d["models"].items()}
    return sorted(names, key=lambda name: names[name])


def records(documents: Sequence[Document], name: str) -> list[Document]:
    """What a model gave, in those documents in which it worked."""
    found = (d["models"].get(name) for d in documents)
    return [record for record in found if record and record["status"] == "ok"]


def colours(documents: Sequence[Document]) -> dict[str, str]:
    """Of each model; the same in every plot of the documents."""
    names = order(documents)
    trained = [n for n in names if not any(r["control"] for r in records(documents, n))]
    own = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(trained)}
    return {name: own.get(name, CEILING) for name in names}


def pooled(panels: Sequence[Document], part: str, count: str) -> tuple[np.ndarray, int]:
    """Shares of several runs, weighted by their numbers of segments, and the number in all."""
    n = [panel[count] for panel in panels]
    shares = np.array([panel[part] for panel in panels])
    return np.average(shares, axis=0, weights=n if sum(n) else None), sum(n)


def duration_comparison(documents: Sequence[Document], path: Path) -> None:
    """Durations of complete segments: a row per class; columns truth, controls, models.

    The documents are repeats of each other and are pooled. Bins are even on the logarithmic axis.
    The thin line is the law of what lies complete within a window; the dashed one a model's
    duration scores, and the dotted one the law that those are to be compared with.
    """
    names = order(documents)
    good, own = {name: records(documents, name) for name in names}, colours(documents)
    first = next((some for some in good.values() if some), None)
    if first is None:
        raise ContractError("no model gave a result to plot")
    classes = first[0]["details"]["classes"]
    fig, axes = plt.subplots(
        len(classes), 1 + len(names), sharex=True, sharey="row", squeeze=False,
        figsize=(2.2 * (1 + len(names)), 1.9 * len(classes) + 0.9), layout="constrained",
    )  # fmt: skip
    for row, kind in zip(axes, classes, strict=True):
        row[0].set_ylabel(f"{kind}\nshare of segments")
        panels = [r["details"]["durations"][kind] for r in first]
        _panel(row[0], panels, "truth", "n_true", TRUTH, _floor(panels))
        for ax, name in zip(row[1:], names, strict=True):
            if not good[name]:
                ax.text(0.5, 0.5, "failed", transform=ax.transAxes, ha="center")
                continue
            panels = [r["details"]["durations"][kind] for r in good[name]]
            _panel(ax, panels, "prediction", "n_predicted", own[name], _kl(panels))
    for ax, name in zip(axes[0], ["ground truth", *names], strict=True):
        ax.set_title(name.replace("_", " "), fontsize=10)
    longest = max(first[0]["details"]["durations"][kind]["ends"][-1] for kind in classes)
    axes[0, 0].set_xlim(SHORTEST, longest)
    for ax in axes[-1]:
        ax.set_xlabel("duration (bases)")
    lines = {}
    for ax in axes.flat:
        handles, labels = ax.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    fig.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=3, fontsize=8)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def _kl(panels: Sequence[Document]) -> str:
    found = [panel["kl"] for panel in panels if panel["kl"] is not None]
    return f"KL {np.mean(found):.2f}\n" if found else ""


def _floor(panels: Sequence[Document]) -> str:
    found = [panel["floor"] for panel in panels if panel["floor"] is not None]
    return f"KL {np.mean(found):.3f} (floor)\n" if found else ""


def _panel(
    ax: Any, panels: Sequence[Document], part: str, count: str, colour: str, text: str
) -> None:
    ends = np.array(panels[0]["ends"], float)
    bounds = np.append(0.9, ends + 0.5)
    middle = np.sqrt(bounds[1:] * bounds[:-1])
    shares, n = pooled(panels, part, count)
    ax.stairs(shares, bounds, fill=True, color=colour, alpha=0.75)
    ax.plot(middle, panels[0]["reference"], "k", lw=0.8, label="law of complete segments")
    learned = [panel["learned"] for panel in panels if "learned" in panel]
    if learned and part == "prediction":
        ax.plot(middle, np.mean(learned, axis=0), "k--", lw=1, label="learned duration scores")
        ax.plot(middle, panels[0]["law"], "k:", lw=1, label="law of all segments")
    ax.set_xscale("log")
    text = f"{text}n = {n}"
    # Who decides each position by itself cuts sequences into crumbs, left of the axis.
    if (short := float(shares[ends < SHORTEST].sum())) >= 0.005:
        text += f"\n{short:.0%} under {SHORTEST} bases"
    ax.text(0.03, 0.96, text, transform=ax.transAxes, va="top", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def training_curves(documents: Sequence[Document], path: Path) -> None:
    """Loss per position by epoch, a panel per model: of training sequences thin, of validation
    sequences thick, a dot where the weights were kept."""
    good = {name: records(documents, name) for name in order(documents)}
    curves = {
        name: [r["training"] for r in some if r["training"].get("epochs")]
        for name, some in good.items()
    }
    curves = {name: some for name, some in curves.items() if some}
    fig, axes = plt.subplots(
        1, max(1, len(curves)), squeeze=False, figsize=(2.9 * max(1, len(curves)), 2.8),
        layout="constrained",
    )  # fmt: skip
    if not curves:
        axes[0, 0].set_title("nothing was trained", fontsize=10)
    own = colours(documents)
    for ax, (name, some) in zip(axes[0], curves.items(), strict=False):
        colour = own[name]
        for training in some:
            rows = training["epochs"]
            x, val = [row["epoch"] for row in rows], [row["val"] for row in rows]
            ax.plot(x, [row["train"] for row in rows], color=colour, lw=0.8, alpha=0.6)
            ax.plot(x, val, color=colour, lw=1.6)
            ax.plot(training["best_epoch"], training["best_val"], "o", color=colour)
        ax.set_title(name.replace("_", " "), fontsize=10)
        ax.set_xlabel("epoch (thin: training)", fontsize=8)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("loss per position")
    fig.savefig(path, dpi=120)
    plt.close(fig)
