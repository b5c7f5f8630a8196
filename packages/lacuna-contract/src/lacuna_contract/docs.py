"""docs/contract.md from the schemas: ``python -m lacuna_contract.docs > docs/contract.md``."""

import functools
import json
from collections.abc import Iterator
from typing import Any

from lacuna_contract import schema

INTRO = """# The contract

Every file that passes from one stage to another, as `schemas/` describes it. The stage that
receives a file validates it. This page is generated: `python -m lacuna_contract.docs`.

An h5ad is validated through its *descriptor*: a JSON header of its slots, shapes, dtypes and names,
read without loading a matrix, with facts of the stored values of X. Cells and genes are matched by
name, never by position.
"""


def _merged(node: dict[str, Any]) -> dict[str, Any]:
    """A schema node with what its `$ref` points to filled in."""
    if "$ref" in node:
        return {**schema.load(node["$ref"].removesuffix(schema.SUFFIX)), **node}
    return node


def kind(node: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "enum" in node:
        return ", ".join(f"`{json.dumps(v)}`" for v in node["enum"]) or "none"
    if "$ref" in node:
        file, _, inside = node["$ref"].partition("#/")
        name = file.removesuffix(schema.SUFFIX)
        if inside:
            return kind(functools.reduce(dict.__getitem__, inside.split("/"), schema.load(name)))
        return f"[{name}](#{name})"
    types = node.get("type", "any")
    words = " or ".join(types) if isinstance(types, list) else types
    if words == "array" and "items" in node:
        words = f"list of {kind(node['items'])}"
    bounds = {"minimum": "≥", "maximum": "≤", "minItems": "length ≥", "maxItems": "length ≤"}
    words += "".join(f", {sign} {node[key]}" for key, sign in bounds.items() if key in node)
    if "pattern" in node:
        words += f", like `{node['pattern']}`".replace("|", "\\|")
    return words


def rows(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, what it may be, meaning) of each property, nested ones with dotted names."""
    required = set(node.get("required", []))
    for name, child in node.get("properties", {}).items():
        text = [child["description"]] if "description" in child else []
        if "default" in child:
            text.append(f"Default: `{json.dumps(child['default'])}`.")
        if "errorMessage" in child:
            text.append(f"Otherwise: *{child['errorMessage']}*.")
        flag = "" if name in required else " *(optional)*"
        yield f"`{prefix}{name}`{flag}", kind(child), " ".join(text)
        inner = child.get("items", child) if child.get("type") == "array" else child
        if "properties" in inner:
            dots = "[]." if inner is not child else "."
            yield from rows(inner, f"{prefix}{name}{dots}")


def section(name: str) -> str:
    """One schema as Markdown."""
    top = schema.load(name)
    body = top.get("items", top) if top.get("type") == "array" else top
    lines = [f"## {name}", "", top["title"] + ".", ""]
    if "allOf" in top:
        refs = [kind(part) for part in top["allOf"]]
        lines += [f"A {', '.join(refs)} that also holds:", ""]
    lines += ["| field | value | meaning |", "|---|---|---|"]
    lines += [f"| {field} | {value} | {text} |" for field, value, text in rows(_merged(body))]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page."""
    return INTRO + "\n" + "\n".join(section(name) for name in schema.names())


if __name__ == "__main__":
    print(page(), end="")
