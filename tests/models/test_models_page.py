from lacuna.authoring import docs
from lacuna.setup.common import ROOT
from lacuna.setup.registry import models


def test_the_page_is_current(monkeypatch):
    monkeypatch.delenv("LACUNA_MODELS_DIR", raising=False)
    page = (ROOT / "docs/models.md").read_text()
    assert page == docs.page(), "run: make docs"


def test_a_models_own_page_says_how_its_settings_were_chosen():
    known = {recipe.name: recipe for recipe in models()}
    pages = sorted((ROOT / "docs/models").glob("*.md"))
    assert len(pages) >= 7
    for path in pages:
        _, _, chosen = path.read_text().partition("## What is run, and how it was chosen")
        assert "visible" in chosen, path.name
        assert "metadata.json" in chosen, path.name
        assert known[path.stem].manifest["reference"]["doi"] in path.read_text(), path.name
