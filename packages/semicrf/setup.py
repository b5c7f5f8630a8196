"""The compiled kernel; everything else about the package is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class BuildKernel(build_ext):
    """A plain shared library loaded by ctypes: no Python or torch ABI in it."""

    def get_export_symbols(self, ext):
        return ext.export_symbols


setup(
    ext_modules=[
        Extension(
            "semicrf._kernel",
            ["src/semicrf/csrc/semicrf.cpp"],
            depends=sorted(str(path) for path in Path("src/semicrf/csrc").glob("*.h")),
            language="c++",
            extra_compile_args=[
                "-O3",
                "-g0",
                "-std=c++17",
                "-fno-math-errno",
                "-fvisibility-inlines-hidden",
                "-Wno-psabi",
                "-Wno-unknown-pragmas",
                "-pthread",
            ],
            extra_link_args=["-pthread"],
            # Without a compiler the package still installs: "reference" and "triton" need none,
            # and asking for "cpu" says what is missing.
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernel},
)
