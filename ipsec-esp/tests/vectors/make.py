#!/usr/bin/env python3
"""ESP and AH packets made by scapy, as test vectors.

    python3 -m venv V && V/bin/pip install scapy==2.8.0 cryptography
    V/bin/python make.py esp > esp.txt     makes the vectors
    V/bin/python make.py ah > ah.txt
    V/bin/python make.py bundle > bundle.txt
    V/bin/python make.py --check FILE      opens what this library sealed, with scapy

FILE is what `ESP_SEALED=FILE cargo test -p ipsec-esp --test vectors` leaves behind.

Each vector is a block of `key value` lines. `outer` is the packet that was sent, `inner` what is inside or, in
transport mode, what it was made of. Of AH there are besides `arrived`, the same packet after routers have changed what
they may change, and `opened`, what is to come out of that. A bundle is both on one packet: `order` says which is applied
last, `mode` is that of the first, `esp` and `ah` are SPI and keys, and both have the same sequence number.
"""
import struct
import sys
import warnings

warnings.filterwarnings("ignore")
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, IPOption_RR, IPOption_Router_Alert, IPOption_Security, IPOption_Timestamp, IPOption_NOP
from scapy.layers.inet6 import (
    HBHOptUnknown, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Pad1, PadN, RouterAlert,
)
from scapy.layers.ipsec import AH, CRYPT_ALGOS, ESP, SecurityAssociation
from scapy.packet import Raw, bind_layers, split_layers

SALT = bytes.fromhex("a0a1a2a3")


def key(first, length):
    return bytes((first + i) & 0xFF for i in range(length))


# our name: the name that scapy has, bytes of the key
INTEGRITY = {
    "HMAC-SHA2-256-128": ("SHA2-256-128", 32),
    "HMAC-SHA2-384-192": ("SHA2-384-192", 48),
    "HMAC-SHA2-512-256": ("SHA2-512-256", 64),
    "HMAC-SHA1-96": ("HMAC-SHA1-96", 20),
    "HMAC-MD5-96": ("HMAC-MD5-96", 16),
    "AES-CMAC-96": ("AES-CMAC-96", 16),
}

# name: encryption algorithm, its key without salt, salt, ICV of an AEAD that has several, integrity algorithm, its key
SUITES = {
    "AES-GCM-16-128": ("AES-GCM", key(0x00, 16), SALT, None, None, b""),
    "AES-GCM-16-256": ("AES-GCM", key(0x10, 32), SALT, None, None, b""),
    "ChaCha20-Poly1305": ("CHACHA20-POLY1305", key(0x20, 32), SALT, None, None, b""),
    "AES-CBC-128/HMAC-SHA2-256-128": ("AES-CBC", key(0x30, 16), b"", None, "SHA2-256-128", key(0x80, 32)),
    "AES-CBC-256/HMAC-SHA2-256-128": ("AES-CBC", key(0x40, 32), b"", None, "SHA2-256-128", key(0x90, 32)),
}
# Those that are tried in every combination of IP versions in tunnel mode.
DAILY = list(SUITES)


def add_suites():
    SUITES["AES-GCM-16-192"] = ("AES-GCM", key(0x11, 24), SALT, None, None, b"")
    for bits in (128, 192, 256):
        for icv in (8, 12, 16):
            SUITES["AES-CCM-%d-%d" % (icv, bits)] = ("AES-CCM", key(0x21, bits // 8), SALT[:3], icv, None, b"")
        SUITES["NULL-AES-GMAC-%d" % bits] = ("AES-NULL-GMAC", key(0x31, bits // 8), SALT, None, None, b"")
    sha256 = ("SHA2-256-128", key(0xA0, 32))
    for bits in (128, 192, 256):
        SUITES["AES-CTR-%d/HMAC-SHA2-256-128" % bits] = ("AES-CTR", key(0x41, bits // 8), SALT, None) + sha256
    SUITES["AES-CBC-192/HMAC-SHA2-256-128"] = ("AES-CBC", key(0x51, 24), b"", None) + sha256
    for name, (integrity, length) in INTEGRITY.items():
        SUITES["NULL/" + name] = ("NULL", b"", b"", None, integrity, key(0xB0, length))
        SUITES.setdefault("AES-CBC-128/" + name, ("AES-CBC", key(0x61, 16), b"", None, integrity, key(0xC0, length)))
    for name, algorithm, length in (("DES-CBC", "DES", 8), ("3DES-CBC", "3DES", 24)):
        if algorithm in CRYPT_ALGOS:
            integrity, integrity_length = INTEGRITY["HMAC-MD5-96"]
            SUITES[name + "/HMAC-MD5-96"] = (algorithm, key(0x71, length), b"", None, integrity, key(0xD0, integrity_length))


add_suites()

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


OURS = {"4": dict(src="198.51.100.1", dst="203.0.113.2"), "6": dict(src="2001:db8::1", dst="2001:db8::2")}
HOPS = ["2001:db8::11", "2001:db8::12"]

# What transport mode is tried with.
PACKETS = {
    "4": [
        IP(tos=0xB8, flags="DF", id=7, ttl=61, **OURS["4"]) / UDP(sport=1111, dport=2222) / Raw(b"a question"),
        IP(id=9, options=[IPOption_Router_Alert(), IPOption_RR(routers=["10.0.0.1", "10.0.0.2"]), IPOption_NOP()], **OURS["4"])
        / TCP(sport=40000, dport=443, flags="S"),
    ],
    "6": [
        IPv6(tc=0x2C, fl=0x12345, hlim=63, **OURS["6"]) / TCP(sport=40000, dport=443, flags="S"),
        IPv6(src=OURS["6"]["src"], dst=HOPS[0])
        / IPv6ExtHdrHopByHop(options=[RouterAlert(), HBHOptUnknown(otype=0x3E, optdata=b"may change")])
        / IPv6ExtHdrRouting(type=0, addresses=HOPS[1:] + [OURS["6"]["dst"]], segleft=2)
        / IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1E, optdata=b"at the end")])
        / UDP(sport=1111, dport=2222)
        / Raw(b"another question"),
    ],
}


def iv_of(suite, sequence):
    """The IV that the library uses: a counter, or for CBC the counter encrypted with the packet key."""
    algorithm, encryption_key = SUITES[suite][:2]
    if algorithm == "NULL":
        return b""
    ciphers = {"AES-CBC": algorithms.AES, "DES": CRYPT_ALGOS.get("DES"), "3DES": CRYPT_ALGOS.get("3DES")}
    if algorithm not in ciphers:
        return struct.pack("!Q", sequence)
    cipher = ciphers[algorithm]
    cipher = getattr(cipher, "cipher", cipher)(encryption_key)
    block = cipher.block_size // 8
    ecb = Cipher(cipher, modes.ECB()).encryptor()
    return ecb.update(sequence.to_bytes(block, "big")) + ecb.finalize()


def association(suite, spi, tunnel, udp, high):
    algorithm, encryption_key, salt, icv, integrity, integrity_key = SUITES[suite]
    return SecurityAssociation(
        ESP,
        spi=spi,
        crypt_algo=algorithm,
        crypt_key=encryption_key + salt,
        crypt_icv_size=icv,
        auth_algo=integrity,
        auth_key=integrity_key or None,
        tunnel_header=tunnel,
        nat_t_header=udp,
        esn_en=high is not None,
        esn=high or 0,
    )


def ah_association(name, spi, tunnel, high):
    integrity, length = INTEGRITY[name]
    return SecurityAssociation(
        AH, spi=spi, auth_algo=integrity, auth_key=key(0xE0, length), tunnel_header=tunnel, esn_en=high is not None, esn=high or 0
    )


def sequence_of(high):
    """A number that a sender with this high half might use, and its low half."""
    low = 1 if high is None else 0xFFFFFFF0 if high == 0 else 0x10
    return (high or 0) << 32 | low, low


def show(**fields):
    for name, value in fields.items():
        print(name, value.hex() if isinstance(value, bytes) else value)
    print()


def again(packet):
    return packet.__class__(bytes(packet))


def esp(suite, number, inner, tunnel, udp, high):
    _, encryption_key, salt, _, _, integrity_key = SUITES[suite]
    spi = 0xC0DE0001 + number
    sequence, low = sequence_of(high)
    ports = UDP(sport=4500, dport=61000) if udp else None
    sa = association(suite, spi, tunnel, ports, high)
    outer = sa.encrypt(again(inner), seq_num=low, iv=iv_of(suite, sequence))
    show(
        suite=suite,
        mode="transport" if tunnel is None else "tunnel",
        keymat=encryption_key + salt + integrity_key,
        spi="%08x" % spi,
        sequence="%016x" % sequence,
        esn="no" if high is None else "yes",
        udp="yes" if udp else "no",
        inner=bytes(inner),
        outer=bytes(outer),
    )


def make_esp():
    for suite in DAILY:
        for outer_version in "46":
            for inner_version in "46":
                for number, inner in enumerate(INNER[inner_version]):
                    # Without and with ESN, as IP protocol 50 and in UDP, in turn.
                    high = (None, 0, 5)[(number + (inner_version == "6") + (outer_version == "6")) % 3]
                    tunnel = OUTER[outer_version](again(inner))
                    esp(suite, number, again(inner), tunnel, number == 1, high)
    for turn, suite in enumerate(SUITES):
        for version in "46":
            for number, packet in enumerate(PACKETS[version]):
                # With IPv6 extension headers scapy does not know where UDP belongs.
                udp = turn % 2 == 1 and not (version == "6" and number == 1)
                esp(suite, number, again(packet), None, udp, (None, 5, 0)[(turn + number) % 3])
        if suite not in DAILY:
            inner = again(INNER["46"[turn % 2]][turn % 2])
            esp(suite, 0, inner, OUTER["4"](inner), False, 5)


# AH is tried with more options, some of which change on the way.
AH_PACKETS = {
    "4": PACKETS["4"]
    + [
        IP(
            id=11,
            flags="DF",
            options=[
                IPOption_Security(security=0xF135),
                IPOption_Timestamp(flg=0, timestamp=[1, 2]),
                IPOption(b"\x5e\x04ab"),
                IPOption(b"\x86\x06\0\0\0\1"),
            ],
            **OURS["4"],
        )
        / ICMP(type=8, id=3, seq=1)
        / Raw(bytes(range(13))),
    ],
    "6": PACKETS["6"]
    + [
        IPv6(src=OURS["6"]["src"], dst=OURS["6"]["dst"])
        / IPv6ExtHdrHopByHop(options=[Pad1(), HBHOptUnknown(otype=0x2B, optdata=b"xyz"), PadN(optdata=b"")])
        / ICMPv6EchoRequest(id=3, seq=1, data=bytes(range(33))),
    ],
}


def on_the_way(packet):
    """What routers make of a packet: every field that they may change is another."""
    packet = again(packet)
    if packet.version == 4:
        packet.tos ^= 0x14
        packet.ttl -= 5
        packet.flags = "DF"
        for option in packet.options:
            if option.option == 7:
                option.routers = ["192.0.2.1", "192.0.2.2"]
            if option.option == 4:
                option.timestamp = [77, 88]
            if option.option == 30:
                option.value = b"zz"
        del packet.chksum
        return again(packet)
    packet.tc ^= 0x14
    packet.fl = 0x54321
    packet.hlim -= 5
    header = packet.payload
    while isinstance(header, (IPv6ExtHdrHopByHop, IPv6ExtHdrRouting)):
        if isinstance(header, IPv6ExtHdrRouting):
            addresses = header.addresses
            header.addresses = [packet.dst] + addresses[:-1]
            packet.dst = addresses[-1]
            header.segleft = 0
        else:
            for option in header.options:
                if option.otype & 0x20:
                    option.optdata = b"?" * len(option.optdata)
        header = header.payload
    return again(packet)


def ah(name, number, inner, tunnel, high):
    spi = 0xA4000001 + number
    sequence, low = sequence_of(high)
    sa = ah_association(name, spi, tunnel, high)
    outer = again(sa.encrypt(again(inner), seq_num=low))
    arrived = on_the_way(outer)
    opened = sa.decrypt(again(arrived))
    show(
        integrity=name,
        mode="transport" if tunnel is None else "tunnel",
        keymat=sa.auth_key,
        spi="%08x" % spi,
        sequence="%016x" % sequence,
        esn="no" if high is None else "yes",
        inner=bytes(inner),
        outer=bytes(outer),
        arrived=bytes(arrived),
        opened=bytes(opened),
    )


def make_ah():
    for turn, name in enumerate(INTEGRITY):
        for version in "46":
            for number, packet in enumerate(AH_PACKETS[version]):
                ah(name, number, again(packet), None, (None, 5, 0)[(turn + number) % 3])
            for number, inner_version in enumerate("46"):
                inner = again(INNER[inner_version][turn % 2])
                ah(name, number, inner, OUTER[version](inner), (5, None, 0)[(turn + number) % 3])


def bundle(order, suite, name, inner, tunnel, high):
    _, encryption_key, salt, _, _, integrity_key = SUITES[suite]
    sequence, low = sequence_of(high)
    esp_spi, ah_spi = 0xC0DE0101, 0xA4000101

    def esp_of(packet, tunnel):
        return association(suite, esp_spi, tunnel, None, high).encrypt(again(packet), seq_num=low, iv=iv_of(suite, sequence))

    def ah_of(packet, tunnel):
        # Where scapy sees ESP, it would sign that and not AH: it is to see bytes.
        unseen = [(IP, {"proto": 50}), (IPv6, {"nh": 50})]
        for layer, fields in unseen:
            split_layers(layer, ESP, **fields)
        signed = again(ah_association(name, ah_spi, tunnel, high).encrypt(again(packet), seq_num=low))
        for layer, fields in unseen:
            bind_layers(layer, ESP, **fields)
        return signed

    first, last = (esp_of, ah_of) if order == "ah-outside" else (ah_of, esp_of)
    outer = last(first(inner, tunnel), None)
    show(
        order=order,
        suite=suite,
        integrity=name,
        mode="transport" if tunnel is None else "tunnel",
        esp="%08x%s" % (esp_spi, (encryption_key + salt + integrity_key).hex()),
        ah="%08x%s" % (ah_spi, key(0xE0, INTEGRITY[name][1]).hex()),
        sequence="%016x" % sequence,
        esn="no" if high is None else "yes",
        inner=bytes(inner),
        outer=bytes(outer),
    )


def make_bundle():
    turn = 0
    for suite in DAILY:
        for name in ("HMAC-SHA2-256-128", "HMAC-SHA1-96"):
            for version in "46":
                for order in ("ah-outside", "esp-outside"):
                    turn += 1
                    high = (None, 5, 0)[turn % 3]
                    bundle(order, suite, name, again(PACKETS[version][0]), None, high)
                    inner = again(INNER["46"[turn % 2]][0])
                    bundle(order, suite, name, inner, OUTER[version](inner), high)


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
        tunnel = None
        if block["mode"] == "tunnel":
            tunnel = outer.copy()
            tunnel.remove_payload()
        spi = int(block["spi"], 16)
        if "integrity" in block:
            sa = ah_association(block["integrity"], spi, tunnel, high)
            outer = on_the_way(outer)
            inner = bytes(sa.decrypt(outer))
            # What came may have changed on the way: that it could be verified is the proof.
        else:
            ports = UDP(sport=4500, dport=61000) if block["udp"] == "yes" else None
            sa = association(block["suite"], spi, tunnel, ports, high)
            inner = bytes(sa.decrypt(outer))
            assert inner == bytes.fromhex(block["inner"]), block
        opened += 1
    assert opened > 0, "no packets"
    print(opened, "packets opened")


if len(sys.argv) == 3 and sys.argv[1] == "--check":
    check(sys.argv[2])
elif sys.argv[1:] == ["ah"]:
    make_ah()
elif sys.argv[1:] == ["bundle"]:
    make_bundle()
elif sys.argv[1:] == ["esp"]:
    make_esp()
else:
    sys.exit(__doc__)
