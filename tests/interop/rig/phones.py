"""The cases with racoon, the IKE daemon of older phones: IKEv1 as they speak it; and AH around ESP as a bundle, which of all that is
free only racoon negotiates. Each boots a kernel."""
from dataclasses import replace

from .cases import ASHA, HOSTS, POOL, V1, both_roles, case, certified
from .racoon import Racoon

SIDE = replace(V1, local_id="10.8.0.1", remote_id="10.8.0.2").with_child(esp=("aes128-sha1",))
PFS = SIDE.with_child(esp=("aes128-sha1-modp2048",))
AGGRESSIVE = replace(V1, version="v1-aggressive").with_child(esp=("aes128-sha1-modp2048",))
BUNDLE = SIDE.with_child(around=("sha1",))


def up(t, side, *ends):
    """We replace the SAs."""
    t.kernel(Racoon)
    t.establish(side)
    t.traffic(*ends)
    with t.flood(*ends):
        t.ours.rekey_child()
        t.ours.expect("child rekeyed")
        t.peer.expect("child up")
    t.traffic(*ends)


def end(t):
    """Whoever began ends it."""
    if t.role == "init":
        t.ours.terminate()
        for event in ("child down", "ike down"):
            t.peer.expect(event)
    else:
        t.peer.end()
        t.ours.expect("ike down")


@both_roles
def racoon_v1_aggressive(t):
    """With perfect forward secrecy, and ESP in UDP. racoon dies with no word, and we notice."""
    up(t, replace(AGGRESSIVE, encapsulation="always", dpd="1s", tries=2))
    t.on_wire("udp esp")
    t.peer.kill()
    t.ours.expect("silent", timeout=30)


@case
def racoon_v1_xauth_resp(t):
    """A phone: we ask for its user's password, and give it an address and a name server."""
    t.role = "resp"
    t.kernel(Racoon)
    ours = replace(AGGRESSIVE, users=(ASHA,), pool=POOL).with_child(remote=("10.3.0.0/24",))
    t.establish(ours, ours.mirrored().with_child(local=("dynamic",)))
    t.traffic(peer=t.peer.address)
    t.ours.rekey_child()
    t.ours.expect("child rekeyed")
    t.traffic(peer=t.peer.address)
    t.on_wire("esp")
    t.peer.end()
    t.ours.expect("ike down")


@both_roles
def racoon_v1_rsa(t):
    side, _ = certified(t, "rsa")
    up(t, replace(side, version=V1.version, ike=V1.ike).with_child(esp=("aes128-sha1",)))
    t.on_wire("esp")
    end(t)


@case
def racoon_v1_hybrid_nat_resp(t):
    """A phone behind a NAT: we sign, and it has nothing but a user."""
    t.role = "resp"
    t.nat("peer", Racoon)
    side, _ = certified(t, "rsa")
    ours = replace(side, version=V1.version, ike=V1.ike, local="10.8.0.2", remote="any", remote_auth="user", users=(ASHA,), pool=POOL)
    ours = ours.with_child(esp=("aes128-sha1",), remote=("10.3.0.0/24",))
    t.establish(ours, ours.mirrored(local="10.7.0.1", remote="10.8.0.2").with_child(local=("dynamic",)))
    t.traffic(peer=t.peer.address)
    t.on_wire("udp esp", peer="10.8.0.254")


@both_roles
def v1_bundle(t):
    """Main Mode with a pre-shared key, and ESP in tunnel mode."""
    up(t, BUNDLE)
    t.peer.expect("ah up")
    t.on_wire("ah")
    end(t)
    if t.role == "init":
        t.peer.expect("ah down")


@both_roles
def v1_bundle_transport(t):
    """With perfect forward secrecy."""
    up(t, replace(PFS, inner=(), children=(HOSTS,)).with_child(esp=PFS.children[0].esp, around=("sha1",)), "10.8.0.1", "10.8.0.2")
    t.on_wire("ah")
