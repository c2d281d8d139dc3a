"""The file in which fetched prices are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import porter
from porter.domain.money import Quote
from porter.providers.prices import cache as module
from porter.providers.prices.cache import FORGET_AFTER, Cache

NOW = 1_800_000_000.0
QUOTE = Quote("t3.medium", Decimal("0.0456"), "USD", "hour", "2026-11-01", "aws price list")


def test_what_is_kept_comes_back_exact(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "deep" / "prices.json")
    assert cache.read() == {}
    cache.write({"k": QUOTE}, NOW)
    (kept,) = cache.read().values()
    assert (kept.quote, kept.fetched) == (QUOTE, NOW)
    assert list(cache.path.parent.glob(".prices*")) == []


@pytest.mark.parametrize(
    "change",
    [{"amount": Decimal(0)}, {"amount": None}, {"as_of": ""}, {"source": ""}],
    ids=lambda one: next(iter(one)),
)
def test_what_is_no_price_is_not_kept(tmp_path: Path, change: dict[str, object]) -> None:
    cache = Cache(tmp_path / "prices.json")
    cache.write({"k": replace(QUOTE, **change)}, NOW)  # type: ignore[arg-type]
    assert cache.read() == {}


def test_broken_entries_count_as_absent_and_do_not_take_others_along(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "prices.json")
    cache.write({"good": QUOTE}, NOW)
    document = json.loads(cache.path.read_text())
    good = document["prices"]["good"]
    bad = [
        {**good, "amount": "0.0"},
        {**good, "amount": "-1"},
        {**good, "amount": "NaN"},
        {**good, "amount": "dear"},
        {**good, "as_of": ""},
        {**good, "source": 7},
        {key: value for key, value in good.items() if key != "currency"},
        "text",
        None,
    ]
    document["prices"] |= {f"bad{number}": entry for number, entry in enumerate(bad)}
    cache.path.write_text(json.dumps(document))
    assert set(cache.read()) == {"good"}
    cache.write({"new": QUOTE}, NOW)
    assert set(json.loads(cache.path.read_text())["prices"]) == {"good", "new"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"prices": 3}', "\x00\xff"])
def test_a_broken_file_is_written_anew(tmp_path: Path, text: str) -> None:
    cache = Cache(tmp_path / "prices.json")
    cache.path.write_bytes(text.encode("latin-1"))
    assert cache.read() == {}
    cache.write({"k": QUOTE}, NOW)
    assert set(cache.read()) == {"k"}


def test_old_entries_are_forgotten_in_the_end(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "prices.json")
    cache.write({"old": QUOTE}, NOW - FORGET_AFTER - 1)
    cache.write({"new": QUOTE}, NOW)
    assert set(cache.read()) == {"new"}


def test_a_file_that_cannot_be_written_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file" / "prices.json").write({"k": QUOTE}, NOW)
    assert "cannot keep prices" in caplog.text


def test_a_writer_that_hangs_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.05)
    one, other = Cache(tmp_path / "prices.json"), Cache(tmp_path / "prices.json")
    with one._turn():
        other.write({"k": QUOTE}, NOW)
    assert "cannot keep prices" in caplog.text
    other.write({"k": QUOTE}, NOW)
    assert set(other.read()) == {"k"}


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "prices.json")
    cache.write({"old": QUOTE}, NOW)

    def crash(_: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(module.os, "fsync", crash)
    cache.write({"new": QUOTE}, NOW)
    assert set(cache.read()) == {"old"}
    assert list(tmp_path.glob(".prices*")) == []


WRITER = """
import sys
from decimal import Decimal
from pathlib import Path
from porter.domain.money import Quote
from porter.providers.prices.cache import Cache

path, who, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
quote = Quote("t3.medium", Decimal("0.0456"), "USD", "hour", "2026-11-01", "aws price list")
for number in range(count):
    Cache(path).write({f"{who}-{number}": quote}, 1_800_000_000.0)
    assert f"{who}-{number}" in Cache(path).read()
"""


def test_many_processes_lose_nothing(tmp_path: Path) -> None:
    path, count = tmp_path / "prices.json", 15
    root = Path(porter.__file__).parents[1]
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(who), str(count)], cwd=root)
        for who in range(4)
    ]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    assert len(Cache(path).read()) == 4 * count
