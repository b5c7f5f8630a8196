"""The Mosaic VAE: what it learns, its likelihoods, its first step and its end."""

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax
from trained import FEW, SMALL, imputed, mock, train

from lacuna.mock.files import read_plan
from lacuna.setup.common import ROOT
from lacuna.setup.environments import build
from lacuna.setup.registry import model
from lacuna_contract.h5ad import Matrix, open_h5ad
from lacuna_contract.tasks import multimodal

FOLDER = ROOT / "containers/models/mosaic_vae"
INSIDE = Path(__file__).parent / "_mosaic_vae_inside"


def hidden(config: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What was hidden of a modality, and the features' means over the cells that have it."""
    data = multimodal.read(config.with_suffix(".h5ad"))
    with open_h5ad(config.with_suffix(".truth.h5ad")) as file:
        true = Matrix(file[multimodal.SLOTS[name]]).rows(0, data.n_cells)
    true = true if isinstance(true, np.ndarray) else true.toarray()
    seen = data.counts[name][data.has[name]].toarray()
    if name == "adt":
        true, seen = np.log1p(true), np.log1p(seen)
    return true[data.asked[name].cells], seen.mean(axis=0)


def oracle(config: Path) -> np.ndarray:
    """The expected openness of the hidden cells' peaks, which no model can tell better."""
    data = multimodal.read(config.with_suffix(".h5ad"))
    plan = read_plan(config.with_suffix(".truth.h5ad"))
    return plan.expected("atac", 0, data.n_cells)[data.asked["atac"].cells]


def auroc_by_peak(true: np.ndarray, score: np.ndarray) -> float:
    """Mean over the peaks that are open in some cells and closed in others; 0.5 for a constant."""
    some = (true.any(axis=0)) & (~true.all(axis=0))
    true, ranks = true[:, some], stats.rankdata(score[:, some], axis=0)
    n = true.sum(axis=0)
    return float(np.mean(((ranks * true).sum(axis=0) - n * (n + 1) / 2) / (n * (len(true) - n))))


def test_on_a_mosaic_it_beats_the_mean_of_each_modality(tmp_path):
    config = mock(tmp_path, "mosaic", *SMALL)
    assert train(config, tmp_path / "out", "epochs=120") == 0
    found = imputed(tmp_path / "out")
    true, mean = hidden(config, "adt")
    assert ((found["adt"] - true) ** 2).mean() < 0.75 * ((mean - true) ** 2).mean()
    true, mean = hidden(config, "rna")
    # The cells' depths are predicted: neither zero nor all alike.
    assert 0.8 < found["rna"].mean() / true.mean() < 1.25
    squares = [((np.log1p(x) - np.log1p(true)) ** 2).mean() for x in (found["rna"], mean)]
    assert squares[0] < 0.95 * squares[1]
    true, _ = hidden(config, "atac")
    score = auroc_by_peak(true, found["atac"])
    assert 0.58 < score < auroc_by_peak(true, oracle(config)) + 0.01
    details = json.loads((tmp_path / "out/metadata.json").read_text())["details"]
    assert details["active_dimensions"] >= 4
    history = json.loads((tmp_path / "out/history.json").read_text())
    assert history["held_out"][details["best_epoch"] - 1] == min(history["held_out"])
    assert "<svg" in (tmp_path / "out/curves.svg").read_text()


def test_on_a_bridge_it_beats_the_mean_of_each_modality(tmp_path):
    bridge = ["--share", "bridge=0.15", "--atac-density", "0.06"]
    config = mock(tmp_path, "bridge", *SMALL, "--cells", "300", *bridge)
    assert train(config, tmp_path / "out", "epochs=120") == 0
    found = imputed(tmp_path / "out")
    true, _ = hidden(config, "atac")
    score = auroc_by_peak(true, found["atac"])
    assert 0.56 < score < auroc_by_peak(true, oracle(config)) + 0.01
    true, mean = hidden(config, "rna")
    squares = [((np.log1p(x) - np.log1p(true)) ** 2).mean() for x in (found["rna"], mean)]
    assert squares[0] < squares[1]


def inside(script: str, data: Path, out: Path) -> dict[str, np.ndarray]:
    """What a script of `INSIDE` finds, run in the model's own environment."""
    recipe = model(FOLDER)
    build(recipe)
    command = [recipe.env / "bin/python", INSIDE / script, recipe.env / "model", data, out]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(out))


@pytest.fixture(scope="module")
def law(few, tmp_path_factory):
    """Log-likelihoods by the network at two states of each cell, and what they are of."""
    out = tmp_path_factory.mktemp("law") / "law.npz"
    return inside("likelihoods.py", few.with_suffix(".h5ad"), out)


def written_out(law: dict, kind: str, name: str, at: str) -> np.ndarray:
    """The log-likelihood of each cell by SciPy's distributions."""
    x, eta = law[f"{kind} {name} values"], law[f"{kind} {name} {at} eta"].astype(float)
    if name == "adt":
        noise = np.diag(law[f"{kind} noise"] ** 2.0) + law[f"{kind} shared"] ** 2.0
        rest = x - law[f"{kind} background"] - np.log1p(np.exp(eta))
        return stats.multivariate_normal(cov=noise).logpdf(rest)
    depth, sd = law[f"{kind} {name} depth"].astype(float), law[f"{kind} {name} depth sd"]
    found = stats.norm.logpdf(depth, law[f"{kind} {name} {at} level"], sd)
    if name == "atac":
        return found + stats.bernoulli.logpmf(x, expit(eta + depth[:, None])).sum(axis=1)
    mean = softmax(eta, axis=1) * np.exp(depth)[:, None] * law[f"{kind} total"]
    size = law[f"{kind} size"].astype(float)
    chance = stats.nbinom.pmf(x, size, size / (size + mean))
    if kind == "zinb":
        none = law[f"{kind} inflated"].astype(float)
        chance = none * (x == 0) + (1 - none) * chance
    return found + np.log(chance).sum(axis=1)


@pytest.mark.parametrize("kind", ["nb", "zinb"])
@pytest.mark.parametrize("name", ["rna", "atac", "adt"])
def test_likelihoods_are_those_of_the_page(law, kind, name):
    # Up to a constant of the data, which the difference of two states is without.
    found = law[f"{kind} {name} first"] - law[f"{kind} {name} second"]
    first, second = (written_out(law, kind, name, at) for at in ("first", "second"))
    assert len(found) > 20
    np.testing.assert_allclose(found, first - second, rtol=2e-3, atol=2e-3)


def test_the_first_step_goes_towards_the_state(tmp_path):
    config = mock(tmp_path, "mosaic", *SMALL)
    found = inside("steps.py", config.with_suffix(".h5ad"), tmp_path / "steps.npz")
    z = found["z"][1:]
    for name in (f"{kind} {m}" for kind in ("linked", "alone") for m in ("rna", "atac", "adt")):
        step, information = found[name], found[f"{name} information"]
        assert not step[0].any(), "the first cell has no modality"
        # Measurement and prior together: the mean of the steps is z less what the prior takes away.
        expected = z @ (np.eye(z.shape[1]) - np.linalg.inv(information))
        slope = (step[1:] * expected).sum() / (expected**2).sum()
        assert 0.85 < slope < 1.15, name
        # Around that mean they scatter as the information says, and no more.
        rest = ((step[1:] - expected) ** 2).mean()
        assert rest < 1.5 * np.diag(np.linalg.inv(information)).mean(), name


def test_the_prior_is_a_mixture(few, tmp_path):
    # By sums over a grid of states, of a spacing far below every standard deviation.
    found = inside("prior.py", few.with_suffix(".h5ad"), tmp_path / "prior.npz")
    axis = np.linspace(-9, 9, 181)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    for parts in (1, 3):
        law = {name.partition(" ")[2]: x for name, x in found.items() if name[0] == str(parts)}
        density = np.exp(-0.5 * ((grid - law["centres"]) ** 2).sum(axis=2)) / (2 * np.pi)
        prior = density @ law["share"]
        for cell, (state, var) in enumerate(zip(law["state"], law["var"], strict=True)):
            away = (grid[:, 0] - law["mean"][:, cell, None]) ** 2 * law["sure"][:, cell, None]
            mass = prior * np.exp(-0.5 * away.sum(axis=(0, 2)))
            mass /= mass.sum()
            mean = mass @ grid[:, 0]
            np.testing.assert_allclose(state, mean, atol=1e-3)
            np.testing.assert_allclose(var, mass @ (grid[:, 0] - mean) ** 2, atol=1e-3)
            own = stats.norm(state, np.sqrt(var)).pdf(grid[:, 0]).prod(axis=1)
            step = (axis[1] - axis[0]) ** 2
            exact = (own * np.log(np.maximum(own, 1e-300) / np.maximum(prior, 1e-300))).sum() * step
            bound = law["divergence"][cell]
            by_dimension = law["by dimension"][cell].sum()
            # No further than by the choice of any one part for all of the cell.
            apart = 0.5 * ((state - law["centres"]) ** 2 + var - 1 - np.log(var)).sum(axis=1)
            assert exact - 1e-3 < bound < (apart - np.log(law["share"])).min() + 1e-4
            assert by_dimension < bound + 1e-4
            # One part has no choice: the bound is exact, and all of it is by dimension.
            if parts == 1:
                assert exact == pytest.approx(bound, abs=1e-3)
                assert by_dimension == pytest.approx(bound, abs=1e-4)


def test_training_ends_when_held_out_cells_gain_no_more(few, tmp_path):
    assert train(few, tmp_path, "epochs=400", "patience=2", "warm_up=0", "rate=0.05") == 0
    losses = json.loads((tmp_path / "history.json").read_text())["held_out"]
    assert len(losses) < 400
    assert len(losses) - 1 - int(np.argmin(losses)) == 2


def test_counts_may_be_zero_inflated(few, whole, tmp_path, capsys):
    assert train(few, tmp_path, "epochs=6", "save_every=2", "likelihood=zinb") == 0
    rna = imputed(tmp_path)["rna"]
    assert (rna > 0).all()
    assert (rna != imputed(whole)["rna"]).any()
    assert train(few, tmp_path, "likelihood=poisson", "--overwrite") == 1
    assert "expected 'nb' or 'zinb'" in capsys.readouterr().err


def test_a_fit_that_diverges_is_an_error(few, tmp_path, capsys):
    assert train(few, tmp_path, "rate=1e30", "epochs=5") == 1
    assert "loss became" in capsys.readouterr().err
    assert not (tmp_path / "prediction.h5ad").exists()


def test_values_that_no_training_has_are_errors(few, tmp_path, capsys):
    assert train(few, tmp_path, "epochs=-3", "rate=fast", "held_out=1") == 1
    said = capsys.readouterr().err
    assert "epochs=-3; expected a whole number of 1 or more" in said
    assert "rate='fast'; expected a number greater than 0" in said
    assert "held_out=1; expected a share" in said


def test_cells_of_one_modality_each_are_joined_by_known_genes(tmp_path, capsys):
    config = mock(tmp_path, "unpaired", *FEW)
    assert train(config, tmp_path / "out", "epochs=4", "starts=3", "start_epochs=2") == 0
    details = json.loads((tmp_path / "out/metadata.json").read_text())["details"]
    # The best start is the one that is trained, with the random numbers that it had.
    assert len(set(details["starts"])) == 3
    assert min(details["history"]["held_out"][:2]) == min(details["starts"])
    with h5py.File(tmp_path / "unpaired.h5ad", "r+") as file:
        del file["uns/peak_gene"]
    assert train(config, tmp_path / "other") == 1
    assert "declines" in capsys.readouterr().err
