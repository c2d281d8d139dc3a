"""Stands by CRIU's side during a dump, so that its sudden death cannot harm the tasks.

While CRIU dumps, it has the freezer opened, holds the tasks by ptrace, and has put their TCP
sockets into repair mode, in which `recv` and `send` fail. Killed, it lets go of the tasks at once:
they would run into those errors before anyone could freeze them. So CRIU itself is traced here. The
kernel stops a traced process at the very start of its exit, whatever ended it, while it still holds
everything; there the freezer is closed and the sockets are mended. (ptrace(2), PTRACE_O_TRACEEXIT.)
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_SEIZE, _CONT, _LISTEN, _GETEVENTMSG = 0x4206, 7, 0x4208, 0x4201
_TRACE_EXIT = 0x40
_EVENT_EXIT, _EVENT_STOP = 6, 128
_WALL = 0x40000000
_POLL_S = 0.001
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Guard:
    """Watches the children of one process (runc, which starts CRIU) until `end`.

    Should the agent die, the kernel ends the tracing, and CRIU goes on alone.
    """

    def __init__(self, parent: int, at_death: Callable[[], None]) -> None:
        """`at_death` is called with a killed child stopped at its exit. It must not wait for tasks
        that this child holds."""
        self._parent = parent
        self._at_death = at_death
        self._over = threading.Event()
        self.killed_by = 0
        """The signal that ended a child, 0 if none did."""
        self._thread = threading.Thread(target=self._watch, name="criu-guard", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The parent has ended; returns when nothing is traced any more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        # ptrace belongs to a thread: it all happens in this one.
        seen: set[int] = set()
        while not self._over.wait(_POLL_S):
            for child in _children(self._parent):
                if child not in seen:
                    seen.add(child)
                    self._accompany(child)

    def _accompany(self, pid: int) -> None:
        if _libc.ptrace(_SEIZE, pid, None, _TRACE_EXIT) != 0:
            if (error := ctypes.get_errno()) != errno.ESRCH:
                log.warning("cannot guard CRIU (%d): %s", pid, os.strerror(error))
            return
        with contextlib.suppress(ChildProcessError):
            while True:
                _, status = os.waitpid(pid, _WALL)
                if not os.WIFSTOPPED(status):
                    return
                self._go_on(pid, os.WSTOPSIG(status), status >> 16)

    def _go_on(self, pid: int, number: int, event: int) -> None:
        if event == _EVENT_EXIT:
            self._leaves(pid)
            number = 0
        elif event == _EVENT_STOP:
            if number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
                _libc.ptrace(_LISTEN, pid, None, None)
                return
            number = 0
        _libc.ptrace(_CONT, pid, None, number)

    def _leaves(self, pid: int) -> None:
        word = ctypes.c_ulong()
        _libc.ptrace(_GETEVENTMSG, pid, None, ctypes.addressof(word))
        if os.WIFSIGNALED(word.value):
            self.killed_by = os.WTERMSIG(word.value)
            # Its helpers would outlive it, and with them the line on which runc waits for it.
            for helper in _descendants(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(helper, signal.SIGKILL)
            try:
                self._at_death()
            except Exception:
                log.exception("cannot make the tasks safe from CRIU's death")


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # the process or a thread of it has ended
        for task in os.listdir(f"/proc/{pid}/task"):
            words = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            found += [int(word) for word in words]
    return found


def _descendants(pid: int) -> list[int]:
    below = _children(pid)
    return below + [one for child in below for one in _descendants(child)]
