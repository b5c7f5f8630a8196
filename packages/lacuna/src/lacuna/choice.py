"""Which models and variants a list of words asks for: the one rule, for set-up and for PLAN.

Standard library only: the set-up runs before anything is installed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lacuna.parameters import words
from lacuna_contract.errors import suggest

GROUPS = ("all", "core")


def variants(manifest: Mapping[str, Any]) -> list[str]:
    """The variants of a model; the plain one alone where ``model.json`` names none."""
    named = manifest.get("variants")
    return list(named) if isinstance(named, Mapping) and named else ["default"]


def tier(manifest: Mapping[str, Any], variant: str) -> str:
    """The tier of a variant: its own, or its model's."""
    own = manifest.get("tiers")
    model = manifest.get("tier", "full")
    return own.get(variant, model) if isinstance(own, Mapping) else model


def read(value: Any) -> list[str]:
    """The words of ``--models``; all models where there are none."""
    return words(value) or ["all"]


def named(asked: Sequence[str], name: str, variant: str) -> bool:
    """Whether a variant is asked for by its own name or by its model's."""
    return name in asked or f"{name}.{variant}" in asked


def chosen(asked: Sequence[str], name: str, manifest: Mapping[str, Any]) -> list[str]:
    """The variants of a model that are asked for.

    The words add up: ``all``, ``core`` (all of that tier), ``svd`` (every variant of it) or
    ``svd.fast`` (that one; ``svd.default`` for the plain one).
    """

    def wanted(variant: str) -> bool:
        core = "core" in asked and tier(manifest, variant) == "core"
        return core or "all" in asked or named(asked, name, variant)

    return [variant for variant in variants(manifest) if wanted(variant)]


def unknown(asked: Sequence[str], manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each word that is no group, no model and no variant of these."""
    some = [(name, v) for name, manifest in manifests.items() for v in variants(manifest)]
    known = {*GROUPS, *manifests, *(f"{name}.{v}" for name, v in some)}
    # The plain one is understood by its name, but would only make this list longer.
    shown = [word for word in known if not word.endswith(".default")]
    return [suggest(word, shown, "model") for word in asked if word not in known]
