"""Runs inside a container: three processes tied by a pipe, shared memory and an append-only file.

A producer counts into a pipe; the parent reads, appends each number to DATA/journal.log (opened
once) and publishes it in a file on /dev/shm and in an anonymous shared mapping; a server answers
every line it receives with one JSON object about all of it.
"""

import hashlib
import json
import mmap
import os
import socket
import struct
import sys
import time

DATA = sys.argv[1] if len(sys.argv) > 1 else "/data"
SCRATCH = sys.argv[2] if len(sys.argv) > 2 else ""


def produce(out):
    number = 0
    while True:
        os.write(out, struct.pack("<Q", number))
        number += 1
        time.sleep(0.005)


def consume(source, shm, anonymous):
    journal = open(os.path.join(DATA, "journal.log"), "a", buffering=1)  # noqa: SIM115  open for the whole life
    expected = 0
    while True:
        (number,) = struct.unpack("<Q", os.read(source, 8))
        broken = number != expected
        expected = number + 1
        journal.write(f"{number}\n")
        shm[:17] = struct.pack("<QQ?", number, os.getpid(), broken or shm[16])
        anonymous[:8] = struct.pack("<Q", number)


def serve(shm, anonymous, secret):
    listener = socket.create_server(("0.0.0.0", 7000))
    while True:
        peer, _ = listener.accept()
        if os.fork():
            peer.close()
            continue
        for line in peer.makefile("rb"):
            number, parent, broken = struct.unpack("<QQ?", shm[:17])
            (hidden,) = struct.unpack("<Q", anonymous[:8])
            scratch = ""
            if SCRATCH:
                with open(os.path.join(SCRATCH, "scratch.bin"), "rb") as file:
                    scratch = hashlib.sha256(file.read()).hexdigest()
            answer = {
                "asked": line.decode().strip(),
                "number": number,
                "anonymous": hidden,
                "broken": broken,
                "parent": parent,
                "uid": os.getuid(),
                "secret": hashlib.sha256(secret).hexdigest(),
                "scratch": scratch,
            }
            peer.sendall(json.dumps(answer).encode() + b"\n")
        os._exit(0)


def main():
    with open("/dev/shm/family", "wb") as file:
        file.write(bytes(4096))
    file = open("/dev/shm/family", "r+b")  # noqa: SIM115
    shm = mmap.mmap(file.fileno(), 4096)
    anonymous = mmap.mmap(-1, 4096)
    secret = os.urandom(1 << 20)
    if SCRATCH:
        with open(os.path.join(SCRATCH, "scratch.bin"), "wb") as file:
            file.write(os.urandom(3 << 20))
    source, out = os.pipe()
    if os.fork() == 0:
        produce(out)
    if os.fork() == 0:
        serve(shm, anonymous, secret)
    print("family is up", flush=True)
    consume(source, shm, anonymous)


main()
