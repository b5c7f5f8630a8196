"""Compiles the Triton kernels for GPUs that need not be there; prints what the tests look at.

A program of its own, since the tests' own process has Triton in interpreter mode.
"""

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from semicrf import _triton_kernels as kernels


def recurrence(dtype, *, arch, classes, maximum=False, extras=True, ones=()):
    score, log = f"*{dtype}", "*fp64"
    signature = dict.fromkeys(
        ("emissions", "transitions", "durations_", "lengths", "start", "begin", "finish"), score
    )
    signature |= {"lengths": "*i64", "before": log, "inside": log, "alpha": log}
    signature |= dict.fromkeys("BTCK", "i32")
    constants = {
        "HAS_BEGIN": extras,
        "HAS_FINISH": extras,
        "MAXIMUM": maximum,
        "SINGLE": dtype == "fp32" and not maximum,
        "TARGETS": 16,
        "SOURCES": max(4, 128 // classes),
        "CLASSES": classes,
    }
    # Triton makes a constant of every size that is 1.
    constants |= dict.fromkeys(ones, 1)
    return kernels.recurrence, signature, constants, arch


def positions(arch):
    signature = dict.fromkeys(("begins", "ends", "out"), "*fp64")
    signature |= {"lengths": "*i64", "T": "i32", "C": "i32"}
    return kernels.positions, signature, {"TARGETS": 64, "CLASSES": 4}, arch


def durations(arch):
    signature = {"before": "*fp64", "after": "*fp64", "scores": "*fp32", "out": "*fp32"}
    signature |= {"lengths": "*i64"} | dict.fromkeys("TCK", "i32")
    return kernels.durations, signature, {"SINGLE": True, "LAGS": 32, "SOURCES": 64}, arch


CASES = {
    "float32 on sm_80": recurrence("fp32", arch=80, classes=4),
    "float64 on sm_90": recurrence("fp64", arch=90, classes=64),
    "maximum, no borders": recurrence("fp32", arch=90, classes=4, maximum=True, extras=False),
    "B = C = K = 1": recurrence("fp32", arch=80, classes=1, ones="BCK"),
    "positions": positions(80),
    "durations": durations(90),
}


def main() -> None:
    for name, (kernel, signature, constants, arch) in CASES.items():
        signature = signature | dict.fromkeys(constants, "constexpr")
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32))
        ptx = compiled.asm["ptx"]
        found = {
            "name": name,
            "target": f".target sm_{arch}" in ptx,
            "atomics": sum(line.split()[0].startswith(("atom", "red.")) for line in ptx.split("\n")
                           if line.strip()),
            "shared": compiled.metadata.shared,
        }  # fmt: skip
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.exit(main())
