"""The commands make-mock-multimodal and generate-all-mock-data."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from lacuna.mock.config import Config, write_config
from lacuna.mock.files import write_mock
from lacuna.mock.scenarios import SCENARIOS
from lacuna.mock.settings import Settings
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import load

SHORT = {
    "n_cells": "--cells",
    "n_genes": "--genes",
    "n_peaks": "--peaks",
    "n_proteins": "--proteins",
}
OWN = ("problem", "shares", "keeps", "cluster_proportions")  # not one number or word each


def _number(text: str, value: str, form: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not {form}") from None


def _share(text: str) -> tuple[str, float]:
    cohort, _, value = text.partition("=")
    return cohort, _number(text, value, "COHORT=SHARE, such as bridge=0.1")


def _keep(text: str) -> tuple[str, str, float]:
    name, _, value = text.partition("=")
    cohort, colon, modalities = name.partition(":")
    form = "COHORT:MODALITIES=WEIGHT, such as mosaic:rna+atac=2"
    return cohort, modalities, _number(text, value if colon else "", form)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    described = load("mock_settings")["properties"]
    for item in fields(Settings):
        if item.name in OWN:
            continue
        kind = described[item.name].get("type", "string")
        kind = next(k for k in ([kind] if isinstance(kind, str) else kind) if k != "null")
        default = None if item.default is MISSING else item.default
        shown = "" if default is None else f" (default {default})"
        parser.add_argument(
            SHORT.get(item.name, "--" + item.name.replace("_", "-")),
            dest=item.name,
            type={"integer": int, "number": float}.get(kind, str),
            default=default,
            metavar=kind.upper()[:3],
            help=described[item.name]["description"].replace("%", "%%") + shown,
        )
    parser.add_argument(
        "--cluster-proportions", type=float, nargs="+", metavar="P", help="share of each cluster"
    )
    parser.add_argument("--workers", type=int, default=2, help="threads (default 2)")
    parser.add_argument(
        "--no-labels",
        dest="labels",
        action="store_false",
        help="leave the true clusters out of obs, as in the input of a benchmark",
    )


def _settings(given: argparse.Namespace, problem: str) -> Settings:
    names = [f.name for f in fields(Settings) if f.name not in OWN]
    values: dict[str, Any] = {name: getattr(given, name) for name in names}
    values |= {"problem": problem, "cluster_proportions": given.cluster_proportions}
    values["shares"] = dict(getattr(given, "share", None) or [])
    keeps: dict[str, dict[str, float]] = {}
    for cohort, modalities, weight in getattr(given, "keep", None) or []:
        keeps.setdefault(cohort, {})[modalities] = weight
    return Settings(**values, keeps=keeps)


def _make(given: argparse.Namespace, settings: Settings, out: Path, truth, config) -> None:
    paths = [path for path in (out, truth, config) if path is not None]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ContractError(f"dataset, truth and YAML need a path each, not {out} for two of them")
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    keys = write_mock(out, settings, truth=truth, labels=given.labels, workers=given.workers)
    if config is not None:
        write_config(config, Config(out, keys, settings))
    print("wrote " + ", ".join(map(str, paths)))


def _run(parser: argparse.ArgumentParser, work: Callable[[], None]) -> int:
    try:
        work()
    except (ContractError, OSError) as error:  # OSError: a place that cannot be written to
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def make_mock_multimodal(arguments: Sequence[str] | None = None) -> int:
    """make-mock-multimodal: one dataset, h5ad or h5mu by the suffix of --out. Returns 0, or 2 with
    a line on stderr that says what was wrong."""
    parser = argparse.ArgumentParser(
        "make-mock-multimodal", description="Make one mock multimodal dataset."
    )
    parser.add_argument("--problem", required=True, help=", ".join(SCENARIOS))
    parser.add_argument("--out", type=Path, required=True, help=".h5ad, or .h5mu for MuData")
    parser.add_argument("--config-out", type=Path, help="YAML to train from")
    parser.add_argument("--truth-out", type=Path, help="h5ad for what is hidden")
    parser.add_argument(
        "--share",
        type=_share,
        action="append",
        metavar="COHORT=SHARE",
        help="another share of the cells for a cohort, e.g. bridge=0.1",
    )
    parser.add_argument(
        "--keep",
        type=_keep,
        action="append",
        metavar="COHORT:MODALITIES=WEIGHT",
        help="what the cells of a cohort keep, e.g. mosaic:rna+atac=2; replaces what it kept",
    )
    _add_settings(parser)
    given = parser.parse_args(arguments)

    def work() -> None:
        settings = _settings(given, given.problem)
        _make(given, settings, given.out, given.truth_out, given.config_out)

    return _run(parser, work)


def generate_all_mock_data(arguments: Sequence[str] | None = None) -> int:
    """generate-all-mock-data: every scenario, an h5ad and a YAML each. Returns 0 or 2."""
    parser = argparse.ArgumentParser(
        "generate-all-mock-data", description="Make a mock dataset of every scenario."
    )
    parser.add_argument("--out-dir", type=Path, default=Path("examples/mock"))
    parser.add_argument("--config-dir", type=Path, default=Path("configs/examples"))
    parser.add_argument("--truth-dir", type=Path, help="write mock_<scenario>.truth.h5ad here")
    _add_settings(parser)
    given = parser.parse_args(arguments)
    target = given.target

    def work() -> None:
        settings = {}
        for problem, row in SCENARIOS.items():
            # A target is for the scenarios that have one.
            given.target = target if row.target else None
            settings[problem] = _settings(given, problem)
        for problem, one in settings.items():
            truth = given.truth_dir and given.truth_dir / f"mock_{problem}.truth.h5ad"
            config = given.config_dir / f"mock_{problem}.yaml"
            _make(given, one, given.out_dir / f"mock_{problem}.h5ad", truth, config)

    return _run(parser, work)
