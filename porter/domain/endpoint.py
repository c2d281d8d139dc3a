"""What the outside calls a workload by: a DNS name, a load balancer's target, a floating address.

Written `KIND=WHAT@SITE`, several separated by commas, in the label `porter.endpoint` or by the API:

    dns=shop.example.org@gcp:europe-west1          optional: ?ttl=60
    lb=shop-targets:6379@aws:eu-west-1             a target group, backend pool, NEG or pool
    ip=203.0.113.7@openstack:RegionOne             moves only between hosts of its own site
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from porter.domain.errors import Invalid
from porter.domain.site import check_name

LABEL_ENDPOINT = "porter.endpoint"
DEFAULT_TTL = 60


class EndpointKind(StrEnum):
    DNS = "dns"
    LB = "lb"
    IP = "ip"


@dataclass(frozen=True)
class Endpoint:
    kind: EndpointKind
    name: str
    """A fully qualified DNS name without the last dot, a target group's name, an IP address."""
    site: str
    """The site whose account holds it."""
    port: int = 0
    """Of a load balancer's target."""
    ttl: int = DEFAULT_TTL
    """Of a DNS record, in seconds."""

    def __str__(self) -> str:
        port = f":{self.port}" if self.kind is EndpointKind.LB else ""
        ttl = f"?ttl={self.ttl}" if self.ttl != DEFAULT_TTL else ""
        return f"{self.kind}={self.name}{port}@{self.site}{ttl}"


def parse(text: str) -> tuple[Endpoint, ...]:
    """All endpoints of a label, in order. Raises Invalid with the piece that cannot be read."""
    return tuple(_one(piece.strip()) for piece in text.split(",") if piece.strip())


def _one(piece: str) -> Endpoint:
    try:
        word, rest = piece.split("=", 1)
        kind = EndpointKind(word)
        name, rest = rest.split("@", 1)
        site, _, query = rest.partition("?")
        ttl, port = DEFAULT_TTL, 0
        if query:
            key, value = query.split("=", 1)
            if key != "ttl" or kind is not EndpointKind.DNS:
                raise ValueError(key)
            ttl = int(value)
        if kind is EndpointKind.LB:
            name, _, digits = name.rpartition(":")
            port = int(digits)
        if not name or not 0 <= port < 65536 or not 0 < ttl < 1 << 31:
            raise ValueError(piece)
    except ValueError as error:
        raise Invalid(
            f"cannot read the endpoint {piece!r}",
            "write dns=NAME@SITE, lb=TARGETS:PORT@SITE or ip=ADDRESS@SITE",
        ) from error
    return Endpoint(kind, name.rstrip("."), check_name(site), port, ttl)
