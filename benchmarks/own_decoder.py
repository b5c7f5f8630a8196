"""Whether a multimodal model's states or its decoders hold it back: what it imputes, beside a ridge
regression from its own embedding.

    python benchmarks/own_decoder.py multivi --folder results/multimodal_table

The folder is one that `multimodal_table.py` has filled. The regression is that of `ridge_pca`, on
the cells in which a modality was measured, its penalty chosen by cross-validation. Share of the gap
between floor and ceiling that is covered; means over the seeds that there are.
"""

import argparse
import importlib.util
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
from mock_runs import CEILING, FLOOR, GAPS, covered, scores, shown

from lacuna.setup.common import ROOT
from lacuna.tasks.multimodal.evaluate import evaluate
from lacuna_contract.tasks import multimodal


def regression():
    """The module of the model folder `ridge_pca`, which needs NumPy and SciPy alone."""
    spec = importlib.util.spec_from_file_location(
        "own", ROOT / "containers/models/ridge_pca/main.py"
    )
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def regressed(given: Path, prediction: Path, own) -> None:
    """Replace what is imputed in a prediction by a regression on its embedding."""
    data = multimodal.read(given)
    with h5py.File(prediction, "r+") as file:
        points = file["obsm/X_embedding"][:].astype(float)
        points *= np.sqrt(len(points)) / points.std()
        for name, asked in data.asked.items():
            has = data.has[name]
            values = data.counts[name][has][:, asked.features].toarray()
            values = np.log1p(values) if name == "adt" else values
            found = own.ridge(points[has], values, points[asked.cells], 0)
            file[f"uns/imputed/{name}/values"][:] = np.clip(found, *own.BOUNDS[name])


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    cli.add_argument("model")
    cli.add_argument("--folder", type=Path, required=True)
    args = cli.parse_args()
    metrics, own = [name for name, _ in GAPS.values()], regression()
    print(f"| {args.model} | imputes | {' | '.join(GAPS)} |\n|{'---|' * (len(GAPS) + 2)}")
    for base in sorted(path for path in args.folder.iterdir() if (path / args.model).is_dir()):
        rows: dict[str, list[dict[str, float]]] = {"its decoders": [], "ridge on its states": []}
        for place in sorted((base / args.model / "mock").glob("*/prediction.h5ad")):
            key = place.parent.name
            truth = base / f"data/mock/truth/{key}.h5ad"
            low, high = (scores(base / name / "mock" / key) for name in (FLOOR, CEILING))
            with tempfile.TemporaryDirectory() as folder:
                other = Path(shutil.copy(place, folder))
                regressed(base / f"data/mock/hidden/{key}.h5ad", other, own)
                for row, path in zip(rows.values(), (place, other), strict=True):
                    found = evaluate(truth, path, metrics, drawn=False)
                    row.append(covered(found.metrics, low, high))
        for what, seeds in rows.items():
            cells = [[s[c] for s in seeds if c in s] for c in GAPS]
            text = [shown(values) if values else "-" for values in cells]
            print(f"| {base.name} | {what} | {' | '.join(text)} |", flush=True)


if __name__ == "__main__":
    main()
