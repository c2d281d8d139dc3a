"""Where webhooks may lead, and where they may not."""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Any

import pytest

from porter.domain.errors import Invalid
from porter.webhooks.guard import Address, Allow, addresses, allowing, check, parse, vetted

NOTHING = Allow()
PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "2002:808:808::1"]
REFUSED = [
    ("127.0.0.1", "this machine itself"),
    ("127.9.9.9", "this machine itself"),
    ("::1", "this machine itself"),
    ("::ffff:127.0.0.1", "this machine itself"),
    ("::127.0.0.1", "this machine itself"),
    ("64:ff9b::7f00:1", "this machine itself"),
    ("2002:7f00:1::", "this machine itself"),
    ("0.0.0.0", "no address"),
    ("::", "no address"),
    ("10.1.2.3", "a private address"),
    ("172.16.0.1", "a private address"),
    ("192.168.0.1", "a private address"),
    ("64:ff9b::a01:203", "a private address"),
    ("fd12::1", "a private address"),
    ("fec0::1", "a private address"),
    ("169.254.1.1", "a link-local address"),
    ("fe80::1", "a link-local address"),
    ("169.254.169.254", "the metadata service of a cloud"),
    ("::ffff:169.254.169.254", "the metadata service of a cloud"),
    ("168.63.129.16", "the metadata service of a cloud"),
    ("100.100.100.200", "the metadata service of a cloud"),
    ("192.0.0.192", "the metadata service of a cloud"),
    ("fd00:ec2::254", "the metadata service of a cloud"),
    ("224.0.0.1", "a multicast address"),
    ("ff0e::1", "a multicast address"),
    ("100.64.0.1", "no address of the public internet"),
    ("192.0.0.8", "no address of the public internet"),
    ("240.0.0.1", "a private address"),
    ("255.255.255.255", "a private address"),
    ("198.18.0.1", "a private address"),
    ("2001:db8::1", "a private address"),
]


def named(*texts: str) -> Any:
    """A name service that knows one answer."""
    found: list[Address] = [ipaddress.ip_address(text) for text in texts]
    return lambda host, port, seconds: found


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_fine(address: str) -> None:
    check("https://hooks.example.org/in?x=1", NOTHING, 1, named(address))


@pytest.mark.parametrize(("address", "why"), REFUSED)
def test_others_are_refused_by_name_and_by_address(address: str, why: str) -> None:
    with pytest.raises(Invalid, match=f"cannot send webhooks to hooks.example.org: it is {why}"):
        check("https://hooks.example.org/", NOTHING, 1, named(address))
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(Invalid, match=f"it is {why}"):
        check(f"https://{literal}/", NOTHING, 1)


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "017700000001", "localhost."]
)
def test_other_ways_to_write_this_machine(host: str) -> None:
    with pytest.raises(Invalid, match="it is this machine itself"):
        check(f"https://{host}/", NOTHING, 5)


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(Invalid, match="it is a private address") as error:
        check("https://hooks.example.org/", NOTHING, 1, named("8.8.8.8", "10.0.0.1"))
    # What names mean inside the operator's network is not told.
    assert "10.0.0.1" not in str(error.value)


def test_a_name_without_an_address() -> None:
    with pytest.raises(Invalid, match="the name has no address"):
        check("https://hooks.example.org/", NOTHING, 1, named())


def test_http_only_where_it_is_allowed() -> None:
    with pytest.raises(Invalid, match="it is not https"):
        check("http://hooks.example.org/", NOTHING, 1, named("8.8.8.8"))
    check("http://hooks.example.org/", allowing(["8.8.8.0/24"]), 1, named("8.8.8.8"))
    check("http://hooks.example.org/", allowing(["hooks.example.org"]), 1, named("8.8.8.8"))


@pytest.mark.parametrize(
    ("entries", "allowed"),
    [
        (["10.0.0.0/8"], True),
        (["10.1.2.3"], True),
        (["hooks.internal"], True),
        (["Hooks.Internal."], True),
        (["10.2.0.0/16"], False),
        (["internal"], False),
        (["::/0"], False),
    ],
)
def test_the_operators_list(entries: list[str], allowed: bool) -> None:
    allow = allowing(entries)
    for scheme in ("https", "http"):
        if allowed:
            check(f"{scheme}://hooks.internal:8080/", allow, 1, named("10.1.2.3"))
        else:
            with pytest.raises(Invalid):
                check(f"{scheme}://hooks.internal:8080/", allow, 1, named("10.1.2.3"))


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "10.0.0.1/8", "a b", "http://x", "*", "1.2.3"])
def test_lists_that_cannot_be_read(entry: str) -> None:
    with pytest.raises(Invalid, match="PORTER_WEBHOOK_ALLOW"):
        allowing([entry])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.org",
        "ftp://hooks.example.org/",
        "file:///etc/passwd",
        "https://",
        "https:///in",
        "https://user:secret@hooks.example.org/",
        "https://user@hooks.example.org/",
        "https://@hooks.example.org/",
        "https://hooks.example.org/#part",
        "https://hooks.example.org:0/",
        "https://hooks.example.org:99999/",
        "https://hooks.example.org:x/",
        "https://[::1/",
        "https://hooks example.org/",
        "https://hooks.example.org/\r\nX: y",
        "https://hooks.example.org/\x00",
        "https://höoks.example.org/",
        "https://8.8.8.8%2f@127.0.0.1/",
        "https://127.0.0.1\\@hooks.example.org/",
        "https://a/" + "x" * 2048,
    ],
)
def test_what_is_no_url_of_a_webhook(url: str) -> None:
    with pytest.raises(Invalid, match="cannot send webhooks to") as error:
        parse(url)
    assert "secret" not in error.value.message


def test_a_slow_name_service_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def slow(*_: Any, **__: Any) -> list[Any]:
        over.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert addresses("hooks.example.org", 443, 0.01) == []
    over.set()


def test_scopes_are_no_way_around() -> None:
    with pytest.raises(Invalid, match="a link-local address"):
        vetted("https", "fe80::1%lo", 443, NOTHING, 5)
