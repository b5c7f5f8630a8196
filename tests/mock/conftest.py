import anndata
import mudata
import pytest

from lacuna.mock import generate_mock_dataset
from lacuna.mock.cli import generate_all_mock_data

mudata.set_options(pull_on_update=False)

SMALL = ["--cells", "240", "--genes", "150", "--peaks", "1200", "--proteins", "12", "--seed", "7"]


@pytest.fixture(scope="session")
def default():
    """(adata, keys, truth) at the default settings, everything observed but what `mosaic` hides."""
    return generate_mock_dataset("mosaic", seed=11, return_truth=True)


@pytest.fixture(scope="session")
def truth(default):
    return default[2]


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The folder of what generate-all-mock-data writes: mock/, configs/, truth/."""
    folder = tmp_path_factory.mktemp("all")
    places = [f"--out-dir={folder}/mock", f"--config-dir={folder}/configs"]
    assert generate_all_mock_data([*places, f"--truth-dir={folder}/truth", *SMALL]) == 0
    return folder


@pytest.fixture(scope="session")
def read(written):
    """AnnData by scenario, as read back from the files; not to be changed."""
    return {
        path.stem.removeprefix("mock_"): anndata.read_h5ad(path)
        for path in sorted((written / "mock").glob("*.h5ad"))
    }
