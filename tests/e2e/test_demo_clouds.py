"""The tour of the clouds, as `make demo-clouds` runs it: it checks by itself all that it claims.

Two of the four clouds, and all of them in `make test-long`.
"""

from __future__ import annotations

import os

import pytest
from rich.console import Console

from porter.lab.clouds import control
from porter.lab.demo_clouds import CloudDemo

KINDS = control.KINDS if os.environ.get("PORTER_LONG") else ("gcp", "openstack")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    # Of the OpenStack SDK about itself.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]


def test_a_busy_redis_goes_around_the_clouds_and_comes_home() -> None:
    demo = CloudDemo(Console(), name=f"tour{os.getpid()}", port=0, kinds=KINDS)
    try:
        demo.run()
    finally:
        demo.fleet.down()
