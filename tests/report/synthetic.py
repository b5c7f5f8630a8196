"""Plans and records made by hand, with metrics of known direction and range.

`python tests/report/synthetic.py DIR` writes a plan, records and the report of them, to look at.
"""

import json
import math
import random
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lacuna.records import IDENTITY
from lacuna.report.metrics import MetricFacts

ERROR = MetricFacts(
    "error", "Error", higher_is_better=False, low=0, high=math.inf, ranked=True, purpose="count"
)
FIT = MetricFacts(
    "fit", "Fit", higher_is_better=True, low=-1, high=1, ranked=True, purpose="find patterns"
)
SHOWN = MetricFacts("shown", "Only shown", higher_is_better=True, low=0, high=1, ranked=False)
FACTS = {fact.name: fact for fact in (ERROR, FIT, SHOWN)}


@dataclass
class Bench:
    """Runs to write: `values(name, dataset, setting, seed)` gives metrics, or a status dict."""

    models: dict[str, str | None]  # name -> control
    values: Callable
    datasets: Iterable[str] = ("alpha",)
    settings: dict[str, dict] = field(default_factory=lambda: {"mask_15": {"percentage": 0.15}})
    seeds: Iterable[int] = (1, 2, 3)
    metrics: tuple[str, ...] = ("error", "fit", "shown")
    task: str = "reconstruction"
    details: Callable | None = None

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write plan.json and records/ into `folder`; return both paths."""
        runs, conditions = [], []
        records = folder / "records"
        shutil.rmtree(records, ignore_errors=True)
        records.mkdir(parents=True)
        for dataset in self.datasets:
            for setting, arguments in self.settings.items():
                for seed in self.seeds:
                    key = f"{self.task}/{dataset}/{setting}_seed_{seed}"
                    conditions.append(self._condition(key, dataset, setting, seed, arguments))
                    for name, control in self.models.items():
                        run = self._run(key, name, control, dataset, setting, seed, len(runs))
                        runs.append(run)
                        self._record(records / str(len(runs)), run, dataset, setting, seed)
        plan = {
            "datasets": [self._dataset(name) for name in self.datasets],
            "conditions": conditions,
            "runs": runs,
            "metrics": {self.task: list(self.metrics)},
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        return folder / "plan.json", records

    def _dataset(self, name: str) -> dict:
        return {"task": self.task, "dataset": name, "source": None, "layer": None,
                "cell_type": None, "file": f"{name}/raw/data.h5ad"}  # fmt: skip

    def _condition(self, key, dataset, setting, seed, arguments) -> dict:
        name = f"{setting}_seed_{seed}.h5ad"
        files = {kind: f"{dataset}/{kind}/{name}" for kind in ("input", "truth")}
        return {
            "key": key, "task": self.task, "dataset": dataset, "seed": seed,
            "condition": f"{setting}_seed_{seed}", "arguments": arguments,
            "files": {"raw": f"{dataset}/raw/data.h5ad", **files},
        }  # fmt: skip

    def _run(self, key, name, control, dataset, setting, seed, index) -> dict:
        model, _, variant = name.partition(".")
        return {
            "id": f"{name}/{dataset}/{setting}_seed_{seed}", "key": key, "index": index,
            "task": self.task, "dataset": dataset, "condition": f"{setting}_seed_{seed}",
            "seed": seed, "model": model, "variant": variant or "default", "name": name,
            "control": control, "tier": "core", "image": f"lacuna/{model}:0123456789ab",
            "env": f"envs/{model}", "entry": ["python", "main.py"],
            "params": {"rank": 20, "seed": seed * 7919},
            "resources": {"cpus": 1, "memory": "2 GB", "time": "10 min", "gpu": "never"},
            "prediction": "reconstruction.h5ad", "not_applicable": None,
        }  # fmt: skip

    def _record(self, folder: Path, run: dict, dataset: str, setting: str, seed: int) -> None:
        got = self.values(run["name"], dataset, setting, seed)
        if got is None:
            return
        folder.mkdir()
        identity = {key: run[key] for key in IDENTITY}
        status = {
            "status": "ok", "reason": None, "attempts": 1, "exit_code": 0, "stderr_tail": "",
            "seconds": got.pop("seconds", 1.5), "peak_memory_bytes": got.pop("memory", 200_000_000),
            "input_sha256": f"{hash_of(run['key']):064x}", "run": identity,
        } | got.pop("status", {})  # fmt: skip
        (folder / "status.json").write_text(json.dumps(status))
        if status["status"] != "ok":
            return
        metrics = {
            "run": identity, "metrics": got, "n_hidden": 80325, "value_space": "counts",
            "undefined": {key: "prediction is constant" for key, v in got.items() if v is None},
        }  # fmt: skip
        if self.details:
            metrics["details"] = self.details(run["name"], seed)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        metadata = {"seconds": {"fit": 1.0}, "device": "cpu", "versions": {"numpy": "2.4.0"}}
        (folder / "metadata.json").write_text(json.dumps(metadata))


def hash_of(text: str) -> int:
    return random.Random(text).getrandbits(256)


def lively(models: int = 5, **changes) -> Bench:
    """A benchmark that looks like one: controls, ties, failures, an undefined metric."""
    skill = {"zeros": -0.3, "gene_mean": 0.0, "truth": 1.0}
    names = ["svd", "knn_smoothing", "scvi", "svd.deep", "ridge"]
    names += [f"model_{i}" for i in range(models - len(names))]
    for place, name in enumerate(names[:models]):
        skill[name] = 0.45 - 0.08 * place
    controls = {"zeros": "floor", "gene_mean": "floor", "truth": "ceiling"}

    def values(name, dataset, setting, seed):
        rng = random.Random(f"{name}{dataset}{setting}{seed}")
        if name == "scvi" and seed == 44 and setting == "mask_30":
            return {"status": {
                "status": "failed", "reason": "the model's command ended with exit code 1",
                "exit_code": 1, "attempts": 2,
                "stderr_tail": 'Traceback (most recent call last):\n  File "main.py", line 31, in '
                "predict\nValueError: <NaN> & inf in the loss at epoch 12\n",
            }}  # fmt: skip
        if name == "ridge" and setting == "mask_30":
            return None
        own = skill[name] + (0 if name in controls else rng.gauss(0, 0.012))
        own -= 0.05 * (setting == "mask_30") * (name not in controls)
        return {
            "error": 2.1 * (1 - own) if name != "truth" else 0.0,
            "fit": None if name == "zeros" else 0.55 + 0.45 * own,
            "shown": None if name in ("zeros", "truth") else 0.7 + 0.2 * own,
            "seconds": 10 ** (1.5 * own + rng.gauss(0, 0.03)),
            "memory": int(10 ** (8.2 + own + rng.gauss(0, 0.02))),
        }

    settings = {"mask_15": {"percentage": 0.15}, "mask_30": {"percentage": 0.3}}
    settings |= {"mask_50": {"percentage": 0.5}}
    every = controls | {name: None for name in names[:models]}
    defaults = {"datasets": ("pbmc",), "settings": settings, "seeds": (42, 43, 44)}
    return Bench(every, values, **(defaults | changes))


if __name__ == "__main__":
    import lacuna.report.stage as stage

    stage.describe = lambda task, names: FACTS
    where = Path(sys.argv[1])
    made = lively(int(sys.argv[2]) if len(sys.argv) > 2 else 5).write(where)
    print(stage.build(*made, None, where / "report"))
