"""Every endpoint × role × project: allowed, or refused without a word of what is there."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import NewMigration
from porter.db.rebalances import Outcome, Trigger
from porter.db.registry import Identity as Certificate
from porter.db.webhooks import WebhookRecord
from porter.domain.identity import EVERYWHERE, Grant, Permission, Principal, Role
from porter.domain.migration import StepKind
from porter.domain.webhook import Health
from porter.migrate.prospects import Asked
from porter.protocol.joining import FoundWorkload, Heartbeat
from porter.schedule.authority import new_run
from porter.web.api import workloads
from porter.webhooks.signing import Secrets, new_secret, seal
from porter.wiring import ControlPlane
from tests.saga.simulation import facts
from tests.unit.web.conftest import Serving, served
from tests.unit.web.offered import example
from tests.unit.web.permissions import RULES, Rule, Where

READ, OPERATE, APPROVE, ADMIN = Permission
ALLOWS = {
    Role.VIEWER: {READ},
    Role.OPERATOR: {READ, OPERATE},
    Role.APPROVER: {READ, APPROVE},
    Role.ADMIN: {READ, OPERATE, APPROVE, ADMIN},
}
NOTHING = {
    "workload": "zzz-app",
    "migration": "m-zzz",
    "kept": "k-zzz",
    "token": "t-zzz",
    "plan": "p-zzz",
    "policy": "zzz-rule",
    "webhook": "wh-zzz",
    "run": "r-zzz",
    "proposal": "o-zzz",
    "schedule": "zzz-nightly",
    "project": "zzz",
}
PROJECTS = ("shop", "bank")
EVENT = 1
"""Number of an event that the webhooks of both projects got."""
SOMEBODY = Principal("u-x", "user", "somebody else", ())
pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Caller:
    """Somebody with one role, or none."""

    role: Role | None
    project: str
    token: str
    name: str

    def may(self, permission: Permission, project: str) -> bool:
        here = self.project in (project, EVERYWHERE)
        return self.role is not None and here and permission in ALLOWS[self.role]

    def may_in_fleet(self, permission: Permission) -> bool:
        known = self.role is not None and permission is READ
        return known or self.may(permission, EVERYWHERE)


def document(name: str, project: str) -> str:
    return f"version: 1\nname: {name}\nproject: {project}\napproval: {{to: [lab]}}\n"


class Fleet:
    """Two projects with one of everything in each, and callers of all kinds."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.things: dict[str, dict[str, str]] = {}
        control = serving.control
        now = time.time()
        self.hosts = {
            name: control.registry.enrol(
                f"h-{name}", name, "lab", Certificate("1", "f", "PEM"), facts(name), now
            )
            for name in ("onprem", "cloud")
        }
        found = tuple(
            FoundWorkload(f"{one}-app", f"c-{one}", one, "running", f"10.77.1.{n}", "redis", 7, one)
            for n, one in enumerate(PROJECTS, 2)
        )
        control.found.heartbeat(self.hosts["onprem"], Heartbeat(facts("onprem"), found), now)
        control.store_book.add("shelf", "file:///nowhere", {}, "", now)
        self.somebody = control.identity.login("i", "somebody", "some", "some@body", now).id
        for project in PROJECTS:
            self.things[project] = self._things(control, project, now)
        self.callers = list(self._callers(control, now))

    def _things(self, control: ControlPlane, project: str, now: float) -> dict[str, str]:
        """A finished checkpoint, a migration under way and a token of somebody else's."""
        workload = control.found.workload(f"{project}-app")
        onprem, cloud = self.hosts["onprem"], self.hosts["cloud"]
        kept = control.checkpoints.create(workload, onprem, "shelf", [onprem], now)
        with control.database.write() as c:
            c.exec_driver_sql("UPDATE checkpoints SET state = 'ready'")
        rule = document(f"{project}-rule", project)
        control.policies.put(f"{project}-rule", project, rule, "x", now)
        asked = Asked(workload.name, "cloud")
        plan = control.planner.make(control.planner.look(asked, now), SOMEBODY, now, 3600)
        kinds = (StepKind.PREFLIGHT, StepKind.RESERVE)
        move = control.moves.create(
            NewMigration(
                f"m{project}", workload, onprem, cloud, "cold", {}, "", kinds, now, created_by="x"
            )
        )
        _, token = control.identity.add_token(
            f"{project}-ci", self.somebody, project, [READ], now + 3600, now
        )
        offered = example(f"r-{project}", workload.name, project, now)
        run = new_run(Trigger.MANUAL, None, None, project, {}, "x", now)
        found = Outcome({}, {}, {}, [], [offered])
        nightly = f"{project}-nightly"
        control.schedules.put(nightly, project, "0 3 * * *", "UTC", {}, "x", now)
        control.rebalances.add(replace(run, id=f"r-{project}"), found, now)
        return {
            "workload": workload.name,
            "migration": move,
            "kept": kept,
            "token": token.id,
            "project": project,
            "plan": plan.id,
            "policy": f"{project}-rule",
            "webhook": self._webhook(control, project, now),
            "run": f"r-{project}",
            "proposal": offered.id,
            "schedule": f"{project}-nightly",
        }

    def _webhook(self, control: ControlPlane, project: str, now: float) -> str:
        """With one delivery."""
        identity = f"wh-{project}"
        hook = WebhookRecord(
            id=identity,
            url=f"https://hooks.example.org/{project}",
            sealed=seal(control.vault, identity, Secrets(new_secret())),
            project=project,
            types=(),
            created=now,
            created_by="x",
            disabled=None,
            reason="",
            cursor=0,
            health=Health(),
            paused_until=None,
            rotated=None,
        )
        control.webhooks.add(hook)
        with control.database.write() as c:
            delivery = {"id": f"d-{project}", "webhook": identity, "event": EVENT}
            more = {"state": "delivered", "attempts": 1, "error": "", "created": now}
            c.execute(sa.insert(t.deliveries).values(**delivery, **more))
        return identity

    def _callers(self, control: ControlPlane, now: float) -> Iterator[Caller]:
        numbers = itertools.count()

        def caller(role: Role | None, project: str) -> Caller:
            name, number = f"{role} of {project}", str(next(numbers))
            user = control.identity.login("i", number, number, "", now).id
            if role is not None:
                control.identity.grant(user, Grant(project, role), "root", now)
            secret = control.identity.add_token(
                "all", user, EVERYWHERE, list(Permission), now + 3600, now
            )[0]
            return Caller(role, project, secret, name)

        for project in (*PROJECTS, EVERYWHERE):
            for role in Role:
                yield caller(role, project)
        yield caller(None, "nothing")
        # Tokens of root, which may all, confined: to a project, or to a scope.
        for name, scopes, project, role in (
            ("confined to one project", list(Permission), "shop", Role.ADMIN),
            ("confined to reading", [READ], EVERYWHERE, Role.VIEWER),
            ("confined to operating", [READ, OPERATE], "bank", Role.OPERATOR),
        ):
            secret = control.identity.add_token(name, None, project, scopes, now + 3600, now)[0]
            yield Caller(role, project, secret, name)

    def names(self, project: str | None) -> dict[str, str]:
        """What the parameters of a path stand for."""
        things = NOTHING if project is None else self.things[project]
        fleet = {"host": "cloud", "site": "lab", "store": "shelf", "user": self.somebody}
        fleet["event"] = str(EVENT)
        rule = document(things["policy"], things["project"])
        return {**fleet, "role": "viewer", "document": rule, **things}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with served(tmp_path_factory.mktemp("fleet")) as serving:
        yield Fleet(serving)


def request(
    client: httpx.Client, endpoint: str, rule: Rule, names: dict[str, str], token: str | None
) -> tuple[int, str]:
    """Status and body; of an event stream that opens, only the status. Nothing is changed."""
    method, path = endpoint.split()
    path = path.format(**{name: names[what] for name, what in rule.names.items()})
    body = None
    if rule.body is not None:
        text = json.dumps(rule.body)
        for what, name in names.items():
            text = text.replace(f'"${what}"', json.dumps(name))
        body = json.loads(text)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    query = {} if method == "GET" else {"dry_run": "true"}
    with client.stream(method, path, params=query, json=body, headers=headers) as answer:
        opens = answer.headers.get("content-type", "").startswith("text/event-stream")
        return answer.status_code, "" if opens else answer.read().decode()


def expected(rule: Rule, caller: Caller, project: str) -> int | None:
    """The refusal; None where there is none."""
    if rule.where is Where.FLEET:
        return None if caller.may_in_fleet(rule.needs) else 403
    if rule.where is Where.ANYWHERE:
        return None if caller.role is not None and rule.needs in ALLOWS[caller.role] else 403
    if rule.where is Where.ANY or caller.may(rule.needs, project):
        return None
    if rule.roles and caller.role is None:
        return 403
    if rule.where is Where.NAMED or (rule.where is Where.PROJECT and caller.may(READ, project)):
        return 403
    return 404


@pytest.mark.parametrize("endpoint", RULES)
def test_permissions(fleet: Fleet, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The hosts of this fleet never answer.
    monkeypatch.setattr(workloads, "PATIENCE", 0.0)
    rule = RULES[endpoint]
    projects = ("shop",) if rule.where in (Where.ANY, Where.FLEET, Where.ANYWHERE) else PROJECTS
    with fleet.serving.client(None) as client:
        assert request(client, endpoint, rule, fleet.names("shop"), None)[0] == 401
        for project in projects:
            for caller in fleet.callers:
                check(fleet, client, endpoint, project, caller)


def check(fleet: Fleet, client: httpx.Client, endpoint: str, project: str, caller: Caller) -> None:
    rule = RULES[endpoint]
    names = fleet.names(project)
    status, body = request(client, endpoint, rule, names, caller.token)
    refusal = expected(rule, caller, project)
    told = f"{endpoint} of {project} by {caller.name}: {status} {body[:300]}"
    if refusal is not None:
        assert status == refusal, told
    elif rule.where is Where.FLEET:
        assert status not in (401, 403), told
    else:
        assert status not in (401, 403, 404), told
    if refusal == 404:
        nothing = request(client, endpoint, rule, fleet.names(None), caller.token)
        assert (status, without(body, names)) == (nothing[0], without(nothing[1], NOTHING)), told
    for other in PROJECTS:
        if not caller.may(READ, other) and (other != project or not (rule.names or rule.body)):
            for what, name in fleet.things[other].items():
                assert name not in body, f"{told}: tells of the {what} {name}"


def without(body: str, names: dict[str, str]) -> Any:
    """The problem, with what the caller itself has named left out."""
    for what in NOTHING:
        body = body.replace(names[what], f"<{what}>")
    problem = json.loads(body)
    del problem["request_id"]
    return problem
