"""What every request of the REST API passes between authentication and its route."""

from __future__ import annotations

from fastapi import FastAPI

from porter.db.answers import Answers
from porter.db.audit import Audit
from porter.web import openapi
from porter.web.auditing import Auditing
from porter.web.conditional import Conditional
from porter.web.idempotency import Idempotency
from porter.web.limiting import RateLimit, limit_of
from porter.web.pulse import Pulse
from porter.web.rehearsal import DryRun
from porter.web.waiting import Waiting
from porter.wiring import ControlPlane

BELOW = "/v1"


def install(app: FastAPI, control: ControlPlane, pulse: Pulse) -> None:
    """The first added stands nearest to the routes. An answer is kept for its Idempotency-Key as
    it is after waiting; a condition is looked at before anything is done."""
    openapi.install(app)
    app.add_middleware(DryRun, database=control.database, below=BELOW)
    app.add_middleware(Conditional, below=BELOW)
    # Nearer to the routes than what waits: see auditing.
    app.add_middleware(Auditing, audit=Audit(control.database))
    app.add_middleware(Waiting, pulse=pulse)
    app.add_middleware(
        Idempotency, answers=Answers(control.database), vault=control.vault, below=BELOW
    )
    app.add_middleware(RateLimit, limit=limit_of(control.settings.rate_limit), below=BELOW)
