"""docs/models.md from the manifests; ``make docs`` writes it."""

from collections.abc import Iterator, Mapping
from typing import Any

from lacuna.setup.common import ROOT, relative
from lacuna.setup.registry import Recipe, models

HEAD = """# The models

What each folder's `model.json` says. This page is generated: `make docs`.
[add_a_model.md](add_a_model.md) says how to add one.

What a model gets depends on the task, and is all that its input file may hold
([the contract](contract.md)); some have a checkpoint that was trained elsewhere besides.

- reconstruction: the visible counts and the positions of the hidden ones, or, thinned, a part of
  every count; names of cells and genes, and the organism where it is known
- multimodal: the values of the modalities that each cell has left, which ones these are, its batch,
  study and split, the names of features and the genes that they belong to; and the positions of the
  values to predict
- segmentation: the bases of all sequences, and the classes of those in the splits "train" and "val"
"""

GROUPS = {
    None: ("Models", ""),
    "floor": ("Floors", "What doing nothing clever gives. A method has to be better than these."),
    "ceiling": ("Ceilings", "Are given the truth, show the best score there is, and never rank."),
}


def section(recipe: Recipe) -> Iterator[str]:
    """One model in Markdown, a line at a time."""
    about = recipe.manifest
    yield f"### {about['title']}"
    yield ""
    yield about["summary"]
    yield ""
    variants = about.get("variants", {"default": {}})
    for name, values in variants.items():
        run = recipe.name if name == "default" else f"{recipe.name}.{name}"
        given = ", ".join(f"{key} = {value}" for key, value in values.items())
        yield f"- `{run}`" + (f": {given}" if given else "")
    reference = about["reference"]
    doi = reference.get("doi")
    link = f" [doi:{doi}](https://doi.org/{doi})" if doi else ""
    yield f"- {reference['citation'].rstrip('.')}.{link}"
    resources = about.get("resources", {})
    needs = ", ".join(
        f"{key} {resources[key]}" for key in ("cpus", "memory", "time", "gpu") if key in resources
    )
    yield f"- licence of the method's code: {about['licence']}; tier {_tiers(about)}"
    yield f"- limits: {needs}"
    if checkpoint := about.get("checkpoint"):
        of = ", ".join(checkpoint.get("variants", variants))
        files = ", ".join(f"`{name}`" for name in checkpoint["files"])
        yield f"- checkpoint ({of}): {files}, published: {checkpoint['published']}"
    own = f"models/{recipe.name}.md"
    if (ROOT / "docs" / own).is_file():
        yield f"- how it is run, and how that was chosen: [{own}]({own})"
    yield f"- folder: [{relative(recipe.folder)}](../{relative(recipe.folder)})"
    yield ""


def _tiers(about: Mapping[str, Any]) -> str:
    """The tier of a model, and of the variants that have another."""
    own = "".join(f", `{variant}` {tier}" for variant, tier in about.get("tiers", {}).items())
    return about.get("tier", "full") + own


def page() -> str:
    """The page."""
    lines = [HEAD]
    found = models()
    for group, (title, text) in GROUPS.items():
        chosen = [recipe for recipe in found if recipe.manifest.get("control") == group]
        if not chosen:
            continue
        lines += [f"## {title}", ""]
        lines += [text, ""] if text else []
        for recipe in chosen:
            lines += section(recipe)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
