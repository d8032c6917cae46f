"""Our data path opposite a Linux kernel's, with manually keyed SAs: a table of algorithm, mode and IP versions.

A cell of the table is a pair of SAs. It passes if, through it,
- our echo requests reach the kernel and its replies come back with the same octets in them,
- datagrams that the kernel's own program sends reach us, and our answers reach that program, with the right octets,
- a packet of ours with one bit changed, and one sent twice, are refused by the kernel, which counts both,
- the kernel's packets with one bit changed, and those opened before, are refused by us.
"""
import hashlib
import os
import random
import re
from collections import Counter
from dataclasses import dataclass, field

from . import Failure, packets
from .nodes import HERE, PYTHON
from .packets import AH, ESP, UDP, require
from .wire import Refused

OUTER = {4: ("10.8.0.1", "10.8.0.2"), 6: ("fd08::1", "fd08::2")}    # ours, the kernel's
INSIDE = {4: "10.129.0.1", 6: "fd81::1"}    # the kernel's behind its tunnels
ENCAPSULATED = 4500
PATIENCE = 5    # seconds that a packet may take
FRAGMENTS = 1280    # MTU where packets are to be fragmented
GROUP_SPI = 0x40000000    # of all multicast SAs
PORTION = 400    # cells at once
GIVE_UP = 10    # failed cells, after which the rest is not tried
NOT_TRIED = "not tried after so many failures"

# The kernel's names for numbers of the IANA registry.
AEADS = {14: ("rfc4309(ccm(aes))", 64), 15: ("rfc4309(ccm(aes))", 96), 16: ("rfc4309(ccm(aes))", 128),
         18: ("rfc4106(gcm(aes))", 64), 19: ("rfc4106(gcm(aes))", 96), 20: ("rfc4106(gcm(aes))", 128),
         21: ("rfc4543(gcm(aes))", 128), 28: ("rfc7539esp(chacha20,poly1305)", 128)}
CIPHERS = {2: "cbc(des)", 3: "cbc(des3_ede)", 11: "ecb(cipher_null)", 12: "cbc(aes)", 13: "rfc3686(ctr(aes))"}
MACS = {1: ("hmac(md5)", 96), 2: ("hmac(sha1)", 96), 5: ("xcbc(aes)", 96), 8: ("cmac(aes)", 96),
        12: ("hmac(sha256)", 128), 13: ("hmac(sha384)", 192), 14: ("hmac(sha512)", 256)}
MAC_KEYS = {1: 16, 2: 20, 5: 16, 8: 16, 12: 32, 13: 48, 14: 64}
MODULES = ("esp4 esp6 ah4 ah6 xfrm_user gcm ccm ghash_generic chacha20poly1305 chacha_generic poly1305_generic ctr cbc ecb "
           "des_generic hmac cmac xcbc sha512_generic authenc authencesn seqiv echainiv drbg").split()
# What a kernel of this age cannot do. Whatever else it refuses is a failure.
IMPLICIT_IV = {29, 30, 31}
GMAC_OF_AH = {9, 10, 11}


@dataclass(frozen=True)
class Algorithm:
    """`ours` as interop-wire takes it; `lacking` says why the kernel cannot have it."""
    name: str
    protocol: int
    ours: str
    keymat: int
    lacking: str | None = None

    @classmethod
    def parse(cls, text):
        """From a line of `interop-wire suites`."""
        protocol, *numbers, keymat, name = text.split(":")
        ours = f"{protocol}={':'.join(numbers)}"
        lacking = None
        if protocol == "esp" and int(numbers[0]) in IMPLICIT_IV:
            lacking = "Linux has no implicit IV"
        if protocol == "ah" and int(numbers[0]) in GMAC_OF_AH:
            lacking = "Linux has no GMAC for AH"
        return cls(name, ESP if protocol == "esp" else AH, ours, int(keymat), lacking)

    def theirs(self, keymat):
        """As words of `ip xfrm state`."""
        numbers = [int(number) for number in self.ours.split("=")[1].split(":")]
        if self.protocol == AH:
            return mac(numbers[0], keymat)
        encryption, _, integrity = numbers
        if encryption in AEADS:
            name, bits = AEADS[encryption]
            return f"aead '{name}' 0x{keymat.hex()} {bits}"
        split = len(keymat) - MAC_KEYS[integrity]
        key = f"0x{keymat[:split].hex()}" if split else "''"
        return f"enc '{CIPHERS[encryption]}' {key} {mac(integrity, keymat[split:])}"


def mac(number, key):
    name, bits = MACS[number]
    return f"auth-trunc '{name}' 0x{key.hex()} {bits}"


@dataclass(frozen=True)
class Way:
    """How packets of an SA look: a column of the table. `inner` and `outer` are IP versions."""
    mode: str
    inner: int
    outer: int
    udp: bool = False
    align8: bool = False    # of AH: padded to 8 octets over IPv4 too, as Linux does without `align4`

    @property
    def title(self):
        """Four words, one below the other at the head of the column."""
        mode = "trans." if self.mode == "transport" else self.mode
        versions = str(self.inner) if self.mode == "transport" else f"{self.inner}in{self.outer}"
        return ("udp" if self.udp else "", mode, versions, "pad 8" if self.align8 else "")

    def __str__(self):
        return " ".join(word for word in self.title if word)


@dataclass
class Layer:
    """One pair of SAs, as both sides have them."""
    algorithm: Algorithm
    mode: str
    ours: str = ""
    theirs: str = ""
    keys: tuple = ()
    number: int = 0    # of interop-wire
    spi: str = ""      # of what the kernel sends
    their_spi: int = 0


@dataclass
class Cell:
    row: str
    way: Way
    esn: bool
    layers: list      # the innermost first
    headers: dict = field(default_factory=dict)    # more of the packets that go in, as `packets.ip` takes it
    pad: int = 0             # tunnels only: to hide lengths
    mtu: int = 0             # what is longer is fragmented, if there is one
    group: str | None = None    # how a multicast SA is found: "group" or "source"
    routed: bool = False    # packets go through another host on the way
    deaf: str | None = None    # why the kernel cannot open what we seal
    number: int = 0
    refused: bool = False    # by the kernel, when its SAs were to be made
    problems: list = field(default_factory=list)

    @property
    def algorithm(self):
        return self.layers[0].algorithm

    @property
    def high(self):
        """The high half of the extended sequence numbers at first."""
        return (0, 1, 5)[self.number // 2 % 3] if self.esn else 0

    @property
    def sizes(self):
        """How many octets are in a datagram or an echo; the last makes packets of 1380 or 1400 octets. Linux drops ESP
        in UDP over IPv6 if the datagram has less than 48 octets."""
        if self.mtu:
            return 1, 333, 3000
        return (9 if self.way == Way("transport", 6, 6, udp=True) else 1, 333, 1352)

    def mark(self):
        return "F" if self.problems else "-" if self.algorithm.lacking else ">" if self.deaf else "+"

    def place(self, number):
        """Gives the cell addresses nobody else has: ours, and the kernel's."""
        self.number = number
        if self.way.inner == 4:
            self.host = f"10.64.{number >> 8}.{number & 255}"
        else:
            self.host = f"fd64::{number + 1:x}"
        if self.group:
            self.host = f"239.64.{number >> 8}.{number & 255}" if self.way.inner == 4 else f"ff15::{number + 1:x}"
        if self.routed:
            self.hop = f"10.66.{number >> 8}.{number & 255}" if self.way.inner == 4 else f"fd66::{number + 1:x}"
        transport = self.way.mode == "transport"
        self.guest = (OUTER[self.way.inner][1] if transport else INSIDE[self.way.inner])
        if self.routed:
            self.headers = packets.routed(self.host, self.guest, self.hop)
        for layer in self.layers:
            if transport:
                layer.ours, layer.theirs = self.host, self.guest
            else:
                layer.ours, layer.theirs = OUTER[self.way.outer]


def esp_ways():
    ways = [Way(mode, inner, outer) for mode in ("tunnel", "beet") for outer in (4, 6) for inner in (4, 6)]
    ways += [Way("transport", version, version) for version in (4, 6)]
    return ways + [Way(mode, version, version, udp=True) for mode in ("tunnel", "transport") for version in (4, 6)]


def ah_ways():
    ways = [Way("tunnel", inner, outer) for outer in (4, 6) for inner in (4, 6)]
    ways += [Way("transport", version, version) for version in (4, 6)]
    return ways + [Way(mode, 4, 4, align8=True) for mode in ("tunnel", "transport")]


class Table:
    """Runs cells and remembers how they ended."""

    def __init__(self, wire, cable, seed):
        self.wire = wire
        self.cable = cable
        self.guest = cable.guest
        self.seed = seed
        self.random = random.Random(seed)
        self.cells = []
        self.collected = 0    # packets made of fragments
        self.clear = Counter()

    # The networks

    def boot(self):
        guest = self.guest
        guest.boot()
        # The kernel would start modprobe twice for every combination of algorithms, in vain once these are there.
        guest.run(["/run/modprobe", "-a", *MODULES])
        guest.run(["sh", "-c", "echo > /proc/sys/kernel/modprobe"])
        guest.run(["sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/accept_source_route; do echo 1 > $f; done"])
        mac = "02:00:00:00:00:fe"
        guest.ip("link set wan up",
                 "addr add 10.8.0.2/24 dev wan", "addr add fd08::2/64 dev wan nodad",
                 f"addr add {INSIDE[4]}/32 dev lo", f"addr add {INSIDE[6]}/128 dev lo nodad",
                 f"neigh add 10.8.0.1 lladdr {mac} dev wan nud permanent",
                 f"neigh add fd08::1 lladdr {mac} dev wan nud permanent",
                 "route add default via 10.8.0.1 dev wan", "-6 route add default via fd08::1 dev wan")

    # Setting up

    def install(self, cells):
        """Both sides get the SAs of these cells, the kernel policies too. Cells that the kernel refuses drop out."""
        # In transport mode the outer datagrams are between the addresses of a policy, and are not what it is for.
        common = [f"xfrm policy add src {who} dst {who} proto udp sport {ENCAPSULATED} dport {ENCAPSULATED} dir in priority 1"
                  for who in ("0.0.0.0/0", "::/0")]
        made = {}
        for cell in cells:
            cell.place(len(self.cells))
            self.cells.append(cell)
            made[cell.number] = self.commands(cell)
        setup = f"setup-{cells[0].number}"
        lines = common + [line for of in made.values() for line in of]
        (self.guest.folder / setup).write_text("".join(line + "\n" for line in lines))
        if not self.guest.run(["ip", "-batch", self.guest.path(setup)], timeout=90, check=False).strip():
            return
        # `ip` ends at the first SA that the kernel refuses, and does not tell which it was: once more, cell by cell.
        self.guest.ip("xfrm policy flush", "xfrm state flush", *common)
        script = "".join(f"ip -batch - 2>&1 <<END | sed 's/^/{number} /'\n" + "".join(line + "\n" for line in of) + "END\n"
                         for number, of in made.items())
        (self.guest.folder / "retry").write_text(script)
        for line in self.guest.run(["sh", self.guest.path("retry")], timeout=90).splitlines():
            number, said = line.split(" ", 1)
            self.cells[int(number)].problems.append(f"the kernel refuses: {said}")
            self.cells[int(number)].refused = True

    def commands(self, cell):
        """Installs our SAs; the lines of `ip -batch` that make the kernel's."""
        bits = 32 if cell.way.inner == 4 else 128
        inward = f"src {cell.host}/{bits} dst {cell.guest}/{bits}"
        # With IPv4, Linux takes the next hop for the destination.
        next_hop = cell.hop if cell.routed and cell.way.inner == 4 else None
        outward = f"src {cell.guest}/{bits} dst {next_hop or cell.host}/{bits}"
        lines, inward_template, outward_template = [], "", ""
        for depth, layer in enumerate(cell.layers):
            protocol = "esp" if layer.algorithm.protocol == ESP else "ah"
            reqid = cell.number * 4 + depth + 1
            layer.keys = (self.random.randbytes(layer.algorithm.keymat), self.random.randbytes(layer.algorithm.keymat))
            layer.their_spi = 0x20000000 + reqid
            inside = f"{cell.host},{cell.guest}" if depth == 0 else f"{layer.ours},{layer.theirs}"
            # Every other pair has an SPI that we did not choose.
            ours = f" our_spi={0x30000000 + reqid:x}" if cell.number // 2 % 2 else ""
            if cell.group:
                ours = f" our_spi={GROUP_SPI:x} found={cell.group}"
            number, layer.spi = self.wire.ask(
                f"add {layer.algorithm.ours} mode={layer.mode} spi={layer.their_spi:x} in={layer.keys[0].hex()} "
                f"out={layer.keys[1].hex()} outer={layer.ours},{layer.theirs} inner={inside} "
                f"udp={int(cell.way.udp)} esn={int(cell.esn)} align={8 if cell.way.align8 else 4} pad={cell.pad} "
                f"df={int(not cell.mtu)}{ours}")
            layer.number = int(number)
            flags = " flag align4" if protocol == "ah" and not cell.way.align8 else ""
            last = ""
            if cell.esn:
                # Both directions are about to pass a multiple of 2^32.
                high = cell.high
                if high:
                    self.wire.ask(f"resume {layer.number} {(high << 32) + 2**32 - 3} {(high << 32) + 2**32 - 8}")
                else:
                    self.wire.ask(f"resume {layer.number} {2**32 - 3} 0")
                flags += " flag esn"
                last = (f" replay-seq {2**32 - 8:#x} replay-seq-hi {high:#x}"
                        f" replay-oseq {2**32 - 3:#x} replay-oseq-hi {high:#x}")
            extra = f"reqid {reqid} mode {layer.mode} replay-window 64{flags}{last}"
            encapsulation = f" encap espinudp {ENCAPSULATED} {ENCAPSULATED} 0.0.0.0" if cell.way.udp else ""
            for source, target, spi, key, selector in (
                    (layer.ours, layer.theirs, f"{layer.their_spi:x}", layer.keys[1], inward),
                    (layer.theirs, next_hop or layer.ours, layer.spi, layer.keys[0], outward)):
                selector = f" sel {selector}" if depth == 0 else " flag af-unspec"
                lines.append(f"xfrm state add src {source} dst {target} proto {protocol} spi 0x{spi} {extra} "
                             f"{layer.algorithm.theirs(key)}{encapsulation}{selector}")
            tail = f"proto {protocol} reqid {reqid} mode {layer.mode}"
            inward_template += f" tmpl src {layer.ours} dst {layer.theirs} {tail}"
            outward_template += f" tmpl src {layer.theirs} dst {next_hop or layer.ours} {tail}"
        lines.append(f"xfrm policy add {inward} dir in priority 2{inward_template}")
        lines.append(f"xfrm policy add {outward} dir out priority 2{outward_template}")
        return lines

    # Through the SAs

    def seal(self, cell, packet):
        for layer in cell.layers:
            packet = self.wire.seal(layer.number, packet)
        return packets.travelled(packet)

    def send(self, cell, packet):
        for piece in self.wire.fragments(packet, cell.mtu) if cell.mtu else [packet]:
            self.cable.send(piece)

    def open(self, cell, packet):
        """What is inside all layers. On the way, each is refused with a bit changed, and when it comes again."""
        packet = packets.travelled(packet)
        for layer in reversed(cell.layers):
            self.refuses(damaged(packet, layer.algorithm.protocol, self.random), "Integrity")
            number, sequence, inside = self.wire.open(packet)
            require(number == layer.number, f"a packet of SA {number} where one of SA {layer.number} was due")
            self.refuses(packet, "Replay")
            cell.newest = sequence
            packet = inside
        return packets.parse(packet)

    def refuses(self, packet, why):
        try:
            self.wire.open(packet)
        except Refused as refused:
            require(str(refused).startswith(why), f"refused with {refused}, not {why}")
        else:
            raise Failure(f"we accepted a packet that should be refused: {why}")

    def received(self, timeout=PATIENCE):
        """The next packet of IPsec; anything else that is not the guest's own business is remembered as clear."""
        while packet := self.cable.receive(timeout):
            if packets.is_fragment(packet):
                packet = self.wire.collect(packet)
                if not packet:
                    continue
                self.collected += 1
            protocol = outermost(packet)
            if protocol in (ESP, AH):
                return packet
            self.clear[protocol] += 1
        return None

    def asks(self, cell):
        """We seal echo requests; the kernel opens them, and seals its replies."""
        payloads = [self.random.randbytes(size) for size in (*cell.sizes, 64, 64)]
        sealed = [self.seal(cell, packets.echo(cell.host, cell.guest, cell.number & 0xFFFF, n, payload, **cell.headers))
                  for n, payload in enumerate(payloads)]
        if cell.pad:
            require(all(len(packet) > cell.pad for packet in sealed), "a packet shorter than it is to be padded to")
            self.cable.send(self.wire.dummy(cell.layers[0].number, 100))    # to be dropped with no word
        outside = cell.layers[-1].algorithm.protocol
        collected = self.collected
        lost = len(payloads) - 2
        for n, packet in enumerate(sealed):
            self.send(cell, packet if n != lost else damaged(packet, outside, self.random))
        self.cable.send(sealed[0])
        waiting = set(range(len(payloads))) - {lost}
        while waiting:
            packet = self.received()
            require(packet, f"no reply to {len(waiting)} of {len(payloads) - 1} echo requests")
            reply = self.open(cell, packet)
            body = reply.body
            require((reply.source, reply.target) == (cell.guest, cell.host), "a reply between other addresses")
            require(reply.protocol == (packets.ICMP if cell.way.inner == 4 else packets.ICMPV6) and body[0] in (0, 129),
                    f"protocol {reply.protocol}, type {body[0]} where an echo reply was due")
            n = int.from_bytes(body[6:8])
            require(n in waiting, f"a reply to echo request {n}, which was changed, or answered before")
            require(body[4:6] == (cell.number & 0xFFFF).to_bytes(2) and body[8:] == payloads[n], "a reply with other octets")
            waiting.remove(n)
        require(not cell.mtu or self.collected == collected + 1, "the kernel did not fragment its long packet")

    def answers(self, cell, packet, heard):
        """The kernel seals a datagram; we open it, and seal the answer."""
        said = self.open(cell, packet)
        require((said.source, said.target, said.protocol) == (cell.guest, cell.host, UDP),
                f"a packet {said.source} -> {said.target} of protocol {said.protocol} where a datagram was due")
        port, place = int.from_bytes(said.body[:2]), int.from_bytes(said.body[2:4]) - 7000
        require(place in range(len(cell.sizes)) and place not in heard, f"a datagram to port {7000 + place}")
        require(said.body[8:] == self.octets(cell, "kernel", place), "a datagram with other octets")
        heard.add(place)
        same_headers(said.whole, said.at, cell.headers)
        if cell.deaf:
            return
        answer = packets.udp(cell.host, cell.guest, 7000 + place, port, self.octets(cell, "ours", place), **cell.headers)
        self.send(cell, self.seal(cell, answer))

    def octets(self, cell, who, place):
        return hashlib.shake_128(f"{self.seed} {cell.number} {who} {place}".encode()).digest(cell.sizes[place])

    # All of it

    def run(self, cells):
        """Installs and runs these cells, in portions of which the guest's memory holds the SAs."""
        for start in range(0, len(cells), PORTION):
            portion = cells[start:start + PORTION]
            if self.hopeless():
                for cell in portion:
                    cell.problems.append(NOT_TRIED)
                continue
            self.install(portion)
            self.speak(portion)
            self.counted(portion)
            self.guest.ip("xfrm policy flush", "xfrm state flush")

    def hopeless(self):
        return sum(bool(cell.problems) and not cell.refused for cell in self.cells) >= GIVE_UP

    def speak(self, cells):
        """The kernel's own program begins, cell by cell; then we do."""
        cells = [cell for cell in cells if not cell.problems]
        folder, guest = self.guest.folder, self.guest
        (folder / "order").write_text("".join(order(cell) for cell in cells))
        (folder / "spoken").write_text("")
        command = f"exec {' '.join(PYTHON)} {HERE}/uml/speaker.py {self.seed} {ENCAPSULATED} < {guest.path('order')}"
        speaker = guest.start(["sh", "-c", command], log="spoken")
        heard = {cell.number: set() for cell in cells}
        self.listen(cells, folder / "spoken", heard)
        for cell in cells:
            if not cell.problems and self.hopeless():
                cell.problems.append(NOT_TRIED)
            elif not cell.deaf:
                self.attempt(cell, self.asks, cell)
            elif len(heard[cell.number]) < len(cell.sizes) and not cell.problems:
                cell.problems.append("we did not hear all that the kernel's program said")
            if cell.esn and not cell.problems and cell.newest >> 32 != cell.high + 1:
                cell.problems.append(f"the kernel's last sequence number is {cell.newest:#x}, its high half not {cell.high + 1}")
        speaker.kill()

    def listen(self, cells, log, heard):
        """Answers what the speaker says, until it has spoken in every cell."""
        by_spi = {(cell.layers[-1].spi, cell.layers[-1].ours): cell for cell in cells}
        while True:
            packet = self.received(0.05)
            if packet:
                cell = by_spi.get(spi(packet))
                if cell:
                    self.attempt(cell, self.answers, cell, packet, heard[cell.number])
                else:
                    self.clear["an SA of nobody"] += 1
                continue
            verdicts = [line.split(" ", 1) for line in log.read_text().splitlines()[1:]]
            if len(verdicts) == len(cells) or sum(verdict != "ok" for _, verdict in verdicts) >= GIVE_UP:
                break
        verdicts = dict(verdicts)
        for cell in cells:
            verdict = verdicts.get(str(cell.number), NOT_TRIED)
            if verdict != "ok":
                cell.problems.append(f"the kernel's program: {verdict}")

    def attempt(self, cell, step, *arguments):
        """Runs a step of a cell that has not failed yet."""
        if not cell.problems:
            try:
                step(*arguments)
            except Failure as failure:
                cell.problems.append(str(failure))
            except Refused as refused:
                cell.problems.append(f"we refuse: {refused}")

    def counted(self, cells):
        """The kernel has counted what it accepted and what it refused, for each SA."""
        self.guest.run(["sh", "-c", f"ip -s xfrm state > {self.guest.path('states')}"])
        states = {int(match["spi"], 16): match for match in STATE.finditer((self.guest.folder / "states").read_text())}
        for cell in cells:
            accepted = 2 * len(cell.sizes) + 1
            for layer in cell.layers:
                if cell.problems or cell.deaf:
                    break
                state = states.get(layer.their_spi)
                if not state:
                    cell.problems.append("the kernel does not list its SA")
                    continue
                outside = int(layer is cell.layers[-1])
                seen = tuple(int(state[name]) for name in ("packets", "replay", "failed"))
                if seen != (accepted, outside, outside):
                    cell.problems.append(f"the kernel counts {seen[0]} packets, {seen[1]} repeated and {seen[2]} changed ones, "
                                         f"not {accepted}, {outside} and {outside}")


STATE = re.compile(r"proto \w+ spi 0x(?P<spi>\w+)(?:(?!^src).*\n)*?\s+\d+\(bytes\), (?P<packets>\d+)\(packets\)"
                   r"(?:(?!^src).*\n)*?\s+replay-window \d+ replay (?P<replay>\d+) failed (?P<failed>\d+)")


def order(cell):
    """What the speaker is told."""
    extensions = dict(cell.headers.get("extensions", ()))
    options = cell.headers.get("options", b"").hex()
    if cell.routed:
        # Linux is told where to go first; of routing headers, it sends type 2 alone.
        hop = packets.address(cell.hop)
        options = (b"\x83\x07\x04" + hop + b"\0").hex()
        extensions = extensions and {packets.ROUTING: b"\0\x02\x02\x01\0\0\0\0" + hop}
    if extensions:
        kinds = (packets.HOP_BY_HOP, packets.DESTINATION, packets.ROUTING)
        options = ",".join(extensions.get(kind, b"").hex() for kind in kinds)
    sizes = ",".join(map(str, cell.sizes))
    kind = "once" if cell.deaf else "answered"
    return f"{cell.number} {cell.guest} {cell.host} {sizes} {options or '-'} {kind}\n"


def same_headers(packet, at, headers):
    """The options are there, and the extension headers are as they were sent. (The kernel fills in its own addresses.)"""
    options = headers.get("options", b"")
    extensions = headers.get("extensions", ())
    fixed = 20 if packet[0] >> 4 == 4 else 40
    require(at == fixed + len(options) + sum(len(header) for _, header in extensions), f"IP headers of {at} octets")
    require(not options or packet[20] == options[0], "other options")
    for kind, header in extensions:
        require(kind == packets.ROUTING or packet[fixed + 1:fixed + len(header)] == header[1:], "other extension headers")
        fixed += len(header)


def outermost(packet):
    """The protocol of a packet of IPsec, that in UDP included; a few words for any other."""
    outer = packets.parse(packet)
    if outer.protocol == UDP and ENCAPSULATED == int.from_bytes(outer.body[2:4]):
        return ESP
    return outer.protocol if outer.protocol in (ESP, AH) else f"protocol {outer.protocol} from {outer.source}"


def spi(packet):
    """The SPI, and the address that the packet is for in the end."""
    outer = packets.parse(packets.travelled(packet))
    at = {ESP: 0, UDP: 8, AH: 4}[outer.protocol]
    return outer.body[at:at + 4].hex(), outer.target


def damaged(packet, protocol, random):
    """The packet with one bit of what is protected changed."""
    outer = packets.parse(packet)
    start = outer.at + (8 if outer.protocol == UDP else 0) + (8 if protocol == ESP else 12)
    bit = random.randrange(8 * start, 8 * len(outer.whole))
    changed = bytearray(outer.whole)
    changed[bit >> 3] ^= 1 << (bit & 7)
    if outer.protocol == UDP and outer.body[6:8] != b"\0\0":    # nobody would look at ESP behind a wrong checksum
        changed[outer.at + 6:outer.at + 8] = bytes(2)
        total = packets.checksum(changed[outer.at:], packets.pseudo(outer.source, outer.target, UDP, len(changed) - outer.at))
        changed[outer.at + 6:outer.at + 8] = (total or 0xFFFF).to_bytes(2)
    return bytes(changed)


# The tables

OPTIONS = {name: {"options": bytes.fromhex(octets)} for name, octets in {
    "router alert": "94040000",
    "no-operation": "01010100",
    "record route": "070b04 0000000000000000 00",
    "timestamp": "440c0500 0000000000000000",
    "security": "820bf0 0000000000000000 00",
    "stream": "88040001",
    "three options": "94040000 07070400000000 01",
}.items()}
HOP, ALERT = packets.HOP_BY_HOP, bytes.fromhex("0000 05020000 0100")
LAST, TWO = packets.DESTINATION, bytes.fromhex("0001 3e04deadbeef 1e0401020304 0100")    # the first may change en route
EXTENSIONS = {name: {"extensions": headers} for name, headers in {
    "hop-by-hop": ((HOP, ALERT),),
    "hop-by-hop, mutable": ((HOP, TWO),),
    "destination options": ((LAST, TWO),),
    "both extensions": ((HOP, ALERT), (LAST, TWO)),
}.items()}


def cells_of(algorithms, ways):
    """Every algorithm in every way, with short and with extended sequence numbers."""
    return [Cell(algorithm.name, way, esn, [Layer(algorithm, way.mode)])
            for algorithm in algorithms for way in ways for esn in (False, True)]


def cells_with_headers(algorithm, ways):
    """Options of IPv4, or extension headers of IPv6, of the packets that go in."""
    cells = []
    for way in ways:
        for name, headers in (OPTIONS if way.inner == 4 else EXTENSIONS).items():
            for esn in (False, True):
                cells.append(Cell(f"{algorithm.name}, {name}", way, esn, [Layer(algorithm, way.mode)], headers))
    return cells


def routed(algorithm):
    """Source routes and routing headers, whose end AH foresees."""
    return [Cell(f"{algorithm.name}, route", Way("transport", version, version), esn, [Layer(algorithm, "transport")], routed=True)
            for version in (4, 6) for esn in (False, True)]


def multicast(algorithm):
    """SAs that share an SPI, and are found by it and the group, or by the sender too (RFC 4301 section 4.1)."""
    return [Cell(f"{algorithm.name}, multicast, by {group}", Way("transport", version, version), esn,
                 [Layer(algorithm, "transport")], group=group, deaf="a multicast SA has one direction")
            for group in ("group", "source") for version in (4, 6) for esn in (False, True)]


def padded(algorithm):
    """Lengths are hidden (RFC 4303 section 2.7), and there is a dummy packet (RFC 4303 section 2.6)."""
    return [Cell(f"{algorithm.name}, padded", way, esn, [Layer(algorithm, way.mode)], pad=1000)
            for way in esp_ways() if way.mode == "tunnel" for esn in (False, True)]


def fragmented(algorithm):
    """Both sides fragment what they have protected. (Linux fragments IPv6 before it goes into a tunnel.)"""
    return [Cell(f"{algorithm.name}, fragmented", way, esn, [Layer(algorithm, way.mode)], {"df": False}, mtu=FRAGMENTS)
            for way in (Way("tunnel", 4, 4), Way("tunnel", 4, 6), Way("transport", 4, 4), Way("transport", 6, 6))
            for esn in (False, True)]


def bundles(esp, ah):
    """Two SAs on one packet (RFC 4301 section 4.1): ESP inside AH, and AH inside ESP; in transport mode, and in a tunnel whose
    outer packet goes through transport mode."""
    return [Cell(f"{first.name} inside {second.name}", way, esn, [Layer(first, way.mode), Layer(second, "transport")],
                 deaf="Linux does not take AH directly inside ESP, not even its own" if first is ah else None)
            for first, second in ((esp, ah), (ah, esp)) for way in ah_ways() if not way.align8 for esn in (False, True)]


def special(algorithms, protocol):
    """What is not a matter of the algorithm."""
    esp, ah = algorithms["AES-GCM-16-128"], algorithms["HMAC-SHA2-256-128"]
    if protocol == ESP:
        cbc = algorithms["AES-CBC-128/HMAC-SHA2-256-128"]
        ways = [way for way in esp_ways() if not way.udp]
        return cells_with_headers(esp, ways) + cells_with_headers(cbc, ways) + routed(esp) + multicast(esp) + padded(esp)
    return cells_with_headers(ah, ah_ways()) + routed(ah) + multicast(ah) + bundles(esp, ah)


LEGEND = ("two marks in each column: 32-bit sequence numbers, and extended ones that pass a multiple of 2^32\n"
          "+ passed in both directions   > from the kernel to us only   - skipped   F failed   . does not apply")


def report(cells, skipped):
    """The table, and a list of what was skipped; `skipped` are cells that were not run."""
    every = cells + skipped
    ways = list(dict.fromkeys(cell.way for cell in cells))
    marks = {(cell.row, cell.way, cell.esn): cell.mark() for cell in every}
    rows = dict.fromkeys(cell.row for cell in every)
    width = max(map(len, rows))
    lines = [*LEGEND.splitlines(), ""]
    for words in zip(*(way.title for way in ways)):
        if any(words):
            lines.append(" " * width + "".join(word.rjust(7) for word in words))
    for row in rows:
        both = ("".join(marks.get((row, way, esn), ".") for esn in (False, True)) for way in ways)
        lines.append(row.ljust(width) + "".join(pair.rjust(7) for pair in both))
    lines.append("")
    reasons = Counter(f"skipped: {cell.algorithm.lacking}" for cell in skipped)
    reasons.update(f"from the kernel to us only: {cell.deaf}" for cell in cells if cell.mark() == ">")
    lines += [f"{number} cells {reason}" for reason, number in reasons.items()]
    total = Counter(cell.mark() for cell in every)
    lines.append(f"{total['+']} cells passed in both directions, {total['>']} in one; {total['-']} skipped, {total['F']} failed")
    return lines


def run(trial, protocol):
    """All cells of a protocol; `trial` gives the machines, and takes the report."""
    wire, cable = trial.cable()
    table = Table(wire, cable, os.urandom(4).hex())
    table.boot()
    algorithms = [algorithm for text in wire.ask("suites") if (algorithm := Algorithm.parse(text))]
    those = [algorithm for algorithm in algorithms if algorithm.protocol == protocol]
    ways = esp_ways() if protocol == ESP else ah_ways()
    cells = cells_of([algorithm for algorithm in those if not algorithm.lacking], ways)
    named = {algorithm.name: algorithm for algorithm in algorithms}
    cells += special(named, protocol)
    table.run(cells)
    table.guest.ip(f"link set wan mtu {FRAGMENTS}")
    long = fragmented(named["AES-GCM-16-128" if protocol == ESP else "HMAC-SHA2-256-128"])
    table.run(long)
    cells += long
    trial.report = report(cells, cells_of([algorithm for algorithm in those if algorithm.lacking], ways))
    failed = [cell for cell in cells if cell.problems]
    if failed or table.clear:
        cable.save(trial.folder / "wan.pcap")
        for what, number in table.clear.items():
            trial.report.append(f"{number} packets that are not of IPsec: {what}")
        told = [cell for cell in failed if NOT_TRIED not in cell.problems[-1]]
        for cell in told[:2 * GIVE_UP]:
            numbers = "extended numbers" if cell.esn else "32-bit numbers"
            trial.report.append(f"{cell.row}, {cell.way}, {numbers}: {'; '.join(cell.problems)}")
        raise Failure(f"{len(failed)} cells failed")
