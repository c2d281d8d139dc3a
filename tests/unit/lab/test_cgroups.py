"""Which cgroup hierarchies a machine has, read from what real machines show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.domain.errors import Permanent
from porter.lab import cgroups

Reader = Callable[[str], tuple[cgroups.Hierarchy, ...]]

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,clone_children
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x/y,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
NONE = "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    def read_from(text: str) -> tuple[cgroups.Hierarchy, ...]:
        monkeypatch.setattr(Path, "read_text", lambda path: text)
        cgroups.hierarchies.cache_clear()
        return cgroups.hierarchies()

    yield read_from
    cgroups.hierarchies.cache_clear()


def test_version_1_comes_with_the_options_that_mount_it_again(read: Reader) -> None:
    found = read(HYBRID)
    assert [(h.root.name, h.version, h.options) for h in found] == [
        ("cpu,cpuacct", 1, "cpu,cpuacct"),
        ("cpuset", 1, "cpuset"),
        ("systemd", 1, "name=systemd"),
    ]
    assert [h.is_cpuset for h in found] == [False, True, False]


def test_version_2_alone(read: Reader) -> None:
    assert read(UNIFIED) == (cgroups.Hierarchy(Path("/sys/fs/cgroup"), 2),)


def test_none_at_all_is_said(read: Reader) -> None:
    with pytest.raises(Permanent, match="cannot find a cgroup hierarchy"):
        read(NONE)
