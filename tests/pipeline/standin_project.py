"""A copy of the pipeline whose stages and models are stand-ins: quick, and without environments."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # a start costs less, and none runs for long
PARTS = ("main.nf", "nextflow.config", "nextflow_schema.json", "modules", "lib", "conf", "schemas")


@dataclass
class Project:
    """One copy of the pipeline, and how it is run."""

    folder: Path
    env: dict = field(default_factory=dict)

    def model(self, name: str, **manifest) -> None:
        """Add a model, or change it."""
        path = self.folder / "models" / f"{name}.json"
        path.write_text(json.dumps(manifest))

    def command(self, *arguments: str, profile: str | None = "venv") -> list[str]:
        """The command line of a run."""
        chosen = ["-profile", profile] if profile else []
        start = [str(ROOT / "bin" / "nextflow"), "run", "main.nf", "-ansi-log", "false", *chosen]
        return [*start, *arguments]

    def run(
        self, *arguments: str, profile: str | None = "venv", log: str | None = None
    ) -> subprocess.CompletedProcess:
        """Run to the end; `log` names a file that lists the commands that were executed."""
        env = os.environ | self.env | {"NXF_OPTS": QUICK}
        if log:
            env["STANDIN_LOG"] = str(self.folder / log)
            (self.folder / log).write_text("")
        return subprocess.run(
            self.command(*arguments, profile=profile),
            cwd=self.folder, env=env, text=True, capture_output=True, timeout=600, check=False,
        )  # fmt: skip

    def executed(self, log: str) -> dict[str, int]:
        """How often each stage was executed, by the log of a run."""
        stages = [line.split()[0] for line in (self.folder / log).read_text().splitlines()]
        return {stage: stages.count(stage) for stage in stages}

    def results(self, outdir: str = "results") -> dict[str, dict]:
        """The runs of results.json by id."""
        whole = json.loads((self.folder / outdir / "results.json").read_text())
        return {run["id"]: run for run in whole["runs"]}


def make(folder: Path) -> Project:
    """A project with no model yet."""
    for part in PARTS:
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
    shutil.copytree(Path(__file__).parent / "standins", folder / "standins")
    for name in ("bin", "models"):
        (folder / name).mkdir()
    shutil.move(folder / "standins" / "discover", folder / "bin" / "discover")
    (folder / "contract").symlink_to(ROOT / "packages" / "lacuna-contract" / "src")
    return Project(folder)
