"""Podman's create command: taken apart on the source, put together again for the twin.

Podman keeps the command line that made a container. Replaying it with `create` gives the twin all
settings in the engine's own words; only what named the moment or the caller's shell is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from porter.domain.errors import Unsupported
from porter.domain.workload import NETWORK, WorkloadSpec

BOOLEAN = frozenset(
    {
        "detach", "disable-content-trust", "env-host", "help", "http-proxy", "init", "interactive",
        "no-healthcheck", "no-hosts", "oom-kill-disable", "passwd", "privileged", "publish-all",
        "quiet", "read-only", "read-only-tmpfs", "replace", "rm", "rmi", "rootfs", "sig-proxy",
        "tls-verify", "tty", "unsetenv-all",
    }
)  # fmt: skip
"""Options without a value of their own (`podman run --help`)."""
_SHORT = {
    "a": "attach", "c": "cpu-shares", "d": "detach", "e": "env", "h": "hostname",
    "i": "interactive", "l": "label", "m": "memory", "p": "publish", "P": "publish-all",
    "q": "quiet", "t": "tty", "u": "user", "v": "volume", "w": "workdir",
}  # fmt: skip
_ALIASES = {"net": "network", "dns-opt": "dns-option", "healthcheck-command": "health-cmd"}
_DROPPED = frozenset(
    {
        "attach", "authfile", "cidfile", "conmon-pidfile", "creds", "detach", "detach-keys",
        "disable-content-trust", "hostname", "ip", "mac-address", "name", "passwd", "pidfile",
        "preserve-fds", "pull", "quiet", "replace", "rm", "rmi", "sig-proxy", "tls-verify",
    }
)  # fmt: skip
"""Only of `run`, of the caller's machine, of the registry, or set anew for the twin."""


@dataclass(frozen=True)
class Option:
    """One option of a command line; `value` is None for a bare boolean."""

    name: str
    value: str | None

    def words(self) -> list[str]:
        if self.value is None:
            return [f"--{self.name}"]
        if self.name in BOOLEAN:
            return [f"--{self.name}={self.value}"]
        return [f"--{self.name}", self.value]


@dataclass(frozen=True)
class Create:
    """A create command: options, image as the user wrote it, command."""

    options: tuple[Option, ...]
    image: str
    command: tuple[str, ...]

    def words(self) -> list[str]:
        """argv after the verb."""
        flat = [word for option in self.options for word in option.words()]
        return [*flat, self.image, *self.command]

    def values(self, name: str) -> list[str]:
        return [o.value or "" for o in self.options if o.name == name]


def after_verb(argv: Sequence[str]) -> tuple[str, ...] | None:
    """What follows `run` or `create` in a recorded command line; None if it has neither."""
    for index, word in enumerate(argv[1:], start=1):
        if word in ("run", "create"):
            return tuple(argv[index + 1 :])
    return None


def parse(words: Sequence[str]) -> Create:
    """Take an argv (after the verb) apart. Options end at the first word that is none."""
    options: list[Option] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            name = _ALIASES.get(name, name)
            if has_value or name in BOOLEAN:
                options.append(Option(name, value if has_value else None))
            else:
                options.append(Option(name, rest.pop(0) if rest else ""))
            continue
        options.extend(_cluster(word[1:], rest))
    if rest and rest[0] == "--":
        rest.pop(0)
    if not rest:
        raise Unsupported(
            "cannot read the container's create command: it names no image",
            "create the container with podman run",
        )
    return Create(tuple(options), rest[0], tuple(rest[1:]))


def _cluster(letters: str, rest: list[str]) -> list[Option]:
    """Short options in one word: `-dit`, `-p8080:80`, `-e=A=b`. Takes a value from `rest`."""
    found: list[Option] = []
    while letters:
        name, letters = _SHORT.get(letters[0], letters[0]), letters[1:]
        if name in BOOLEAN:
            if letters.startswith("="):
                found.append(Option(name, letters[1:]))
                break
            found.append(Option(name, None))
            continue
        value = letters.removeprefix("=") if letters else (rest.pop(0) if rest else "")
        found.append(Option(name, value))
        break
    return found


def replay(spec: WorkloadSpec, image_here: Callable[[str], str]) -> list[str]:
    """argv after `create` for the twin of `spec`.

    `image_here` gives the id of the image that a reference means on this host, or "".
    """
    made = parse(spec.create)
    kept = [option for option in made.options if option.name not in _DROPPED]
    kept = _environment(kept, spec)
    kept = _labels(kept, spec)
    kept = _volumes(kept, spec)
    front = [Option("name", spec.container_name)]
    if spec.hostname and not _shares_uts(kept):
        front.append(Option("hostname", spec.hostname))
    if spec.address:
        kept, fixed = _network(kept, spec)
        front.extend(fixed)
    image = made.image if image_here(made.image) == spec.image.id else spec.image.id
    return replace(made, options=(*front, *kept), image=image).words()


def _shares_uts(options: Sequence[Option]) -> bool:
    return any(o.name == "uts" and o.value == "host" for o in options)


def _network(options: list[Option], spec: WorkloadSpec) -> tuple[list[Option], list[Option]]:
    """Pin address and MAC, in whichever of Podman's two ways the user chose."""
    for index, option in enumerate(options):
        name, colon, rest = (option.value or "").partition(":")
        if option.name != "network" or name != NETWORK or not colon:
            continue
        others = [part for part in rest.split(",") if part.partition("=")[0] not in ("ip", "mac")]
        pinned = [*others, f"ip={spec.address}", f"mac={spec.mac}"]
        changed = Option("network", f"{NETWORK}:{','.join(pinned)}")
        return [*options[:index], changed, *options[index + 1 :]], []
    return options, [Option("ip", spec.address), Option("mac-address", spec.mac)]


def _environment(options: list[Option], spec: WorkloadSpec) -> list[Option]:
    """Values that came from the caller's shell or files are written out."""

    def borrowed(option: Option) -> bool:
        if option.name == "env":
            return "=" not in (option.value or "")
        return option.name in ("env-file", "env-host", "env-merge")

    if not any(borrowed(option) for option in options):
        return options
    kept = [o for o in options if not borrowed(o) and o.name != "env"]
    have = spec.expect.get("environment")
    values = [str(one) for one in have] if isinstance(have, list) else []
    return [*kept, *(Option("env", value) for value in values)]


def _labels(options: list[Option], spec: WorkloadSpec) -> list[Option]:
    if not any(option.name == "label-file" for option in options):
        return options
    kept = [option for option in options if option.name not in ("label", "label-file")]
    return [*kept, *(Option("label", f"{key}={value}") for key, value in spec.labels.items())]


def _volumes(options: list[Option], spec: WorkloadSpec) -> list[Option]:
    """Nameless volumes keep the name that the source's engine gave them."""
    named = {option_target(option) for option in options if not is_nameless(option)}
    kept = [option for option in options if not is_nameless(option)]
    for volume in spec.volumes:
        if volume.kind == "volume" and volume.destination not in named:
            access = ":ro" if volume.read_only else ""
            kept.append(Option("volume", f"{volume.name}:{volume.destination}{access}"))
    return kept


def option_target(option: Option) -> str:
    """Where in the container a `--volume` or `--mount` option mounts; "" for other options."""
    if option.name == "volume":
        parts = (option.value or "").split(":")
        return parts[1] if len(parts) > 1 and parts[1].startswith("/") else parts[0]
    if option.name == "mount":
        return _mount_fields(option).get("target", "")
    return ""


def is_nameless(option: Option) -> bool:
    """Whether the option asks for a volume without naming it."""
    if option.name == "volume":
        parts = (option.value or "").split(":")
        return len(parts) < 2 or not parts[1].startswith("/")
    if option.name == "mount":
        fields = _mount_fields(option)
        return fields.get("type", "volume") == "volume" and not fields.get("source")
    return False


def _mount_fields(option: Option) -> dict[str, str]:
    aliases = {"src": "source", "dst": "target", "destination": "target"}
    fields: dict[str, str] = {}
    for part in (option.value or "").split(","):
        key, _, value = part.partition("=")
        fields[aliases.get(key, key)] = value
    return fields
