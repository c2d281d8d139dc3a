"""Podman's inspection of a container, turned into Porter's words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from porter.domain.container import Tree
from porter.domain.errors import NotFound, Permanent
from porter.domain.identity import project_of
from porter.domain.workload import (
    LABEL_ENABLE,
    LABEL_NAME,
    LABEL_POLICY,
    LABEL_PROJECT,
    LABEL_VOLUMES,
    Image,
    Volume,
    WorkloadSpec,
    policies_of,
)
from porter.protocol.joining import FoundWorkload
from porter.runtimes.blockers import Seen, find_blockers
from porter.runtimes.cgroup import Cgroup
from porter.runtimes.leftovers import is_mounted
from porter.runtimes.podman_cli import Podman
from porter.runtimes.recreate import after_verb
from porter.runtimes.settings import address_of, settings

LOG_TREE = "log"
LOG_LIMIT = 32 << 20
"""A longer log stays behind: it would lengthen the freeze."""
_LOG_FILES = ("k8s-file", "json-file")


def _labels(info: dict[str, Any]) -> dict[str, str]:
    return dict((info.get("Config") or {}).get("Labels") or {})


def workload_name(info: dict[str, Any]) -> str:
    """Label `porter.name`, else the container's own name."""
    return str(_labels(info).get(LABEL_NAME) or info["Name"])


def labelled(info: dict[str, Any]) -> bool:
    return _labels(info).get(LABEL_ENABLE) == "true"


def group_of(info: dict[str, Any]) -> Cgroup | None:
    """The control group of a running container."""
    pid = int((info.get("State") or {}).get("Pid") or 0)
    return Cgroup.of(pid) if pid else None


def disk_usage(top: Path) -> int:
    """Bytes that the files below `top` take up; what vanishes meanwhile does not count."""
    total = 0
    for folder, _, files in os.walk(top):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue  # a living container deletes files
    return total


def volumes_of(info: dict[str, Any]) -> tuple[Volume, ...]:
    """Named volumes and bind mounts, with the mode that the container's label asks for."""
    mode = _labels(info).get(LABEL_VOLUMES, "move")
    found = []
    for mount in info.get("Mounts") or []:
        kind = str(mount.get("Type"))
        if kind in ("volume", "bind"):
            name = mount.get("Name") if kind == "volume" else mount.get("Source")
            found.append(
                Volume(str(name), str(mount["Destination"]), kind, mode, not mount.get("RW"))
            )
    return tuple(found)


def log_file(info: dict[str, Any]) -> Path | None:
    """The container's log where its driver keeps one plain file."""
    config = (info.get("HostConfig") or {}).get("LogConfig") or {}
    if config.get("Type") not in _LOG_FILES or not config.get("Path"):
        return None
    return Path(config["Path"])


def log_tree(info: dict[str, Any]) -> Path:
    """A directory that holds nothing but the log; beside it, so that a hard link will do."""
    return Path(info["StaticDir"]) / "porter-log"


def shm_directory(info: dict[str, Any]) -> Path | None:
    """The engine's tmpfs behind the container's /dev/shm."""
    place = Path(info["StaticDir"]) / "shm"
    return place if is_mounted(place) else None


def has_shm(info: dict[str, Any]) -> bool:
    """Whether the engine keeps the container's /dev/shm, by the OCI configuration it wrote."""
    config = json.loads(Path(info["OCIConfigPath"]).read_text())
    place = str(Path(info["StaticDir"]) / "shm")
    return any(one.get("source") == place for one in config.get("mounts") or [])


def upper_directory(info: dict[str, Any]) -> Path:
    data = (info.get("GraphDriver") or {}).get("Data") or {}
    if "UpperDir" not in data:
        raise Permanent(
            f"cannot find the files of {info['Name']}: its store is not overlay",
            'set driver = "overlay" in storage.conf',
        )
    return Path(data["UpperDir"])


def link_log(info: dict[str, Any]) -> Path | None:
    """Put the log, if it is short enough, where only it travels. Repeating renews the link."""
    source = log_file(info)
    if source is None:
        return None
    place = log_tree(info)
    place.mkdir(exist_ok=True)
    copy = place / "ctr.log"
    copy.unlink(missing_ok=True)
    if source.exists() and source.stat().st_size <= LOG_LIMIT:
        os.link(source, copy)
    return place


@dataclass(frozen=True)
class Inspector:
    """Questions about the containers of one engine."""

    podman: Podman
    storage: Path

    def all(self, busy: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Inspect every container but those in `busy`.

        Podman answers nothing about a container that it is restoring, `ps` included: then the
        list is read from the store.
        """
        skipped = set(busy)
        if skipped:
            listed = json.loads((self.storage / "overlay-containers/containers.json").read_text())
            ids = [str(one["id"]) for one in listed]
        else:
            ids = self.podman.run("ps", "-a", "-q", "--no-trunc", limit=20).split()
        return self.podman.containers([one for one in ids if one not in skipped])

    def find(self, name: str, containers: list[dict[str, Any]]) -> dict[str, Any]:
        """The container of a workload; one that has not opted in is found by its own name too."""
        named = [one for one in containers if labelled(one) and workload_name(one) == name]
        named.sort(key=lambda one: not (one.get("State") or {}).get("Running"))
        if named:
            return named[0]
        for one in containers:
            if one["Name"] == name:
                return one
        raise NotFound(f"cannot find workload {name} on this host")

    def found(self, info: dict[str, Any]) -> FoundWorkload:
        state = info.get("State") or {}
        group = group_of(info)
        status = str(state.get("Status"))
        if status == "running" and group is not None and group.frozen():
            status = "paused"
        return FoundWorkload(
            name=workload_name(info),
            container=str(info["Id"]),
            container_name=str(info["Name"]),
            state=status,
            address=address_of(info)[0],
            image=str(info.get("ImageName") or info.get("Image")),
            memory_bytes=sum(group.memory()) if group else 0,
            project=project_of(_labels(info).get(LABEL_PROJECT, "")),
            policies=policies_of(_labels(info).get(LABEL_POLICY, "")),
        )

    def image(self, info: dict[str, Any]) -> Image:
        image = self.podman.image(str(info["Image"])) or {}
        layers = (image.get("RootFS") or {}).get("Layers") or []
        return Image(
            id=str(info["Image"]),
            names=tuple(image.get("RepoTags") or image.get("NamesHistory") or ()),
            layers=tuple(layers),
            size=int(image.get("Size") or 0),
        )

    def spec(self, info: dict[str, Any], others: list[dict[str, Any]]) -> WorkloadSpec:
        """Everything another host needs to judge the container and make its twin."""
        group = group_of(info)
        address, mac = address_of(info)
        config = info.get("Config") or {}
        trees = {tree.name: tree.path for tree in self.trees(info)}
        shm = disk_usage(trees.pop("shm")) if "shm" in trees else 0
        return WorkloadSpec(
            name=workload_name(info),
            container=str(info["Id"]),
            container_name=str(info["Name"]),
            running=bool((info.get("State") or {}).get("Running")),
            image=self.image(info),
            address=address,
            mac=mac,
            hostname=str(config.get("Hostname") or ""),
            labels=dict(config.get("Labels") or {}),
            volumes=volumes_of(info),
            create=after_verb(config.get("CreateCommand") or ()) or (),
            expect={**settings(info), "volume labels": self.volume_labels(info)},
            memory_bytes=sum(group.memory()) if group else 0,
            file_bytes=sum(disk_usage(path) for path in trees.values()),
            shm_bytes=shm,
            blockers=find_blockers(self.seen(info, group, others)),
        )

    def seen(
        self, info: dict[str, Any], group: Cgroup | None, others: list[dict[str, Any]]
    ) -> Seen:
        pids = tuple(group.pids()) if group else ()
        parents = {}
        for pid in pids:
            try:
                parents[pid] = psutil.Process(pid).ppid()
            except psutil.NoSuchProcess:
                continue
        names = {v.name for v in volumes_of(info) if v.kind == "volume"}
        return Seen(
            info=info,
            pids=tuple(parents),
            frozen=group.frozen() if group else False,
            volumes={name: self.podman.volume(name) or {} for name in names},
            others=tuple(one for one in others if one["Id"] != info["Id"]),
            parents=parents,
        )

    def volume_labels(self, info: dict[str, Any]) -> dict[str, dict[str, str]]:
        """Labels of each named volume that travels."""
        found = {}
        for volume in volumes_of(info):
            if volume.kind == "volume" and volume.mode == "move":
                known = self.podman.volume(volume.name) or {}
                found[volume.name] = dict(known.get("Labels") or {})
        return found

    def trees(self, info: dict[str, Any]) -> tuple[Tree, ...]:
        """What travels of a running container. A link to the log is made for it."""
        found = [Tree("rootfs", upper_directory(info))]
        for mount in info.get("Mounts") or []:
            if mount.get("Type") == "volume" and self._moves(info):
                found.append(Tree(f"volume:{mount['Name']}", Path(mount["Source"])))
        shm = shm_directory(info)
        if shm is not None:
            found.append(Tree("shm", shm))
        log = link_log(info)
        if log is not None:
            found.append(Tree(LOG_TREE, log))
        return tuple(found)

    @staticmethod
    def _moves(info: dict[str, Any]) -> bool:
        return _labels(info).get(LABEL_VOLUMES, "move") == "move"
