"""The settings that a twin must share with its source, taken from the engine's inspection."""

from __future__ import annotations

import json
from typing import Any

from porter.domain.workload import NETWORK

_ENGINE_NOTES = ("io.podman.", "io.kubernetes.cri-o.", "io.container.", "org.opencontainers.image.")
_CONFIG = {
    "command": "Cmd",
    "entrypoint": "Entrypoint",
    "user": "User",
    "working directory": "WorkingDir",
    "labels": "Labels",
    "hostname": "Hostname",
    "domain name": "Domainname",
    "stop signal": "StopSignal",
    "stop timeout": "StopTimeout",
    "healthcheck": "Healthcheck",
    "umask": "Umask",
    "timeout": "Timeout",
    "tty": "Tty",
    "open stdin": "OpenStdin",
    "systemd mode": "SystemdMode",
    "secrets": "Secrets",
}
_HOST = {
    "memory limit": "Memory",
    "memory reservation": "MemoryReservation",
    "memory and swap limit": "MemorySwap",
    "swappiness": "MemorySwappiness",
    "cpu limit (nano)": "NanoCpus",
    "cpu quota": "CpuQuota",
    "cpu period": "CpuPeriod",
    "cpu shares": "CpuShares",
    "cpu set": "CpusetCpus",
    "memory nodes": "CpusetMems",
    "pids limit": "PidsLimit",
    "block io weight": "BlkioWeight",
    "read only root": "ReadonlyRootfs",
    "privileged": "Privileged",
    "shm size": "ShmSize",
    "restart policy": "RestartPolicy",
    "oom score": "OomScoreAdj",
    "oom kill disabled": "OomKillDisable",
    "auto remove": "AutoRemove",
    "tmpfs": "Tmpfs",
    "pid mode": "PidMode",
    "ipc mode": "IpcMode",
    "uts mode": "UTSMode",
    "user namespace": "UsernsMode",
    "network mode": "NetworkMode",
    "cgroup namespace": "CgroupMode",
    "devices": "Devices",
    "ports": "PortBindings",
}
_LISTS = {
    "capabilities added": "CapAdd",
    "capabilities dropped": "CapDrop",
    "security options": "SecurityOpt",
    "extra hosts": "ExtraHosts",
    "dns": "Dns",
    "dns options": "DnsOptions",
    "dns search": "DnsSearch",
    "groups": "GroupAdd",
}


def settings(info: dict[str, Any]) -> dict[str, object]:
    """Name of each setting and its value, JSON-able and in a fixed order."""
    config, host = info.get("Config") or {}, info.get("HostConfig") or {}
    table: dict[str, object] = {name: config.get(key) or None for name, key in _CONFIG.items()}
    table.update({name: host.get(key) or None for name, key in _HOST.items()})
    table.update({name: sorted(host.get(key) or []) for name, key in _LISTS.items()})
    notes = config.get("Annotations") or {}
    table["annotations"] = {
        key: value for key, value in notes.items() if not key.startswith(_ENGINE_NOTES)
    }
    table["environment"] = sorted(config.get("Env") or [])
    table["limits"] = sorted(
        f"{one['Name']}={one['Soft']}:{one['Hard']}" for one in host.get("Ulimits") or []
    )
    table["log driver"] = (host.get("LogConfig") or {}).get("Type")
    table["mounts"] = sorted(_mount(one) for one in info.get("Mounts") or [])
    table["image"] = info.get("Image")
    table["oci runtime"] = info.get("OCIRuntime")
    table["networks"] = sorted((info.get("NetworkSettings") or {}).get("Networks") or {})
    table["bounding capabilities"] = sorted(info.get("BoundingCaps") or [])
    return dict(json.loads(json.dumps(table)))


def _mount(one: dict[str, Any]) -> str:
    source = one.get("Name") or one.get("Source", "")
    access = "rw" if one.get("RW") else "ro"
    options = ",".join(sorted(set(one.get("Options") or []) - {"rw", "ro"}))
    return f"{one.get('Destination')} {one.get('Type')} {source} {access} {options}"


def differences(expected: dict[str, object], found: dict[str, object]) -> list[str]:
    """One phrase for every setting that the twin does not share with its source."""
    out = []
    for name, want in expected.items():
        have = found.get(name)
        if json.dumps(want, sort_keys=True) != json.dumps(have, sort_keys=True):
            out.append(f"{name} is {_short(have)} here, {_short(want)} on the source")
    return out


def _short(value: object) -> str:
    text = "not set" if value in (None, [], {}) else json.dumps(value, sort_keys=True)
    return text if len(text) < 120 else text[:117] + "…"


def address_of(info: dict[str, Any]) -> tuple[str, str]:
    """Address and MAC on Porter's network; empty where it has none."""
    networks = (info.get("NetworkSettings") or {}).get("Networks") or {}
    mine = networks.get(NETWORK) or {}
    return mine.get("IPAddress") or "", mine.get("MacAddress") or ""
