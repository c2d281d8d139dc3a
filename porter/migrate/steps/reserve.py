"""reserve: the target opens for this migration, gets the image, and makes the twin."""

from __future__ import annotations

import secrets

from porter.domain.errors import Permanent
from porter.domain.handover import Source, Target
from porter.domain.migration import StepKind
from porter.domain.workload import WorkloadSpec
from porter.migrate.depots import tunnel_of
from porter.migrate.ports import Machines
from porter.migrate.step import Context, Done, Outcome, Retry
from porter.migrate.steps.decision import give_up_order
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

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, context: Context) -> Outcome:
        spec = codec.load(WorkloadSpec, context.output(StepKind.PREFLIGHT)["spec"])
        token = context.memory.setdefault("token", secrets.token_urlsafe(24))
        migration = context.migration.id
        via = route(context)
        reserve = Reserve(
            migration=migration,
            workload=context.workload.name,
            generation=context.generation,
            spec=spec,
            source_host=context.source.id,
            token=token,
            via=via,
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
                via=via,
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
        if context.memory_of(StepKind.HANDOVER).get("source") == Source.FENCED:
            # It may never be back: the order waits for it, and nobody else has to.
            order = give_up_order(context)
            sweep_route(self._machines, context)
            context.ask("undo-fenced", context.target, Kind.RESOLVE, order, HandoverState)
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
        sweep_route(self._machines, context)
        return Done()


def route(context: Context) -> str:
    """Below what prefix of a store the hosts talk; "" where they reach each other."""
    via = context.output(StepKind.PREFLIGHT).get("via")
    return tunnel_of(context.migration.id) if via else ""


def sweep_route(machines: Machines, context: Context) -> None:
    """Remove what the hosts left in the store. Raises Transient and such."""
    via = context.output(StepKind.PREFLIGHT).get("via")
    if via:
        machines.depots.clear(str(via), tunnel_of(context.migration.id))
