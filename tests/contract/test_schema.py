import json

import jsonschema
import pytest

from lacuna_contract import ContractError, docs, schema
from lacuna_contract.errors import suggest

MODEL = {
    "title": "Zeros",
    "summary": "Predicts zero.",
    "tasks": ["reconstruction"],
    "licence": "MIT",
    "reference": {"citation": "none"},
}


@pytest.mark.parametrize("name", schema.names())
def test_each_schema_is_a_schema_and_named_by_its_file(name):
    jsonschema.Draft202012Validator.check_schema(schema.load(name))
    assert schema.load(name)["$id"] == f"{name}.schema.json"


def test_every_status_is_a_failure_or_one_of_two():
    status = schema.load("status")
    every, failures = (
        part["enum"] for part in (status["properties"]["status"], status["$defs"]["failure"])
    )
    assert set(every) == {*failures, "ok", "not_applicable"}


def test_every_problem_is_told_at_once_with_its_place():
    broken = MODEL | {"ter": "core", "tasks": ["Recon"], "resources": {"memory": "lots"}}
    del broken["licence"]
    with pytest.raises(ContractError) as caught:
        schema.validate(broken, "model", where="svd/model.json")
    message = str(caught.value)
    assert message.startswith("svd/model.json does not fit schema 'model'")
    assert "unknown key 'ter'. Did you mean 'tier'?" in message
    assert "'licence' is a required property" in message
    assert "resources.memory: expected a number and a unit, e.g. '2 GB'" in message
    assert "tasks[0]" in message


def test_enumerations_suggest_what_there_is():
    (message,) = schema.errors(MODEL | {"tier": "cor"}, "model")
    assert message.startswith("tier: unknown value 'cor'. Did you mean 'core'?")


def test_a_status_needs_a_reason_unless_it_is_ok():
    status = {"status": "ok", "reason": None, "attempts": 1, "seconds": 1.0, "exit_code": 0}
    status |= {"peak_memory_bytes": 1, "stderr_tail": ""}
    schema.validate(status, "status")
    for broken in ({"status": "failed"}, {"reason": "why"}, {"status": "failed", "reason": ""}):
        with pytest.raises(ContractError, match="reason"):
            schema.validate(status | broken, "status")


def test_unknown_schema_names_the_known_ones():
    with pytest.raises(ContractError, match="Did you mean 'status'"):
        schema.load("statuss")


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_json_with_nan_is_refused(tmp_path, token):
    path = tmp_path / "metadata.json"
    path.write_text(f'{{"details": {{"loss": {token}}}}}')
    with pytest.raises(ContractError, match="not JSON"):
        schema.read_json(path, "metadata")


def test_broken_json_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "metadata.json"
    path.write_text("{")
    with pytest.raises(ContractError, match=r"metadata\.json is not JSON"):
        schema.read_json(path, "metadata")


def test_what_does_not_fit_is_not_written(tmp_path):
    with pytest.raises(ContractError):
        schema.write_json(tmp_path / "metadata.json", {"device": "tpu"}, "metadata")
    assert not list(tmp_path.iterdir())
    schema.write_json(tmp_path / "metadata.json", {"device": "cpu"}, "metadata")
    assert json.loads((tmp_path / "metadata.json").read_text()) == {"device": "cpu"}


def test_suggestions():
    assert suggest("mes", ["mse", "mae"], "metric") == (
        "unknown metric 'mes'. Did you mean 'mse'? There are: mae, mse"
    )
    assert suggest("x", [], "metric") == "unknown metric 'x'. There are none."


def test_the_contract_page_is_current(request):
    page = request.config.rootpath / "docs" / "contract.md"
    assert page.read_text() == docs.page(), "run: python -m lacuna_contract.docs > docs/contract.md"
