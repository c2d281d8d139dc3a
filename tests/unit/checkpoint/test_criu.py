"""What Porter knows of CRIU: its words, its processes, its leftovers, its images."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from pathlib import Path

import pytest
from pycriu import images as decoder

from porter.checkpoint import criu
from porter.domain.errors import Permanent

DUMP_LOG = """\
(00.000001) Version: 4.2.1 (gitid 0)
Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.012345) 4321: Warn  (criu/x.c:1): nothing
(00.023456) Error (criu/sk-inet.c:191): inet: Connected TCP socket, use --tcp-established.
(00.023457) Error (criu/cr-dump.c:1690): Dump files (pid: 4321) failed with -1
(00.023460) Error (criu/cr-dump.c:2128): Dumping FAILED.
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that comes first on PATH."""
    made = tmp_path / "bin"
    made.mkdir()
    monkeypatch.setenv("PATH", f"{made}:{os.environ['PATH']}")
    criu.problem.cache_clear()
    return made


def program(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_the_version_is_a_tuple_of_numbers(path: Path) -> None:
    program(path / "criu", "echo 'Version: 4.2.1'; echo 'GitID: v4.2.1'")
    assert criu.version() == (4, 2, 1)
    program(path / "criu", "echo 'Version: 3.17'")
    assert criu.version() == (3, 17)
    program(path / "criu", "echo 'not found: libprotobuf-c.so.1'; exit 127")
    assert criu.version() == (0,)


def test_a_missing_criu_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    criu.problem.cache_clear()
    assert criu.version() == (0,)
    assert criu.problem() == "cannot run criu: No such file or directory"
    criu.problem.cache_clear()


def test_a_failing_check_is_quoted_and_asked_once(path: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program(path / "criu", f"echo x >>{asked}; echo 'Error (a.c:1): no vdso today.'; exit 1")
    assert criu.problem() == criu.problem() == "no vdso today (a.c:1)"
    assert asked.read_text() == "x\n"
    criu.problem.cache_clear()


def test_the_reason_names_the_cause_not_the_consequences(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    assert criu.reason(log) == ""
    log.write_text(DUMP_LOG)
    assert criu.reason(log) == (
        "inet: Connected TCP socket, use --tcp-established (criu/sk-inet.c:191); "
        "Dump files (pid: 4321) failed with -1 (criu/cr-dump.c:1690)"
    )
    log.write_text("all is well\n")
    assert criu.reason(log) == ""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


def test_processes_are_found_by_directory_and_ended(path: Path, images: Path) -> None:
    # they wait without children, which would be found as well until they run another program
    fake = program(path / "criu", "exec 5<$1; kill -STOP $$")
    other = program(path / "innocent", "exec 5<$1; kill -STOP $$")
    mine = subprocess.Popen([fake, images])
    theirs = subprocess.Popen([fake, path])
    innocent = subprocess.Popen([other, images])
    try:
        deadline = time.monotonic() + 5
        while mine.pid not in criu.running(images) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert criu.running(images) == [mine.pid]
        criu.stop(images)
        assert mine.wait(5) == -9
        assert theirs.poll() is None
        assert innocent.poll() is None
        criu.stop(images)
        assert criu.running(images / "absent") == []
    finally:
        for process in (mine, theirs, innocent):
            process.kill()
            process.wait()


def test_one_that_ends_by_itself_gets_its_time(path: Path, images: Path) -> None:
    fake = program(path / "criu", "exec 5<$1; sleep 0.3; exit 7")
    process = subprocess.Popen([fake, images])
    while not criu.running(images) and process.poll() is None:
        time.sleep(0.01)
    criu.stop(images, grace=10)
    assert process.wait(5) == 7


def mount_tmpfs(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(path), b"tmpfs", 0, None) == 0, ctypes.get_errno()


def test_leftover_mounts_are_detached_before_anything_is_removed(
    tmp_path: Path, images: Path
) -> None:
    yard = images / ".criu.cgyard.a b" / "cpu"
    yard.mkdir(parents=True)
    mount_tmpfs(yard)
    (yard / "inner").mkdir()
    mount_tmpfs(yard / "inner")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious").touch()
    (images / "way").symlink_to(kept)
    (images / "pages-1.img").touch()
    assert len(criu.mounts_below(images)) == 2
    criu.clean(images)
    assert not images.exists()
    assert (kept / "precious").exists()
    criu.clean(images)


def test_a_mounted_image_directory_is_emptied_and_stays(images: Path) -> None:
    mount_tmpfs(images)
    try:
        (images / "core-1.img").touch()
        criu.clean(images)
        assert list(images.iterdir()) == []
    finally:
        criu.unmount(str(images))


def socket_entry(number: int, proto: str, state: str) -> dict[str, object]:
    inet = {
        "id": number,
        "ino": number,
        "family": "INET",
        "type": "STREAM",
        "proto": proto,
        "state": state,
        "src_port": 6379,
        "dst_port": 5000,
        "flags": "0x2",
        "backlog": 0,
        "src_addr": ["10.77.0.2"],
        "dst_addr": ["10.77.0.1"],
        "fown": {"uid": 0, "euid": 0, "signum": 0, "pid_type": 0, "pid": 0},
        "opts": {
            "so_sndbuf": 1,
            "so_rcvbuf": 1,
            "so_snd_tmo_sec": 0,
            "so_snd_tmo_usec": 0,
            "so_rcv_tmo_sec": 0,
            "so_rcv_tmo_usec": 0,
        },
    }
    return {"type": "INETSK", "id": number, "isk": inet}


def test_established_connections_are_counted(images: Path) -> None:
    entries = [
        socket_entry(1, "TCP", "LISTEN"),
        socket_entry(2, "TCP", "ESTABLISHED"),
        socket_entry(3, "TCP", "ESTABLISHED"),
        socket_entry(4, "UDP", "ESTABLISHED"),
    ]
    with (images / "files.img").open("wb") as file:
        decoder.dump({"magic": "FILES", "entries": entries}, file)
    assert criu.tcp_connections(images) == 2


def test_a_broken_image_is_an_error(images: Path) -> None:
    with pytest.raises(Permanent, match="does not exist"):
        criu.tcp_connections(images)
    (images / "files.img").write_bytes(b"nonsense")
    with pytest.raises(Permanent, match="no CRIU image"):
        criu.tcp_connections(images)


def test_memory_is_the_sum_of_the_page_images(images: Path) -> None:
    (images / "pages-1.img").write_bytes(bytes(8192))
    (images / "pages-2.img").write_bytes(bytes(4096))
    (images / "pagemap-1.img").write_bytes(bytes(100))
    assert criu.pages(images) == 12288
