"""reserve: the target opens for this migration, gets the image, and makes the twin."""

from __future__ import annotations

import secrets

from porter.domain.errors import Permanent
from porter.domain.handover import Target
from porter.domain.migration import StepKind
from porter.domain.workload import WorkloadSpec
from porter.migrate.step import Context, Done, Outcome, Retry
from porter.protocol import codec
from porter.protocol.messages import (
    HandoverState,
    Kind,
    Prepare,
    Prepared,
    Query,
    Reserve,
    Reserved,
    ShipImage,
    ShippedImage,
)


class Reservation:
    kind = StepKind.RESERVE

    def do(self, context: Context) -> Outcome:
        spec = codec.load(WorkloadSpec, context.output(StepKind.PREFLIGHT)["spec"])
        token = context.memory.setdefault("token", secrets.token_urlsafe(24))
        migration = context.migration.id
        reserve = Reserve(
            migration=migration,
            workload=context.workload.name,
            generation=context.generation,
            spec=spec,
            source_host=context.source.id,
            token=token,
        )
        reserved = context.ask("reserve", context.target, Kind.RESERVE, reserve, Reserved)
        if reserved is None:
            return context.wait()
        shipped = ShippedImage(0, 0)
        if reserved.missing_layers:
            ship = ShipImage(
                migration=migration,
                image=spec.image,
                missing_layers=reserved.missing_layers,
                target_host=context.target.id,
                peer_address=reserved.peer_address,
                peer_port=reserved.peer_port,
                token=token,
            )
            answer = context.ask("ship", context.source, Kind.SHIP_IMAGE, ship, ShippedImage)
            if answer is None:
                return context.wait()
            shipped = answer
        prepared = context.ask(
            "prepare", context.target, Kind.PREPARE, Prepare(migration), Prepared
        )
        if prepared is None:
            return context.wait()
        return Done(
            {
                "token": token,
                "reserved": codec.dump(reserved),
                "shipped": codec.dump(shipped),
                "container": prepared.container,
            }
        )

    def undo(self, context: Context) -> Outcome:
        if context.issued(StepKind.RESERVE, Kind.RESERVE) is None:
            return Done()
        query = Query(context.migration.id)
        try:
            answer = context.ask("undo-refuse", context.target, Kind.REFUSE, query, HandoverState)
        except Permanent as error:
            return Retry(2.0, f"cannot undo on {context.target.name}: {error}")
        if answer is None:
            return context.wait(undoing=True)
        if answer.state != Target.REFUSED:
            return Retry(2.0, f"cannot undo on {context.target.name}: it says {answer.state}")
        return Done()
