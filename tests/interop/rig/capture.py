"""What crosses the wire between the two sides: a capture, and what kinds of packet are in it."""
import ipaddress
import signal
import struct
from collections import Counter
from typing import NamedTuple

from . import Failure
from .nodes import wait_until

INNER = [ipaddress.ip_network(net) for net in ("192.168.0.0/16", "fd01::/16", "fd02::/16")]


class Capture:
    """tcpdump on an interface of a namespace, to the file wan.pcap of its folder."""

    def __init__(self, node, interface="wan"):
        self.node = node
        self.file = node.folder / "wan.pcap"
        self.task = node.start(["tcpdump", "-i", interface, "-U", "-Z", "root", "-B", "8192", "-w", str(self.file)],
                               log="tcpdump.out")
        wait_until(lambda: "listening on" in (node.folder / "tcpdump.out").read_text(), 10, "tcpdump did not start")

    def count(self):
        """How many packets there were, by (kind, source address)."""
        return Counter((kind(packet), str(packet.source)) for packet in self.packets())

    def ports(self, source):
        """The UDP ports from which this address sent."""
        return {struct.unpack_from("!H", packet.body)[0] for packet in self.packets()
                if packet.protocol == 17 and not packet.fragment and str(packet.source) == source}

    def ike_fragments(self, source):
        """How many encrypted fragments (RFC 7383) this address sent."""
        return sum(next_payload(packet) == 53 for packet in self.packets() if str(packet.source) == source)

    def packets(self):
        """Ends the capture; its IP packets."""
        if self.task.alive():
            self.task.signal(signal.SIGINT)
            self.task.wait(5)
        return packets(self.file.read_bytes())


class Packet(NamedTuple):
    protocol: int
    source: ipaddress.IPv4Address | ipaddress.IPv6Address
    target: ipaddress.IPv4Address | ipaddress.IPv6Address
    fragment: bool    # another than the first
    body: bytes


def packets(capture):
    """The IP packets of a capture of Ethernet frames."""
    offset = 24
    while offset + 16 <= len(capture):
        length, = struct.unpack_from("<I", capture, offset + 8)
        frame = capture[offset + 16:offset + 16 + length]
        offset += 16 + length
        packet = frame[14:]
        if frame[12:14] == b"\x08\x00":
            source, target = ipaddress.ip_address(packet[12:16]), ipaddress.ip_address(packet[16:20])
            later = struct.unpack_from("!H", packet, 6)[0] & 0x1FFF != 0
            yield Packet(packet[9], source, target, later, packet[(packet[0] & 15) * 4:])
        elif frame[12:14] == b"\x86\xdd":
            source, target = ipaddress.ip_address(packet[8:24]), ipaddress.ip_address(packet[24:40])
            yield Packet(packet[6], source, target, packet[6] == 44, packet[40:])


def next_payload(packet):
    """What an IKE message begins with; None if it is no IKE message."""
    if kind(packet) != "ike":
        return None
    message = packet.body[8:]
    return message[20 if message[:4] == bytes(4) else 16]


def kind(packet):
    if any(address in net for net in INNER for address in (packet.source, packet.target)):
        return "clear"
    if packet.fragment:
        return "fragment"
    if packet.protocol == 50:
        return "esp"
    if packet.protocol == 51:
        return "ah"
    if packet.protocol != 17:
        return "other"
    ports = struct.unpack_from("!HH", packet.body)
    payload = packet.body[8:]
    if 4500 in ports:
        return "keepalive" if payload == b"\xff" else "ike" if payload[:4] == bytes(4) else "udp esp"
    return "ike" if 500 in ports else "other"


def require(counts, kind, sources):
    """Fails unless each source sent such packets."""
    for source in sources:
        if not counts[kind, source]:
            seen = ", ".join(f"{number} {name} from {sender}" for (name, sender), number in sorted(counts.items()))
            raise Failure(f"no `{kind}` packet from {source} on the wire (seen: {seen})")


def refuse(counts, kind):
    """Fails if anyone sent such packets."""
    for (name, source), number in counts.items():
        if name == kind:
            raise Failure(f"{number} `{kind}` packets from {source} on the wire")
