"""Traffic across a tunnel, run on its machines as a program of its own (so that a guest kernel can run it too).

  probe.py ping FROM TO COUNT INTERVAL     echo requests; COUNT 0: until SIGINT; prints "flowing" at the first answer,
                                           and at the end {"sent": n, "lost": [sequence, ...]}
  probe.py big FROM TO BYTES               IPv4 packets of this size that must not be fragmented, until the kernel knows of a
                                           path that is too small; prints {"told": whether it does}
  probe.py serve ADDRESS PORT BYTES        accepts one TCP connection
  probe.py connect FROM TO PORT BYTES      opens it; both sides send BYTES at once and print the SHA-256 of both streams
  probe.py half-open FROM TO COUNT         IKE_SA_INIT requests nobody follows up; prints how many were answered with
                                           {"cookies": n, "responses": n}
"""
import errno
import hashlib
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
import time


def ping(source, target, count, interval):
    count, interval = int(count), float(interval)
    v6 = ":" in target
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    ask, answer = (128, 129) if v6 else (8, 0)
    line = socket.socket(family, socket.SOCK_RAW, protocol)
    line.bind((source, 0))
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    identifier = os.getpid() & 0xFFFF
    waiting, sent, flowing, next_at, last_at = set(), 0, False, time.monotonic(), None
    while True:
        now = time.monotonic()
        if not stop.is_set() and (count == 0 or sent < count):
            if now >= next_at:
                line.sendto(echo(ask, identifier, sent, v6), (target, 0))
                waiting.add(sent)
                sent, next_at, last_at = sent + 1, next_at + interval, now
        elif not waiting or now > last_at + 2:
            break
        if select.select([line], [], [], 0.01)[0]:
            packet = line.recv(65536)
            message = packet if v6 else packet[(packet[0] & 15) * 4:]
            kind, _, _, number, sequence = struct.unpack("!BBHHH", message[:8])
            if kind == answer and number == identifier:
                if not flowing:
                    flowing = True
                    print("flowing", flush=True)
                waiting.discard(sequence)
    print(json.dumps({"sent": sent, "lost": sorted(waiting)}))


def big(source, target, size):
    line = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    line.setsockopt(socket.IPPROTO_IP, 10, 2)    # IP_MTU_DISCOVER: IP_PMTUDISC_DO
    line.bind((source, 0))
    for sequence in range(20):
        try:
            line.sendto(echo(8, os.getpid() & 0xFFFF, sequence, False, int(size) - 28), (target, 0))
        except OSError as e:
            print(json.dumps({"told": e.errno == errno.EMSGSIZE}))
            return
        time.sleep(0.1)
    print(json.dumps({"told": False}))


def echo(kind, identifier, sequence, v6, size=56):
    body = random.Random(sequence).randbytes(size)
    message = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + body
    total = 0 if v6 else sum(struct.unpack(f"!{len(message) // 2}H", message))    # the kernel sums ICMPv6 itself
    total = (total & 0xFFFF) + (total >> 16)
    checksum = 0 if v6 else ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", kind, 0, checksum, identifier, sequence) + body


def serve(address, port, size):
    with socket.create_server((address, int(port)), family=family_of(address)) as server:
        server.settimeout(20)
        line, _ = server.accept()
        exchange(line, int(size), seed=1)


def connect(source, target, port, size):
    end = time.monotonic() + 10
    while True:
        try:
            line = socket.create_connection((target, int(port)), timeout=5, source_address=(source, 0))
            break
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
    exchange(line, int(size), seed=2)


def exchange(line, size, seed):
    line.settimeout(20)
    data = random.Random(seed).randbytes(size)
    sender = threading.Thread(target=send, args=(line, data))
    sender.start()
    digest, received = hashlib.sha256(), 0
    while piece := line.recv(65536):
        digest.update(piece)
        received += len(piece)
    sender.join()
    print(json.dumps({"sent": hashlib.sha256(data).hexdigest(), "received": digest.hexdigest(), "bytes": received}))


def send(line, data):
    line.sendall(data)
    line.shutdown(socket.SHUT_WR)


def half_open(source, target, count):
    answers = {"cookies": 0, "responses": 0}
    for _ in range(int(count)):
        with socket.socket(family_of(source), socket.SOCK_DGRAM) as line:
            line.bind((source, 0))
            line.connect((target, 500))
            line.settimeout(0.3)
            line.send(sa_init())
            try:
                reply = line.recv(65536)
            except (TimeoutError, ConnectionRefusedError):
                continue
            answers["responses"] += 1
            if reply[16] == 41 and struct.unpack_from("!H", reply, 34)[0] == 16390:    # the first payload is N(COOKIE)
                answers["cookies"] += 1
    print(json.dumps(answers))


def sa_init():
    """An IKE_SA_INIT request (RFC 7296 section 1.2) for AES-GCM-16, HMAC-SHA2-256 and X25519, with a random public value."""
    encryption = struct.pack("!BBHBBHHH", 3, 0, 12, 1, 0, 20, 0x8000 | 14, 128)
    prf = struct.pack("!BBHBBH", 3, 0, 8, 2, 0, 5)
    group = struct.pack("!BBHBBH", 0, 0, 8, 4, 0, 31)
    transforms = encryption + prf + group
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(transforms), 1, 1, 0, 3) + transforms
    payloads = b"".join([
        struct.pack("!BBH", 34, 0, 4 + len(proposal)) + proposal,
        struct.pack("!BBHHH", 40, 0, 8 + 32, 31, 0) + os.urandom(32),
        struct.pack("!BBH", 0, 0, 4 + 32) + os.urandom(32),
    ])
    return os.urandom(8) + bytes(8) + struct.pack("!BBBBII", 33, 0x20, 34, 0x08, 0, 28 + len(payloads)) + payloads


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


{"ping": ping, "serve": serve, "connect": connect, "half-open": half_open, "big": big}[sys.argv[1]](*sys.argv[2:])
