"""Downloads http://ADDRESS:PORT/PATH over one connection and prints {"bytes","sha256","worst_ms"}.

Usage: download.py ADDRESS PORT PATH STARTED. The file STARTED appears with the first body bytes.
"""

import hashlib
import json
import pathlib
import socket
import sys
import time

address, port, path, started = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
peer = socket.create_connection((address, port), timeout=60)
peer.sendall(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
data = b""
while b"\r\n\r\n" not in data:
    data += peer.recv(65536)
head, body = data.split(b"\r\n\r\n", 1)
if b" 200 " not in head.splitlines()[0] + b" ":
    sys.exit(head.decode())
digest, count, worst, before = hashlib.sha256(body), len(body), 0.0, time.monotonic()
pathlib.Path(started).touch()
while data := peer.recv(65536):
    digest.update(data)
    count += len(data)
    now = time.monotonic()
    worst, before = max(worst, now - before), now
print(json.dumps({"bytes": count, "sha256": digest.hexdigest(), "worst_ms": worst * 1e3}))
