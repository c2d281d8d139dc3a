"""What a proposal really cost and saved: machine time from the ledger, traffic from its moves'
receipts, exact. It can be asked for at any time and is reckoned anew each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from porter.db.base import InstanceRecord
from porter.db.ledger import Ledger
from porter.db.moves import Moves
from porter.db.proposals import ProposalRecord, Proposals
from porter.domain.errors import Conflict
from porter.migrate.receipt import iso
from porter.schedule.priced import FINE, plain

HOUR = Decimal(3600)
ZERO = Decimal(0)


class Accountant:
    """Reads only."""

    def __init__(self, proposals: Proposals, ledger: Ledger, moves: Moves) -> None:
        self._proposals = proposals
        self._ledger = ledger
        self._moves = moves

    def receipt(self, proposal: ProposalRecord, as_of: float) -> dict[str, Any]:
        """`saving`: what staying would have cost since it began, less what was paid since, for the
        machines it touched and the traffic it made. What is not known makes the sums null, and
        stands in `unknown`. Raises Conflict for one that has not begun."""
        if proposal.started is None:
            raise Conflict(
                f"cannot account for proposal {proposal.id}: it is {proposal.state}, nothing was "
                "done",
                f"porter proposal execute {proposal.id}",
            )
        lines = [*self._machines(proposal, as_of), *self._traffic(proposal)]
        currency = str(proposal.content["sums"]["currency"])
        unknown = sorted({one["unknown"] for one in lines if one["unknown"]})
        staying, paid = (None if unknown else _sum(lines, key) for key in ("staying", "paid"))
        saving = None if staying is None or paid is None else staying - paid
        return {
            "proposal": proposal.id,
            "state": proposal.state,
            "currency": currency,
            "started_at": iso(proposal.started),
            "ended_at": None if proposal.ended is None else iso(proposal.ended),
            "as_of": iso(as_of),
            "staying": plain(staying),
            "paid": plain(paid),
            "saving": plain(saving),
            "expected": {
                key: proposal.content["sums"][key] for key in ("saving", "once", "horizon_s")
            },
            "lines": lines,
            "rates": proposal.content["sums"]["rates"],
            "unknown": unknown,
        }

    # -- machines

    def _machines(self, proposal: ProposalRecord, as_of: float) -> Iterator[dict[str, Any]]:
        assert proposal.started is not None
        content = proposal.content
        touched = {*content["ended"], *(move["from"] for move in content["moves"])}
        touched |= {move["to"] for move in content["moves"] if not move["new"]}
        mine = [move.migration for move in self._proposals.moves(proposal.id) if move.migration]
        made = [row for one in mine for row in self._ledger.of_migration(one)]
        for row in self._ledger.of_names(sorted(touched)):
            over = row.ended_at or row.gone
            if row.created <= proposal.started and (over is None or over > proposal.started):
                yield _machine(proposal, row, proposal.started, as_of, stood=True)
        for row in made:
            yield _machine(proposal, row, proposal.started, as_of, stood=False)

    # -- traffic

    def _traffic(self, proposal: ProposalRecord) -> Iterator[dict[str, Any]]:
        for move in self._proposals.moves(proposal.id):
            if move.migration is None:
                continue
            migration = self._moves.story(move.migration).migration
            cost = (migration.receipt or {}).get("cost") or {}
            egress = cost.get("egress")
            if egress is None:
                continue  # it has not come to that
            amount, unknown = _reckoned(
                proposal, egress["amount"], egress["currency"], egress["source"]
            )
            yield {
                "what": "egress",
                "of": move.workload,
                "migration": move.migration,
                "bytes": egress["bytes"],
                "staying": plain(ZERO),
                "paid": plain(amount),
                "source": egress["source"],
                "price_as_of": egress["as_of"],
                "unknown": f"the traffic of {move.workload}: {unknown}" if unknown else "",
            }


def _machine(
    proposal: ProposalRecord, row: InstanceRecord, since: float, as_of: float, stood: bool
) -> dict[str, Any]:
    """`stood`: it was there before, so without the proposal it would have gone on, at the price
    that the proposal found; a new one is paid for at the price at which it was launched."""
    quote = (_found(proposal, row) if stood else None) or row.quote or {}
    begun = row.launched_at if row.launched_at is not None else row.launched
    over = row.ended_at if row.ended_at is not None else row.gone
    end = as_of if over is None else min(over, as_of)
    begin = max(since, begun or row.created) if stood else begun
    seconds = ZERO if begin is None else _seconds(max(0.0, end - begin))
    hourly, unknown = _reckoned(
        proposal, quote.get("amount"), str(quote.get("currency", "")), str(quote.get("source", ""))
    )
    idle = _seconds(max(0.0, as_of - since)) if stood else ZERO
    if not seconds and not idle:
        unknown = ""  # it never ran
    return {
        "what": "machine",
        "of": row.host_name,
        "type": row.instance_type,
        "terms": quote.get("terms", ""),
        "from": None if begin is None else iso(begin),
        "until": None if over is None or over > as_of else iso(over),
        "told_by": {
            "begin": "provider" if row.launched_at is not None else "porter",
            "end": "provider" if row.ended_at is not None else "porter",
        },
        "seconds": plain(seconds),
        "hourly": quote.get("amount"),
        "currency": quote.get("currency", ""),
        "staying": plain(_cost(hourly, idle)),
        "paid": plain(_cost(hourly, seconds)),
        "source": quote.get("source", ""),
        "price_as_of": quote.get("as_of", ""),
        "unknown": f"the price of {row.host_name}: {unknown}" if unknown else "",
    }


def _found(proposal: ProposalRecord, row: InstanceRecord) -> dict[str, Any] | None:
    """What a machine that was there cost an hour when the proposal was made."""
    for line in proposal.content["sums"]["lines"]:
        if (line["what"], line["of"]) == ("machine", row.host_name):
            basis: dict[str, Any] = line["basis"]
            return basis
    return None


def _cost(hourly: Decimal | None, seconds: Decimal) -> Decimal | None:
    if not seconds:
        return ZERO
    return None if hourly is None else (hourly * seconds / HOUR).quantize(FINE)


def _seconds(length: float) -> Decimal:
    return Decimal(str(round(length, 3)))


def _reckoned(
    proposal: ProposalRecord, amount: str | None, currency: str, source: str
) -> tuple[Decimal | None, str]:
    """An amount in the proposal's currency, by the rates that it was made with; or why not."""
    sums = proposal.content["sums"]
    if amount is None:
        return None, source or "nobody told it"
    exact = Decimal(amount)
    if exact == 0 or currency == sums["currency"]:
        return exact, ""
    for rate in sums["rates"]:
        if (rate["from"], rate["to"]) == (currency, sums["currency"]):
            return exact * Decimal(rate["rate"]), ""
    return None, f"it is told in {currency}, and no rate to {sums['currency']} was used"


def _sum(lines: Sequence[dict[str, Any]], key: str) -> Decimal:
    return sum((Decimal(one[key]) for one in lines), ZERO)
