"""Where what is made once is kept to be used again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder of tools, environments and downloads: $LACUNA_CACHE, else ``lacuna`` in the
    user's cache.
    """
    if given := os.environ.get("LACUNA_CACHE"):
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "lacuna"
