"""No endpoint without a rule: tests/integration/test_permissions.py tries them all."""

from __future__ import annotations

from tests.unit.web.conftest import Serving
from tests.unit.web.permissions import RULES


def test_every_endpoint_has_a_rule(serving: Serving) -> None:
    with serving.client() as client:
        described = client.get("/openapi.json").json()["paths"]
    endpoints = {
        f"{method.upper()} {path}"
        for path, methods in described.items()
        for method in methods
        if path.startswith("/v1")
    }
    assert endpoints == set(RULES)
