"""A lab with Porter on it, a Redis in it, and three people, for whoever needs a real one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from porter import settings as settings_module
from porter.domain.identity import Grant, Role
from porter.lab import load
from porter.lab.fleet import Fleet
from porter.web.access import SESSION
from porter.wiring import ControlPlane, control_plane

REDIS = ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
FILL = 120_000_000


@dataclass
class Yard:
    """A lab with a Redis called shop."""

    fleet: Fleet
    control: ControlPlane
    """The same database as the lab's control plane; nothing but people is written by it."""
    users: dict[str, str]
    """Ada may operate, Ben approve, Eve everything."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.fleet.port}"

    def cookie(self, who: str) -> dict[str, Any]:
        """That of a new session of somebody."""
        secret, _ = self.control.identity.begin_session(self.users[who], time.time())
        return {"name": SESSION, "value": secret, "url": self.url}

    def host(self) -> str:
        """Where the shop is."""
        return str(self.fleet.json("workload", "show", "shop")["host"])

    def other(self) -> str:
        return "cloud" if self.host() == "onprem" else "onprem"


@contextmanager
def opened(name: str) -> Iterator[Yard]:
    """Built, and taken down afterwards."""
    fleet = Fleet(name)
    try:
        fleet.up(("onprem", "cloud"), link_mbit=400)
        address = fleet.run("onprem", "shop", *REDIS)
        fill = [sys.executable, load.__file__, "fill", address, "6379", "--bytes", str(FILL)]
        fleet.lab.exec("wan", fill, timeout=60, check=True)
        control = control_plane(settings_module.load({"PORTER_STATE": str(fleet.state)}))
        users = {}
        for who, role in (("ada", Role.OPERATOR), ("ben", Role.APPROVER), ("eve", Role.ADMIN)):
            now = time.time()
            made = control.identity.login("https://id.example", who, who.title(), "", now)
            control.identity.grant(made.id, Grant("*", role), "root", now)
            users[who] = made.id
        yield Yard(fleet, control, users)
        control.close()
    finally:
        fleet.down()
