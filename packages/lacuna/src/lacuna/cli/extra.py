"""Parameters of models on a command line: what follows ``--``."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lacuna import parameters, signature
from lacuna_contract.errors import ContractError, suggest


def model_parameters(words: Sequence[str]) -> dict[str, Any]:
    """What followed ``--`` as parameters: ``--rank 5 --fast`` is ``{"rank": 5, "fast": True}``."""
    found: dict[str, Any] = {}
    name = None
    for word in words:
        if word.startswith("--"):
            name, is_given, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = _value(value) if is_given else True
            name = None if is_given else name
        elif name is None:
            raise ContractError(f"after -- expected parameters such as --rank 5; found '{word}'")
        else:
            found[name], name = _value(word), None
    return found


def give(
    runs: Sequence[dict[str, Any]], recipes: Mapping[str, Any], params: Mapping[str, Any]
) -> None:
    """Put parameters into the runs that they are for: ``rank`` into all, ``svd.rank`` into those of
    a model, or of a variant such as ``svd.wide.rank``.

    Raises `ContractError` naming the models that do not take one, which would all fail.
    """
    problems = parameters.Problems()
    own = {(run["model"], run["task"]): None for run in runs}
    own = {key: signature.parameters(recipes[key[0]], key[1]) for key in own}
    for key, value in params.items():
        whose, _, name = key.rpartition(".")
        there = {run[field] for run in runs for field in ("model", "name")}
        if whose and whose not in there:
            problems.add(f"--{key}: {suggest(whose, there, 'model in this run')}")
            continue
        meant = [run for run in runs if whose in ("", run["model"], run["name"])]
        unable, able = {}, []
        for model, task in dict.fromkeys((run["model"], run["task"]) for run in meant):
            takes = own[model, task]
            if takes is None:
                able.append(model)
            elif name in takes or name in signature.filled_for(task):
                able.insert(0, model)
            else:
                unable[model] = takes
        if unable and not able:
            there = {name for takes in unable.values() for name in takes}
            problems.add(suggest(name, there, f"parameter of {', '.join(unable)}:"))
        elif unable:
            problems.add(
                f"--{key} is no parameter of {', '.join(unable)}. Choose those that take it, "
                f"--models {','.join(able)}, or say whose it is: --{able[0]}.{name} {value}"
            )
        for run in meant:
            run["params"][name] = value
    problems.check("what follows -- cannot be given to the models")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
