"""``synthetic-benchmark``: the segmentation benchmark, for people who want it alone.

A subcommand is a module of `lacuna.synthetic`, of its name, with ``add_arguments(parser)`` and
``run(args) -> int``; the first line of its text is its help. Nothing else names it.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import lacuna.synthetic
from lacuna_contract.errors import ContractError


def commands() -> list[str]:
    """The subcommands that there are."""
    found = pkgutil.iter_modules(lacuna.synthetic.__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def run(arguments: Sequence[str]) -> int:
    """Run a subcommand; 1 and a sentence on stderr for what is wrong, 130 after an interruption."""
    parser = argparse.ArgumentParser(
        prog="synthetic-benchmark", description="Synthetic genomes, models of them, and a ceiling."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands():
        module = importlib.import_module(f"lacuna.synthetic.{name}")
        said = (module.__doc__ or "").strip().splitlines()[0]
        command = subparsers.add_parser(name, help=said, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(function=module.run)
    args = parser.parse_args(arguments)
    try:
        return args.function(args)
    except ContractError as error:
        print(f"synthetic-benchmark {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        # A subcommand may have said how to go on.
        said = "; ".join(["interrupted", *map(str, interruption.args)])
        print(f"\nsynthetic-benchmark {args.command}: {said}", file=sys.stderr)
        return 130
