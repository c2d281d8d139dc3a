"""What a lab remembers, and what it survives."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from porter.domain.errors import Conflict, Invalid
from porter.lab import state


def test_state_survives_a_round_trip(tmp_path: Path) -> None:
    lab = state.LabState("demo", 7, 1000)
    lab.add_host("onprem").init_pid = 42
    lab.add_host("cloud").partitioned = True
    state.save(tmp_path, lab)
    assert state.load(tmp_path) == lab
    assert (tmp_path / "lab.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", '{"hosts": 3}', '{"hosts": {"a": 1}}']
)
def test_an_unreadable_state_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    assert state.load(tmp_path) is None


def test_addresses_follow_the_index_and_the_number() -> None:
    lab = state.LabState("demo", 7, 0)
    first, second = lab.add_host("a"), lab.add_host("b")
    assert (lab.gateway, lab.client, lab.uplink) == ("10.99.7.1", "10.99.7.254", "plab7")
    assert (lab.address(first), lab.address(second)) == ("10.99.7.11", "10.99.7.12")
    assert lab.mac(second) == "02:99:00:07:00:0c"
    del lab.hosts["a"]
    assert lab.add_host("c").number == 1


def test_a_lab_has_room_for_many_hosts_but_not_all() -> None:
    lab = state.LabState("demo", 1, 0)
    for number in range(199):
        lab.add_host(f"h{number}")
    with pytest.raises(Conflict, match="cannot add host one-more"):
        lab.add_host("one-more")


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "../x", "a b", "wan", "x" * 40, "a\n"])
def test_bad_host_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="cannot call a host"):
        state.check_host_name(name)


@pytest.mark.parametrize("name", ["", "A", "..", "a/b", "a.b", "x" * 33])
def test_bad_lab_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="cannot call a lab"):
        state.check_lab_name(name)


def test_the_lock_excludes_others_and_is_freed_by_death(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom porter.lab import state\n"
        "with state.locked(Path(sys.argv[1])):\n print('held', flush=True)\n time.sleep(60)\n"
    )
    argv = [sys.executable, "-c", code, str(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        got = threading.Event()

        def take() -> None:
            with state.locked(directory):
                got.set()

        waiter = threading.Thread(target=take)
        waiter.start()
        assert not got.wait(0.2)
        holder.kill()
        assert got.wait(5)
        waiter.join()


def test_a_lock_on_a_removed_directory_is_taken_anew(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    order: list[str] = []

    def take() -> None:
        with state.locked(directory):
            order.append("second")
            assert directory.exists()

    with state.locked(directory):
        waiter = threading.Thread(target=take)
        waiter.start()
        waiter.join(0.2)
        directory.rmdir()
        order.append("first")
    waiter.join(5)
    assert order == ["first", "second"]
