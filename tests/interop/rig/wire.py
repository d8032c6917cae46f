"""Our side without a daemon: the program `interop-wire`, which seals and opens single packets, on one end of a cable; a
guest kernel is on the other end."""
import os
import select
import socket
import subprocess
import time

from . import Failure, packets
from .nodes import Guest

OUR_MAC = bytes.fromhex("0200000000fe")
ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}


class Refused(Exception):
    """Our side did not seal, or did not open; the argument begins with the variant of its error."""


class Wire:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, request):
        """The words of the answer; `Refused` if it is an error."""
        self.process.stdin.write(request + "\n")
        verdict, *words = self.process.stdout.readline().split() or ["gone"]
        if verdict == "error":
            raise Refused(" ".join(words))
        if verdict != "ok":
            raise Failure(f"interop-wire ended at `{request[:80]}`")
        return words

    def seal(self, number, packet):
        return bytes.fromhex(self.ask(f"seal {number} {packet.hex()}")[0])

    def dummy(self, number, length):
        return bytes.fromhex(self.ask(f"dummy {number} {length}")[0])

    def fragments(self, packet, mtu):
        return [bytes.fromhex(fragment) for fragment in self.ask(f"fragment {packet.hex()} {mtu}")]

    def collect(self, fragment):
        """The whole packet, once all its fragments are there."""
        whole = self.ask(f"collect {fragment.hex()}")
        return bytes.fromhex(whole[0]) if whole else None

    def open(self, packet):
        """The number of the pair of SAs, the sequence number, and what was inside."""
        number, sequence, inner = self.ask(f"open {packet.hex()}")
        return int(number), int(sequence), bytes.fromhex(inner)

    def stop(self):
        self.process.kill()
        self.process.communicate()


class Cable:
    """Ethernet without Ethernet: IP packets to a guest kernel and from it."""

    def __init__(self, name, folder, work):
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.line, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        self.guest = Guest(name, folder, work, line=theirs)
        theirs.close()
        self.head = bytes.fromhex(self.guest.mac.replace(":", "")) + OUR_MAC
        self.packets = []    # (sent?, packet) for the capture of a failed case

    def send(self, packet):
        self.packets.append(packet)
        self.line.sendall(self.head + ETHERTYPE[packet[0] >> 4] + packet)

    def receive(self, timeout):
        """The next IP packet of the guest; None if there is none in time. What it tells everybody in clear is left out."""
        end = time.monotonic() + timeout
        while select.select([self.line], [], [], max(0, end - time.monotonic()))[0]:
            frame = self.line.recv(65536)
            ours = frame[:6] == OUR_MAC or frame[0] & 1 and frame[{4: 23, 6: 20}[frame[14] >> 4]] in (packets.ESP, packets.AH)
            if ours and frame[12:14] in ETHERTYPE.values():
                self.packets.append(frame[14:])
                return frame[14:]
        return None

    def save(self, file):
        """All packets, as a capture."""
        with open(file, "wb") as out:
            out.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000065000000"))
            for number, packet in enumerate(self.packets):
                out.write(b"".join(n.to_bytes(4, "little") for n in (0, number, len(packet), len(packet))) + packet)

    def stop(self):
        self.line.close()
        self.guest.stop()
