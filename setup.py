"""What of Porter is machine code: the optimiser's search. All else is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "porter.schedule.optimiser.search",
                ["porter/schedule/optimiser/search.py"],
                # the same figures on all machines, and as when it is interpreted
                extra_compile_args=["-O3", "-ffp-contract=off"],
                # without a compiler it is interpreted, which is slow and gives the same answers
                optional=True,
            )
        ],
        build_dir="build/cython",
    )
)
