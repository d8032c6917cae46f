"""SAs with manual keys: what linux-gateway is told of them, and the same for the kernel at the other end."""
import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Algorithm:
    """`word` is the daemon's, `kernel` the words of `ip xfrm state`; {} stand for the parts of the key, whose lengths in octets
    are `parts`."""
    protocol: str
    word: str
    parts: tuple
    kernel: str


GCM = Algorithm("esp", "aes128gcm16", (20,), "aead 'rfc4106(gcm(aes))' 0x{} 128")
CHACHA = Algorithm("esp", "chacha20poly1305", (36,), "aead 'rfc7539esp(chacha20,poly1305)' 0x{} 128")
CBC = Algorithm("esp", "aes256-sha256", (32, 32), "enc 'cbc(aes)' 0x{} auth-trunc 'hmac(sha256)' 0x{} 128")
SHA256 = Algorithm("ah", "sha256", (32,), "auth-trunc 'hmac(sha256)' 0x{} 128 flag align4")
SHA1 = Algorithm("ah", "sha1", (20,), "auth-trunc 'hmac(sha1)' 0x{} 96 flag align4")


@dataclass(frozen=True)
class Manual:
    """`layers` are one algorithm, or one of ESP and one of AH around it. The first of `ours` and `theirs` is the outer address,
    the second one the network behind it."""
    name: str
    number: int    # sets its SPIs apart
    layers: tuple
    mode: str
    ours: tuple
    theirs: tuple
    udp: bool = False
    esn: bool = False
    keys: dict = field(default_factory=dict)

    def __post_init__(self):
        for algorithm in self.layers:
            for way in ("in", "out"):
                self.keys[algorithm, way] = [os.urandom(part) for part in algorithm.parts]

    def spi(self, depth, way):
        return 0x1000 + 16 * self.number + 2 * depth + (way == "out")

    def table(self):
        """The table of the daemon's configuration."""
        keys = {"name": self.name, "mode": self.mode, "local": self.ours[0], "remote": self.theirs[0], "esn": self.esn}
        if self.udp:
            keys["udp"] = True
        if self.mode == "tunnel":
            keys |= {"local_ts": [self.ours[1]], "remote_ts": [self.theirs[1]]}
        for depth, algorithm in enumerate(self.layers):
            keys[algorithm.protocol] = algorithm.word
            prefix = "ah_" if depth else ""
            for way in ("in", "out"):
                keys[f"{prefix}spi_{way}"] = self.spi(depth, way)
                keys[f"{prefix}key_{way}"] = b"".join(self.keys[algorithm, way]).hex()
        return keys

    def commands(self):
        """The command lines of `ip` in the kernel at the other end. What is out for us is in for it."""
        lines = []
        for way, source, target in (("out", self.ours, self.theirs), ("in", self.theirs, self.ours)):
            templates = ""
            for depth, algorithm in enumerate(self.layers):
                mode = self.mode if depth == 0 else "transport"
                reqid = 16 * self.number + depth + 1
                words = algorithm.kernel.format(*(part.hex() for part in self.keys[algorithm, way]))
                more = " flag af-unspec" + (" flag esn" if self.esn else "")
                more += (" encap espinudp 4500 4500 0.0.0.0" if self.udp else "")
                lines.append(f"xfrm state add src {source[0]} dst {target[0]} proto {algorithm.protocol} "
                             f"spi {self.spi(depth, way):#x} reqid {reqid} mode {mode} replay-window 64 {words}{more}")
                templates += f" tmpl src {source[0]} dst {target[0]} proto {algorithm.protocol} reqid {reqid} mode {mode}"
            direction = "in" if way == "out" else "out"
            lines.append(f"xfrm policy add src {source[1]} dst {target[1]} dir {direction} priority 2{templates}")
        if self.udp:
            # In transport mode the outer datagrams are between the addresses of the policy, and are not what it is for.
            lines.append(f"xfrm policy add src {self.ours[0]} dst {self.theirs[0]} proto udp sport 4500 dport 4500 "
                         "dir in priority 1")
        return lines
