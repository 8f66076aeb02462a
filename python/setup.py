# SPDX-License-Identifier: MIT
"""The C part: the extension, with the library's own sources in it. All else is in pyproject.toml."""

import glob
import os
import re

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

os.chdir(os.path.dirname(os.path.abspath(__file__)))
with open("../include/mqshm.h", encoding="ascii") as header:
    version = re.search(r'^#define MQSHM_VERSION "(.*)"', header.read(), re.M).group(1)


class Build(build_ext):
    """The library's objects lie beside ours, not outside of the build directory as ../lib would have it."""

    def finalize_options(self):
        super().finalize_options()
        self.build_temp = os.path.join(self.build_temp, "python")


setup(
    version=version,
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    ext_modules=[
        Extension(
            "multiqueue_shm._native",
            sources=sorted(glob.glob("src/*.c")) + sorted(glob.glob("../lib/*.c")),
            depends=["src/native.h", "src/native.map", "setup.py"]
            + glob.glob("../lib/*.h")
            + glob.glob("../include/**/*.h", recursive=True),
            include_dirs=["../include", "../lib"],
            define_macros=[
                ("Py_LIMITED_API", "0x030B0000"),
                ("_GNU_SOURCE", None),
                ("_FILE_OFFSET_BITS", "64"),
            ],
            extra_compile_args=["-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"]
            + os.environ.get("MQSHM_PYTHON_CFLAGS", "").split(),
            extra_link_args=["-pthread", "-Wl,--version-script=src/native.map"],
            py_limited_api=True,
        )
    ],
)
