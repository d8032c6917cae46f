"""What one side of a tunnel is told, in words that linux-gateway and its peers have."""
from dataclasses import dataclass, field, replace

PSK = "a secret of the interoperability suite"


@dataclass(frozen=True)
class Child:
    name: str = "lan"
    local: tuple = ("192.168.1.0/24",)
    remote: tuple = ("192.168.2.0/24",)
    esp: tuple = ("aes128gcm16",)
    ah: tuple = ()    # in place of ESP
    around: tuple = ()    # algorithms of AH around ESP, of IKEv1
    mode: str = "tunnel"
    lifetime: str = "1h"
    lifetime_packets: int = 0

    def mirrored(self):
        return replace(self, local=self.remote, remote=self.local)


@dataclass(frozen=True)
class Side:
    """`local` and `remote` are outer addresses; `peer` is the name of the connection."""

    peer: str = "delhi"
    local: str = "10.8.0.1"
    remote: str = "10.8.0.2"
    local_id: str = "kolkata.example"
    remote_id: str = "delhi.example"
    psk: str = PSK
    ppk: str = ""    # a post-quantum pre-shared key, its name, and whether it has to be used
    ppk_id: str = "blue"
    ppk_required: bool = False
    auth: str = "psk"    # how each side proves who it is: psk, cert or rawkey
    remote_auth: str = "psk"
    own: object = None    # a Holder
    other: object = None    # the peer's, for rawkey
    ca: tuple = ()    # whose certificates are believed
    crl: tuple = ()
    signature: tuple = ()    # linux-gateway's own
    start: str = "never"
    version: str = "v2"    # or v1-main, v1-aggressive
    ike: tuple = ("aes128gcm16-prfsha256-x25519",)
    lifetime: str = "4h"
    dpd: str = "0s"
    encapsulation: str = "auto"
    mobike: bool = True    # charon's own
    fragment_size: int = 1280    # 0: no fragmentation
    networks: tuple = ()    # what clients of IKEv1 shall send into the tunnel
    force: bool = False    # charon's own: it sends fragments whatever the other side can
    tries: int = 6    # linux-gateway's own
    roams: bool = False    # linux-gateway supports MOBIKE
    childless: bool = False    # linux-gateway can begin without a child, charon insists on it
    renew: str = ""    # after what time the initiator authenticates anew
    children: tuple = field(default=(Child(),))
    inner: tuple = ("192.168.1.1/24",)
    mtu: int = 1400    # linux-gateway's TUN device
    ask: bool = False    # for an inner IPv4 address, and name servers
    pool: tuple = ()     # what to give: a range of addresses, then name servers
    user: tuple = ()     # of IKEv1: this side's user and his password
    users: tuple = ()    # of IKEv1: users that the other side may be, each with his password
    push: bool = False    # of IKEv1: addresses are told unasked

    def mirrored(self, **changes):
        """What the other side has to be told for both to agree."""
        turned = replace(
            self, peer="kolkata", local=self.remote, remote=self.local, local_id=self.remote_id, remote_id=self.local_id,
            auth=self.remote_auth, remote_auth=self.auth, own=self.other, other=self.own, signature=(), crl=(),
            dpd="0s", encapsulation="auto", lifetime="4h", start="never", renew="", inner=(), ask=False, pool=(),
            user=self.users[0] if self.users else (), users=(self.user,) if self.user else (),
            children=tuple(replace(child.mirrored(), lifetime="1h", lifetime_packets=0) for child in self.children))
        return replace(turned, **changes)

    def with_child(self, **changes):
        """The same, with its children changed."""
        return replace(self, children=tuple(replace(child, **changes) for child in self.children))
