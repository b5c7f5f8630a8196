"""The models of a plan: those that are asked for, of which nothing is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from lacuna import choice, parameters
from lacuna_contract.errors import suggest
from lacuna_contract.schema import errors

OWN_CONTROLS = "containers/controls/"


def choose_variants(
    given: Mapping[str, Any],
    discovered: Mapping[str, Any],
    chosen_tasks: Sequence[str],
    problems: parameters.Problems,
) -> list[tuple[dict[str, Any], str]]:
    """The (model, variant) pairs that ``models`` asks for; `lacuna.choice` has the rule."""
    models = []
    for model in discovered["models"]:
        found = wrong(model["manifest"])
        for text in found:
            problems.add(f"{model['path']}/model.json: {text}")
        if not found:
            models.append(model)
    asked = choice.read(given.get("models"))
    broken = {m["name"] for m in discovered["models"]} - {m["name"] for m in models}
    wanted = [word for word in asked if word.split(".")[0] not in broken]
    for text in choice.unknown(wanted, {m["name"]: m["manifest"] for m in models}):
        problems.add(text)
    chosen = []
    pairs = [(m, v) for m in models for v in choice.chosen(asked, m["name"], m["manifest"])]
    for model, variant in pairs:
        if not set(model["manifest"]["tasks"]) & set(chosen_tasks):
            if choice.named(asked, model["name"], variant):
                problems.add(
                    f"model '{model['name']}' does {', '.join(model['manifest']['tasks'])}; asked "
                    f"for: {', '.join(chosen_tasks)}"
                )
            continue
        ceiling = model["manifest"].get("control") == "ceiling"
        ours = model["path"].startswith(OWN_CONTROLS)
        if ceiling and not ours and not parameters.flag(given.get("allow_controls")):
            problems.add(
                f'{model["path"]} says "control": "ceiling" and would be given the truth; only '
                f"those in {OWN_CONTROLS} are, unless --allow_controls is given"
            )
            continue
        chosen.append((model, variant))
    if not chosen and not problems.found:
        problems.add(f"no model is chosen by '{','.join(asked)}'")
    return chosen


def wrong(manifest: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a manifest, in sentences."""
    found = errors(manifest, "model")
    if found:
        return found
    there = choice.variants(manifest)
    named = {"tiers": manifest.get("tiers", ())}
    named["checkpoint.variants"] = manifest.get("checkpoint", {}).get("variants", ())
    return [
        f"{field}: {suggest(name, there, 'variant')}"
        for field, names in named.items()
        for name in names
        if name not in there
    ]
