"""The port on which other agents deliver state, images and questions."""

from __future__ import annotations

import hmac
import logging
import socket
import threading
from typing import Any

from porter.agent.context import Context
from porter.agent.image_transfer import receive_image
from porter.agent.journal import Record
from porter.agent.ledger import TARGET
from porter.agent.peer_tls import handshake, host_of, server_context, size_buffers, tune
from porter.agent.peer_wire import Wire
from porter.agent.target import TargetSide, parse
from porter.agent.target_session import Session
from porter.domain.errors import Conflict, Denied, PorterError, Transient
from porter.domain.handover import Source, Target
from porter.protocol import VERSION

log = logging.getLogger(__name__)
_HELLO_S = 10.0
_MAX_CONNECTIONS = 256


class PeerServer:
    """Accepts connections until closed; each is served in a thread of its own."""

    def __init__(self, context: Context, side: TargetSide, address: str, port: int) -> None:
        self._context = context
        self._side = side
        self._tls = server_context(context.credentials)
        self._sessions: dict[str, Session] = {}
        self._open: set[Wire] = set()
        self._lock = threading.Lock()
        self._closed = False
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        size_buffers(self._listener)
        self._listener.bind((address, port))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        self._room = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._thread = threading.Thread(target=self._accept, name="peer-accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Accept no more and end all connections. Idempotent."""
        self._closed = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already
        self._thread.join()
        self._listener.close()
        with self._lock:
            wires = list(self._open)
        for wire in wires:
            wire.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                raw, _ = self._listener.accept()
            except OSError as error:
                if not self._closed:
                    log.error("cannot accept a connection: %s", error)
                    threading.Event().wait(0.1)  # out of descriptors: let some be freed
                continue
            if not self._room.acquire(blocking=False):
                raw.close()
                continue
            threading.Thread(target=self._serve, args=(raw,), name="peer", daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            with raw:
                raw.settimeout(_HELLO_S)
                tune(raw)
                sock = handshake(self._tls, raw)
            wire = Wire(sock, host_of(sock))
            try:
                self._track(wire)
                self._answer(wire)
            finally:
                with self._lock:
                    self._open.discard(wire)
                wire.close()
        except OSError as error:  # ssl.SSLError is one
            log.warning("a peer connection was not accepted: %s", error)
        except PorterError as error:
            log.info("a peer connection ended: %s", error)
        except Exception:
            log.exception("a peer connection failed")
        finally:
            self._room.release()

    def _track(self, wire: Wire) -> None:
        with self._lock:
            self._open.add(wire)
            if self._closed:
                raise Transient("cannot take connections: the agent is stopping")

    def _answer(self, wire: Wire) -> None:
        hello, _ = wire.receive()
        try:
            record = self._admit(wire, hello)
            wire.timeout(None)
            self._dispatch(wire, hello, record)
        except PorterError as error:
            refusal = {"code": error.code, "message": error.message, "remedy": error.remedy}
            wire.send({"t": "error", **refusal})
            raise

    def _admit(self, wire: Wire, hello: dict[str, Any]) -> Record | None:
        """The migration's record, if whoever dials has a part in it."""
        if hello.get("t") != "hello" or hello.get("v") != VERSION:
            remedy = f"use agents of one version; this one speaks version {VERSION}"
            raise Denied("cannot talk: the hello is of another version", remedy)
        record = self._context.ledger.find(str(hello.get("migration")))
        if record is None and hello.get("purpose") == "ask":
            return None
        if record is None or record.peer_host != wire.host:
            raise Denied(
                f"cannot admit host {wire.host}: it has no part in this migration here",
                "start the migration through the control plane",
            )
        return record

    def _dispatch(self, wire: Wire, hello: dict[str, Any], record: Record | None) -> None:
        purpose = hello.get("purpose")
        if purpose == "ask":
            self._tell(wire, hello, record)
            return
        if record is None or not _same(record.token, str(hello.get("token"))):
            raise Denied("cannot admit the connection: the migration's token is wrong")
        if record.state != Target.RESERVED:
            raise Conflict(f"cannot take the workload: this host has {record.state} it already")
        if purpose == "control":
            self._control(wire, record)
        elif purpose == "data":
            self._data(wire, record)
        elif purpose == "image":
            receive_image(self._context, record, wire)
        else:
            raise Denied(f"cannot serve the purpose {purpose!r}")

    def _control(self, wire: Wire, record: Record) -> None:
        migration = record.migration
        twin = self._context.parts.checkpoints.find_twin(migration)
        if twin is None or record.streaming:
            raise Conflict("cannot take the workload: the target is not prepared for it")
        session = Session(self._context, self._side, record, wire, twin)
        with self._context.live.activity(migration, session.cancel):
            self._sessions[migration] = session
            try:
                session.run()
            finally:
                del self._sessions[migration]

    def _data(self, wire: Wire, record: Record) -> None:
        session = self._sessions.get(record.migration)
        if session is None:
            raise Conflict("cannot take data: the migration has no control connection")
        wire.send({"t": "welcome"})
        session.stream(wire)

    def _tell(self, wire: Wire, hello: dict[str, Any], record: Record | None) -> None:
        """Answer a question with our state, after having heard the asker's."""
        if record is None:
            wire.send({"t": "state", "state": Target.ABSENT, "note": "no record of it here"})
            return
        if record.role == TARGET:
            peer = parse(Source, hello.get("state"))
            record = self._side.hears(record.migration, peer)
        wire.send({"t": "state", "state": record.state, "note": record.note})


def _same(one: str, other: str) -> bool:
    return bool(one) and hmac.compare_digest(one.encode(), other.encode())
