"""The cases with libreswan and iked. Each boots a kernel, so one case is a whole life: set up, traffic, new keys, the end."""
import re
from dataclasses import replace

from .cases import ASHA, POOL, SIDE, V1, both_roles, certified, one_tunnel
from .libreswan import Libreswan
from .nodes import wait_until
from .openiked import Openiked

DPD = "  dpddelay=1s\n  dpdtimeout=5s\n  dpdaction=clear\n"


def up(t, ours, peer=None, extra=""):
    t.kernel(Libreswan)
    t.establish(ours, peer, extra)
    t.traffic()


@both_roles
def libreswan_psk(t):
    """Each side makes new keys for the child SA, and then for the IKE SA; the initiator ends it."""
    up(t, SIDE)
    with t.flood():
        for actor in (t.ours, t.peer):
            actor.rekey_child()
            t.expect("child rekeyed")
            actor.rekey_ike()
            t.expect("ike rekeyed")
            one_tunnel(t)
    t.traffic()
    t.initiator().terminate()
    t.expect("ike down")
    t.on_wire("esp")


@both_roles
def libreswan_ecdsa(t):
    """Whatever algorithms libreswan takes if none are named; with extended sequence numbers."""
    side, _ = certified(t)
    ours = replace(side, ike=("aes256gcm16-prfsha512-ecp256",)).with_child(esp=("aes256gcm16-esn",))
    up(t, ours, replace(ours.mirrored(), ike=()).with_child(esp=()))
    t.on_wire("esp")


@both_roles
def libreswan_rsa(t):
    """pluto dies with no word, and we notice."""
    side, _ = certified(t, "rsa")
    up(t, replace(side, dpd="1s", tries=2), extra=DPD)
    t.peer.kill()
    t.ours.expect("silent", timeout=30)


@both_roles
def libreswan_v1_main(t):
    up(t, V1)
    with t.flood():
        t.ours.rekey_child()
        t.ours.expect("child rekeyed")
        t.peer.expect("child up")
    t.traffic()
    t.initiator().terminate()
    t.expect("ike down")
    t.on_wire("esp")


@both_roles
def libreswan_v1_aggressive(t):
    """With perfect forward secrecy, and ESP in UDP. Each side asks whether the other lives; then pluto dies with no word, and we
    notice."""
    side = replace(V1, version="v1-aggressive", encapsulation="always", dpd="1s", tries=2)
    up(t, side.with_child(esp=("aes256-sha256-modp2048",)), extra=DPD)
    answered = re.compile(r"lastdpd=\S+\(seq in:[1-9]")
    wait_until(lambda: any(map(answered.search, t.peer.ike_sas())), 10, "pluto has not been told that we live")
    t.peer.kill()
    t.ours.expect("silent", timeout=30)
    t.on_wire("udp esp")


@both_roles
def libreswan_v1_rsa(t):
    side, _ = certified(t, "rsa")
    up(t, replace(side, version=V1.version, ike=V1.ike))
    t.on_wire("esp")


@both_roles
def libreswan_v1_xauth(t):
    """Whose host is the initiator is asked for a name and a password, and then given an address."""
    t.kernel(Libreswan)
    if t.role == "init":
        ours = replace(V1, user=ASHA, ask=True, inner=()).with_child(local=("0.0.0.0/0",))
        t.establish(ours, ours.mirrored(pool=POOL).with_child(remote=("dynamic",)))
        given = t.ours.expect("given")
        address = given.split("addresses=")[1].split()[0]
        t.traffic(address)
    else:
        ours = replace(V1, users=(ASHA,), pool=POOL).with_child(remote=("10.3.0.0/24",))
        t.establish(ours, ours.mirrored(ask=True).with_child(local=("dynamic",)))
        address = t.peer.expect("virtual ip").split("address: ")[1].split("/")[0]
        t.peer.node.ip(f"addr add {address}/32 dev lo")
        t.traffic(peer=address)
    t.on_wire("esp")


@both_roles
def libreswan_v1_nat(t):
    """The initiator is behind a NAT."""
    if t.role == "init":
        t.nat("ours", Libreswan)
        ours = replace(V1, local="10.7.0.1", remote="10.8.0.2")
        t.establish(ours, ours.mirrored(remote="any"))
    else:
        t.nat("peer", Libreswan)
        ours = replace(V1, local="10.8.0.2", remote="any")
        t.establish(ours, ours.mirrored(local="10.7.0.1", remote="10.8.0.2"))
    t.traffic()
    t.on_wire("udp esp", peer="10.8.0.2" if t.role == "init" else "10.8.0.254")


def differ(t, side, *peers):
    """Sets up nothing, again and again: `peers` are what the peer is told, each with what we say then."""
    for peer, why in peers:
        t.start(side, peer)
        t.initiator().initiate()
        t.ours.expect(why, timeout=15)
        t.ours.forbid("child up")
        t.ours.end()
        t.peer.end()


@both_roles
def libreswan_mismatch(t):
    theirs = SIDE.mirrored()
    t.kernel(Libreswan)
    differ(t, replace(SIDE, tries=2),
           (replace(theirs, psk="another secret"), "authentication failed"),
           (replace(theirs, ike=("aes256-sha256-modp2048",)), "no ike proposal"),
           (theirs.with_child(esp=("aes256-sha256",)), "no child proposal"))


@both_roles
def libreswan_v1_mismatch(t):
    theirs, init = V1.mirrored(), t.role == "init"
    t.kernel(Libreswan)
    differ(t, replace(V1, tries=2),
           (replace(theirs, psk="another secret"), "v1 psk refused" if init else "authentication failed"),
           (replace(theirs, ike=("aes256-sha256-modp2048",)), "v1 encryption refused" if init else "v1 encryption differs"),
           (theirs.with_child(esp=("aes128gcm16-modp2048",)), "v1 child refused" if init else "v1 pfs differs"))




# iked

IKED = ("aes256-sha512",)    # iked 7.2 has Linux do neither AES-GCM nor HMAC-SHA2-256


@both_roles
def iked_psk(t):
    """Nothing comes of different algorithms, and we say why. Of the same, a tunnel does: we make new keys for the child SA and
    for the IKE SA; the initiator ends it. Where iked began the IKE SA, it does not
    answer our delete of the old one (it takes those of the initiator only), and the new one goes on."""
    t.kernel(Openiked)
    differ(t, SIDE, (SIDE.mirrored().with_child(esp=IKED), "no child proposal"))
    t.establish(SIDE.with_child(esp=IKED))
    t.traffic()
    with t.flood():
        t.ours.rekey_child()
        t.expect("child rekeyed")
        t.ours.rekey_ike()
        t.expect("ike rekeyed")
    t.traffic()
    t.initiator().terminate()
    t.expect("ike down")
    t.on_wire("esp")


@both_roles
def iked_ecdsa(t):
    """iked makes new keys for the child SA, whose lifetime is short there."""
    side, _ = certified(t)
    t.kernel(Openiked)
    side = side.with_child(esp=IKED)
    t.establish(side, side.mirrored().with_child(lifetime="5s"))
    with t.flood():
        t.expect("child rekeyed", timeout=20)
    t.traffic()
    t.on_wire("esp")
