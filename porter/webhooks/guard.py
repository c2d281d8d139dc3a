"""Where webhooks may lead: by https to public addresses, else only where the operator allows it.

Whoever may add a webhook makes the control plane's workers connect somewhere. They stand inside the
operator's network, so without these rules a webhook could reach what only that network should:
this machine, its neighbours, and the service that tells a cloud machine its credentials. A name is
judged by all addresses that it has at the moment, when the webhook is added and again for every
attempt, and that very address is connected to: what a name means later changes nothing.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import SplitResult, urlsplit

from porter.domain.errors import Invalid

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int, float], list[Address]]
LONGEST = 2048
SETTING = "PORTER_WEBHOOK_ALLOW"
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")
_METADATA = [
    ipaddress.ip_network(one)
    for one in (
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
    )
]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_EMBEDDED = ipaddress.ip_network("::/96")
"""IPv4 written as IPv6 (long deprecated, but understood here and there)."""


@dataclass(frozen=True)
class Allow:
    """What the operator allows beside public addresses by https: hosts by name, and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def has(self, host: str, address: Address) -> bool:
        return host in self.hosts or any(address in network for network in self.networks)


def allowing(entries: Sequence[str]) -> Allow:
    """Reads the setting: CIDRs, addresses and names of hosts. Raises Invalid."""
    hosts, networks = set(), []
    for entry in entries:
        try:
            networks.append(ipaddress.ip_network(entry.strip("[]")))
        except ValueError:
            name = entry.lower().rstrip(".")
            if not _HOST.fullmatch(name) or name.replace(".", "").isdigit():
                raise Invalid(
                    f"cannot read {entry!r} in {SETTING}",
                    "name networks like 10.0.0.0/8 and hosts like hooks.example.org, by commas",
                ) from None
            hosts.add(name)
    return Allow(frozenset(hosts), tuple(networks))


def parse(url: str) -> SplitResult:
    """The parts of a URL that may be a webhook's, whatever it resolves to. Raises Invalid."""
    if len(url) > LONGEST or not url.isascii() or not url.isprintable() or " " in url:
        raise _no("that URL", f"it is no URL of at most {LONGEST} printable ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _no("that URL", "it is no URL") from error
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise _no("that URL", "it is no URL like https://hooks.example.org/porter")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise _no(
            "that URL", "it holds a user or password", "deliveries are signed: leave them out"
        )
    if parts.fragment:
        raise _no("that URL", "it has a fragment", "leave out what follows #")
    if ":" not in parts.hostname and not _HOST.fullmatch(parts.hostname):
        raise _no("that URL", "its host is no name or address")
    return parts


def host_of(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def port_of(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def check(url: str, allow: Allow, seconds: float, resolve: Resolve | None = None) -> None:
    """Whether a webhook may lead there now. Asks the name service. Raises Invalid."""
    parts = parse(url)
    vetted(parts.scheme, host_of(parts), port_of(parts), allow, seconds, resolve)


def vetted(
    scheme: str,
    host: str,
    port: int,
    allow: Allow,
    seconds: float,
    resolve: Resolve | None = None,
) -> list[Address]:
    """The addresses of a host, each of which may be connected to. Raises Invalid if one may not,
    or if the host has none."""
    found = (resolve or addresses)(host, port, seconds)
    if not found:
        raise _no(host, "the name has no address", "check how it is spelt, or try again")
    for address in found:
        if allow.has(host, address):
            continue
        if scheme != "https":
            raise _no(
                host, "it is not https", f"use https, or have the operator list it in {SETTING}"
            )
        what = private(address)
        if what:
            # Not which one: that is for those who may look into the operator's network.
            raise _no(host, f"it is {what}", f"the operator may list it in {SETTING}")
    return found


def private(address: Address) -> str:
    """What is wrong with an address; "" for those of the public internet."""
    address = _plain(address)
    if any(address in network for network in _METADATA):
        return "the metadata service of a cloud"
    kinds = (
        (address.is_unspecified, "no address"),
        (address.is_loopback, "this machine itself"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address.is_private, "a private address"),
        (not address.is_global or address.is_reserved, "no address of the public internet"),
        (isinstance(address, IPv6Address) and address.is_site_local, "a private address"),
        (address in ipaddress.ip_network("192.0.0.0/24"), "no address of the public internet"),
    )
    return next((what for is_so, what in kinds if is_so), "")


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    if inner is None and (address in _NAT64 or (address in _EMBEDDED and int(address) > 1)):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def addresses(host: str, port: int, seconds: float) -> list[Address]:
    """What the name service says, in its order; none if it does not know or takes too long."""
    found: queue.SimpleQueue[list[Address]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers = []
        # A scope (`fe80::1%eth0`) is link-local with or without it.
        texts = dict.fromkeys(str(one[4][0]).partition("%")[0] for one in answers)
        found.put([ipaddress.ip_address(text) for text in texts])

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    try:
        return found.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        return []


# The URL itself is not told: it may hold a secret.
def _no(what: str, why: str, remedy: str = "") -> Invalid:
    return Invalid(f"cannot send webhooks to {what[:200]}: {why}", remedy)
