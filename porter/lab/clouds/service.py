"""The process that runs a lab's clouds: `python -m porter.lab.clouds.service LAB aws,gcp …`.

`porter lab up --clouds` starts it, `porter lab down` ends it. It lives in a control group of the
lab's, and so does all that it starts: nothing of it outlives the lab, however it dies.
"""

from __future__ import annotations

import dataclasses
import fcntl
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from porter.domain.errors import Conflict, PorterError
from porter.lab import cgroups, hosts
from porter.lab import state as states
from porter.lab.clouds import control
from porter.lab.clouds.base import StandIn
from porter.lab.clouds.hypervisor import Hypervisor
from porter.lab.lab import Lab

log = logging.getLogger(__name__)
STAND_INS = {
    "aws": "porter.lab.clouds.aws:AwsStandIn",
    "gcp": "porter.lab.clouds.gcp:GcpCloud",
    "azure": "porter.lab.clouds.azure:AzureStandIn",
    "openstack": "porter.lab.clouds.openstack:OpenStackStandIn",
}
# In a lab no address is public: what a cloud would make up leads nowhere.
PRIVATE = {"gcp": {"external_ip": "no"}}
_EVERY_S = 0.3


def stand_in(kind: str) -> StandIn:
    """A new stand-in for this cloud, not started."""
    module, _, name = STAND_INS[kind].partition(":")
    made: StandIn = getattr(importlib.import_module(module), name)()
    return made


class Service:
    """The clouds of one lab, while this process lives."""

    def __init__(self, lab: Lab, kinds: Sequence[str]) -> None:
        self._lab = lab
        self._clouds = {kind: stand_in(kind) for kind in kinds}
        self._hypervisor = Hypervisor(lab, self._clouds)
        self._file = lab.directory / "clouds.json"

    def start(self) -> None:
        """Start the clouds and say how to reach them. Raises Permanent."""
        address = self._lab.gateway
        for kind, cloud in self._clouds.items():
            place = control.directory(self._lab.directory) / kind
            place.mkdir(exist_ok=True)
            log.info("%s: starting", kind)
            cloud.start(place, address)
        sites = {}
        for kind, cloud in self._clouds.items():
            site = cloud.site()
            settings = {**site.settings, **PRIVATE.get(kind, {})}
            named = dataclasses.replace(site, name=f"{kind}:{site.region}", settings=settings)
            sites[kind] = {
                field.name: getattr(named, field.name) for field in dataclasses.fields(named)
            }
        text = json.dumps(sites, indent=2, default=dict) + "\n"
        states.write_atomically(self._file, text)
        log.info("all answer at %s", address)

    def run(self) -> None:
        """Serve until a signal raises an exception in here."""
        pause = threading.Event()
        while True:
            self._hypervisor.step()
            pause.wait(_EVERY_S)

    def stop(self) -> None:
        """End everything but the lab's hosts: they are machines, and clouds come and go."""
        self._file.unlink(missing_ok=True)
        self._hypervisor.close()
        for kind, cloud in self._clouds.items():
            try:
                cloud.stop()
            except (PorterError, OSError):
                log.exception("cannot stop %s", kind)


def _enter_group(lab: str) -> None:
    """What an earlier service left behind ends here; from now on all we start is in the group."""
    group = f"{lab}/{control.GROUP}"
    hosts.kill_group(group)
    cgroups.create(group)
    for path in cgroups.groups(group):
        (path / "cgroup.procs").write_text(str(os.getpid()))


def _claim(directory: Path) -> int:
    """Hold the pid file's lock for as long as this process lives."""
    descriptor = os.open(directory / "pid", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict("cannot run the lab's clouds: another process does") from error
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _end(number: int, frame: FrameType | None) -> None:
    # Once is enough: a second signal must not interrupt the clearing up.
    for known in (signal.SIGTERM, signal.SIGINT):
        signal.signal(known, signal.SIG_IGN)
    raise SystemExit(0)


def main(argv: Sequence[str]) -> int:
    """Run the clouds until SIGTERM. With a third word, a file descriptor, say "ready" there."""
    name, kinds, *ready = argv
    for word in ready:
        os.set_inheritable(int(word), False)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    lab = Lab(name)
    try:
        claim = _claim(control.directory(lab.directory))
        _enter_group(name)
        service = Service(lab, control.check_kinds(kinds.split(",")))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        try:
            service.start()
            for word in ready:
                with open(int(word), "w") as parent:
                    parent.write("ready\n")
            service.run()
        finally:
            service.stop()
            os.close(claim)
    except PorterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
