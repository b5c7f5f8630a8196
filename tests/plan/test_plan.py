import copy
import json

import pytest

from lacuna import metrics, seeds
from lacuna.plan import make_plan
from lacuna.setup import registry
from lacuna_contract.errors import ContractError
from lacuna_contract.schema import validate


def model(name, path="containers/models", **manifest):
    base = {"title": name, "tasks": ["reconstruction"], "summary": "a model", "licence": "MIT"}
    base["reference"] = {"citation": "someone"}
    return {
        "name": name,
        "path": f"{path}/{name}",
        "digest": "0" * 12,
        "image": f"lacuna/{name}:0",
        "env": f"/envs/{name}",
        "manifest": base | manifest,
    }


DISCOVERED = {
    "stages": {},
    "models": [
        model("svd", tier="core", variants={"default": {}, "deep": {"rank": 50}}),
        model("slow", tier="heavy", resources={"memory": "8 GB", "gpu": "optional"}),
        model("mean", "containers/controls", tier="core", control="floor"),
        model("truth", "containers/controls", tier="core", control="ceiling"),
    ],
}


def test_what_bin_discover_prints_fits_its_schema():
    validate(registry.listing(registry.models()), "discovered")
    validate(DISCOVERED, "discovered")


def test_without_a_container_engine_no_image_is_named():
    runs = make_plan({"engine": "venv", "models": "mean"}, DISCOVERED)["runs"]
    assert runs[0]["image"] == "mean"
    assert make_plan({"engine": "docker"}, DISCOVERED)["runs"][0]["image"] == "lacuna/svd:0"


def names(plan):
    return list(dict.fromkeys(run["name"] for run in plan["runs"]))


def test_the_default_plan():
    plan = make_plan({}, DISCOVERED)
    validate(plan, "plan")
    assert plan["datasets"] == [
        {"task": "reconstruction", "dataset": "pbmc", "source": None, "file": "pbmc/raw/data.h5ad"}
    ]
    (condition,) = plan["conditions"]
    assert condition["key"] == "reconstruction/pbmc/mask_15_seed_42"
    assert condition["condition"] == "mask_15_seed_42"
    assert condition["files"] == {
        "raw": "pbmc/raw/data.h5ad",
        "input": "pbmc/masked/mask_15_seed_42.h5ad",
        "truth": "pbmc/truth/mask_15_seed_42.h5ad",
    }
    assert names(plan) == ["svd", "svd.deep", "slow", "mean", "truth"]
    assert [run["index"] for run in plan["runs"]] == list(range(5))
    deep = plan["runs"][1]
    assert deep["id"] == "svd.deep/pbmc/mask_15_seed_42"
    assert deep["params"] == {"rank": 50, "seed": deep["params"]["seed"]}
    assert deep["prediction"] == "reconstruction.h5ad"
    assert deep["entry"] == ["python", "-P", "-m", "lacuna_contract.harness", "main.py"]
    assert deep["resources"] == {"cpus": 1, "memory": "2 GB", "time": "10 min", "gpu": "never"}
    assert plan["runs"][2]["resources"]["memory"] == "8 GB"
    assert plan["metrics"] == {"reconstruction": list(metrics.of_task("reconstruction"))}


def test_fan_out_over_everything():
    given = {"mask_percentages": "0.15,0.3", "seeds": "0,1,2", "models": "svd,mean"}
    plan = make_plan(given, DISCOVERED)
    assert len(plan["conditions"]) == 6
    assert len(plan["runs"]) == 18
    assert len({run["id"] for run in plan["runs"]}) == 18


@pytest.mark.parametrize("seed", [0, "0", "0,1"])
def test_parameters_come_as_numbers_or_text(seed):
    assert make_plan({"seeds": seed, "models": "svd"}, DISCOVERED)["runs"][0]["seed"] == 0


def test_a_models_seed_is_not_the_runs_seed_nor_the_masks():
    runs = make_plan({"seeds": "1,2", "models": "svd.default,mean"}, DISCOVERED)["runs"]
    by_seed = {run["seed"]: run["params"]["seed"] for run in runs}
    assert len(set(by_seed.values())) == 2
    assert not {1, 2} & set(by_seed.values())
    key = runs[0]["key"]
    assert by_seed[1] == seeds.integer(1, "model", key)
    assert seeds.integer(1, "model", key) != seeds.integer(1, "mask", key)
    assert json.loads(json.dumps(by_seed[1])) < 2**31


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("all", ["svd", "svd.deep", "slow", "mean", "truth"]),
        ("core", ["svd", "svd.deep", "mean", "truth"]),
        ("svd", ["svd", "svd.deep"]),
        ("svd.deep", ["svd.deep"]),
        ("svd.default, truth", ["svd", "truth"]),
        ("core,slow", ["svd", "svd.deep", "slow", "mean", "truth"]),
    ],
)
def test_choosing_models(asked, found):
    assert names(make_plan({"models": asked}, DISCOVERED)) == found


def test_choosing_metrics():
    plan = make_plan({"metrics": "poisson_nll,mse"}, DISCOVERED)
    assert plan["metrics"] == {"reconstruction": ["mse", "poisson_nll"]}


def test_a_metric_is_for_the_tasks_that_have_it():
    found = {"models": [model("svd"), model("net", tasks=["multimodal"])]}
    plan = make_plan({"metrics": "mse,ari"}, found)
    assert plan["metrics"] == {"multimodal": ["ari"], "reconstruction": ["mse"]}
    assert plan["notes"] == []
    plan = make_plan({"metrics": "mse"}, found)
    every = list(metrics.of_task("multimodal"))
    assert plan["metrics"] == {"multimodal": every, "reconstruction": ["mse"]}
    (note,) = plan["notes"]
    assert note.startswith("task 'multimodal' has none of the metrics mse: it is scored by all")
    with pytest.raises(ContractError, match="metric 'ari' is one of multimodal; asked for: recon"):
        make_plan({"metrics": "mse,ari", "tasks": "reconstruction"}, found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": "svdd"}, "unknown model 'svdd'. Did you mean 'svd'?"),
        ({"models": "svd.deeep"}, "unknown model 'svd.deeep'. Did you mean 'svd.deep'?"),
        ({"metrics": "mes"}, "unknown metric 'mes'. Did you mean 'mse'?"),
        ({"tasks": "reconstuction"}, "unknown task 'reconstuction'. Did you mean 'reconstruction'"),
        ({"datasets": "pmbc"}, "unknown dataset 'pmbc'. Did you mean 'pbmc'?"),
        ({"mask_strategy": "uniforn"}, "unknown mask strategy 'uniforn'. Did you mean 'uniform'"),
        ({"mask_percentages": 15}, "for 15 % write 0.15"),
        ({"seeds": "x"}, "seed 'x'"),
    ],
)
def test_what_is_wrong(given, message):
    with pytest.raises(ContractError, match=message):
        make_plan(given, DISCOVERED)


def test_everything_that_is_wrong_at_once():
    given = {"models": "svdd", "metrics": "mes", "datasets": "pmbc", "mask_percentages": "15,a"}
    with pytest.raises(ContractError) as caught:
        make_plan(given, DISCOVERED)
    text = str(caught.value)
    assert all(word in text for word in ("'svdd'", "'mes'", "'pmbc'", "'15'", "'a'"))


def test_a_broken_manifest_is_named():
    broken = copy.deepcopy(DISCOVERED)
    broken["models"][0]["manifest"]["tier"] = "top"
    with pytest.raises(ContractError, match="containers/models/svd/model.json: tier: .*'top'"):
        make_plan({}, broken)


def test_ceilings_only_from_this_repos_controls():
    cheat = {"models": [*DISCOVERED["models"], model("cheat", control="ceiling")]}
    with pytest.raises(ContractError, match="containers/models/cheat .*unless --allow_controls"):
        make_plan({}, cheat)
    assert "cheat" in names(make_plan({"allow_controls": True}, cheat))
    assert "cheat" in names(make_plan({"allow_controls": "true"}, cheat))
    with pytest.raises(ContractError, match="would be given the truth"):
        make_plan({"allow_controls": "false"}, cheat)
    assert names(make_plan({"models": "svd"}, cheat)) == ["svd", "svd.deep"]
    elsewhere = {"models": [model("x", "/tmp/containers/controls", control="ceiling")]}
    with pytest.raises(ContractError, match="would be given the truth"):
        make_plan({}, elsewhere)


def test_what_cannot_run_is_known_when_planning():
    models = {
        "models": [
            model("r", engines=["container"]),
            model("v", engines=["venv"]),
            model("g", resources={"gpu": "required"}),
            model("o", resources={"gpu": "optional"}),
        ]
    }

    def reasons(**given):
        return {r["name"]: r["not_applicable"] for r in make_plan(given, models)["runs"]}

    venv, docker = reasons(engine="venv"), reasons(engine="docker", gpu=True)
    assert "image only" in venv["r"]
    assert venv["v"] is None
    assert "needs a GPU" in venv["g"]
    assert venv["o"] is None
    assert docker["r"] is None
    assert "virtual environment only" in docker["v"]
    assert docker["g"] is None
    devices = {
        r["name"]: r["params"].get("device") for r in make_plan({"gpu": True}, models)["runs"]
    }
    assert devices == {"r": None, "v": None, "g": "cuda", "o": "cuda"}


def test_a_model_of_another_task():
    other = {"models": [*DISCOVERED["models"], model("other", tasks=["segmentation"])]}
    assert "other" not in names(make_plan({"tasks": "reconstruction"}, other))
    assert "other" in names(make_plan({}, other))
    with pytest.raises(ContractError, match="model 'other' does segmentation; asked for: recon"):
        make_plan({"models": "other,svd", "tasks": "reconstruction"}, other)


def sheet(tmp_path, text):
    path = tmp_path / "datasets.csv"
    path.write_text(text)
    return path


def test_a_sheet(tmp_path):
    rows = sheet(
        tmp_path,
        "dataset,path,layer,cell_type,symbol,organism,subsample,subsample_seed\n"
        "mine,a.h5ad,counts,kind\nyours,b.h5,,,name,mouse,100,7\n",
    )
    plan = make_plan({}, DISCOVERED, rows)
    assert [row["dataset"] for row in plan["datasets"]] == ["mine", "yours"]
    assert plan["datasets"][0] == {
        "task": "reconstruction",
        "task_assumed": True,
        "dataset": "mine",
        "source": "a.h5ad",
        "layer": "counts",
        "cell_type": "kind",
        "file": "mine/raw/data.h5ad",
    }
    theirs = {"symbol": "name", "organism": "mouse", "subsample": 100, "subsample_seed": 7}
    assert plan["datasets"][1].items() >= theirs.items()
    both = make_plan({"datasets": "pbmc,yours"}, DISCOVERED, rows)
    assert [row["dataset"] for row in both["datasets"]] == ["pbmc", "yours"]
    with pytest.raises(ContractError, match="unknown dataset 'your'. Did you mean 'yours'?"):
        make_plan({"datasets": "your"}, DISCOVERED, rows)


def test_a_model_for_certain_datasets_is_planned_on_no_others():
    found = json.loads(json.dumps(DISCOVERED))
    found["models"][0]["manifest"]["datasets"] = ["simulated"]
    name = found["models"][0]["name"]
    runs = make_plan({"datasets": "pbmc,simulated"}, found)["runs"]
    assert {run["dataset"] for run in runs if run["model"] == name} == {"simulated"}
    assert {run["dataset"] for run in runs} == {"pbmc", "simulated"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset,path\npbmc,a.h5ad\n", "'pbmc' of the sheet has the name of a dataset that Lac"),
        ("dataset,path,task\nm,a.h5ad,recon\n", "dataset 'm': unknown task 'recon'. Did you mean"),
        ("dataset,path\nm,a.h5ad\nm,b.h5ad\n", "dataset 'm' is there already, in line 2"),
    ],
)
def test_a_bad_sheet(tmp_path, text, message):
    with pytest.raises(ContractError, match=message):
        make_plan({}, DISCOVERED, sheet(tmp_path, text))


def test_a_sheet_of_another_task(tmp_path):
    rows = sheet(tmp_path, "dataset,path\nm,a.h5ad\n")
    said = "no dataset for the tasks: multimodal. The sheet's are for reconstruction; its column"
    with pytest.raises(ContractError, match=said):
        make_plan({"tasks": "multimodal"}, DISCOVERED, rows)


def test_two_tasks_cannot_share_a_dataset_name(tmp_path, monkeypatch):
    from lacuna import tasks

    real = tasks.load("reconstruction")
    monkeypatch.setattr(tasks, "names", lambda: ["another", "reconstruction"])
    monkeypatch.setattr(tasks, "load", lambda name: real)
    with pytest.raises(ContractError, match="dataset 'pbmc' is one of several tasks: another, rec"):
        make_plan({"metrics": "mse", "tasks": "all"}, DISCOVERED)


def test_only_what_some_model_is_run_on_is_prepared():
    tasks = {"tasks": "reconstruction,multimodal", "datasets": "pbmc,simulated,mock"}
    one = model("one", datasets=["simulated"])
    plan = make_plan(tasks, {"stages": {}, "models": [one]})
    assert [row["dataset"] for row in plan["datasets"]] == ["simulated"]
    assert {condition["dataset"] for condition in plan["conditions"]} == {"simulated"}
    assert list(plan["metrics"]) == ["reconstruction"]
    two = model("two", tasks=["multimodal"])
    plan = make_plan(tasks, {"stages": {}, "models": [one, two]})
    assert [row["dataset"] for row in plan["datasets"]] == ["mock", "simulated"]
    assert list(plan["metrics"]) == ["multimodal", "reconstruction"]


CHECKPOINT = {"files": ["args.json", "best.pt"], "published": "in the zoo", "variants": ["big"]}
VARIANTS = {"default": {}, "big": {"pretrained": True}}


def with_checkpoint(found=None, **manifest):
    one = model("net", tier="core", checkpoint=CHECKPOINT, variants=VARIANTS, **manifest)
    return {"stages": {}, "models": [one | ({"checkpoint": found} if found else {})]}


def test_a_variant_may_be_of_another_tier():
    found = {"stages": {}, "models": [model("net", tier="core", variants=VARIANTS)]}
    assert names(make_plan({"models": "core"}, found)) == ["net", "net.big"]
    found["models"][0]["manifest"]["tiers"] = {"big": "full"}
    (run,) = make_plan({"models": "core"}, found)["runs"]
    assert (run["name"], run["tier"]) == ("net", "core")
    assert [run["tier"] for run in make_plan({}, found)["runs"]] == ["core", "full"]


def test_what_names_a_variant_that_is_not_there():
    broken = {"tiers: unknown variant 'bigg'. Did you mean 'big'?": {"tiers": {"bigg": "full"}}}
    files = CHECKPOINT | {"variants": ["large"]}
    broken["checkpoint.variants: unknown variant 'large'"] = {"checkpoint": files}
    for message, part in broken.items():
        found = {"stages": {}, "models": [model("net", variants=VARIANTS, **part)]}
        with pytest.raises(ContractError) as error:
            make_plan({}, found)
        assert message in str(error.value)


def test_without_its_checkpoint_a_run_is_not_applicable_and_says_what_is_missing():
    plain, big = make_plan({}, with_checkpoint())["runs"]
    assert (plain["checkpoint"], plain["not_applicable"]) == (None, None)
    assert big["not_applicable"].startswith("needs args.json, best.pt (published: in the zoo); put")
    assert "--checkpoints" in big["not_applicable"]

    some = {"folder": "/there/net", "files": {"args.json": "a" * 64}}
    big = make_plan({}, with_checkpoint(some))["runs"][1]
    assert big["not_applicable"] == "/there/net lacks best.pt (published: in the zoo)"


def test_a_checkpoint_goes_to_the_variants_that_need_it():
    files = {"args.json": "a" * 64, "best.pt": "b" * 64}
    found = with_checkpoint({"folder": "/there/net", "files": files})
    validate(found, "discovered")
    plan = make_plan({}, found)
    validate(plan, "plan")
    plain, big = plan["runs"]
    assert (plain["checkpoint"], big["not_applicable"]) == (None, None)
    assert big["checkpoint"] == {"folder": "/there/net", "files": files}
