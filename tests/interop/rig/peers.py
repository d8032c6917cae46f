"""The cases with libreswan. Each boots a kernel, so one case is a whole life: set up, traffic, new keys, the end."""
from dataclasses import replace

from .cases import SIDE, V1, both_roles, certified, one_tunnel
from .libreswan import Libreswan


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
    side, _ = certified(t, "rsa")
    up(t, replace(side, dpd="1s", tries=2), extra="  dpddelay=1s\n  dpdtimeout=5s\n  dpdaction=clear\n")
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
    """With perfect forward secrecy, and ESP in UDP."""
    up(t, replace(V1, version="v1-aggressive", encapsulation="always").with_child(esp=("aes256-sha256-modp2048",)))
    t.on_wire("udp esp")


@both_roles
def libreswan_v1_rsa(t):
    side, _ = certified(t, "rsa")
    up(t, replace(side, version=V1.version, ike=V1.ike))
    t.on_wire("esp")
