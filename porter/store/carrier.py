"""Carries one TCP connection as segments in a store: one thread sends, one receives."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from porter.domain.errors import NotFound, PorterError, Transient
from porter.store.base import Blobs, Expecting
from porter.store.segments import (
    BULK,
    SEGMENT,
    WINDOW,
    Flag,
    Pace,
    Segment,
    pack,
    segment_key,
    unpack,
)

_EXPECT = 32
_LINGER = struct.pack("ii", 1, 0)


class Pools:
    """Threads for transfers, shared by all connections of a tunnel: they bound its memory."""

    def __init__(self, size: int = 8) -> None:
        self.puts = ThreadPoolExecutor(size, thread_name_prefix="tunnel-put")
        self.gets = ThreadPoolExecutor(size, thread_name_prefix="tunnel-get")
        self.removals = ThreadPoolExecutor(2, thread_name_prefix="tunnel-remove")

    def close(self) -> None:
        for pool in (self.puts, self.gets, self.removals):
            pool.shutdown()


class Carrier:
    """Pumps between a socket, which it owns, and two directions of segments."""

    def __init__(
        self,
        blobs: Blobs,
        pools: Pools,
        directions: tuple[str, str],
        sock: socket.socket,
        pace: Pace,
        first: Flag = Flag.NONE,
    ) -> None:
        self._blobs = blobs
        self._pools = pools
        self._out, self._in = directions
        self._sock = sock
        self._pace = pace
        self._first = first
        self._lock = threading.Lock()
        self._landed = threading.Condition(self._lock)
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._stirred = threading.Event()
        # Of what goes out: numbers given, put at this moment, read by the other side.
        self._next = self._flying = self._acked = 0
        self._fin: int | None = None
        self._emitted = 0.0
        # Of what comes in.
        self._received = self._since_ack = 0
        self._peer_fin = self._want_ack = False
        self._broken: PorterError | None = None
        self._peer_broke = False
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), daemon=True)
            for work in (self._sending, self._receiving)
        ]
        self._left = len(self._threads)
        self.ended = threading.Event()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def abort(self, why: PorterError) -> None:
        """Break the connection on both sides."""
        with self._lock:
            if self._broken is not None or self._finished():
                return
            self._broken = why
        self._stirred.set()
        self._wake()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.abort(Transient(f"cannot carry on: {error.strerror or type(error).__name__}"))
        except PorterError as error:
            self.abort(error)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._end()

    def _end(self) -> None:
        """Nobody is at it any more: leave nothing behind."""
        if self._broken is not None:
            with self._landed:
                self._landed.wait_for(lambda: not self._flying)
            if self._peer_broke:
                sweep(self._blobs, self._out + "/")
            else:
                self._tell_broken()
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._sock.close()
        sweep(self._blobs, self._in + "/")
        self._wake_in.close()
        self._wake_out.close()
        self.ended.set()

    def _tell_broken(self) -> None:
        with contextlib.suppress(PorterError):
            key = segment_key(self._out, self._next)
            self._blobs.put(key, pack(key, Segment(Flag.RST, self._received)))

    def _finished(self) -> bool:
        """Both sides have said all, and know that the other has read it."""
        sent = self._fin is not None and self._acked > self._fin
        return sent and self._peer_fin and not self._want_ack and not self._flying

    def _over(self) -> bool:
        with self._lock:
            return self._broken is not None or self._finished()

    def _wake(self) -> None:
        """Let the sending thread look again."""
        with contextlib.suppress(OSError):
            self._wake_in.send(b"!")

    # -- out ---------------------------------------------------------------------------------

    def _sending(self) -> None:
        buffer, ended = bytearray(), False
        self._emit(self._first)
        poll = select.poll()
        poll.register(self._wake_out, select.POLLIN)
        while not self._over():
            if buffer and self._may_send(len(buffer)):
                self._emit(Flag.NONE, bytes(buffer))
                buffer.clear()
            elif ended and not buffer and self._fin is None:
                self._fin = self._next
                self._emit(Flag.FIN)
            elif self._want_ack or self._beat_in() <= 0:
                self._emit(Flag.NONE)
            else:
                ended = self._listen(poll, buffer, ended)

    def _may_send(self, size: int) -> bool:
        with self._lock:
            room = self._next - self._acked < WINDOW and self._flying < self._pace.parallel
            return room and (self._flying < 2 or size >= BULK)

    def _beat_in(self) -> float:
        """Seconds until the next heartbeat. What is still unread tells as much as one."""
        if self._next - self._acked >= WINDOW:
            return self._pace.beat
        return self._emitted + self._pace.beat - time.monotonic()

    def _listen(self, poll: select.poll, buffer: bytearray, ended: bool) -> bool:
        """Wait for content, room or time; add what content there is. Whether it has ended."""
        room = SEGMENT - len(buffer)
        hearing = not ended and room > 0
        if hearing:
            poll.register(self._sock, select.POLLIN)
        found = {handle for handle, _ in poll.poll(max(0, self._beat_in() * 1000) + 1)}
        if self._wake_out.fileno() in found:
            self._wake_out.recv(4096)
        if not hearing:
            return ended
        poll.unregister(self._sock)
        while room and self._sock.fileno() in found:
            try:
                content = self._sock.recv(min(room, 1 << 20), socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            if not content:
                return True
            buffer += content
            room -= len(content)
        return False

    def _emit(self, flags: Flag, data: bytes = b"") -> None:
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._flying += 1
            self._want_ack, self._since_ack = False, 0
            segment = Segment(flags, self._received, data)
        self._emitted = time.monotonic()
        self._expect("PUT", self._out, number)
        self._pools.puts.submit(self._put, segment_key(self._out, number), segment)
        if data:
            self._stirred.set()  # An answer may come soon.

    def _put(self, key: str, segment: Segment) -> None:
        try:
            blob, until, pause = pack(key, segment), time.monotonic() + self._pace.dead, 0.05
            while True:
                try:
                    return self._blobs.put(key, blob)
                except Transient:
                    if time.monotonic() > until or self._broken:
                        raise
                    time.sleep(pause)
                    pause = min(pause * 2, 1)
        except PorterError as error:
            self.abort(error)
        finally:
            with self._lock:
                self._flying -= 1
                self._landed.notify_all()
            self._wake()

    # -- in ----------------------------------------------------------------------------------

    def _receiving(self) -> None:
        number, depth, pause = 0, 1, self._pace.shortest
        heard = time.monotonic()
        flights: dict[int, Future[Segment | None]] = {}
        while not self._over():
            for ahead in range(number, number + depth):
                if ahead not in flights:
                    flights[ahead] = self._pools.gets.submit(self._get, ahead)
            segment = flights.pop(number).result()
            if segment is None:
                # Those after it may have come first: keep them.
                flights = {n: one for n, one in flights.items() if not one.done() or one.result()}
                depth = 1
                if time.monotonic() - heard > self._pace.dead:
                    self._silent()
                if self._stirred.wait(pause):
                    self._stirred.clear()
                    pause = self._pace.shortest
                else:
                    pause = min(pause * 1.3, self._pace.longest)
                continue
            self._take(number, segment)
            number += 1
            depth, heard = min(depth * 2, self._pace.parallel), time.monotonic()
            if segment != Segment(Flag.NONE, segment.acked) or self._crowded():
                pause = self._pace.shortest  # A mere heartbeat is no traffic.

    def _crowded(self) -> bool:
        """Whether acknowledgements are urgent."""
        return self._next - self._acked > WINDOW // 2

    def _silent(self) -> None:
        # Nobody else is going to remove what we have sent.
        sweep(self._blobs, self._out + "/")
        raise Transient(f"cannot carry on: nothing heard for {self._pace.dead:.0f} s")

    def _get(self, number: int) -> Segment | None:
        """None if it is not there, or cannot be had now."""
        key = segment_key(self._in, number)
        self._expect("GET", self._in, number)
        for attempt in range(3):
            try:
                return unpack(key, self._blobs.get(key))
            except (NotFound, Transient):
                return None
            except PorterError:
                # Damaged on the way, perhaps.
                if attempt == 2:
                    raise
        return None

    def _take(self, number: int, segment: Segment) -> None:
        if segment.data:
            self._deliver(segment.data)
        if segment.flags & Flag.FIN:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        with self._lock:
            self._received = number + 1
            self._acked = max(self._acked, segment.acked)
            self._since_ack += bool(segment.data)
            if self._since_ack >= WINDOW // 4 or segment.flags & Flag.FIN:
                self._want_ack = True
            self._peer_fin = self._peer_fin or bool(segment.flags & Flag.FIN)
        self._wake()
        self._pools.removals.submit(self._remove, number)
        if segment.flags & Flag.RST:
            self._peer_broke = True
            raise Transient("cannot carry on: the other side broke the connection")

    def _deliver(self, data: bytes) -> None:
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        while view and self._broken is None:
            if poll.poll(100):  # Now and then see whether it is still wanted.
                with contextlib.suppress(BlockingIOError):
                    view = view[self._sock.send(view, socket.MSG_DONTWAIT) :]

    def _remove(self, number: int) -> None:
        key = segment_key(self._in, number)
        self._expect("DELETE", self._in, number)
        with contextlib.suppress(PorterError):  # Whoever ends last sweeps.
            self._blobs.remove(key)

    def _expect(self, method: str, direction: str, number: int) -> None:
        """Where every call needs a ticket: get many at once."""
        if number % _EXPECT == 0 and isinstance(self._blobs, Expecting):
            keys = [segment_key(direction, number + n) for n in range(_EXPECT)]
            with contextlib.suppress(PorterError):  # The call itself will tell.
                self._blobs.expect(method, keys)


def sweep(blobs: Blobs, prefix: str) -> None:
    """Remove all under a prefix, as far as the store lets us."""
    with contextlib.suppress(PorterError):
        for blob in list(blobs.list(prefix)):
            with contextlib.suppress(PorterError):
                blobs.remove(blob.key)
