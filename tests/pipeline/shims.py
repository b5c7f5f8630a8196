"""Stand-ins for container engines and schedulers: they note how they were called, and obey."""

import shlex
from pathlib import Path

# Runs the container's command on this machine: what follows the image.
ENGINE = r"""#!/bin/bash
line=$(printf '%q ' "$(basename "$0")" "$@")
printf '%s\n' "$line" >> {log}  # in one piece, as others write at the same time
if [ "$1" = pull ]; then
    for word in "$@"; do case "$word" in *.img.pulling.*) touch "$word" ;; esac; done
fi
case "$1" in run | exec) ;; *) exit 0 ;; esac
while [ $# -gt 0 ]; do
    case "$1" in lacuna/* | *.img) break ;; esac
    shift
done
shift
exec "$@"
"""

# Runs the job at once and in the background, as a node would.
SBATCH = r"""#!/bin/bash
lines=$(grep '^#SBATCH' "${{@: -1}}" | cut -c 9-)
printf '%s\n\n' "$lines" >> {log}  # in one piece, too
(setsid bash "${{@: -1}}" > /dev/null 2>&1 &)
echo "Submitted batch job $$"
"""
SQUEUE = "#!/bin/bash\nexit 0\n"


def install(folder: Path, *names: str) -> Path:
    """Put stand-ins for programs into a folder for PATH. Returns the file that lists the calls."""
    folder.mkdir(exist_ok=True)
    log = folder / "calls"
    log.write_text("")
    for name in names:
        own = {"sbatch": SBATCH, "sinfo": SQUEUE, "squeue": SQUEUE, "scancel": SQUEUE}
        text = own.get(name, ENGINE)
        path = folder / name
        path.write_text(text if text == SQUEUE else text.format(log=shlex.quote(str(log))))
        path.chmod(0o755)
    return log
