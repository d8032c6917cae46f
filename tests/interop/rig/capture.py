"""What crosses the wire between the two sides: a capture, and what kinds of packet are in it."""
import ipaddress
import signal
import struct
from collections import Counter

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
        """Ends the capture; how many packets there were, by (kind, source address)."""
        if self.task.alive():
            self.task.signal(signal.SIGINT)
            self.task.wait(5)
        return Counter(kinds(self.file.read_bytes()))


def kinds(capture):
    """The kind and the source address of each IP packet of a capture of Ethernet frames."""
    offset = 24
    while offset + 16 <= len(capture):
        length, = struct.unpack_from("<I", capture, offset + 8)
        frame = capture[offset + 16:offset + 16 + length]
        offset += 16 + length
        ethertype = frame[12:14]
        if ethertype == b"\x08\x00":
            packet = frame[14:]
            header = (packet[0] & 15) * 4
            fragment = struct.unpack_from("!H", packet, 6)[0] & 0x1FFF
            yield kind(packet[9], packet[header:], packet[12:16], packet[16:20], fragment)
        elif ethertype == b"\x86\xdd":
            packet = frame[14:]
            yield kind(packet[6], packet[40:], packet[8:24], packet[24:40], 0)


def kind(protocol, body, source, target, fragment):
    source, target = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if any(address in net for net in INNER for address in (source, target)):
        name = "clear"
    elif protocol == 44 or fragment:
        name = "fragment"
    elif protocol == 50:
        name = "esp"
    elif protocol == 17:
        ports = struct.unpack_from("!HH", body)
        payload = body[8:]
        if 4500 in ports:
            name = "keepalive" if payload == b"\xff" else "ike" if payload[:4] == bytes(4) else "udp esp"
        else:
            name = "ike" if 500 in ports else "other"
    else:
        name = "other"
    return name, str(source)


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
