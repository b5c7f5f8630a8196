from pathlib import Path

import pytest
from synthetic import FACTS, Bench

from lacuna.report import stage


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Write a bench, build its report, and return (verdict, output folder)."""
    monkeypatch.setattr(stage, "describe", lambda task, names: {n: FACTS[n] for n in names})

    def make(bench: Bench, change=lambda plan, records: None) -> tuple[dict, Path]:
        plan, records = bench.write(tmp_path)
        change(plan, records)
        return stage.build(plan, records, None, tmp_path / "out"), tmp_path / "out"

    return make
