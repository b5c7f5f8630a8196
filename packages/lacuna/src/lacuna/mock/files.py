"""Mock datasets and their truth as files, written as they are made."""

import json
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

import numpy as np

from lacuna.mock.assign import Assignment
from lacuna.mock.generate import CHUNK, Chunk, Plan, chunks, hide, make_plan
from lacuna.mock.h5mu import H5muWriter
from lacuna.mock.latent import Cells, Response
from lacuna.mock.law import Law
from lacuna.mock.layout import cluster_labels, keys_of, names, obs_columns
from lacuna.mock.modalities import Adt, Atac, Rna
from lacuna.mock.settings import Settings
from lacuna.mock.truth import Truth
from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import H5adWriter, Matrix, node, open_h5ad, read_uns
from lacuna_contract.tasks.multimodal import MODALITIES, SLOTS

PACKED = 1  # gzip level: a third of the size, at the speed of a disk


class Slots:
    """The matrices, obs and uns that input and truth have in common, in an open h5ad."""

    def __init__(self, out: H5adWriter, plan: Plan, labels: bool):
        law, cells = plan.law, plan.cells
        self._slots = {
            "rna": out.csr(SLOTS["rna"], np.float32, compression=PACKED),
            "atac": out.csr(SLOTS["atac"], np.float32, len(law.peak_gene), compression=PACKED),
            "adt": out.dense(SLOTS["adt"], np.float32, len(law.adt_gene)),
        }
        cluster = cluster_labels(cells.cluster) if labels else None
        for name, values in obs_columns(cells.assignment, cluster).items():
            out.column("obs", name, values)
        out.array("uns/adt_names", names("adt", len(law.adt_gene)))
        out.array("uns/peak_gene", law.peak_gene)
        out.array("uns/adt_gene", law.adt_gene)

    def append(self, chunk: Chunk, keep: np.ndarray | None) -> None:
        """Add the cells of a chunk; `keep` (cells, 3) says what is not hidden, None: all."""
        for column, name in enumerate(MODALITIES):
            rows = chunk[name] if keep is None else hide(chunk[name], keep[:, column])
            self._slots[name].append(rows)


def _write_law(out: H5adWriter, plan: Plan) -> None:
    for name in MODALITIES:
        law = plan.law[name]
        for part in fields(Response):
            out.array(f"uns/law/{name}/{part.name}", getattr(law.response, part.name))
    out.array("uns/law/rna/dispersion", plan.law.rna.dispersion)
    out.array("uns/law/adt/background", plan.law.adt.background)
    cells = plan.cells
    out.array("obsm/z", cells.z)
    out.array("obsm/depth", cells.depth)
    out.array("uns/cohorts/batch_names", cells.assignment.batch_names)
    out.array("uns/cohorts/dataset_names", cells.assignment.dataset_names)
    out.array("uns/cohorts/batch_dataset", cells.assignment.batch_dataset)
    for name in ("batch", "dataset"):
        out.column("obs", f"{name}_number", getattr(cells.assignment, name))
    out.column("obs", "cluster_number", cells.cluster)
    # As text, as a file's numbers end at 64 bits and have no null.
    out.uns({"kind": "mock_truth", "settings": json.dumps(plan.settings.as_dict())})


def write_mock(
    path: str | Path,
    settings: Settings,
    *,
    truth: str | Path | None = None,
    labels: bool = True,
    chunk_cells: int = CHUNK,
    workers: int = 2,
) -> dict[str, dict[str, str]]:
    """Make a mock dataset straight into a file, in memory that does not grow with the cells.

    path: .h5ad, or .h5mu for MuData. truth: an h5ad for what is hidden, with all modalities, z,
    loadings and clusters. labels: whether obs has the true clusters; an input for a benchmark has
    not. Returns `keys`, as `generate_mock_dataset` does; for MuData ``{'rna': {'mod': 'rna'}}``.
    """
    path = Path(path)
    if path.suffix not in (".h5ad", ".h5mu"):
        raise ContractError(f"{path} ends in '{path.suffix}'; expected .h5ad or .h5mu")
    if truth is not None and Path(truth).suffix != ".h5ad":
        raise ContractError(f"{truth} ends in '{Path(truth).suffix}'; a truth is an .h5ad")
    plan = make_plan(settings)
    cells = names("obs", settings.n_cells)
    genes = names("rna", settings.n_genes)
    with ExitStack() as stack:
        if path.suffix == ".h5mu":
            seen = stack.enter_context(H5muWriter(path, plan, labels))
        else:
            out = stack.enter_context(H5adWriter(path, cells, genes))
            seen = Slots(out, plan, labels)
        whole = None
        if truth is not None:
            truth_out = stack.enter_context(H5adWriter(truth, cells, genes))
            whole = Slots(truth_out, plan, labels=True)
            _write_law(truth_out, plan)
        for chunk in chunks(plan, truth is not None, chunk_cells, workers):
            seen.append(chunk, plan.cells.assignment.has[chunk.start : chunk.stop])
            if whole is not None:
                whole.append(chunk, None)
        if path.suffix == ".h5ad":
            out.link("layers/counts", "X")
    if path.suffix == ".h5mu":
        return {name: {"mod": name} for name in plan.cells.assignment.observed}
    return keys_of(plan.cells.assignment)


def read_plan(path: str | Path) -> Plan:
    """The small part of a truth file: settings, cells and loadings, from which rates follow."""
    with open_h5ad(path) as file:
        kept = read_uns(file)
        if kept.get("kind") != "mock_truth":
            raise ContractError(f"{path} is no mock truth: its uns['lacuna'] is {kept}")
        settings = Settings.of(json.loads(kept["settings"]))

        def read(name: str) -> np.ndarray:
            return node(file, name)[:]

        def response(name: str) -> Response:
            return Response(*(read(f"uns/law/{name}/{f.name}") for f in fields(Response)))

        words = [
            [str(w) for w in node(file, f"uns/cohorts/{name}").asstr()[:]]
            for name in ("batch_names", "dataset_names")
        ]
        assignment = Assignment(
            np.column_stack([read(f"obs/has_{name}") for name in MODALITIES]).astype(bool),
            read("obs/batch_number"),
            read("obs/dataset_number"),
            np.array(node(file, "obs/split").asstr()[:] == "test"),
            *words,
            read("uns/cohorts/batch_dataset").tolist(),
        )
        cells = Cells(read("obsm/z"), read("obs/cluster_number"), read("obsm/depth"), assignment)
        s = settings
        law = Law(
            Rna(response("rna"), read("uns/law/rna/dispersion"), s.rna_library_sd),
            Atac(response("atac"), s.atac_depth_sd),
            Adt(response("adt"), read("uns/law/adt/background"), s.adt_depth_sd, s.adt_noise),
            read("uns/peak_gene"),
            read("uns/adt_gene"),
        )
    return Plan(settings, cells, law)


def read_truth(path: str | Path) -> Truth:
    """A truth file as an object, with all of its matrices in memory."""
    plan = read_plan(path)
    with open_h5ad(path) as file:
        found = [Matrix(node(file, SLOTS[name])).rows(0, len(plan.cells)) for name in MODALITIES]
    return Truth(plan, *found)
