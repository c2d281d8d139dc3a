"""Memory is made ready, and nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.checkpoint import memory
from porter.checkpoint.receiver import StateReceiver

MEGABYTE = 1 << 20


def test_a_file_is_given_memory(tmp_path: Path) -> None:
    file = tmp_path / "pages-1.img"
    memory.provide(file, 3 * MEGABYTE)
    assert file.stat().st_blocks * 512 >= 3 * MEGABYTE
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_reserve_has_no_name_and_can_be_given_up_twice(tmp_path: Path) -> None:
    reserve = memory.Reserve(tmp_path, MEGABYTE)
    assert list(tmp_path.iterdir()) == []
    reserve.release()
    reserve.release()


def test_too_little_memory_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_spare", lambda: MEGABYTE)
    memory.provide(tmp_path / "pages-1.img", MEGABYTE)
    memory.Reserve(tmp_path, MEGABYTE).release()
    assert (tmp_path / "pages-1.img").stat().st_size == 0


def test_a_receiver_makes_room_and_keeps_none_that_was_not_needed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    receiver = StateReceiver(images, (), MEGABYTE)
    assert (images / "pages-1.img").stat().st_blocks * 512 >= MEGABYTE
    receiver.close()
