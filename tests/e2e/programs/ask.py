"""Runs beside a workload's clients: one connection, a question every 20 ms, never a reconnect.

Usage: ask.py ADDRESS PORT STOPFILE. Ends when STOPFILE exists; prints one JSON object:
{"answers", "worst_ms", "first", "last"}; exit 1 with the error if the connection breaks.
"""

import json
import os
import socket
import sys
import time

address, port, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3]
deadline = time.monotonic() + 15
while True:
    try:
        peer = socket.create_connection((address, port), timeout=2)
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
peer.settimeout(90)
lines = peer.makefile("rb")
answers, worst, first, last = 0, 0.0, None, {}
before = time.monotonic()
while not os.path.exists(stop):
    peer.sendall(f"{answers}\n".encode())
    line = lines.readline()
    if not line:
        sys.exit("the connection was closed by the workload")
    last = json.loads(line)
    if last["asked"] != str(answers):
        sys.exit(f"asked {answers}, got the answer to {last['asked']}")
    first = first or last
    now = time.monotonic()
    worst, before, answers = max(worst, now - before), now, answers + 1
    time.sleep(0.02)
print(json.dumps({"answers": answers, "worst_ms": worst * 1e3, "first": first, "last": last}))
