"""Nova's flavours as types of instances, with what their extra specs tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from porter.providers.base import InstanceType

MIB = 1 << 20
REQUIRED = "required"
ARCHITECTURE, FEATURE = "trait:HW_ARCH_", "trait:HW_CPU_X86_"
ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}
FEATURES = {
    "sse3": "pni",
    "sse41": "sse4_1",
    "sse42": "sse4_2",
    "aesni": "aes",
    "clmul": "pclmulqdq",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "sha": "sha_ni",
    "mpx": "mpx",
}
"""Names of the standard traits where /proc/cpuinfo has others."""
NO_FLAGS = ("AMD_", "INTEL_")
"""Traits below HW_CPU_X86_ that name a vendor's modes."""


def view(flavor: Any, arch: str) -> InstanceType:
    """`arch` is that of the site, for flavours that do not say."""
    specs: Mapping[str, str] = flavor.extra_specs or {}
    return InstanceType(
        name=flavor.name,
        arch=_architecture(specs) or arch,
        cpus=int(flavor.vcpus),
        memory_bytes=int(flavor.ram) * MIB,
        features=_features(specs),
    )


def _architecture(specs: Mapping[str, str]) -> str:
    for key, value in specs.items():
        if key.startswith(ARCHITECTURE) and value == REQUIRED:
            return _known(key.removeprefix(ARCHITECTURE))
    return _known(specs.get("capabilities:cpu_info:arch", "").removeprefix("s== "))


def _known(name: str) -> str:
    name = name.lower()
    return ARCHITECTURES.get(name, name)


def _features(specs: Mapping[str, str]) -> frozenset[str]:
    names = {
        key.removeprefix(FEATURE)
        for key, value in specs.items()
        if key.startswith(FEATURE) and value == REQUIRED
    }
    flags = {name.lower() for name in names if not name.startswith(NO_FLAGS)}
    return frozenset(FEATURES.get(flag, flag) for flag in flags)
