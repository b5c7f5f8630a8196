"""The commands that every image and environment gets. This file is part of their digests."""

from collections.abc import Sequence
from pathlib import Path

# command: the package that must be there, the module that it runs
COMMANDS = {
    "lacuna-supervise": ("lacuna-contract", "lacuna_contract.supervise"),
    "lacuna": ("lacuna", "lacuna.cli"),
}

# -P: the working directory holds files of a task, none of which may stand in for a module.
RUN = '-P -m {module} "$@"\n'
IN_IMAGE = f"#!/bin/sh\nexec /opt/lacuna/venv/bin/python {RUN}"
IN_ENVIRONMENT = f"""#!/bin/sh
env=$(dirname "$(dirname "$(readlink -f "$0")")")
export LACUNA_MODEL_DIR="$env/model" VIRTUAL_ENV="$env" PATH="$env/bin:$PATH"
exec "$env/bin/python" {RUN}"""


def write(folder: Path, text: str, packages: Sequence[str]) -> None:
    """Write those of the commands whose package is among `packages`."""
    folder.mkdir(exist_ok=True)
    for name, (package, module) in COMMANDS.items():
        if package in packages:
            script = folder / name
            script.write_text(text.format(module=module))
            script.chmod(0o755)
