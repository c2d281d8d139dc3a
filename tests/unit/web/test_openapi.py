"""The OpenAPI document is whole, and nothing that clients rely on leaves it unnoticed.

`python -m tests.unit.web.test_openapi` writes docs/openapi-paths.txt anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from porter import settings as settings_module
from porter.web.app import public_app
from porter.web.openapi import every, operation_id
from porter.web.pulse import Pulse
from porter.wiring import authority, control_plane

SNAPSHOT = Path(__file__).parents[3] / "docs" / "openapi-paths.txt"


def made(folder: Path) -> dict[str, Any]:
    control = control_plane(settings_module.load({"PORTER_STATE": str(folder)}))
    app = public_app(control, authority(control.settings), Pulse(control.desk.pulse), "token")
    control.close()
    return app.openapi()


def lines(document: dict[str, Any]) -> list[str]:
    return [
        f"{method.upper()} {path} {operation['operationId']}"
        for method, path, operation in every(document)
    ]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made(tmp_path_factory.mktemp("openapi"))


def test_operations_are_as_they_were_published(document: dict[str, Any]) -> None:
    published, now = set(SNAPSHOT.read_text().splitlines()), set(lines(document))
    assert not published - now, "clients rely on these: keep them, or begin a new version"
    assert not now - published, "run: python -m tests.unit.web.test_openapi"


def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, _, operation in every(document)]
    assert len(ids) == len(set(ids))
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    for method, path, operation in every(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert all(described[tag] for tag in operation["tags"]), path
        assert len(operation["tags"]) == 1, path
        answers = set(operation["responses"])
        if path.startswith("/v1"):
            assert {"401", "403", "422", "429", "503"} <= answers, path
        if path.startswith("/v1") and method != "get":
            assert {"404", "409", "412"} <= answers, path
            assert any(one["name"] == "dry_run" for one in operation["parameters"]), path
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], path


def test_what_is_sent_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    without = set()
    for _, _, operation in every(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        schema = body.get("schema", {})
        kinds = [one.get("$ref", "") for one in (schema, *schema.get("anyOf", []))]
        for name in (kind.rpartition("/")[2] for kind in kinds if kind):
            if not schemas[name].get("examples"):
                without.add(name)
    assert not without, "porter/web/examples.py"


def test_names_of_operations() -> None:
    assert operation_id("get", "/v1/hosts") == "list_hosts"
    assert operation_id("get", "/v1/hosts/{name}") == "get_host"
    assert operation_id("post", "/v1/join-tokens") == "create_join_token"
    assert operation_id("post", "/v1/migrations/{id}/cancel") == "cancel_migration"
    assert operation_id("put", "/v1/workloads/{name}/endpoints") == "put_workload_endpoints"
    assert operation_id("get", "/v1/migrations/{id}/receipt") == "get_migration_receipt"
    assert operation_id("delete", "/v1/policies/{name}") == "delete_policy"
    assert operation_id("get", "/v1/overview") == "get_overview"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        SNAPSHOT.write_text("\n".join(lines(made(Path(folder)))) + "\n")
