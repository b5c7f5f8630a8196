"""Every way in which a model goes wrong leaves a record that says so, and how."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lacuna_contract
from lacuna.authoring import reconstruction
from lacuna.evaluation import evaluate_run
from lacuna_contract.schema import read_json

BAD = Path(__file__).parent / "_bad"
METRICS = ["mse", "pearson", "poisson_nll"]
RUN = {
    "id": "bad/check/plain_seed_0", "task": "reconstruction", "dataset": "check",
    "condition": "plain_seed_0", "seed": 0, "model": "bad", "variant": "default", "name": "bad",
    "control": None, "tier": "full", "image": "none", "params": {},
}  # fmt: skip

# file: status, words of the reason
EXPECTED = {
    "fine": ("ok", None),
    "crashes": ("failed", "exited with code 1: ValueError: no basis for 3 genes"),
    "breaks": ("failed", "ended by signal 11"),
    "hangs": ("timed_out", "still running after its limit of 3 s; raise resources.time"),
    "hungry": ("out_of_memory", "needed more than its memory limit of 0."),
    "silent": ("invalid_output", "wrote no prediction"),
    "nan": ("invalid_output", "NaN or infinite values"),
    "narrow": ("invalid_output", "2 are missing, such as 'gene_98', 'gene_99'"),
    "misshapen": ("invalid_output", "300 names in obs, but X is [299, 100]"),
    "permuted": ("ok", None),
    "renamed": ("invalid_output", "gene names are not those of the input: 100 are missing"),
    "verbose": ("ok", None),
    "declines": ("not_applicable", "needs human gene symbols"),
    "meddles": ("failed", "changed its input file"),
    "truncated": ("invalid_output", "the prediction cannot be read"),
    "babbles": ("invalid_output", "metadata.json holds NaN"),
}
LIMITS = {"hangs": {}, "hungry": {"memory_bytes": 300_000_000, "attempt": 3, "max_attempts": 3}}
TIMES = {"hangs": "3"}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The plain input of bin/check-model."""
    return next(reconstruction.cases(tmp_path_factory.mktemp("cases")))


@pytest.fixture
def supervised(tmp_path, case):
    """Run one bad model as RUN_MODEL and EVALUATE do: the final record, and what was printed."""

    def run(name):
        (tmp_path / "input.h5ad").write_bytes(case.input.read_bytes())
        (tmp_path / "params.json").write_text("{}")
        (tmp_path / ".limits.json").write_text(json.dumps(LIMITS.get(name, {})))
        command = [sys.executable, "-m", "lacuna_contract.supervise"]
        command += ["--entry", json.dumps([sys.executable, f"{name}.py"])]
        command += ["--input", "input.h5ad", "--params", "params.json"]
        command += ["--timeout", TIMES.get(name, "60")]
        source = str(Path(lacuna_contract.__file__).parents[1])
        env = os.environ | {"LACUNA_MODEL_DIR": str(BAD), "PYTHONPATH": source}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True)
        read_json(tmp_path / "status.json", "status")
        return evaluate_run(RUN, case.truth, tmp_path, METRICS, tmp_path / "final"), done

    return run


def test_every_bad_model_is_expected_to_do_something():
    assert {path.stem for path in BAD.glob("[!_]*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_its_record(name, supervised, tmp_path):
    expected, words = EXPECTED[name]
    begin = time.monotonic()
    status, done = supervised(name)
    assert status["status"] == expected, status["reason"]
    assert words in status["reason"] if words else status["reason"] is None
    assert (tmp_path / "final/metrics.json").is_file() == (expected == "ok")
    assert time.monotonic() - begin < 50
    assert len(done.stdout) < 3_000_000
    assert len(done.stderr) < 3_000_000


def test_permuted_names_score_as_they_should(supervised, tmp_path):
    scores = []
    for name in ("fine", "permuted"):
        supervised(name)
        scores.append(read_json(tmp_path / "final/metrics.json", "metrics")["metrics"])
    assert scores[0] == pytest.approx(scores[1])
