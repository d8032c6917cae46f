"""linux-gateway, the daemon under test: its configuration, its events, and its control socket."""
import json

from . import Failure
from .daemon import Daemon
from .nodes import wait_until


class Gateway(Daemon):
    LOG = "gateway.log"
    EVENTS = {
        "acquire": r"acquire child=\S+",
        "ike up": r"ike up peer=\S+",
        "ike rekeyed": r"ike rekeyed peer=\S+",
        "ike down": r"ike down peer=\S+",
        "child up": r"child up child=\S+",
        "child rekeyed": r"child rekeyed child=\S+",
        "child down": r"child down child=\S+",
        "moved": r"child moved child=\S+",
        "silent": r"ike down peer=\S+ reason=peer silent: no answer after \d+ tries; it answered before",
        "not yet valid": r"reason=authentication of \S+ failed: its certificate is not valid yet: .*; that is 2039-01-01 00:00:00 UTC, and our clock says .*: set the clock",
        "wrong signature": r"reason=authentication of \S+ failed: its signature is wrong",
        "authentication failed": r"ike failed peer=\S+ reason=authentication",
        "fragmentation needed": r"ike failed peer=\S+ reason=.*fragmentation was not agreed on",
        "ppk used": r"ike up peer=.*, PPK nat=",
        "ppk not shared": r"ike failed peer=\S+ reason=the two sides have no post-quantum pre-shared key in common",
        "untrusted": r"ike failed peer=\S+ reason=authentication of \S+ failed: .*",
        "revoked": r"reason=authentication of \S+ failed: its certificate is revoked",
        "expired": r"reason=authentication of \S+ failed: its certificate has expired: .* that is 2021-01-01 00:00:00 UTC, and our clock says",
        "wrong name": r"reason=authentication of \S+ failed: its certificate is not for this identity",
        "unknown issuer": r"reason=authentication of \S+ failed: nobody whom we trust has issued",
        "wrong method": r"reason=the peer authenticates itself by",
        "no ike proposal": r"ike failed peer=\S+ reason=.*proposal.*; we (allow|offer) AES-GCM-16-128",
        "no child proposal": r"child failed child=delhi/lan reason=.*(proposal|NO_PROPOSAL_CHOSEN).*; we (allow|offer) AES-GCM-16-128",
        "user refused": r"ike failed peer=\S+ reason=the peer refuses our user's name or password|child failed child=\S+ reason=the peer refuses our user's name or password",
        "user unknown": r"ike failed peer=\S+ reason=no user asha with this password is known here",
        "given": r"given peer=\S+ addresses=\S+",
        "no child selectors": r"child failed child=\S+ reason=.*selector.*; here it is 192\.168\.2\.0/24 to 192\.168\.1\.0/24",
        "pfs differs": r"child failed child=delhi/lan reason=PFS differs: .*; `proposals` here name none",
        "no answer": r"ike failed peer=\S+ reason=no answer to IKE_SA_INIT after 3 tries: nothing ever came back; does the peer run",
        "4500 closed": r"ike failed peer=\S+ reason=no answer to IKE_AUTH after 3 tries: .*; a firewall or NAT on the way drops UDP 4500",
        "one way": r"one way child=delhi/lan sent=\d+ received=0: IKE gets through",
        "too big": r"too big packet=.* mtu=\d+: its sender is told so",
        "no route": r"no route child=delhi/lan destination=10\.99\.0\.1: .*add an address or a route",
        "v1 encryption differs": r"ike failed peer=\S+ reason=no common proposal: encryption, the peer offers AES_CBC-256, we allow AES_CBC-128",
        "v1 hash differs": r"ike failed peer=\S+ reason=no common proposal: hash, the peer offers SHA, we allow SHA2_256",
        "v1 group differs": r"ike failed peer=\S+ reason=no common proposal: group, the peer offers MODP-3072, we allow MODP-2048",
        "v1 authentication differs": r"ike failed peer=\S+ reason=no common proposal: authentication, the peer offers \S+, we allow PSK",
        **dict.fromkeys(("v1 encryption refused", "v1 hash refused", "v1 group refused"),
                        r"ike failed peer=\S+ reason=the peer accepts none of our proposals.*; we offer AES-CBC-128, PRF-HMAC-SHA2-256, MODP-2048: take"),
        "v1 pfs differs": r"child failed child=delhi/lan reason=PFS differs: the peer's key exchange for the child SA is MODP.2048.*; `proposals` here name none",
        "v1 child refused": r"child failed child=delhi/lan reason=the peer accepts none of our proposals",
        "v1 psk refused": r"ike failed peer=\S+ reason=.*`psk`",
        "lifetimes differ": r"lifetimes differ name=delhi/lan theirs=\d+s ours=3600s",
    }

    def __init__(self, node, binary):
        super().__init__(node)
        self.binary = binary

    def start(self, side, manual=()):
        self.side = side
        self.control = self.node.path("control.sock")
        (self.node.folder / "gateway.toml").write_text(configuration(side, self.control, manual))
        keys = self.node.folder / "keys"
        keys.mkdir(exist_ok=True)
        self.task = self.node.start([self.binary, "--config", self.node.path("gateway.toml"), "--key-log", str(keys)],
                                    log=self.LOG)
        wait_until(self.ready, 10, f"{self.node.name}: linux-gateway did not answer on its control socket")

    def ready(self):
        if not self.task.alive():
            raise Failure(f"{self.node.name}: linux-gateway ended at once: {self.last_words()}")
        try:
            self.ctl("status")
            return True
        except Failure:
            return False

    def ctl(self, *arguments):
        output = self.node.run([self.binary, "ctl", self.control, *arguments])
        with (self.node.folder / "ctl.out").open("a") as file:
            file.write(f"$ ctl {' '.join(arguments)}\n{output}\n")
        return output

    def initiate(self, child="lan"):
        self.ctl("initiate", child)

    def rekey_child(self, child="lan"):
        self.ctl("rekey-child", child)

    def rekey_ike(self):
        self.ctl("rekey-ike", self.side.peer)

    def terminate(self):
        self.ctl("terminate", self.side.peer)


def configuration(side, control, manual=()):
    """The TOML file. JSON's strings, numbers and arrays are TOML's too. With `manual`, the side's peer is left out."""
    tables = [("[gateway]", {"tun": "ipsec0", "tun_addresses": list(side.inner), "mtu": side.mtu, "control": control})]
    if side.crl:
        tables[0][1]["crl"] = list(side.crl)
    if side.pool:
        tables[0][1].update(pool=[side.pool[0]], pool_dns=list(side.pool[1:]), pool_networks=list(side.networks))
    if not manual:
        tables += peer(side)
    tables += [("[[manual]]", sas.table()) for sas in manual]
    return "\n".join(
        "\n".join([title, *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]) for title, keys in tables)


def peer(side):
    """The tables of the peer and its children."""
    keys = {"name": side.peer, "local": side.local, "remote": side.remote, "local_id": side.local_id,
            "remote_id": side.remote_id, "psk": side.psk, "start": side.start, "proposals": list(side.ike),
            "lifetime": side.lifetime, "encapsulation": side.encapsulation, "retransmit_tries": side.tries,
            "fragment_size": side.fragment_size}
    if side.ppk:
        keys.update(ppk=side.ppk, ppk_id=side.ppk_id, ppk_required=side.ppk_required)
    if side.version != "v2":
        keys["ike"] = side.version
    if side.ask:
        keys["ask"] = ["ipv4", "dns"]
    if side.pool:
        keys["assign"] = True
    if side.user:
        keys.update(zip(("user", "password"), side.user))
    keys.update((f"users.{name}", password) for name, password in side.users)
    if side.push:
        keys["push"] = True
    if side.childless:
        keys["childless"] = True
    if side.renew:
        keys["reauthenticate_after"] = side.renew
    if side.roams:
        keys["mobike"] = True
    if side.dpd != "0s":
        keys["dpd"] = side.dpd
    if side.auth != "psk" or side.remote_auth != "psk":
        keys.update(auth=side.auth, remote_auth=side.remote_auth, ca=list(side.ca))
    if side.auth in ("cert", "rawkey"):
        keys.update(key=side.own.key, cert=side.own.chain if side.auth == "cert" else side.own.public)
    if side.remote_auth == "rawkey":
        keys["remote_key"] = side.other.public
    if side.signature:
        keys["signature"] = list(side.signature)
    yield "[[peer]]", keys
    for child in side.children:
        keys = {"name": child.name, "local": list(child.local), "remote": list(child.remote),
                "mode": child.mode, "lifetime": child.lifetime}
        keys["ah_proposals" if child.ah else "proposals"] = list(child.ah or child.esp)
        if child.around:
            keys.update(ah_around=list(child.around), ah_align8=True)
        if child.lifetime_packets:
            keys["lifetime_packets"] = child.lifetime_packets
        yield "[[peer.child]]", keys
