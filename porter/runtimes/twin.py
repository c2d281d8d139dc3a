"""The twin: the container on the target into which the running state is restored.

It is created by the source's own create command and initialised once, without running, so that
the engine writes its OCI configuration. Then its files are emptied: what travels replaces them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from porter.domain.container import Tree, Twin
from porter.domain.errors import Conflict, NotFound, Permanent, PorterError, Unsupported
from porter.domain.workload import WorkloadSpec
from porter.runtimes.cgroup import Cgroup
from porter.runtimes.images import PodmanImages
from porter.runtimes.inspect import (
    LOG_TREE,
    Inspector,
    has_shm,
    log_file,
    log_tree,
    upper_directory,
)
from porter.runtimes.leftovers import (
    bind,
    clear_leftovers,
    empty_tree,
    mount_points,
    mount_shm,
    remove_tree,
    unmount,
)
from porter.runtimes.links import raise_loopback
from porter.runtimes.oci import Runc, criu_reason
from porter.runtimes.podman_cli import Podman, last_words
from porter.runtimes.processes import alive, end, engine_processes, name_of
from porter.runtimes.records import Record, Records
from porter.runtimes.recreate import replay
from porter.runtimes.settings import differences, settings


class Twins:
    """Makes, restores and removes twins on one engine. `memory` is a directory on tmpfs."""

    def __init__(
        self,
        podman: Podman,
        runc: Runc,
        inspector: Inspector,
        images: PodmanImages,
        records: Records,
        memory: Path,
    ) -> None:
        self._podman = podman
        self._runc = runc
        self._inspector = inspector
        self._images = images
        self._records = records
        self._memory = memory

    # -- making ------------------------------------------------------------------------------

    def create(self, spec: WorkloadSpec, migration: str) -> Twin:
        """See `Checkpoints.create_twin`."""
        twin = self.find(migration)
        if twin is not None:
            return twin
        self.discard(migration)  # what a crash left half made
        self._must_be_free(spec)
        command = replay(spec, self._images.present)
        fresh = [name for name in self._moved_volumes(spec) if not self._podman.volume(name)]
        record = Record(
            migration=migration,
            name=spec.container_name,
            command=command,
            images=str(self._memory / migration / "images"),
            volumes=fresh,
        )
        self._records.write(record)
        try:
            return self._make(spec, record)
        except PorterError:
            self.discard(migration)
            raise

    def _must_be_free(self, spec: WorkloadSpec) -> None:
        """Nothing of the twin's may be in use here. Raises before anything is made."""
        if self._podman.container(spec.container_name) is not None:
            raise Conflict(
                f"cannot make {spec.container_name} here: a container of that name exists",
                f"remove it: podman rm {spec.container_name}",
            )
        if self._podman.image(spec.image.id) is None:
            raise Unsupported(
                f"cannot make {spec.container_name} here: its image is missing",
                "ship the image first, or pull it on this host",
            )
        for name in self._moved_volumes(spec):
            if self._podman.volume(name) is not None:
                raise Conflict(
                    f"cannot make volume {name} here: one of that name exists",
                    f"remove it: podman volume rm {name}",
                )

    @staticmethod
    def _moved_volumes(spec: WorkloadSpec) -> list[str]:
        return [v.name for v in spec.volumes if v.kind == "volume" and v.mode == "move"]

    def _make(self, spec: WorkloadSpec, record: Record) -> Twin:
        labels = spec.expect.get("volume labels")
        for name in record.volumes:
            own = labels.get(name, {}) if isinstance(labels, dict) else {}
            flags = [word for key, value in own.items() for word in ("--label", f"{key}={value}")]
            self._podman.run("volume", "create", *flags, name)
        self._initialise(record)
        info = self._podman.container(record.container)
        if info is None:
            raise Permanent(f"cannot make {record.name}: the engine removed it again")
        different = differences(
            {key: value for key, value in spec.expect.items() if key != "volume labels"},
            settings(info),
        )
        if different:
            raise Unsupported(
                f"cannot make the same {record.name} here: {'; '.join(different)}",
                "set it explicitly when creating the container, or make the hosts' "
                "containers.conf equal",
            )
        self._empty(info, record)
        Path(record.images).mkdir(parents=True, exist_ok=True)
        bind(Path(record.images), self._checkpoint(info))
        record.home = str(info["StaticDir"])
        record.log = str(log_file(info) or "")
        record.bare = (info.get("HostConfig") or {}).get("NetworkMode") == "none"
        record.trees = {name: str(path) for name, path in self._trees(info, record).items()}
        record.ready = True
        self._records.write(record)
        return self._twin(record)

    def _initialise(self, record: Record) -> None:
        """Create, let the engine set it up, take it down again. Its program never runs."""
        doing = f"make {record.name} here"
        try:
            out = self._podman.run("create", *record.command, doing=doing)
            record.container = out.split()[-1]
            self._records.write(record)
            self._podman.run("init", record.container, doing=doing)
        except (Permanent, NotFound) as error:
            raise Unsupported(
                error.message, "see that this host has what the container's options name"
            ) from error
        self._take_down(record)

    def _take_down(self, record: Record, limit: float = 20) -> None:
        """End the engine's set-up without `podman stop`, which it may remember as the user's wish:
        then it would not apply the restart policy to what is restored."""
        group = self._runc.cgroup(record.container)
        if group is not None:
            self._kill_tasks(group)
        until = time.monotonic() + limit
        while True:
            info = self._podman.container(record.container) or {}
            if (info.get("State") or {}).get("Status") in ("created", "exited"):
                return
            if time.monotonic() > until:
                raise Permanent(f"cannot make {record.name} here: its engine does not let go of it")
            time.sleep(0.01)

    def _empty(self, info: dict[str, Any], record: Record) -> None:
        """Take away what the engine put into its files: they come from the source, all of them."""
        merged = Path(info["GraphDriver"]["Data"].get("MergedDir") or upper_directory(info))
        until = time.monotonic() + 20
        while merged in mount_points():
            # The engine's clean-up after the stop runs beside us.
            if time.monotonic() > until:
                raise Permanent(f"cannot make {record.name}: its files stay mounted on {merged}")
            time.sleep(0.01)
        empty_tree(upper_directory(info))
        for mount in info.get("Mounts") or []:
            if mount.get("Name") in record.volumes:
                empty_tree(Path(mount["Source"]))

    def _trees(self, info: dict[str, Any], record: Record) -> dict[str, Path]:
        trees = {"rootfs": upper_directory(info)}
        for mount in info.get("Mounts") or []:
            if mount.get("Name") in record.volumes:
                trees[f"volume:{mount['Name']}"] = Path(mount["Source"])
        if has_shm(info):
            # Podman uses what is mounted there already: nothing has to be copied at the restore.
            trees["shm"] = Path(info["StaticDir"]) / "shm"
            mount_shm(trees["shm"], int(info["HostConfig"]["ShmSize"]))
        if log_file(info) is not None:
            trees[LOG_TREE] = log_tree(info)
            trees[LOG_TREE].mkdir(exist_ok=True)
        return trees

    @staticmethod
    def _checkpoint(info: dict[str, Any]) -> Path:
        return Path(info["StaticDir"]) / "checkpoint"

    # -- finding -----------------------------------------------------------------------------

    def find(self, migration: str) -> Twin | None:
        """The complete twin of a migration. After a reboot its memory is gone: then it is none."""
        record = self._records.read(migration)
        # Files tell, not the engine: it does not answer in the middle of a restore.
        if record is None or not record.ready or not Path(record.images).is_dir():
            return None
        if not Path(record.home).is_dir():
            return None
        return self._twin(record)

    @staticmethod
    def _twin(record: Record) -> Twin:
        trees = tuple(Tree(name, Path(path)) for name, path in record.trees.items())
        return Twin(record.container, Path(record.images), trees)

    def busy(self) -> set[str]:
        """Containers in the middle of a restore: the engine does not answer for them."""
        found = set()
        for record in self._records.all():
            if record.restoring and any(
                alive(one) and "restore" in one.cmdline()
                for one in engine_processes(record.container)
            ):
                found.add(record.container)
        return found

    # -- restoring ---------------------------------------------------------------------------

    def restore(self, twin: Twin) -> None:
        """See `Checkpoints.restore`. There is no time limit: the gate may wait for an answer."""
        record = next((r for r in self._records.all() if r.container == twin.container), None)
        if record is None or not record.ready:
            raise Permanent(f"cannot restore {twin.container[:12]}: there is no such twin here")
        home = Path(record.home)
        self._place(record, {tree.name: tree.path for tree in twin.trees})
        bind(twin.images, home / "checkpoint")
        record.restoring = True
        self._records.write(record)
        done = subprocess.run(
            [
                self._podman.binary,
                "container",
                "restore",
                "--tcp-established",
                "--file-locks",
                "--keep",
                twin.container,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            start_new_session=True,
            check=False,
        )
        if done.returncode != 0:
            logs = (home / "restore.log", twin.images / "restore.log")
            reason = criu_reason(*logs) or last_words(done.stderr)
            raise Permanent(f"cannot restore {record.name}: {reason}")
        record.restoring = False
        self._records.write(record)
        if record.bare:
            raise_loopback(self._runc.pid(twin.container))

    def _place(self, record: Record, trees: dict[str, Path]) -> None:
        """Put the log where the engine goes on writing it."""
        log = trees.get(LOG_TREE)
        if record.log and log is not None and (log / "ctr.log").exists():
            os.replace(log / "ctr.log", record.log)

    # -- ending ------------------------------------------------------------------------------

    def discard(self, migration: str) -> None:
        """See `Checkpoints.discard_twin`."""
        record = self._records.read(migration)
        if record is None:
            return
        container = record.container or self._adopt(record)
        if container:
            self.kill(container, (Path(record.images),))
            self.delete(container)
        for name in record.volumes:
            self.delete_volume(name)
        self._drop_memory(record)
        self._records.remove(migration)

    def _adopt(self, record: Record) -> str:
        """The container that was made just before a crash, told by its very command line."""
        info = self._podman.container(record.name)
        made = ((info or {}).get("Config") or {}).get("CreateCommand") or []
        return str((info or {}).get("Id")) if made[2:] == record.command else ""

    def kill(self, container: str, places: tuple[Path, ...] = ()) -> None:
        """End all tasks and the engine's processes; no task runs another instruction.

        conmon and podman go first: seeing the container end they would apply its restart policy.
        CRIU goes last: tasks that it holds stopped run on when it dies.
        """
        home = self._inspector.storage / "overlay-containers" / container
        places = (*places, home)
        group = self._runc.cgroup(container) or Cgroup.configured(home / "userdata/config.json")
        tasks = set(group.pids()) if group else set()
        workers = [one for one in engine_processes(container, places) if one.pid not in tasks]
        end([one for one in workers if name_of(one) in ("conmon", "podman")])
        if group is not None:
            self._kill_tasks(group)
        end(one for one in workers if alive(one))
        if group is not None:
            self._kill_tasks(group)  # what CRIU forked meanwhile
        clear_leftovers(container, places, self._runc.root)
        if (self._runc.root / container).exists():
            self._runc.forget(container)
        if group is not None:
            group.remove()

    @staticmethod
    def _kill_tasks(group: Cgroup, limit: float = 10) -> None:
        until = time.monotonic() + limit
        while pids := group.pids():
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue
            # A frozen task of version 1 dies only when thawed, before it returns to its program.
            group.set_frozen(False)
            if time.monotonic() > until:
                raise Permanent(f"cannot end the tasks of {group.path}: {pids} do not die")
            time.sleep(0.005)

    def delete(self, container: str) -> None:
        """Remove a container whose tasks are dead, with the mounts made for it."""
        unmount(self._inspector.storage / "overlay-containers" / container / "userdata")
        try:
            self._podman.run("rm", "-f", "-t", "0", container)
        except NotFound:
            pass  # it is gone, which is what was asked for

    def delete_volume(self, name: str) -> None:
        try:
            self._podman.run("volume", "rm", name)
        except NotFound:
            pass  # it is gone, which is what was asked for

    def release(self, migration: str) -> None:
        """See `Checkpoints.release_twin`."""
        record = self._records.read(migration)
        if record is None or not record.ready:
            return
        home = Path(record.home)
        unmount(home / "checkpoint")
        for name in ("restore.log", "stats-restore"):
            (home / name).unlink(missing_ok=True)
        shutil.rmtree(home / "porter-log", ignore_errors=True)  # may be missing, holds no mounts
        if (home / "checkpoint").is_dir():
            (home / "checkpoint").rmdir()
        self._drop_memory(record)
        self._records.remove(migration)

    def _drop_memory(self, record: Record) -> None:
        remove_tree(Path(record.images).parent)
