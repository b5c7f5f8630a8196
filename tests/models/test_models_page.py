from lacuna.authoring import docs
from lacuna.setup.common import ROOT


def test_the_page_is_current(monkeypatch):
    monkeypatch.delenv("LACUNA_MODELS_DIR", raising=False)
    page = (ROOT / "docs/models.md").read_text()
    assert page == docs.page(), "run: make docs"
