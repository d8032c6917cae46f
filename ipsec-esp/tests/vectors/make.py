#!/usr/bin/env python3
"""ESP packets made by scapy, as test vectors.

    python3 -m venv V && V/bin/pip install scapy==2.8.0 cryptography
    V/bin/python make.py > esp.txt         makes the vectors
    V/bin/python make.py --check FILE      opens what this library sealed, with scapy

FILE is what `ESP_SEALED=FILE cargo test -p ipsec-esp --test vectors` leaves behind.

Each vector is a block of `key value` lines. `outer` is the whole outer packet, `inner` what is inside.
"""
import struct
import sys
import warnings

warnings.filterwarnings("ignore")
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Raw

SALT = bytes.fromhex("a0a1a2a3")


def key(first, length):
    return bytes((first + i) & 0xFF for i in range(length))


# name: encryption algorithm, its key without salt, salt, integrity algorithm and its key
SUITES = {
    "AES-GCM-16-128": ("AES-GCM", key(0x00, 16), SALT, None, b""),
    "AES-GCM-16-256": ("AES-GCM", key(0x10, 32), SALT, None, b""),
    "ChaCha20-Poly1305": ("CHACHA20-POLY1305", key(0x20, 32), SALT, None, b""),
    "AES-CBC-128/HMAC-SHA2-256-128": ("AES-CBC", key(0x30, 16), b"", "SHA2-256-128", key(0x80, 32)),
    "AES-CBC-256/HMAC-SHA2-256-128": ("AES-CBC", key(0x40, 32), b"", "SHA2-256-128", key(0x90, 32)),
}

INNER = {
    "4": [
        IP(src="192.168.1.5", dst="192.168.2.6", tos=0xB8, flags="DF", id=7) / UDP(sport=1111, dport=2222) / Raw(b"a question"),
        IP(src="192.168.1.5", dst="192.168.2.6", flags="DF", id=8) / ICMP(type=8, id=3, seq=1) / Raw(bytes(range(56))),
    ],
    "6": [
        IPv6(src="fd01::5", dst="fd02::6", tc=0x2C, hlim=63) / TCP(sport=40000, dport=443, flags="S"),
        IPv6(src="fd01::5", dst="fd02::6") / ICMPv6EchoRequest(id=3, seq=1, data=bytes(range(33))),
    ],
}

OUTER = {
    "4": lambda inner: IP(src="198.51.100.1", dst="203.0.113.2", ttl=64, id=0, flags="DF", tos=inner.tos if IP in inner else inner.tc),
    "6": lambda inner: IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=64, tc=inner.tos if IP in inner else inner.tc),
}


def iv_of(suite, sequence):
    """The IV that the library uses: a counter, or for CBC the counter encrypted with the packet key."""
    algorithm, encryption_key = SUITES[suite][:2]
    if algorithm != "AES-CBC":
        return struct.pack("!Q", sequence)
    ecb = Cipher(algorithms.AES(encryption_key), modes.ECB()).encryptor()
    return ecb.update(struct.pack("!QQ", 0, sequence)) + ecb.finalize()


def association(suite, spi, tunnel, udp, high):
    algorithm, encryption_key, salt, integrity, integrity_key = SUITES[suite]
    return SecurityAssociation(
        ESP,
        spi=spi,
        crypt_algo=algorithm,
        crypt_key=encryption_key + salt,
        auth_algo=integrity,
        auth_key=integrity_key or None,
        tunnel_header=tunnel,
        nat_t_header=udp,
        esn_en=high is not None,
        esn=high or 0,
    )


def make():
    for suite in SUITES:
        _, encryption_key, salt, _, integrity_key = SUITES[suite]
        for outer_version in "46":
            for inner_version in "46":
                for number, inner in enumerate(INNER[inner_version]):
                    # Without and with ESN, as IP protocol 50 and in UDP, in turn.
                    high = (None, 0, 5)[(number + (inner_version == "6") + (outer_version == "6")) % 3]
                    udp = number == 1
                    spi = 0xC0DE0001 + number
                    low = 1 if high is None else 0xFFFFFFF0 if high == 0 else 0x10
                    sequence = (high or 0) << 32 | low
                    inner = inner.__class__(bytes(inner))
                    tunnel = OUTER[outer_version](inner)
                    ports = UDP(sport=4500, dport=61000) if udp else None
                    sa = association(suite, spi, tunnel, ports, high)
                    outer = sa.encrypt(inner, seq_num=low, iv=iv_of(suite, sequence))
                    print("suite", suite)
                    print("keymat", (encryption_key + salt + integrity_key).hex())
                    print("spi", "%08x" % spi)
                    print("sequence", "%016x" % sequence)
                    print("esn", "no" if high is None else "yes")
                    print("udp", "yes" if udp else "no")
                    print("inner", bytes(inner).hex())
                    print("outer", bytes(outer).hex())
                    print()


def blocks(path):
    block = {}
    for line in open(path):
        words = line.split()
        if words:
            block[words[0]] = words[1]
        elif block:
            yield block
            block = {}
    if block:
        yield block


def check(path):
    opened = 0
    for block in blocks(path):
        raw = bytes.fromhex(block["outer"])
        outer = (IP if raw[0] >> 4 == 4 else IPv6)(raw)
        sequence = int(block["sequence"], 16)
        high = sequence >> 32 if block["esn"] == "yes" else None
        tunnel = outer.copy()
        tunnel.remove_payload()
        ports = UDP(sport=4500, dport=61000) if block["udp"] == "yes" else None
        sa = association(block["suite"], int(block["spi"], 16), tunnel, ports, high)
        inner = bytes(sa.decrypt(outer))
        assert inner == bytes.fromhex(block["inner"]), block
        opened += 1
    assert opened > 0, "no packets"
    print(opened, "packets opened")


if len(sys.argv) == 3 and sys.argv[1] == "--check":
    check(sys.argv[2])
else:
    make()
