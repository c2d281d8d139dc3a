"""The demo, as `make demo` runs it: it checks by itself all that it claims."""

from __future__ import annotations

import os

import pytest
from rich.console import Console

from porter.lab.demo import Demo

pytestmark = pytest.mark.e2e


def test_a_busy_redis_moves_and_nobody_is_cut_off() -> None:
    demo = Demo(Console(), name=f"d{os.getpid()}", port=0)
    try:
        demo.run()
    finally:
        demo.fleet.down()
