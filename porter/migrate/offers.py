"""What machines a site offers for a workload, and at what price. Makes nothing, costs nothing."""

from __future__ import annotations

from decimal import Decimal

from porter.domain.errors import Unsupported
from porter.domain.host import HostFacts
from porter.domain.money import Quote
from porter.domain.workload import WorkloadSpec
from porter.migrate.candidates import Candidate, fitting, need_of, ranked
from porter.providers.base import HostLifecycle, Provider


def launcher(place: Provider) -> HostLifecycle:
    """The site's machines. Raises Unsupported where Porter cannot launch any."""
    if place.hosts is None:
        raise Unsupported(
            f"cannot make a host at {place.config.name}: Porter cannot launch machines there",
            "join one by hand: porter host token, then porter agent on it",
        )
    return place.hosts


def offers(
    place: Provider,
    spec: WorkloadSpec,
    source: HostFacts,
    limit: Decimal | None = None,
    only: str = "",
    terms: str = "on_demand",
) -> list[Candidate]:
    """Sizes that would do, cheapest first; `only`: none but this one. Raises Unsupported with the
    reason if there is none."""
    need = need_of(spec, source)
    types = launcher(place).types()
    fits = fitting([kind for kind in types if only in ("", kind.name)], need)
    names = [kind.name for kind in fits]
    quotes = {} if place.pricing is None else dict(place.pricing.quotes(names, terms))
    for name in names:
        missing = f"no prices of {place.config.name} are known"
        quotes.setdefault(name, Quote(name, None, "", "hour", "", missing))
    order = ranked(fits, quotes, limit)
    if not order:
        if only:
            why = "it is not offered there, or does not fit this workload"
            if fits:
                why = f"it costs more than {limit} an hour now, or its price is not known"
            raise Unsupported(
                f"cannot make a {only} at {place.config.name}: {why}", "have a new proposal made"
            )
        below = f" for at most {limit} an hour" if limit is not None and fits else ""
        raise Unsupported(
            f"cannot find a size of machine at {place.config.name} with "
            f"{need.memory_bytes >> 20} MiB of memory and this workload's CPU{below}",
            "allow more in the site's settings",
        )
    return order
