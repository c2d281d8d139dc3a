"""The contracts of stores, in memory and in a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.store.base import Blobs, StoreConfig
from porter.store.memory import MemoryBlobs
from porter.store.registry import Store, open_blobs
from tests.contracts.store_contracts import BlobsContract, TicketsContract


class MemoryBench:
    lacks = frozenset({"end"})

    def __init__(self) -> None:
        self._blobs = MemoryBlobs()

    def open(self) -> Blobs:
        return self._blobs


class DirectoryBench:
    lacks = frozenset({"end"})

    def __init__(self, path: Path) -> None:
        self._config = StoreConfig("d", path.as_uri(), {"durable": "no"})

    def open(self) -> Store:
        return open_blobs(self._config)


class TestMemory(BlobsContract):
    pages = 1100

    @pytest.fixture
    def bench(self) -> MemoryBench:
        return MemoryBench()


class TestDirectory(BlobsContract):
    pages = 1100

    @pytest.fixture
    def bench(self, tmp_path: Path) -> DirectoryBench:
        return DirectoryBench(tmp_path / "a store")


class TestDirectoryByTickets(TicketsContract):
    pages = 50

    @pytest.fixture
    def signed(self, tmp_path: Path) -> DirectoryBench:
        return DirectoryBench(tmp_path)


def test_only_whole_blobs_are_seen(tmp_path: Path) -> None:
    bench = DirectoryBench(tmp_path)
    bench.open().put("a/b", b"x")
    (tmp_path / "a" / ".fresh-1234").write_bytes(b"half of")
    assert [one.key for one in bench.open().list("")] == ["a/b"]


def test_removing_the_last_leaves_nothing(tmp_path: Path) -> None:
    bench = DirectoryBench(tmp_path / "d")
    bench.open().put("a/b/c", b"x")
    bench.open().remove("a/b/c")
    assert list((tmp_path / "d").iterdir()) == []
