"""A client on one connection: PING every millisecond or so; the longest gap between answers.

Usage: probe.py ADDRESS PORT READYFILE STOPFILE. Prints {"answers", "worst_ms", "p99_ms"}.
"""

import json
import os
import pathlib
import socket
import sys
import time

address, port, ready, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
peer = socket.create_connection((address, port), timeout=20)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
peer.settimeout(120)
gaps = []
before = time.monotonic()
while len(gaps) % 64 or not os.path.exists(stop):
    peer.sendall(b"PING\r\n")
    answer = peer.recv(64)
    if answer != b"+PONG\r\n":
        sys.exit(f"expected a pong, got {answer!r}")
    now = time.monotonic()
    gaps.append(now - before)
    before = now
    if len(gaps) == 64:
        pathlib.Path(ready).touch()
    time.sleep(0.001)
gaps.sort()
print(
    json.dumps(
        {
            "answers": len(gaps),
            "worst_ms": gaps[-1] * 1e3,
            "p99_ms": gaps[int(len(gaps) * 0.99)] * 1e3,
        }
    )
)
