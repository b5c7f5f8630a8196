"""A model that is checked: runs of it as a plan would have them, scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from lacuna import choice, metrics
from lacuna.authoring.cases import Case
from lacuna.authoring.places import Place
from lacuna.evaluation import evaluate_run
from lacuna.plan import plan_runs
from lacuna.records import NO_STATUS
from lacuna.setup.registry import Recipe, listing
from lacuna.supervised import supervise
from lacuna_contract.supervise import sha256


@dataclass
class Subject:
    """The model that is being checked."""

    recipe: Recipe
    where: Place
    task: str
    inputs: ModuleType
    scratch: Path
    engine: str
    checkpoints: Path | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    names: Sequence[str] = ()  # of the metrics to compute; empty: those of the task's cases

    @property
    def plain(self) -> str:
        """The variant that is checked in every way: the default one, or the first."""
        variants = choice.variants(self.recipe.manifest)
        return "default" if "default" in variants else variants[0]

    def planned(self, recipe: Recipe, case: Case, variant: str) -> dict[str, Any]:
        """The run that a plan would hold."""
        model = listing([recipe], room=self.checkpoints)["models"][0]
        manifest = {k: v for k, v in model["manifest"].items() if k != "datasets"}
        pair = (model | {"manifest": manifest}, variant)
        return plan_runs([case.condition(self.task)], [pair], {"engine": self.engine})[0]

    def run(
        self, case: Case, variant: str | None = None, recipe: Recipe | None = None
    ) -> tuple[dict[str, Any], Path]:
        """Run and score it: the final status, and the folder that holds all files."""
        recipe = recipe or self.recipe
        variant = variant or (self.plain if recipe is self.recipe else "default")
        planned = self.planned(recipe, case, variant)
        room = self.scratch / f"{recipe.name}-{variant}-{case.name}-{len(self.records)}"
        room.mkdir(parents=True)
        if planned["not_applicable"]:
            reason = planned["not_applicable"]
            return NO_STATUS | {"status": "not_applicable", "reason": reason}, room
        files = case.condition(self.task)["files"]

        def command(limits: Mapping[str, Any]) -> list[str]:
            return self.where.command(recipe, room, limits)

        status = supervise(planned, files, room, command, attempts=1)
        if status["status"] == "ok":
            every = list(metrics.of_task(self.task))
            names = self.names or getattr(self.inputs, "metric_names", lambda: every)()
            status = evaluate_run(planned, case.truth, room, names, room, drawn=False)
        if recipe is self.recipe:
            changed = sha256(room / "input.h5ad") != sha256(case.input)
            self.records.append(status | {"changed": changed})
        return status, room
