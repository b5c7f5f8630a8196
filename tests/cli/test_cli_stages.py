"""The stages as the pipeline calls them."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from lacuna.cli import main
from lacuna.records import IDENTITY
from lacuna_contract.h5ad import H5adWriter, open_h5ad, read_names, read_uns
from lacuna_contract.schema import read_json

HEAVY = ["anndata", "pandas", "scanpy", "sklearn", "torch", "tqdm", "matplotlib", "scipy.special"]
MODEL = {
    "title": "M", "summary": "s", "tasks": ["reconstruction"], "licence": "MIT",
    "reference": {"citation": "c"},
}  # fmt: skip
DISCOVERED = {
    "stages": {},
    "models": [
        {
            "name": "m",
            "path": "containers/models/m",
            "digest": "0" * 12,
            "image": "lacuna/m:0",
            "env": "/e",
            "manifest": MODEL,
        }
    ],
}
STATUS = {
    "status": "ok", "reason": None, "attempts": 1, "seconds": 1.0, "peak_memory_bytes": 10,
    "exit_code": 0, "stderr_tail": "",
}  # fmt: skip


def put(path, content):
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A folder in which plan, import and prepare have run."""
    folder = tmp_path_factory.mktemp("stages")
    params, models = put(folder / "params.json", {"seeds": 7}), put(folder / "m.json", DISCOVERED)
    plan = folder / "plan.json"
    assert main(["plan", "--params", params, "--models", models, "--output", str(plan)]) == 0
    made = read_json(plan, "plan")
    row = put(folder / "dataset.json", made["datasets"][0])
    raw = str(folder / "data.h5ad")
    assert main(["import", "--dataset", row, "--output", raw]) == 0
    condition = put(folder / "condition.json", made["conditions"][0])
    files = ["--input", str(folder / "input.h5ad"), "--truth", str(folder / "truth.h5ad")]
    assert main(["prepare", "--condition", condition, "--raw", raw, *files]) == 0
    identity = {key: value for key, value in made["runs"][0].items() if key in IDENTITY}
    put(folder / "run.json", identity)
    return folder


@pytest.fixture
def files(staged, tmp_path):
    """What a run left: a good prediction and its status."""
    folder = tmp_path / "files"
    folder.mkdir()
    with open_h5ad(staged / "input.h5ad") as file:
        cells, genes = read_names(file, "obs"), read_names(file, "var")
    with H5adWriter(folder / "prediction.h5ad", cells, genes) as out:
        rng = np.random.default_rng(0)
        out.dense("X", np.float32).append(rng.gamma(1, 1, (len(cells), len(genes))))
        out.uns({"entries": "all", "value_space": "counts"})
    with open_h5ad(staged / "truth.h5ad") as file:
        given = {"input_sha256": read_uns(file)["input_sha256"]}
    put(folder / "status.json", STATUS | given)
    put(folder / "metadata.json", {"seconds": {"fit": 1.0}})
    return folder


def evaluate(staged, files, metrics="mse,pearson"):
    output = files.parent / "record"
    arguments = ["evaluate", "--run", staged / "run.json", "--truth", staged / "truth.h5ad"]
    arguments += ["--files", files, "--metrics", metrics, "--output", output]
    code = main([str(word) for word in arguments])
    return code, output


def test_a_record(staged, files):
    code, output = evaluate(staged, files)
    assert code == 0
    status = read_json(output / "status.json", "status")
    scores = read_json(output / "metrics.json", "metrics")
    assert status["run"] == scores["run"] == json.loads((staged / "run.json").read_text())
    assert set(scores["metrics"]) == {"mse", "pearson"}
    assert scores["n_hidden"] == 80_325
    assert read_json(output / "metadata.json", "metadata")["seconds"] == {"fit": 1.0}


@pytest.mark.parametrize(
    ("left", "status", "reason"),
    [
        ({"status": "timed_out", "reason": "too slow"}, "timed_out", "too slow"),
        ({"status": "not_applicable", "reason": "no"}, "not_applicable", "no"),
        ({"input_sha256": "0" * 64}, "invalid_output", "this truth belongs to"),
        ({}, "invalid_output", "does not say which input the model was given"),
        ({"seconds": -1}, "lost", "record cannot be used"),
    ],
)
def test_what_became_of_the_run(staged, files, left, status, reason):
    put(files / "status.json", STATUS | left)
    code, output = evaluate(staged, files)
    found = read_json(output / "status.json", "status")
    assert (code, found["status"]) == (0, status)
    assert reason in found["reason"]
    assert not (output / "metrics.json").exists()


def test_nothing_left(staged, tmp_path):
    (tmp_path / "files").mkdir()
    code, output = evaluate(staged, tmp_path / "files")
    assert code == 0
    assert read_json(output / "status.json", "status")["status"] == "lost"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("prediction.h5ad", None, "wrote no prediction"),
        ("prediction.h5ad", b"nonsense", "prediction.h5ad is not a readable HDF5 file"),
        ("metadata.json", b"{", "metadata.json is not JSON"),
        ("metadata.json", b'{"seconds": NaN}', "metadata.json holds NaN"),
        ("metadata.json", b'{"second": 1}', "Did you mean 'seconds'?"),
        ("metadata.json", b"\xff", "decode"),
    ],
)
def test_broken_output(staged, files, name, content, reason):
    (files / name).unlink()
    if content is not None:
        (files / name).write_bytes(content)
    code, output = evaluate(staged, files)
    found = read_json(output / "status.json", "status")
    assert (code, found["status"]) == (0, "invalid_output")
    assert reason in found["reason"]
    assert str(files) not in found["reason"]


def test_scoring_again_after_a_correction(staged, files):
    """Evaluating in place, as run-evaluation does, judges anew; what was wrong stays wrong."""
    good, bad = (files / "metadata.json").read_bytes(), b'{"second": 1}'
    (files / "metadata.json").write_bytes(bad)
    arguments = ["evaluate", "--run", staged / "run.json", "--truth", staged / "truth.h5ad"]
    arguments = [
        str(w) for w in (*arguments, "--files", files, "--metrics", "mse", "--output", files)
    ]
    reasons = []
    for _ in range(3):
        assert main(arguments) == 0
        found = read_json(files / "status.json", "status")
        assert found["status"] == "invalid_output"
        reasons.append(found["reason"])
        assert not (files / "metrics.json").exists()
        assert not (files / "metadata.json").exists()
        assert (files / "metadata.broken.json").read_bytes() == bad
    assert len(set(reasons)) == 1
    (files / "metadata.json").write_bytes(good)
    assert main(arguments) == 0
    assert read_json(files / "status.json", "status")["status"] == "ok"
    assert not (files / "metadata.broken.json").exists()


def test_a_record_of_the_pipeline_scored_again(staged, files):
    """What EVALUATE published, with the prediction beside it, is judged as it was."""
    (files / "metadata.json").write_bytes(b"{")
    _, output = evaluate(staged, files)
    (output / "prediction.h5ad").write_bytes((files / "prediction.h5ad").read_bytes())
    arguments = ["evaluate", "--run", staged / "run.json", "--truth", staged / "truth.h5ad"]
    arguments += ["--files", output, "--metrics", "mse", "--output", output]
    assert main([str(word) for word in arguments]) == 0
    assert read_json(output / "status.json", "status")["status"] == "invalid_output"


def test_errors_of_ours_end_with_1(staged, files, capsys):
    code, output = evaluate(staged, files, metrics="mes")
    assert code == 1
    assert "Did you mean 'mse'?" in capsys.readouterr().err
    assert not (output / "status.json").exists()
    assert main(["plan", "--params", "none.json", "--models", "m", "--output", "x"]) == 1
    assert "none.json: no such file" in capsys.readouterr().err
    assert main(["evalute"]) == 2
    assert "Did you mean 'evaluate'?" in capsys.readouterr().err


def test_import_of_a_staged_file(staged, tmp_path, capsys):
    row = {"task": "reconstruction", "dataset": "d", "source": "s3://somewhere/x.h5ad", "file": "f"}
    arguments = ["import", "--dataset", put(tmp_path / "d.json", row), "--output"]
    arguments += [str(tmp_path / "out.h5ad"), "--source"]
    assert main([*arguments, str(staged / "data.h5ad")]) == 0
    assert main([*arguments, str(tmp_path / "none.h5ad")]) == 1
    assert "dataset 'd': s3://somewhere/x.h5ad: no such file" in capsys.readouterr().err


def test_evaluation_imports_nothing_heavy(staged, files):
    arguments = ["evaluate", "--run", staged / "run.json", "--truth", staged / "truth.h5ad"]
    arguments += ["--files", files, "--metrics", "mse,spearman", "--output", files.parent / "r"]
    code = (
        f"import sys, time\nstart = time.process_time()\nfrom lacuna.cli import main\n"
        f"main({[str(word) for word in arguments]!r})\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, _, seconds = done.stdout.strip().rpartition(" ")
    assert heavy == "[]"
    # Processor time: this is no place to measure how busy the machine is.
    assert float(seconds) < 3


def test_help_is_quick():
    start = time.process_time()
    with pytest.raises(SystemExit):
        main(["--help"])
    assert time.process_time() - start < 1
