"""The OpenAPI document: what routes say of themselves, and what all requests have in common.

Names of operations derive from method and path alone, so that renaming a function breaks nobody's
generated client.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from porter.domain.errors import Invalid
from porter.web.api.paging import MOST
from porter.web.api.schemas.base import Problem
from porter.web.errors import MEDIA_TYPE
from porter.web.examples import EXAMPLES
from porter.web.waiting import LONGEST

METHODS = ("get", "put", "post", "delete", "patch")
TAGS = {
    "overview": "The fleet at one glance.",
    "hosts": "Machines that run `porter agent`, and the tokens they join with.",
    "workloads": "Containers in Porter's care.",
    "migrations": "Moves of workloads.",
    "checkpoints": "Kept states of workloads.",
    "sites": "Places with their own provider account.",
    "stores": "Object stores and directories for layers.",
    "prices": "What machines and traffic cost.",
    "problems": "What the `type` of a problem means.",
    "health": "For load balancers.",
    "people": "Who is asking, users, their roles, and projects.",
    "tokens": "API tokens.",
    "plans": "Frozen moves that can be approved.",
    "policies": "Rules for moving.",
    "rebalances": "Runs of the optimiser over the fleet.",
    "schedules": "When the optimiser is asked by itself.",
    "proposals": "Moves that pay together: approved, carried out, accounted for.",
    "forecasts": "How good forecasts of moves were.",
    "receipts": "Signed receipts and the keys that prove them.",
    "audit": "Who did what.",
    "events": "What happens, as it happens.",
    "webhooks": "Events sent to a URL of one's own.",
}
SAID: dict[str, str] = {
    "401": "The token or session is missing, wrong or expired",
    "403": "The caller's roles or the token's scopes do not allow this",
    "404": "What is named does not exist, or not for the caller",
    "409": "The request contradicts the present state",
    "412": "If-Match or If-None-Match does not hold",
    "422": "The request cannot be read",
    "429": "Too many requests: Retry-After says when to come again",
    "503": "The database, a host or a provider does not answer: try again",
}
IRREGULAR = {
    "policies": "policy",
    "deliveries": "delivery",
    "prices": "prices",
    "receipt_jws": "receipt_jws",
}
WAITS = ("/v1/migrations", "/v1/checkpoints", "/v1/plans")
"""Below these, what is answered with 202 can be waited for."""


def install(app: FastAPI) -> None:
    """Let the application describe itself so."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = finish(plain())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def finish(document: dict[str, Any]) -> dict[str, Any]:
    """The whole document from the framework's."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    told = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= told.pop("$defs")
    schemas["Problem"] = told
    for name, schema in schemas.items():
        if name in EXAMPLES:
            schema["examples"] = [EXAMPLES[name]]
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                _operation(path, method, operations[method])
    used = {tag for _, _, one in every(document) for tag in one.get("tags", ())}
    document["tags"] = [{"name": tag, "description": TAGS.get(tag, "")} for tag in sorted(used)]
    document["servers"] = [{"url": "/"}]
    return document


def every(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of all that there are, sorted by path."""
    return [
        (method, path, operations[method])
        for path, operations in sorted(document["paths"].items())
        for method in METHODS
        if method in operations
    ]


def check_query(request: Request) -> None:
    """Refuse query parameters that the operation does not document: a misspelt filter would give
    a wrong list. Raises Invalid."""
    if not request.query_params:
        return
    app: FastAPI = request.app
    known: dict[tuple[str, str], frozenset[str]] | None = getattr(app.state, "queries", None)
    if known is None:
        app.state.queries = known = {
            (method, path): frozenset(
                one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"
            )
            for method, path, operation in every(app.openapi())
        }
    asked = (request.method.lower(), request.scope["route"].path)
    for name in request.query_params:
        if asked in known and name not in known[asked]:
            raise Invalid(
                f"cannot read the query: there is no parameter {name[:40]!r} here",
                "see /openapi.json",
            )


def operation_id(method: str, path: str) -> str:
    """A readable name: `list_hosts`, `get_host`, `cancel_migration`, `put_workload_endpoints`."""
    parts = [part for part in path.split("/") if part and part != "v1"]
    words = [part.replace("-", "_").replace(".", "_") for part in parts if part[0] != "{"]
    ones = [_one(word) for word in words]
    if parts[-1][0] == "{":
        return "_".join((method, *ones))
    last, owners = words[-1], ones[:-1]
    if method == "get":
        plural = last != ones[-1]
        return "_".join(("list" if plural else "get", *owners, last))
    if method == "post" and not owners:
        return "_".join(("create", *ones))
    if method == "post":
        return "_".join((last, *owners))
    return "_".join((method, *owners, last))


def _one(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _operation(path: str, method: str, operation: dict[str, Any]) -> None:
    name = operation_id(method, path)
    operation["operationId"] = name
    operation["summary"] = name.replace("_", " ").capitalize()
    operation.setdefault("description", operation["summary"])
    closed = path.startswith("/v1")
    known = {(one["name"].lower(), one["in"]) for one in operation.get("parameters", [])}
    waits = method == "post" and path.startswith(WAITS) and "202" in operation["responses"]
    for parameter in _parameters(method, waits) if closed else ():
        if (parameter["name"].lower(), parameter["in"]) not in known:
            operation.setdefault("parameters", []).append(parameter)
    if waits:
        accepted = operation["responses"]["202"]
        operation["responses"]["200"] = accepted | {"description": "It has ended (`Prefer: wait`)"}
    _answers(path, method, operation, closed)


def _parameters(method: str, waits: bool) -> list[dict[str, Any]]:
    text = {"type": "string"}
    if method == "get":
        return [_header("If-None-Match", "The ETag of what one has: 304 if it is so still", text)]
    found = [
        {
            "name": "dry_run",
            "in": "query",
            "required": False,
            "description": "Check everything and answer as if it were done, but do nothing",
            "schema": {"type": "boolean", "default": False},
        },
        _header("If-Match", "Only if the resource has this ETag", text),
    ]
    if method == "post":
        key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        what = "The first answer to this key is kept for 24 hours and given again"
        found.append(_header("Idempotency-Key", what, key))
        if waits:
            what = f"`wait=N`: answer when it has ended, or after N seconds ({LONGEST} at most)"
            found.append(_header("Prefer", what, text | {"examples": ["wait=30"]}))
    return found


def _header(name: str, what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": what,
        "schema": schema,
    }


def _answers(path: str, method: str, operation: dict[str, Any], closed: bool) -> None:
    answers = operation["responses"]
    for status in [one for one in answers if one >= "400" or one == "default"]:
        del answers[status]
    if path == "/v1/events":
        cloudevents = {"type": "array", "items": {"type": "object"}}
        answers["200"]["content"] = {
            "application/json": {"schema": cloudevents},
            "text/event-stream": {"schema": {"type": "string"}},
        }
    elif path.endswith("/events") and method == "get":
        answers["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    named = "{" in path
    takes = bool(operation.get("parameters")) or "requestBody" in operation
    changes = method != "get"
    occur = {
        "401": closed,
        "403": closed,
        "404": named or (closed and (changes or takes)),
        "409": closed and (changes or path.endswith("/prices")),
        "412": closed and changes,
        "422": closed or takes,
        "429": closed,
        "503": True,
    }
    if closed and not changes and "application/json" in answers.get("200", {}).get("content", {}):
        answers["304"] = {"description": "It is as the caller has it"}
        answers["200"]["headers"] = _headers(operation)
    for status, can in occur.items():
        if can:
            answers[status] = _problem(int(status))


def _headers(operation: dict[str, Any]) -> dict[str, Any]:
    headers = {"ETag": ("Strong tag of the answer's content", {"type": "string"})}
    if any(one["name"] == "cursor" for one in operation.get("parameters", [])):
        what = f'`<…>; rel="next"` if there is another page; a page has {MOST} items at most'
        headers["Link"] = (what, {"type": "string"})
    return {
        name: {"description": what, "schema": schema} for name, (what, schema) in headers.items()
    }


def _problem(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": SAID[str(status)],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        seconds = {"description": "Seconds to wait", "schema": {"type": "string"}}
        answer["headers"] = {"Retry-After": seconds}
    return answer
