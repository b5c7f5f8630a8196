"""Run a program, such as a model, whose progress people want to see, and keep the end of what it
says."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lacuna.plan.runs import ENTRY, defaults
from lacuna.setup.registry import Recipe

KEPT = 4000  # bytes


def run(
    command: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None = None
) -> tuple[int, str]:
    """Run it with its standard error on the terminal as it comes; its exit code, and the end of
    what it wrote there. It does not outlive an interruption of this process.

    What the program has started itself may: it stays in the process group of this process, so that
    a terminal's Ctrl-C and Ctrl-Z, and `timeout`, reach all of it, and is not killed from here."""
    tail = b""
    words = [str(word) for word in command]
    with subprocess.Popen(words, env=env, cwd=cwd, stderr=subprocess.PIPE, bufsize=0) as process:
        try:
            while piece := os.read(process.stderr.fileno(), 1 << 14):
                os.write(2, piece)
                tail = (tail + piece)[-KEPT:]
        except BaseException:
            process.kill()
            process.wait()  # leaving `with` waits no longer than a moment on an interruption
            raise
    return process.returncode, tail.decode(errors="replace").strip()


def call(
    recipe: Recipe,
    words: Sequence[str | Path],
    cwd: Path | None = None,
    cpus: int | None = None,
) -> str | None:
    """Run a model's entry in its environment, with `words` behind it; None, or why it failed. It
    may use LACUNA_CPUS, else `cpus`, else as many as its manifest says."""
    resources = defaults("resources") | recipe.manifest.get("resources", {})
    model = recipe.env / "model"
    entry = recipe.manifest.get("entry", ENTRY)
    program = [model / word if (model / word).is_file() else word for word in entry]
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env["PATH"] = os.pathsep.join((str(recipe.env / "bin"), env.get("PATH", "")))
    env["LACUNA_MODEL_DIR"] = str(model)
    env.setdefault("LACUNA_CPUS", str(cpus or resources["cpus"]))
    code, said = run([*program, *words], env, cwd)
    return reason(code, said) if code else None


def reason(code: int, said: str) -> str:
    """Why a model failed, in the words that are worth showing.

    The harness says what is wrong as the last thing; of anything else, the last line tells most.
    """
    known, _, sentence = said.rpartition("error: ")
    lines = said.splitlines() or ["it wrote nothing to standard error"]
    is_sentence = known == "" or known.endswith("\n")
    return sentence if sentence and is_sentence else f"exited with code {code}: {lines[-1]}"
