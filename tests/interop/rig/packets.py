"""IP packets, made and taken apart by hand: what goes through an SA, checked by code that shares nothing with ours."""
import ipaddress
import struct
from typing import NamedTuple

from . import Failure

ICMP, UDP, FRAGMENT, ESP, AH, ICMPV6 = 1, 17, 44, 50, 51, 58
HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60


def address(text):
    return ipaddress.ip_address(text).packed


def ip(source, target, protocol, body, options=b"", extensions=(), via=None, df=True):
    """A packet between two addresses of one version, for now addressed to `via`. IPv4 `options` are padded already; IPv6
    `extensions` are pairs of protocol number and whole header, whose first octet is filled in here."""
    source, target = address(source), address(via or target)
    if len(source) == 4:
        length = 20 + len(options)
        header = struct.pack("!BBHHHBBH4s4s", 0x40 | length // 4, 0, length + len(body), 0x1234, df << 14, 64, protocol, 0,
                             source, target) + options
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body
    chain, following = b"", protocol
    for number, header in reversed(extensions):
        chain, following = bytes([following]) + header[1:] + chain, number
    return struct.pack("!IHBB16s16s", 6 << 28, len(chain) + len(body), following, 64, source, target) + chain + body


def routed(source, target, via):
    """What makes `ip` send a packet through `via`: a loose source route (RFC 791), or a routing header of type 0 (RFC 2460)."""
    last = address(target)
    if len(last) == 4:
        return {"via": via, "options": b"\x83\x07\x04" + last + b"\0"}
    return {"via": via, "extensions": ((ROUTING, b"\0\x02\0\x01\0\0\0\0" + last),)}


def travelled(packet):
    """The packet as it leaves the hop that it is addressed to, if it has a route to follow; otherwise as it is."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 4:
        if packet[0] == 0x45 or packet[20] != 131 or packet[22] > 4:
            return packet
        changed[16:20], changed[22], changed[23:27] = packet[23:27], 8, packet[16:20]
        changed[10:12] = bytes(2)
        changed[10:12] = checksum(changed[:(packet[0] & 15) * 4]).to_bytes(2)
    elif packet[6] == ROUTING and packet[43] == 1:
        changed[24:40], changed[43], changed[48:64] = packet[48:64], 0, packet[24:40]
    return bytes(changed)


def echo(source, target, identifier, sequence, payload, **headers):
    v6 = ":" in source
    body = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, identifier, sequence) + payload
    total = checksum(body, pseudo(source, target, ICMPV6, len(body)) if v6 else b"")
    return ip(source, target, ICMPV6 if v6 else ICMP, body[:2] + struct.pack("!H", total) + body[4:], **headers)


def udp(source, target, from_port, to_port, payload, **headers):
    body = struct.pack("!HHHH", from_port, to_port, 8 + len(payload), 0) + payload
    total = checksum(body, pseudo(source, target, UDP, len(body))) or 0xFFFF
    return ip(source, target, UDP, body[:6] + struct.pack("!H", total) + body[8:], **headers)


def checksum(*parts):
    """The Internet checksum of all parts, each but the last of even length."""
    data = b"".join(reversed(parts))
    total = int.from_bytes(data + bytes(len(data) & 1)) % 0xFFFF    # a sum of 16-bit words with the carries added again
    return ~total & 0xFFFF if total or not any(data) else 0


def pseudo(source, target, protocol, length):
    packed = address(source), address(target)
    if len(packed[0]) == 4:
        return struct.pack("!4s4sBBH", *packed, 0, protocol, length)
    return struct.pack("!16s16sIxxxB", *packed, length, protocol)


def is_fragment(packet):
    return packet[6] & 0x3F or packet[7] if packet[0] >> 4 == 4 else packet[6] == FRAGMENT


class Packet(NamedTuple):
    source: str
    target: str
    protocol: int    # of what follows all headers of IP
    at: int          # where that begins
    whole: bytes     # as long as its own header says

    @property
    def body(self):
        return self.whole[self.at:]


def parse(packet):
    """An IP packet whose header, ICMP and UDP checksums are right; anything else is a failure."""
    if packet[0] >> 4 == 4:
        at, (length,), protocol = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2), packet[9]
        source, target = packet[12:16], packet[16:20]
        require(checksum(packet[:at]) == 0, "a wrong IPv4 header checksum")
    else:
        at, length, protocol = 40, 40 + struct.unpack_from("!H", packet, 4)[0], packet[6]
        source, target = packet[8:24], packet[24:40]
        while protocol in (HOP_BY_HOP, ROUTING, DESTINATION):
            protocol, at = packet[at], at + 8 * (packet[at + 1] + 1)
    require(at <= length <= len(packet), f"a packet of {len(packet)} octets that says it has {length}")
    source, target = (str(ipaddress.ip_address(packed)) for packed in (source, target))
    parsed = Packet(source, target, protocol, at, packet[:length])
    if protocol in (UDP, ICMPV6, ICMP):
        head = b"" if protocol == ICMP else pseudo(source, target, protocol, length - at)
        none = protocol == UDP and parsed.body[6:8] == b"\0\0" and packet[0] >> 4 == 4
        require(none or checksum(parsed.body, head) == 0, f"a wrong checksum of protocol {protocol}")
    return parsed


def require(true, what):
    if not true:
        raise Failure(what)
