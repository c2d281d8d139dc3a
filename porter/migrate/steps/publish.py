"""publish: what the outside calls the workload by follows it. Only ever forward.

`memory` keeps `done` (endpoints that lead to the target), `tokens` (of those under way) and `why`
(the last trouble with each).
"""

from __future__ import annotations

from porter.domain.endpoint import LABEL_ENDPOINT, Endpoint, EndpointKind, parse
from porter.domain.errors import Invalid, NotFound, PorterError, Unsupported
from porter.domain.migration import StepKind
from porter.domain.workload import WorkloadSpec
from porter.migrate.places import destination
from porter.migrate.ports import Machines
from porter.migrate.step import Context, Done, Outcome, Retry, Wait
from porter.protocol import codec
from porter.providers.base import Destination, Pending, RecordSet

PATIENCE = 12
"""So often an endpoint may fail before the move ends all the same, and says so."""


class Publish:
    kind = StepKind.PUBLISH

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, context: Context) -> Outcome:
        memory = context.memory
        done: list[str] = memory.setdefault("done", [])
        tokens: dict[str, str] = memory.setdefault("tokens", {})
        given_up: dict[str, str] = memory.setdefault("given_up", {})
        pauses: list[float] = []
        names, wrong = declared(context)
        if wrong:
            given_up[LABEL_ENDPOINT] = wrong
        for name in names:
            if name in done or name in given_up:
                continue
            try:
                pending = self._lead(context, parse(name)[0], tokens.get(name, ""))
            except (Invalid, NotFound, Unsupported) as error:
                given_up[name] = str(error)
                context.tell("warning", f"{name} does not follow: {error}")
                continue
            except PorterError as error:
                tokens.pop(name, None)
                if context.attempt < PATIENCE:
                    return Retry(1.0, f"{name} does not follow yet: {error}")
                given_up[name] = str(error)
                context.tell("warning", f"{name} does not follow: {error}")
                continue
            if pending is None:
                done.append(name)
                context.tell("published", f"{name} leads to {context.target.name}")
            else:
                tokens[name] = pending.token
                pauses.append(pending.seconds)
        if pauses:
            return Wait(seconds=min(pauses))
        return Done({"endpoints": done, "left": [f"{k}: {v}" for k, v in given_up.items()]})

    def _lead(self, context: Context, endpoint: Endpoint, token: str) -> Pending | None:
        """Let one endpoint lead to the target; None once it does."""
        place = self._machines.places.open(endpoint.site)
        machine = self._machines.ledger.of_host(context.target.id)
        public = endpoint.kind is EndpointKind.DNS
        to = destination(context.target, machine, endpoint.site, public)
        match endpoint.kind:
            case EndpointKind.DNS if place.dns is not None:
                record = RecordSet(endpoint.name, endpoint.ttl, {to.address: 1})
                return place.dns.set_record(record, token)
            case EndpointKind.LB if place.balancing is not None:
                return place.balancing.set_targets(endpoint.name, endpoint.port, [to], token)
            case EndpointKind.IP if place.addressing is not None:
                return place.addressing.assign(endpoint.name, _machine(endpoint, to), token)
        raise Unsupported(
            f"cannot move {endpoint}: Porter has no {endpoint.kind} at {endpoint.site}",
            "name a site that has it",
        )

    def undo(self, context: Context) -> Outcome:
        return Done()


def _machine(endpoint: Endpoint, to: Destination) -> str:
    if not to.instance:
        raise Unsupported(
            f"cannot move the address {endpoint.name}: it belongs to {endpoint.site}, and the "
            "workload is not on a machine of that site now",
            "use a DNS name for moves between sites",
        )
    return to.instance


def declared(context: Context) -> tuple[tuple[str, ...], str]:
    """Endpoints of the container's label and of the API, each once; and what is wrong with the
    label."""
    preflight = context.output(StepKind.PREFLIGHT)
    labels = codec.load(WorkloadSpec, preflight["spec"]).labels if preflight else {}
    try:
        found, wrong = [str(one) for one in parse(labels.get(LABEL_ENDPOINT, ""))], ""
    except Invalid as error:
        found, wrong = [], str(error)
    return tuple(dict.fromkeys([*found, *context.workload.endpoints])), wrong
