"""The cases with racoon: AH around ESP as a bundle of IKEv1, which of all that is free only racoon negotiates."""
from dataclasses import replace

from .cases import HOSTS, V1, both_roles
from .racoon import Racoon

SIDE = replace(V1, local_id="10.8.0.1", remote_id="10.8.0.2").with_child(esp=("aes128-sha1",), around=("sha1",))


def bundle(t, side, *ends):
    """We replace both SAs as one."""
    t.kernel(Racoon)
    t.establish(side)
    t.peer.expect("ah up")
    t.traffic(*ends)
    with t.flood(*ends):
        t.ours.rekey_child()
        t.ours.expect("child rekeyed")
        t.peer.expect("child up")
    t.traffic(*ends)
    t.on_wire("ah")


@both_roles
def v1_bundle(t):
    """ESP in tunnel mode; in the end, whoever began deletes both SAs."""
    bundle(t, SIDE)
    if t.role == "init":
        t.ours.terminate()
        for event in ("ah down", "child down", "ike down"):
            t.peer.expect(event)
    else:
        t.peer.end()
        t.ours.expect("ike down")


@both_roles
def v1_bundle_transport(t):
    """With perfect forward secrecy."""
    side = replace(SIDE, inner=(), children=(HOSTS,)).with_child(esp=("aes128-sha1-modp2048",), around=("sha1",))
    bundle(t, side, "10.8.0.1", "10.8.0.2")
