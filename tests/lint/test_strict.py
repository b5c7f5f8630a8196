"""The strict parser of newer releases of Nextflow passes everything; the flow stays general."""

import subprocess
from pathlib import Path

import pytest

from lacuna.setup.nextflow import STRICT_PARSER, jars, java

ROOT = Path(__file__).resolve().parents[2]
FILES = [p for kind in ("*.nf", "*.config") for p in ROOT.glob(kind)]
FILES += [p for room in ("modules", "conf") for p in (ROOT / room).iterdir()]


def check(*files: Path) -> subprocess.CompletedProcess:
    script = Path(__file__).with_name("StrictCheck.java")
    command = [java(), "-cp", f"{jars('nf-lang', STRICT_PARSER)}/*", script, ROOT / "lib", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_script_and_configuration_passes() -> None:
    done = check(*sorted(FILES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_sees_what_is_wrong(tmp_path: Path) -> None:
    script = tmp_path / "a.nf"
    script.write_text("workflow {\n    Nothing.at(all)\n    for (i in 1..2) { }\n}\n")
    config = tmp_path / "a.config"
    config.write_text("process.cpus = if (true) 1\n")
    done = check(script, config)
    assert done.returncode == 1
    assert "a.nf:2:5: `Nothing` is not defined" in done.stdout
    assert "a.nf:3:5: `for` loops are no longer supported" in done.stdout
    assert "a.config:1:16: Unexpected input" in done.stdout


@pytest.mark.parametrize("room", ["models", "controls"])
def test_the_flow_names_no_model_and_no_task(room: str) -> None:
    code = "\n".join(p.read_text() for p in FILES if p.suffix == ".nf")
    code = "\n".join(line.split(" // ")[0] for line in code.splitlines())
    code = "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("//"))
    names = [p.name for p in (ROOT / "containers" / room).iterdir() if not p.name.startswith("_")]
    names = [name for name in names if name != "truth"]  # also the word for what is hidden
    names += ["reconstruction", "multimodal", "segmentation"]
    assert [name for name in names if name in code] == []


def test_main_is_short() -> None:
    assert len((ROOT / "main.nf").read_text().splitlines()) < 100
