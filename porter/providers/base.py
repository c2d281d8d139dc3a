"""What Porter asks of a place: small protocols, each of which a provider has or has not.

Rules for all of them:

- Every call is short. What takes long returns `Pending` with a token; the same call with that token
  goes on, also in another process after a crash.
- Every call may be repeated. What is made carries names that derive from `LaunchSpec.key`, and
  tags; the provider's own idempotency token derives from the key too, and where a service has none
  the adapter looks before it makes. What is absent when it should be removed is success.
- Errors are `domain.errors`: `Transient` for throttling, 5xx and time-outs (the SDK's own retries
  come first), `Denied` for missing rights (the message names the right, the remedy where to give
  it), `Exhausted` for capacity and quota (the next candidate may do), `NotFound`, `Invalid`, else
  `Permanent`.
- SDKs are imported inside the adapter, on first use. No secret is ever in an error or a log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from porter.domain.money import Quote, Tariff
from porter.domain.site import SiteKind

TAG_MANAGED = "porter-managed"
"""Tag on everything that Porter makes; its value is the control plane's id."""
TAG_KEY = "porter-key"
"""Tag with the key under which it was made."""
TAG_HOST = "porter-host"
"""Tag with the host's name."""


@dataclass(frozen=True)
class SiteConfig:
    """A site with its secrets, for a provider to open. Never logged: the secrets stay out of repr.

    `secrets` is empty where credentials come from the environment (profiles, instance roles,
    workload identity); then the SDK's default chain finds them.
    """

    name: str
    kind: SiteKind
    region: str
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Pending:
    """It is under way: call again with `token`, after `seconds` or so."""

    token: str
    """JSON-able text without secrets; "" where the provider needs none."""
    seconds: float = 2.0


# -- hosts ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class InstanceType:
    """A size of machine. `features` are CPU flags as /proc/cpuinfo names them that all machines of
    the type are known to have; empty where the provider does not tell."""

    name: str
    arch: str
    """`x86_64` or `aarch64`."""
    cpus: int
    memory_bytes: int
    features: frozenset[str] = frozenset()


class InstanceState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    GONE = "gone"
    """Terminated; some places list it for a while."""
    FAILED = "failed"
    """It will never run; `Instance.problem` says why. It may still cost money: terminate it."""


@dataclass(frozen=True)
class LaunchSpec:
    """A machine that is wanted. `key` is the same in every attempt to make it."""

    key: str
    """At most 40 characters of a-z, 0-9 and dashes; begins with a letter."""
    name: str
    """The host's name, a DNS label."""
    instance_type: str
    user_data: str
    """A shell script that runs once, as root, at the first boot. At most 16 KiB."""
    owner: str
    """Value of the tag `porter-managed`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Further tags: lower-case letters, digits and dashes in keys and values."""
    zone: str = ""
    """A zone of the region; "" leaves it to the site's settings or the provider."""
    spot: bool = False
    disk_gb: int = 20


@dataclass(frozen=True)
class Instance:
    """A machine as its place describes it."""

    id: str
    key: str
    """From its tag; "" on one that somebody else made."""
    name: str
    state: InstanceState
    instance_type: str
    zone: str = ""
    private_address: str = ""
    public_address: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    launched_at: str = ""
    """ISO 8601; empty if unknown."""
    problem: str = ""


@dataclass(frozen=True)
class Stray:
    """Something with Porter's tags that may cost money: an instance, disk, address, NIC."""

    kind: str
    """`instance`, `disk`, `nic`, `address`, `security-group` …"""
    id: str
    key: str
    explanation: str


class HostLifecycle(Protocol):
    """Machines of a site."""

    def types(self) -> Sequence[InstanceType]:
        """Sizes that can be launched here, by the site's allow-list if it has one."""
        ...

    def launch(self, spec: LaunchSpec, token: str = "") -> Instance | Pending:
        """Make the machine, or go on making it; the instance once it is running.

        Raises Exhausted, Denied, Invalid; the half-made is then left for `terminate(key)`.
        """
        ...

    def find(self, key: str) -> Instance | None:
        """The machine made under a key; None if there is none, or it is gone."""
        ...

    def managed(self, owner: str) -> Sequence[Instance]:
        """All machines with this owner's tag that are not gone. All pages."""
        ...

    def power_off(self, key: str, token: str = "") -> Pending | None:
        """Cut its power for fencing; None once it surely runs no more (absent included)."""
        ...

    def terminate(self, key: str, token: str = "") -> Pending | None:
        """Remove the machine and everything that was made for it under this key; None once all is
        gone. Absent is success; half made is fine."""
        ...

    def strays(self, owner: str) -> Sequence[Stray]:
        """Everything with the owner's tag: what `porter site sweep` compares with its books."""
        ...


class Lifetimes(Protocol):
    """For how long machines were there, by their place's own word: what it bills by."""

    def ended(self, key: str, instance: str) -> str:
        """When the machine made under a key ended, ISO 8601; "" while it has not, and where nobody
        remembers it."""
        ...


# -- money ----------------------------------------------------------------------------------


class Pricing(Protocol):
    def quotes(
        self, instance_types: Sequence[str], terms: str = "on_demand"
    ) -> Mapping[str, Quote]:
        """A quote per type, unknown ones included (amount None, `source` says why)."""
        ...


class Egress(Protocol):
    def tariff(self, to_kind: SiteKind, to_region: str) -> Tariff:
        """What a byte costs that leaves for another site. Same region: its inter-zone price."""
        ...


# -- endpoints ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Destination:
    """Where an endpoint should lead: a host of the site itself, or an address elsewhere."""

    address: str
    instance: str = ""
    """The provider's instance id if the host is a machine of this very site."""


class Addressing(Protocol):
    """Floating, elastic, static addresses."""

    def where(self, address: str) -> str:
        """Id of the instance it leads to; "" if it leads nowhere. NotFound if it is not ours."""
        ...

    def assign(self, address: str, instance: str, token: str = "") -> Pending | None:
        """Let it lead to an instance, away from whichever had it. None once it does."""
        ...


class LoadBalancing(Protocol):
    """Targets of a load balancer: target group, backend pool, network endpoint group, pool."""

    def targets(self, group: str) -> Mapping[str, int]:
        """`ADDRESS:PORT` of each target and its weight (1 where there are none). NotFound."""
        ...

    def set_targets(
        self, group: str, port: int, targets: Sequence[Destination], token: str = ""
    ) -> Pending | None:
        """Make exactly these the targets on this port; None once all in it are healthy and those
        that left are drained."""
        ...


@dataclass(frozen=True)
class RecordSet:
    """An A record. `weights` maps each value to its weight, equal ones for a plain record."""

    name: str
    ttl: int
    weights: Mapping[str, int]


class Dns(Protocol):
    def record(self, name: str) -> RecordSet | None:
        """The A records of a name; None if it has none. NotFound if no zone of ours holds it."""
        ...

    def set_record(self, record: RecordSet, token: str = "") -> Pending | None:
        """Make the name lead there, and nowhere else; None once all name servers say so."""
        ...

    def remove_record(self, name: str, token: str = "") -> Pending | None: ...


# -- on the machine itself ------------------------------------------------------------------


@dataclass(frozen=True)
class Notice:
    """The place is about to take the machine away, stop or restart it."""

    kind: str
    """`terminate`, `stop`, `restart` or `maintenance`."""
    at: str
    """ISO 8601; empty if not told."""


class Metadata(Protocol):
    """Asked by the agent, on the instance, without any credential."""

    def instance(self) -> str:
        """This machine's instance id. Raises NotFound elsewhere than in this cloud."""
        ...

    def notices(self) -> Sequence[Notice]: ...


# -- rights ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Right:
    """One thing that Porter must be allowed to do. `granted` None: it cannot be told."""

    name: str
    """As the place calls it: `ec2:RunInstances`, `Microsoft.Compute/virtualMachines/write` …"""
    granted: bool | None
    purpose: str
    remedy: str = ""


class Rights(Protocol):
    def check(self) -> Sequence[Right]:
        """Credentials first, then right by right. Changes nothing, costs nothing."""
        ...


@dataclass(frozen=True)
class Provider:
    """All that a site can do; None where it cannot."""

    config: SiteConfig
    hosts: HostLifecycle | None = None
    lifetimes: Lifetimes | None = None
    pricing: Pricing | None = None
    egress: Egress | None = None
    addressing: Addressing | None = None
    balancing: LoadBalancing | None = None
    dns: Dns | None = None
    metadata: Metadata | None = None
    rights: Rights | None = None
