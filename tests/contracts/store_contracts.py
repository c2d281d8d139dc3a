"""What every store must do, whatever holds the blobs.

A store's tests derive a class from each contract and give it a `bench`.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Protocol

import pytest

from porter.domain.errors import Denied, Invalid, NotFound, Transient
from porter.store.base import Blob, Blobs, Ticket
from porter.store.registry import Store
from porter.store.tickets import TicketBlobs


class Bench(Protocol):
    """A store, real or standing in for one."""

    lacks: frozenset[str]
    """What a stand-in cannot do though the real store can: `nested` (`a` beside `a/b`), `empty`
    and `delete` (by tickets). And `end`: of a directory's tickets, which never are over."""

    def open(self) -> Blobs:
        """A fresh client, as another process would have it."""
        ...


class SignedBench(Bench, Protocol):
    def open(self) -> Store: ...


class SpareRemoval(TicketBlobs):
    """Where the stand-in knows no removal by ticket."""

    store: Store

    def remove(self, key: str) -> None:
        self.store.remove(key)


class FarBench(SignedBench, Protocol):
    def open_damaging(self) -> Store:
        """A client at whose uploads one bit of every `MARK` turns over on the way."""
        ...


def fresh() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def by_tickets(store: Store, lacks: frozenset[str] = frozenset()) -> TicketBlobs:
    """The store as an agent sees it."""

    def ask(method: str, keys: Sequence[str], seconds: int) -> list[Ticket]:
        return [store.ticket(method, key, seconds) for key in keys]

    def listing(prefix: str) -> list[Blob]:
        return list(store.list(prefix))

    if "delete" not in lacks:
        return TicketBlobs(ask, listing)
    blobs = SpareRemoval(ask, listing)
    blobs.store = store
    return blobs


class BlobsContract:
    pages = 0
    """How many blobs to put to see more than one page of a list."""

    def test_what_was_put_is_there(self, bench: Bench) -> None:
        name, data = fresh(), os.urandom(100_001)
        bench.open().put(f"{name}/a/b", data)
        assert bench.open().get(f"{name}/a/b") == data
        assert list(bench.open().list(f"{name}/")) == [Blob(f"{name}/a/b", len(data))]

    @pytest.mark.parametrize("size", [0, 1, 4 << 20, (8 << 20) + 17])
    def test_any_size(self, bench: Bench, size: int) -> None:
        size = size or int("empty" in bench.lacks)
        name, data = fresh(), os.urandom(size)
        bench.open().put(name, data)
        assert bench.open().get(name) == data

    def test_putting_again_replaces(self, bench: Bench) -> None:
        name, blobs = fresh(), bench.open()
        for data in (b"long content", b"short", b"1"):
            blobs.put(name, data)
            assert blobs.get(name) == data
        assert [one.size for one in blobs.list(name)] == [1]

    def test_the_missing_is_not_found(self, bench: Bench) -> None:
        with pytest.raises(NotFound):
            bench.open().get(fresh())
        assert list(bench.open().list(fresh())) == []

    def test_removed_is_gone(self, bench: Bench) -> None:
        name, blobs = fresh(), bench.open()
        blobs.put(f"{name}/a", b"1")
        blobs.put(f"{name}/ab", b"2")
        for _ in range(2):
            blobs.remove(f"{name}/a")
            with pytest.raises(NotFound):
                blobs.get(f"{name}/a")
            assert [one.key for one in blobs.list(name)] == [f"{name}/ab"]
        blobs.remove(fresh())

    def test_keys_are_flat_and_listed_in_order(self, bench: Bench) -> None:
        name, blobs = fresh(), bench.open()
        names = ["a/b/c", "a.b", "a0", "b=1@x:2+3_", "B"]
        names += ["a/d"] if "nested" in bench.lacks else ["a", "a/b"]
        keys = [f"{name}/{key}" for key in names]
        for key in keys:
            blobs.put(key, key.encode())
        assert [one.key for one in blobs.list(f"{name}/")] == sorted(keys)
        for prefix in ("a/", "a/b", "a", "a."):
            found = sorted(key for key in keys if key.startswith(f"{name}/{prefix}"))
            assert [one.key for one in blobs.list(f"{name}/{prefix}")] == found
        assert [blobs.get(key) for key in keys] == [key.encode() for key in keys]

    @pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "a/", ".a", "ä", "a b", "a" * 513])
    def test_a_bad_key_is_refused(self, bench: Bench, key: str) -> None:
        for call in (bench.open().get, bench.open().remove, lambda key: bench.open().put(key, b"")):
            with pytest.raises(Invalid):
                call(key)

    def test_many_at_once(self, bench: Bench) -> None:
        name, blobs = fresh(), bench.open()
        contents = {f"{name}/{n}": os.urandom(10_000 + n) for n in range(32)}
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda item: blobs.put(*item), contents.items()))
            assert dict(zip(contents, threads.map(blobs.get, contents), strict=True)) == contents
            list(threads.map(blobs.remove, contents))
        assert list(blobs.list(name)) == []

    def test_lists_have_all_pages(self, bench: Bench) -> None:
        name, blobs = fresh(), bench.open()
        keys = [f"{name}/{n:05}" for n in range(self.pages)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: blobs.put(key, b"x"), keys))
            assert [one.key for one in blobs.list(f"{name}/")] == keys
            list(threads.map(blobs.remove, keys))


class TicketsContract(BlobsContract):
    """All that a store does can be done with its tickets alone, and no more than they allow."""

    @pytest.fixture
    def bench(self, signed: SignedBench) -> Iterator[Bench]:
        opened: list[TicketBlobs] = []

        class Agents:
            lacks = signed.lacks

            def open(self) -> Blobs:
                opened.append(by_tickets(signed.open(), signed.lacks))
                return opened[-1]

        yield Agents()
        for blobs in opened:
            blobs.close()

    def test_a_ticket_is_for_one_method(self, signed: SignedBench) -> None:
        with pytest.raises(Invalid):
            signed.open().ticket("LIST", "a", 60)
        assert signed.open().ticket("PUT", "a", 60).method == "PUT"

    def test_what_a_ticket_allows_stays_secret(self, signed: SignedBench) -> None:
        ticket = signed.open().ticket("GET", "some/key", 60)
        assert ticket.url not in repr(ticket)

    def test_questions_come_in_bundles(self, signed: SignedBench) -> None:
        store, name, asked = signed.open(), fresh(), []

        def ask(method: str, keys: Sequence[str], seconds: int) -> list[Ticket]:
            asked.append(len(keys))
            return [store.ticket(method, key, seconds) for key in keys]

        keys = [f"{name}/{n}" for n in range(8)]
        with closing(TicketBlobs(ask, lambda _: [])) as blobs:
            blobs.expect("PUT", keys)
            for key in keys:
                blobs.put(key, b"x")
        assert asked == [8]

    def test_a_ticket_that_is_over_is_refused(self, signed: SignedBench) -> None:
        store, name = signed.open(), fresh()
        store.put(name, b"x")

        ticket, over = store.ticket("GET", name, 1), time.monotonic() + 2.1

        def ask(method: str, keys: Sequence[str], _: int) -> list[Ticket]:
            return [ticket]

        with closing(TicketBlobs(ask, lambda _: [])) as blobs:
            time.sleep(max(0, over - time.monotonic()))
            if "end" in signed.lacks:  # A file is there for whoever may read it.
                assert blobs.get(name) == b"x"
            else:
                with pytest.raises(Denied):
                    blobs.get(name)


MARK = b"<the bit that turns over in flight>"


def check_damaged(far: FarBench, tickets: bool) -> None:
    data = os.urandom(300_000) + MARK + os.urandom(300_000)
    key, store, damaging = fresh(), far.open(), far.open_damaging()
    with ExitStack() as stack:
        puts: list[Blobs] = [damaging, store]
        if tickets:
            puts = [stack.enter_context(closing(by_tickets(one))) for one in (damaging, store)]
        with pytest.raises(Transient):
            puts[0].put(key, data)
        with pytest.raises(NotFound):
            store.get(key)
        puts[1].put(key, data)
        assert store.get(key) == data


class FarContract:
    """Of stores that are reached by a network."""

    def test_what_arrives_damaged_is_refused(self, far: FarBench) -> None:
        check_damaged(far, tickets=False)


class FarTicketsContract:
    def test_what_arrives_damaged_by_ticket_is_refused(self, far: FarBench) -> None:
        check_damaged(far, tickets=True)
