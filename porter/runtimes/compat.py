"""Whether a workload of another host can run here: the target's half of the preflight."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from porter.domain.host import HostFacts
from porter.domain.workload import Blocker, Image, WorkloadSpec
from porter.protocol.joining import FoundWorkload
from porter.runtimes.base import EngineFacts

OLDEST_KERNEL = (5, 10)
_MEMORY_MARGIN = 1.1
_DISK_MARGIN = 64 << 20
ISA = frozenset(
    {
        "3dnowprefetch", "abm", "adx", "aes", "amx_bf16", "amx_int8", "amx_tile", "avx", "avx2",
        "avx512_bf16", "avx512_bitalg", "avx512_fp16", "avx512_vbmi2", "avx512_vnni",
        "avx512_vpopcntdq", "avx512bw", "avx512cd", "avx512dq", "avx512er", "avx512f",
        "avx512ifma", "avx512pf", "avx512vbmi", "avx512vl", "avx_vnni", "bmi1", "bmi2",
        "clflushopt", "clwb", "clzero", "cx16", "erms", "f16c", "fma", "fma4", "fsgsbase", "fsrm",
        "gfni",
        "lahf_lm", "lzcnt", "mmx", "movbe", "movdir64b", "movdiri", "pclmulqdq", "pku", "popcnt",
        "rdpid", "rdrand", "rdseed", "rdtscp", "rtm", "serialize", "sha_ni", "shstk", "sse", "sse2",
        "sse4_1", "sse4_2", "sse4a", "ssse3", "tbm", "vaes", "vpclmulqdq", "waitpkg", "xgetbv1",
        "xop", "xsave", "xsavec", "xsaveopt", "xsaves",
        # Arm names its features otherwise.
        "asimd", "asimddp", "asimdhp", "atomics", "bf16", "crc32", "dcpop", "fcma", "fp",
        "fphp", "i8mm", "jscvt", "lrcpc", "paca", "pacg", "pmull", "sha1", "sha2", "sha3", "sha512",
        "sve", "sve2",
    }
)  # fmt: skip
"""Processor features that programs find out at their start and then use: they must not vanish."""


class Present(Protocol):
    """What must be asked of this host's engine."""

    def facts(self) -> EngineFacts: ...

    def discover(self) -> list[FoundWorkload]: ...

    def missing(self, image: Image) -> tuple[str, ...]: ...

    def names(self) -> dict[str, str]:
        """Name of every container here, and its address on Porter's network."""
        ...


@dataclass(frozen=True)
class Case:
    """One workload, the host it comes from, and this one."""

    spec: WorkloadSpec
    source: HostFacts
    here: HostFacts
    runtime: Present


def check(
    spec: WorkloadSpec, source: HostFacts, here: HostFacts, runtime: Present
) -> tuple[Blocker, ...]:
    """Every reason against it, each with what to do; empty if it can run here."""
    case = Case(spec, source, here, runtime)
    return tuple(blocker for one in _CHECKS for blocker in one(case))


def memory_needed(spec: WorkloadSpec) -> int:
    """Bytes: the workload's own memory with a margin, and CRIU's images of it on tmpfs."""
    return int(_MEMORY_MARGIN * spec.memory_bytes) + spec.memory_bytes + spec.shm_bytes


def _human(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _memory(case: Case) -> Iterator[Blocker]:
    need, have = memory_needed(case.spec), case.here.memory_free
    if need > have:
        yield Blocker(
            "memory",
            f"the workload needs {_human(need)} of memory during the move, {_human(have)} is free",
            "free memory on the target or choose a larger host",
        )


def _disk(case: Case) -> Iterator[Blocker]:
    lacking = bool(case.runtime.missing(case.spec.image))
    need = case.spec.file_bytes + (2 * case.spec.image.size if lacking else 0) + _DISK_MARGIN
    have = min(case.here.disk_free, _free(case.runtime.facts().storage))
    if need > have:
        yield Blocker(
            "disk",
            f"the workload's files and image need {_human(need)}, {_human(have)} is free",
            "free space where the target's engine keeps its images, or choose a larger host",
        )


def _free(place: Path) -> int:
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 1 << 62  # the facts alone must tell then


def _criu(case: Case) -> Iterator[Blocker]:
    for where, facts in (("source", case.source), ("target", case.here)):
        if facts.criu_problem or facts.criu_version < (1,):
            yield Blocker(
                "criu",
                f"CRIU cannot be used on the {where}: {facts.criu_problem or 'it is missing'}",
                f"install a CRIU that passes `criu check` on the {where}, or move in restart mode",
            )
            return
    old, new = case.source.criu_version[:2], case.here.criu_version[:2]
    if old != new:
        yield Blocker(
            "criu-version",
            f"the source has CRIU {_version(old)}, the target {_version(new)}: they do not "
            "understand each other",
            "install the same minor version on both",
        )


def _version(parts: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in parts)


def _processor(case: Case) -> Iterator[Blocker]:
    if case.source.arch != case.here.arch:
        yield Blocker(
            "arch",
            f"the source is {case.source.arch}, the target {case.here.arch}",
            "choose a target of the same architecture",
        )
        return
    lacking = sorted((set(case.source.cpu_features) & ISA) - set(case.here.cpu_features))
    if lacking:
        shown = ", ".join(lacking[:8]) + (" …" if len(lacking) > 8 else "")
        yield Blocker(
            "cpu-features",
            f"the target's processor lacks what the workload may be using: {shown}",
            "choose a target with a processor as new as the source's, or hide these features "
            "from the source's virtual machine, or move in restart mode",
        )


def _kernel(case: Case) -> Iterator[Blocker]:
    here = _numbers(case.here.kernel)
    if here < OLDEST_KERNEL:
        yield Blocker(
            "kernel",
            f"the target's kernel {case.here.kernel} is too old",
            f"use kernel {_version(OLDEST_KERNEL)} or newer",
        )
    if case.source.cgroup != case.here.cgroup:
        yield Blocker(
            "cgroup",
            f"the source has cgroup {case.source.cgroup}, the target {case.here.cgroup}",
            "boot both with the same cgroup version",
        )


def _numbers(release: str) -> tuple[int, int]:
    """Major and minor of a kernel release; (0, 0) if it has none."""
    words = release.split("-")[0].split(".")
    try:
        return int(words[0]), int(words[1])
    except (ValueError, IndexError):
        return 0, 0


def _engine(case: Case) -> Iterator[Blocker]:
    here, there = case.here, case.source
    if not here.engine:
        yield Blocker("engine", "the target has no container engine", "install podman and runc")
    elif here.engine != there.engine:
        yield Blocker(
            "engine",
            f"the source runs {there.engine}, the target {here.engine}",
            "choose a target with the same engine",
        )
    elif here.oci_runtime != there.oci_runtime:
        yield Blocker(
            "oci-runtime",
            f"the source uses {there.oci_runtime}, the target {here.oci_runtime}",
            'set runtime = "runc" in containers.conf of both',
        )


def _clashes(case: Case) -> Iterator[Blocker]:
    names = case.runtime.names()
    if case.spec.container_name in names:
        yield Blocker(
            "name-clash",
            f"the target has a container called {case.spec.container_name}",
            f"remove or rename it: podman rm {case.spec.container_name}",
        )
    known = {found.name for found in case.runtime.discover()}
    if case.spec.name in known and case.spec.container_name not in names:
        yield Blocker(
            "name-clash",
            f"the target has a workload called {case.spec.name}",
            "give one of them another porter.name",
        )
    for name, address in names.items():
        if case.spec.address and address == case.spec.address and name != case.spec.container_name:
            yield Blocker(
                "address-clash",
                f"{case.spec.address} is in use on the target by container {name}",
                f"create {name} with another address",
            )


def _image(case: Case) -> Iterator[Blocker]:
    if not case.spec.image.layers and case.runtime.missing(case.spec.image):
        yield Blocker(
            "image-missing",
            f"the target lacks image {case.spec.image.id[:12]} and the source has no layers of it",
            "pull the image on the target",
        )


_CHECKS: tuple[Callable[[Case], Iterator[Blocker]], ...] = (
    _engine,
    _processor,
    _kernel,
    _criu,
    _memory,
    _disk,
    _image,
    _clashes,
)
