"""provision: a machine is made at the target site, and becomes the target host.

`memory` keeps: `types` (names, cheapest first) and `quotes` (their prices), `index` (the one being
tried), `token` (of the provider's operation under way), `giving_up` (that one's machine is being
removed), `launched` (when the machine began to run).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from porter.domain.errors import Exhausted, Permanent
from porter.domain.migration import StepKind
from porter.domain.money import Quote
from porter.domain.units import moment
from porter.domain.workload import WorkloadSpec
from porter.migrate.offers import launcher, offers
from porter.migrate.places import ended_at
from porter.migrate.ports import Machines
from porter.migrate.step import Context, Done, Failed, Outcome, Retry, Wait
from porter.migrate.steps.preflight import sentence
from porter.protocol.messages import Inspect, Kind
from porter.providers.base import HostLifecycle, InstanceState, LaunchSpec, Pending

LOOK = 2.0
"""Seconds between looks for a new machine's agent."""
TAG_MIGRATION = "porter-migration"
SPOT = "spot"


def key_of(migration: str, index: int) -> str:
    """The key under which the migration's nth try makes its machine."""
    return f"p-{migration}-{index}"


class Provision:
    kind = StepKind.PROVISION

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    # -- doing ------------------------------------------------------------------------------

    def do(self, context: Context) -> Outcome:
        hosts = self._hosts(context.target.site)
        memory = context.memory
        if "types" not in memory:
            outcome = self._choose(context)
            if outcome is not None:
                return outcome
        if memory.get("giving_up"):
            return self._give_up(context, hosts)
        # An agent may have joined before its provider said that the machine runs: the ledger wants
        # to hear that, too, with the machine's id.
        if "launched" not in memory:
            outcome = self._launch(context, hosts)
            if "launched" not in memory:
                return outcome
        if context.target.facts is not None and context.alive(context.target):
            return self._joined(context)
        return self._await_agent(context, hosts)

    def _hosts(self, site: str) -> HostLifecycle:
        return launcher(self._machines.places.open(site))

    def _choose(self, context: Context) -> Outcome | None:
        """Rank the sizes that would do. Costs nothing, makes nothing."""
        inspect = Inspect(context.workload.name)
        spec = context.ask("inspect", context.source, Kind.INSPECT, inspect, WorkloadSpec)
        if spec is None:
            return context.wait()
        if spec.blockers:
            return Failed(sentence(spec.blockers))
        if context.source.facts is None:
            return Failed(f"cannot tell what {context.workload.name} needs: its host never joined")
        wish = context.migration.plan
        limit = wish.get("max_price")
        place = self._machines.places.open(context.target.site)
        order = offers(
            place,
            spec,
            context.source.facts,
            None if limit is None else Decimal(str(limit)),
            only=str(wish.get("instance_type", "")),
            terms=str(wish.get("terms", "on_demand")),
        )
        context.memory |= {
            "types": [one.kind.name for one in order],
            "quotes": {one.kind.name: _plain(one.quote) for one in order},
            "index": 0,
        }
        return None

    def _launch(self, context: Context, hosts: HostLifecycle) -> Outcome:
        memory, machines = context.memory, self._machines
        index = int(memory["index"])
        kind, key = memory["types"][index], key_of(context.migration.id, index)
        quote = memory["quotes"][kind]
        if not memory.get("token"):
            # Written before the provider hears of it: from here on, an undo removes it.
            machines.ledger.begin(
                key, context.target, context.migration.id, kind, quote, context.now
            )
            if memory.get("told") != index:
                memory["told"] = index
                context.tell("provision", f"launching {kind} at {context.target.site}", quote=quote)
        spec = LaunchSpec(
            key=key,
            name=context.target.name,
            instance_type=kind,
            user_data=machines.invite(key, context.target),
            owner=machines.owner,
            tags={TAG_MIGRATION: context.migration.id},
            spot=context.migration.plan.get("terms") == SPOT,
        )
        try:
            made = hosts.launch(spec, str(memory.get("token", "")))
        except Exhausted as error:
            return self._next(context, str(error))
        if isinstance(made, Pending):
            memory["token"] = made.token
            return Wait(seconds=made.seconds)
        if made.state is InstanceState.FAILED:
            return self._next(context, made.problem or f"{kind} failed to start")
        begun = moment(made.launched_at)
        machines.ledger.running(key, made.id, made.public_address, context.now, begun)
        memory |= {"token": "", "launched": context.now, "instance": made.id}
        context.tell("provision", f"{kind} runs; waiting for its agent", instance=made.id)
        return Wait(seconds=LOOK)

    def _await_agent(self, context: Context, hosts: HostLifecycle) -> Outcome:
        memory = context.memory
        waited = context.now - float(memory["launched"])
        if waited < self._machines.join_limit:
            if waited > self._machines.join_limit / 10 and self._vanished(context, hosts):
                return self._next(context, "the machine vanished before its agent joined")
            return Wait(seconds=LOOK)
        return Failed(
            f"cannot use the new machine {context.target.name}: its agent has not joined within "
            f"{waited:.0f} s; see the log of its first boot, and that it reaches "
            f"{self._machines.agents_url}"
        )

    def _vanished(self, context: Context, hosts: HostLifecycle) -> bool:
        found = hosts.find(key_of(context.migration.id, int(context.memory["index"])))
        return found is None or found.state in (InstanceState.GONE, InstanceState.FAILED)

    def _next(self, context: Context, why: str) -> Outcome:
        """This size cannot be had: remove what came of it, then try the next."""
        context.tell("provision", why, type=context.memory["types"][context.memory["index"]])
        context.memory |= {"giving_up": True, "why": why, "token": ""}
        context.memory.pop("launched", None)
        return Wait(seconds=0)

    def _give_up(self, context: Context, hosts: HostLifecycle) -> Outcome:
        memory = context.memory
        key = key_of(context.migration.id, int(memory["index"]))
        pending = hosts.terminate(key, str(memory.get("token", "")))
        if pending is not None:
            memory["token"] = pending.token
            return Wait(seconds=pending.seconds)
        self._machines.ledger.gone(key, context.now)
        memory |= {"token": "", "giving_up": False, "index": int(memory["index"]) + 1}
        if memory["index"] >= len(memory["types"]):
            return Failed(f"cannot make a host at {context.target.site}: {memory['why']}")
        return Wait(seconds=0)

    def _joined(self, context: Context) -> Outcome:
        index = int(context.memory["index"])
        kind = context.memory["types"][index]
        return Done(
            {
                "key": key_of(context.migration.id, index),
                "type": kind,
                "instance": str(context.memory.get("instance", "")),
                "quote": context.memory["quotes"][kind],
            }
        )

    # -- undoing ----------------------------------------------------------------------------

    def undo(self, context: Context) -> Outcome:
        """Remove every machine that this migration ever asked for."""
        memory = context.memory
        tokens: dict[str, str] = memory.setdefault("removal", {})
        pauses = []
        for row in self._machines.ledger.of_migration(context.migration.id):
            if row.state == "gone":
                continue
            try:
                hosts = self._hosts(row.site)
                pending = hosts.terminate(row.key, tokens.get(row.key, ""))
            except Permanent as error:
                return Retry(2.0, f"cannot remove {row.host_name} from {row.site}: {error}")
            if pending is None:
                place = self._machines.places.open(row.site)
                self._machines.ledger.gone(row.key, context.now, ended_at(place, row))
                tokens.pop(row.key, None)
            else:
                tokens[row.key] = pending.token
                pauses.append(pending.seconds)
        return Wait(seconds=min(pauses)) if pauses else Done()


def _plain(quote: Quote) -> dict[str, Any]:
    """JSON-able: exact amounts are text."""
    amount = None if quote.amount is None else str(quote.amount)
    return {**vars(quote), "amount": amount}
