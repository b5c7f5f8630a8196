"""Validation against the JSON Schemas in ``schemas/``, the only description of every file."""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

from lacuna_contract.errors import ContractError, suggest

SUFFIX = ".schema.json"


@functools.cache
def directory() -> Path:
    """The folder of the schemas: beside this file when installed, at the root in a clone."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "schemas", *(p / "schemas" for p in here.parents[3:5])):
        if (folder / f"model{SUFFIX}").is_file():
            return folder
    raise FileNotFoundError(f"no schemas beside {here} or at the root of its clone")


def names() -> list[str]:
    """The schemas that there are, e.g. ``['dataset_sheet', 'metadata', ...]``."""
    return sorted(p.name.removesuffix(SUFFIX) for p in directory().glob(f"*{SUFFIX}"))


@functools.cache
def load(name: str) -> dict[str, Any]:
    """A schema by its name, e.g. ``load("status")``."""
    if name not in names():
        raise ContractError(suggest(name, names(), "schema"))
    return json.loads((directory() / f"{name}{SUFFIX}").read_text())


def _retrieve(uri: str) -> Resource:
    return Resource.from_contents(load(uri.removesuffix(SUFFIX)))


@functools.cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(load(name), registry=Registry(retrieve=_retrieve))


def _message(error: jsonschema.ValidationError) -> str:
    """``errorMessage`` of the schema where it has one, else jsonschema's words, made specific."""
    own = error.schema.get("errorMessage") if isinstance(error.schema, dict) else None
    if own is not None:
        found = json.dumps(error.instance)
        return f"{own} (found {found if len(found) < 200 else found[:200] + '...'})"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        extra = [k for k in error.instance if k not in known]
        return "; ".join(suggest(k, known, "key") for k in extra)
    if error.validator == "enum":
        return suggest(error.instance, map(str, error.validator_value), "value")
    if len(error.message) < 300:
        return error.message
    return error.message[:300] + "..."


def errors(instance: Any, name: str) -> list[str]:
    """Every way in which `instance` breaks schema `name`, each with its JSON path."""
    found = sorted(_validator(name).iter_errors(instance), key=lambda e: list(map(str, e.path)))
    return [
        f"{e.json_path.removeprefix('$').lstrip('.') or 'top level'}: {_message(e)}" for e in found
    ]


def validate(instance: Any, name: str, where: str | Path = "") -> None:
    """Raise `ContractError` listing every error, if `instance` breaks schema `name`.

    `where` is the file that the instance came from, for the message.
    """
    if found := errors(instance, name):
        lines = "\n  ".join(found)
        raise ContractError(f"{where or 'the value'} does not fit schema '{name}':\n  {lines}")


def read_json(path: str | Path, name: str) -> Any:
    """Read a JSON file and validate it; whatever is wrong is a `ContractError`, as are NaN and
    Infinity, which JSON does not have.
    """

    def refuse(token: str) -> None:
        raise ContractError(f"{path} holds {token}, which is not JSON; write null and a reason")

    try:
        instance = json.loads(Path(path).read_text(), parse_constant=refuse)
    except FileNotFoundError:
        raise ContractError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} is not JSON: {error}") from None
    validate(instance, name, where=path)
    return instance


def write_json(path: str | Path, instance: Any, name: str) -> None:
    """Validate, then write: what does not fit its schema is never written."""
    validate(instance, name, where=path)
    Path(path).write_text(json.dumps(instance, indent=1, allow_nan=False) + "\n")
