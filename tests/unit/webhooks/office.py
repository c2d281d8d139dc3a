"""A database with webhooks, a clock that is set by hand, and receivers that are functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from porter.db import rows
from porter.db.database import Database
from porter.db.deliveries import Deliveries, DeliveryRecord
from porter.db.happenings import Happenings
from porter.db.webhooks import WebhookRecord, Webhooks
from porter.domain.identity import DEFAULT_PROJECT
from porter.domain.webhook import DeliveryState, Health, Outcome
from porter.vault import Vault
from porter.webhooks.courier import Courier
from porter.webhooks.signing import Secrets, new_secret, seal

GOOD = Outcome(204)
BAD = Outcome(500, "answered 500 Internal Server Error")


@dataclass
class Sent:
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def kind(self) -> str:
        return str(json.loads(self.body)["type"]).removeprefix("io.porter.")


@dataclass
class Office:
    database: Database
    now: float = 1_700_000_000.0
    sent: list[Sent] = field(default_factory=list)
    answers: Callable[[Sent], Outcome] = lambda sent: GOOD
    queue: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vault = Vault(b"key")
        self.hooks = Webhooks(self.database)
        self.deliveries = Deliveries(self.database)
        self.secrets: dict[str, str] = {}
        self.courier = self.another()

    def another(self) -> Courier:
        """As another worker has it."""
        return Courier(
            Deliveries(self.database),
            self.vault,
            lambda: self.now,
            self.queue.append,
            self.post,
            lambda: 0.5,
        )

    def post(self, url: str, headers: Mapping[str, str], body: str) -> Outcome:
        self.sent.append(Sent(url, headers, body))
        return self.answers(self.sent[-1])

    def hook(
        self, project: str = DEFAULT_PROJECT, types: Sequence[str] = (), url: str = ""
    ) -> WebhookRecord:
        identity, secret = rows.new_id("wh"), new_secret()
        self.secrets[identity] = secret
        return self.hooks.add(
            WebhookRecord(
                id=identity,
                url=url or f"https://hooks.example.org/{identity}",
                sealed=seal(self.vault, identity, Secrets(secret)),
                project=project,
                types=tuple(types),
                created=self.now,
                created_by="ann",
                disabled=None,
                reason="",
                cursor=Happenings(self.database).newest(self.now),
                health=Health(),
                paused_until=None,
                rotated=None,
            )
        )

    def happen(self, *kinds: str, project: str = DEFAULT_PROJECT, **more: Any) -> list[int]:
        """Numbers of events of these kinds."""
        with self.database.write() as c:
            return [
                rows.add_event(c, self.now, kind, f"{kind} happened", project=project, **more)
                for kind in kinds
            ]

    def pass_on(self, seconds: float = 0.0) -> list[Sent]:
        """A sweep, and all that follows from it; what was sent meanwhile."""
        self.now += seconds
        before = len(self.sent)
        self.courier.sweep()
        while self.queue:
            self.courier.deliver(self.queue.pop(0))
        return self.sent[before:]

    def log(self, hook: WebhookRecord, state: DeliveryState | None = None) -> list[DeliveryRecord]:
        """Oldest first."""
        return self.deliveries.page(hook.id, 1000, state=state).items[::-1]
