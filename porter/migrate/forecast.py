"""What is known of a move before it is made: places, sizes, traffic, prices. Unknown says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from porter.db.base import HostRecord, WorkloadRecord
from porter.db.forecasts import Forecasts
from porter.db.ledger import Ledger
from porter.db.plans import Plans
from porter.domain.errors import NotFound, PorterError
from porter.domain.estimate import Features, Model, Past, Range
from porter.domain.money import Quote, Tariff
from porter.domain.policy import Place, Policy, Told
from porter.domain.workload import WorkloadSpec
from porter.migrate.costs import GB
from porter.migrate.places import Places
from porter.migrate.plan import Options
from porter.migrate.predict import Cost, Prediction
from porter.protocol import codec
from porter.providers.base import Provider

_FINE = Decimal("0.000001")
NOT_ASKED = Told(None, "", "no policy asks for it")


@dataclass(frozen=True)
class Forecast:
    """Of one move. Bytes are not compressed."""

    sized: int
    unsized: str
    """What of its size is unknown; empty if nothing."""
    sizes: str
    """Where the sizes come from."""
    cost: Told
    cost_as_of: str
    price: Told
    price_as_of: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "bytes": self.sized,
            "unknown": self.unsized,
            "source": self.sizes,
            "egress": {**_told(self.cost), "as_of": self.cost_as_of},
            "price": {**_told(self.price), "as_of": self.price_as_of},
        }


def _told(told: Told) -> dict[str, str | None]:
    amount = None if told.amount is None else format(told.amount, "f")
    return {"amount": amount, "currency": told.currency, "source": told.source}


class Forecaster:
    """Asks the database, and for prices the sites."""

    def __init__(
        self, plans: Plans, ledger: Ledger, places: Places, past: Forecasts | None = None
    ) -> None:
        """`past`: what forecasts learn from; None: nothing."""
        self._plans = plans
        self._ledger = ledger
        self._places = places
        self._past = past

    def place(self, site: str) -> Place:
        """A site as policies see it."""
        try:
            known = self._places.get(site)
        except NotFound:
            return Place(site, site)  # only its hosts say that it is there
        return Place(site, f"{known.kind}:{known.region}" if known.region else site)

    def forecast(
        self,
        workload: WorkloadRecord,
        source: HostRecord,
        target: HostRecord | None,
        site: str,
        options: Options,
        policies: Sequence[Policy] | None,
    ) -> Forecast:
        """`policies`: only what these ask for; None: all. Prices may take long to be read."""
        sized, unsized, sizes = self._size(workload)
        cost = price = (NOT_ASKED, "")
        if policies is None or any(one.egress and one.egress.max_cost for one in policies):
            cost = self._cost(source.site, site, sized)
        if policies is None or any(one.hourly for one in policies):
            price = self._price(target, site, options)
        return Forecast(sized, unsized, sizes, *cost, *price)

    def predict(
        self,
        workload: WorkloadRecord,
        source: HostRecord,
        target: HostRecord | None,
        site: str,
        mode: str,
        spec: WorkloadSpec | None = None,
        image: int | None = None,
        model: Model | None = None,
    ) -> Prediction:
        """What the move will come to, as ranges. `target` None: one that is to be made at `site`.
        `spec`: what its host just told; `image`: bytes of it that the target lacks, if known;
        `model`: made beforehand, where many moves are looked at."""
        there = "" if target is None else target.id
        model = model or self.model(workload.name, source.id, there)
        spec = spec or self._look(workload)[0]
        provision = target is None or target.facts is None
        if image is None:
            image = 0 if spec is None or _been(workload, there, model.history) else spec.image.size
        features = Features(
            workload=workload.name,
            source=source.id,
            target=there,
            source_site=source.site,
            target_site=site,
            mode=mode,
            memory=max(workload.memory_bytes, spec.memory_bytes if spec else 0),
            files=None if spec is None else spec.file_bytes + spec.shm_bytes,
            image=image,
            provision=provision,
        )
        ranges = model.predict(features)
        return Prediction(features, ranges, self._traffic(source.site, site, ranges.wire))

    def model(self, workload: str = "", source: str = "", target: str = "") -> Model:
        """What past moves teach: the newest of all, and older ones of a workload and between two
        hosts (ids)."""
        return Model([] if self._past is None else self._past.past(workload, source, target))

    def _traffic(self, source: str, site: str, wire: Range) -> Cost:
        if source == site:
            nothing = Decimal(0)
            return Cost(nothing, nothing, nothing, "", "both hosts are at one site")
        tariff = self._tariff(source, site)
        return Cost.unknown(tariff) if isinstance(tariff, str) else Cost.of(tariff, wire)

    def _look(self, workload: WorkloadRecord) -> tuple[WorkloadSpec | None, str]:
        """How its last move found it, and which that was."""
        seen = self._plans.last_look(workload.name)
        if seen is None or not seen[1]:
            return None, ""
        return codec.load(WorkloadSpec, seen[1]), seen[0]

    def _size(self, workload: WorkloadRecord) -> tuple[int, str, str]:
        """Memory as its host tells it; the rest as its last move found it."""
        memory = workload.memory_bytes
        spec, seen = self._look(workload)
        if spec is None:
            return memory, "its files and image", "its host"
        memory = max(memory, spec.memory_bytes) + spec.shm_bytes
        whole = memory + spec.file_bytes + spec.image.size
        return whole, "", f"migration {seen} looked at it"

    def _cost(self, source: str, site: str, sized: int) -> tuple[Told, str]:
        if source == site:
            return Told(Decimal(0), "", "both hosts are at one site"), ""
        tariff = self._tariff(source, site)
        if isinstance(tariff, str):
            return Told(None, "", tariff), ""
        cost = tariff.cost(sized / GB)
        amount = None if cost is None else cost.quantize(_FINE)
        return Told(amount, tariff.currency, tariff.source), tariff.as_of

    def _tariff(self, source: str, site: str) -> Tariff | str:
        """Of traffic from one site to another, or why it is not known."""
        try:
            to, egress = self._places.get(site), self._places.open(source).egress
            if egress is None:
                return f"{source} has no tariff"
            return egress.tariff(to.kind, to.region)
        except PorterError as error:
            return str(error)

    def _price(self, target: HostRecord | None, site: str, options: Options) -> tuple[Told, str]:
        try:
            provider = self._places.open(site)
            if target is None:
                return _new_machine(provider, options)
            machine = self._ledger.of_host(target.id)
            item = target.name if machine is None else machine.instance_type
            quote = _quote(provider, item)
        except PorterError as error:
            return Told(None, "", str(error)), ""
        return Told(quote.amount, quote.currency, quote.source), quote.as_of


def _been(workload: WorkloadRecord, host: str, past: Sequence[Past]) -> bool:
    """Whether a host had the workload once, so that its image is there."""
    for one in past:
        moved = one.features
        if (
            moved.workload == workload.name
            and one.succeeded
            and host
            in (
                moved.source,
                moved.target,
            )
        ):
            return True
    return False


def _new_machine(provider: Provider, options: Options) -> tuple[Told, str]:
    """The dearest that may be made: what the request allows, as the cheapest may not be to be had.
    In the currency of the site's smallest type."""
    if options.instance_type:
        exact = _quote(provider, options.instance_type, options.terms or "on_demand")
        return Told(exact.amount, exact.currency, exact.source), exact.as_of
    if options.max_price is None:
        return Told(None, "", "no maximum is set for the machine to be made"), ""
    kinds = () if provider.hosts is None else provider.hosts.types()
    smallest = min(kinds, key=lambda kind: (kind.memory_bytes, kind.cpus, kind.name), default=None)
    if smallest is None:
        return Told(None, "", f"{provider.config.name} has no machines to be made"), ""
    quote = _quote(provider, smallest.name)
    if quote.amount is None:
        return Told(None, "", quote.source), ""
    return Told(Decimal(options.max_price), quote.currency, "the maximum asked for"), quote.as_of


def _quote(provider: Provider, item: str, terms: str = "on_demand") -> Quote:
    told = {} if provider.pricing is None else provider.pricing.quotes([item], terms)
    missing = Quote(item, None, "", "hour", "", f"no prices of {provider.config.name} are known")
    return told.get(item, missing)
