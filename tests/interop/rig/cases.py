"""The cases. A function is a case, or two: one with our side as initiator (-init), one as responder (-resp)."""
import threading
import time
from dataclasses import replace

from . import Failure, kernel, packets
from .manual import CBC, CHACHA, GCM, SHA1, SHA256, Manual
from .capture import refuse
from .certificates import Authority
from .nodes import wait_until
from .settings import Child, Side
from .trial import OURS6, PEER, PEER6, PROBE, finished, need

CASES = {}    # name -> (function, role)

SIDE = Side()
SIDE6 = replace(SIDE, local="fd08::1", remote="fd08::2")
CHILD6 = Child(local=("fd01::/64",), remote=("fd02::/64",))
INNER6 = ("192.168.1.1/24", "fd01::1/64")


def both_roles(function):
    for role in ("init", "resp"):
        CASES[f"{name(function)}-{role}"] = (function, role)
    return function


def case(function):
    CASES[name(function)] = (function, None)
    return function


def alone(function):
    """A case for interop-wire instead of the daemon."""
    function.alone = True
    return case(function)


def name(function):
    return function.__name__.replace("_", "-")


# Setting up a tunnel

@both_roles
def psk(t):
    t.pair()
    t.establish(SIDE)
    t.traffic()
    t.on_wire("udp esp")


@case
def acquire(t):
    """The first packet for the tunnel sets it up."""
    t.needs_gateway("kernel-libipsec cannot wait for traffic")
    t.pair()
    t.start(replace(SIDE, start="traffic"))
    t.ours.node.start([*PROBE, "ping", "192.168.1.1", "192.168.2.1", "3", "0.3"])
    t.ours.expect("acquire")
    t.expect("ike up", "child up")
    t.traffic()
    t.on_wire("udp esp")


@case
def start_immediately(t):
    t.pair()
    t.start(replace(SIDE, start="immediately"))
    t.expect("ike up", "child up")
    t.traffic()


@both_roles
def psk_ipv6(t):
    t.pair()
    t.establish(SIDE6)
    t.traffic()
    t.on_wire("udp esp")


@both_roles
def psk_ipv6_in_ipv6(t):
    t.pair()
    t.establish(replace(SIDE6, inner=INNER6, children=(CHILD6,)))
    t.traffic(OURS6, PEER6)
    t.on_wire("udp esp")


@both_roles
def ipv4_and_ipv6_selectors(t):
    """One child SA whose selectors are of both families."""
    both = Child(local=("192.168.1.0/24", "fd01::/64"), remote=("192.168.2.0/24", "fd02::/64"))
    t.pair()
    t.establish(replace(SIDE, inner=INNER6, children=(both,)))
    t.traffic()
    t.traffic(OURS6, PEER6)


@both_roles
def two_children(t):
    """A second child SA, by CREATE_CHILD_SA, under the same IKE SA."""
    t.pair()
    t.establish(replace(SIDE, inner=INNER6, children=(Child(), replace(CHILD6, name="lan6"))))
    t.initiator().initiate("lan6")
    t.expect("child up")
    t.traffic()
    t.traffic(OURS6, PEER6)
    if len(t.peer.ike_sas()) != 1 or len(t.peer.children()) != 2:
        raise Failure("not two child SAs under one IKE SA")


@both_roles
def identities(t):
    """A mail address and an IP address as identities."""
    t.pair()
    t.establish(replace(SIDE, local_id="gateway@kolkata.example", remote_id="10.8.0.2"))
    t.traffic()


@both_roles
def narrowed_selectors(t):
    """The peer's policy is narrower than ours: the child SA gets what both allow (RFC 7296 section 2.9)."""
    t.pair()
    t.establish(SIDE, SIDE.mirrored().with_child(local=("192.168.2.0/28",), remote=("192.168.1.0/25",)))
    t.traffic()


@case
def all_traffic(t):
    """Everything of our network goes through the tunnel, which so covers the peer's own address; there is no loop."""
    t.needs_gateway("kernel-libipsec would send its own packets into the tunnel")
    t.role = "init"
    t.pair()
    t.establish(SIDE.with_child(remote=("0.0.0.0/0",)))
    t.traffic()
    t.on_wire("udp esp")


@both_roles
def mobike(t):
    """The initiator's address changes, and the tunnel goes with it (RFC 4555)."""
    t.pair()
    t.establish(replace(SIDE, roams=True))
    t.traffic()
    mover, ours = t.initiator(), t.role == "init"
    old, new = ("10.8.0.1", "10.8.0.3") if ours else ("10.8.0.2", "10.8.0.4")
    mover.node.ip(f"addr del {old}/24 dev wan", f"addr add {new}/24 dev wan")
    t.expect("moved")
    t.traffic()
    mover.rekey_ike()
    t.expect("ike rekeyed")
    t.traffic()
    if len(t.peer.ike_sas()) != 1 or new not in t.peer.swanctl("--list-sas"):
        raise Failure("not one IKE SA, at the new address")


@both_roles
def childless(t):
    """The IKE SA begins without a child (RFC 6023), and charon insists on that."""
    t.pair()
    t.establish(replace(SIDE, childless=True))
    t.peer.expect("child asked for")    # and not with IKE_AUTH
    t.traffic()


@both_roles
def reauth(t):
    """The initiator authenticates anew, make before break: not a packet is lost (RFC 7296 section 2.8.3)."""
    t.pair()
    ours, theirs = (replace(SIDE, renew="4s"), None) if t.role == "init" else (SIDE, SIDE.mirrored(renew="4s"))
    t.establish(ours, theirs, extra="make_before_break = yes")
    with t.flood():
        t.expect("ike up", "child up", "ike down", timeout=20)
        t.traffic()


# Post-quantum pre-shared keys (RFC 8784)

PPK = "thirty-two bytes of the suite ppk"


@both_roles
def ppk(t):
    """Both have the same; it is in the keys of the child, and of its next ones."""
    t.pair()
    t.establish(replace(SIDE, ppk=PPK, ppk_required=True))
    t.ours.expect("ppk used")
    t.peer.expect("ppk used")
    t.traffic()
    t.initiator().rekey_ike()
    t.expect("ike rekeyed")
    t.initiator().rekey_child()
    t.expect("child rekeyed")
    t.traffic()


@both_roles
def ppk_of_one_side(t):
    """The peer has none, and we can do without."""
    side = replace(SIDE, ppk=PPK)
    t.pair()
    t.establish(side, replace(side.mirrored(), ppk=""))
    t.traffic()


@both_roles
def ppk_two_signatures(t):
    """The responder does not have the initiator's, nobody insists, and both sign: the initiator does so twice (NO_PPK_AUTH).
    charon refuses another name than its own, but can do without any."""
    t.pair()
    side, _ = certified(t)
    side = replace(side, ppk=PPK)
    t.establish(side, replace(side.mirrored(), ppk_id="green", ppk="" if t.role == "init" else PPK))
    t.traffic()


@both_roles
def ppk_mismatch(t):
    """The peer has another one, and both insist."""
    side = replace(SIDE, ppk=PPK, ppk_required=True)
    t.pair()
    t.start(side, replace(side.mirrored(), ppk=PPK + "!", ppk_id="green"))
    t.initiator().initiate()
    t.peer.expect("ppk not shared")


# Key exchanges after the first (RFC 9370)

HYBRID = ("aes128gcm16-prfsha256-x25519-ke1_mlkem768",)


@both_roles
def mlkem(t):
    """ML-KEM after X25519, which charon has since version 6."""
    t.needs_ml_kem()
    t.pair()
    t.establish(replace(SIDE, ike=HYBRID, fragment_size=0))
    t.traffic()


@both_roles
def mlkem_rekeys(t):
    """The child and the IKE SA are rekeyed with both key exchanges (IKE_FOLLOWUP_KE), from both sides."""
    t.needs_ml_kem()
    t.pair()
    t.establish(replace(SIDE, ike=HYBRID).with_child(esp=("aes128gcm16-x25519-ke1_mlkem768",)))
    for side in (t.ours, t.peer):
        side.rekey_child()
        t.expect("child rekeyed")
        t.traffic()
        side.rekey_ike()
        t.expect("ike rekeyed")
        t.traffic()


@both_roles
def mlkem_in_fragments(t):
    t.needs_ml_kem()
    t.pair()
    t.establish(replace(SIDE, ike=HYBRID, fragment_size=576))
    t.traffic()


# What is negotiated for a child SA

HOSTS = Child(local=("10.8.0.1/32",), remote=("10.8.0.2/32",), mode="transport")


def negotiated(t, side, kind, shown, ours=None, peer=None):
    """Sets the tunnel up opposite a kernel; it carries traffic, is rekeyed from both sides, and carries it again."""
    t.kernel()
    t.establish(side)
    ends = [end for end in (ours, peer) if end]
    t.traffic(*ends)
    for actor in (t.initiator(), t.peer):
        actor.rekey_child()
        t.expect("child rekeyed")
        t.traffic(*ends)
    one_tunnel(t)
    child, = t.peer.children()
    if shown not in child:
        raise Failure(f"charon agreed to something other than {shown}: {child.strip()}")
    t.on_wire(kind)


@both_roles
def transport(t):
    """Transport mode between the two machines themselves."""
    side = replace(SIDE, inner=(), children=(HOSTS,))
    negotiated(t, side, "esp", "TRANSPORT", "10.8.0.1", "10.8.0.2")


@both_roles
def ah(t):
    negotiated(t, SIDE.with_child(ah=("sha256",)), "ah", "AH:HMAC_SHA2_256_128")


@both_roles
def ah_transport(t):
    side = replace(SIDE, inner=(), children=(replace(HOSTS, ah=("sha1",)),))
    negotiated(t, side, "ah", "AH:HMAC_SHA1_96", "10.8.0.1", "10.8.0.2")


@both_roles
def esn(t):
    """Extended sequence numbers, from a proposal that leaves them to the responder."""
    side, words = SIDE.with_child(esp=("aes128gcm16-esn", "aes128gcm16-noesn")), "AES_GCM_16-128/ESN"
    negotiated(t, side, "esp", words)


@both_roles
def ts_ports(t):
    """Selectors with protocol and port: TCP to one port of the peer passes, pings do not."""
    child = Child(local=("192.168.1.0/24[tcp]",), remote=("192.168.2.0/24[tcp/5001]",))
    t.pair()
    t.establish(replace(SIDE, children=(child,)))
    t.transfer()
    t.no_traffic()
    t.on_wire("udp esp")


@both_roles
def several_children(t):
    """Three child SAs under one IKE SA, each with its own selectors; one ends, the others stay."""
    children = tuple(Child(name=f"lan{n}", local=(f"192.168.1.{n}/32",), remote=("192.168.2.1/32",)) for n in (1, 2, 3))
    addresses = tuple(f"192.168.1.{n}/24" for n in (1, 2, 3))
    t.pair()
    if not t.binary:
        t.ours.node.ip(*(f"addr add {address} dev lo" for address in addresses[1:]))
    t.establish(replace(SIDE, inner=addresses, children=children))
    for child in children[1:]:
        t.initiator().initiate(child.name)
        t.expect("child up")
    for n in (1, 2, 3):
        t.traffic(f"192.168.1.{n}")
    if len(t.peer.ike_sas()) != 1 or len(t.peer.children()) != 3:
        raise Failure("not three child SAs under one IKE SA")
    t.peer.terminate_child("lan2")
    t.ours.expect("child down")
    t.traffic("192.168.1.1")
    t.traffic("192.168.1.3")


@case
def virtual_ip_init(t):
    """charon gives us an address and a name server; our selectors become that address."""
    t.needs_gateway("kernel-libipsec has no address of its own to send from")
    t.role = "init"
    t.pair()
    ours = replace(SIDE, ask=True, inner=()).with_child(local=("0.0.0.0/0",))
    t.establish(ours, ours.mirrored(pool=("10.3.0.1-10.3.0.9", "10.3.0.53")).with_child(remote=("dynamic",)))
    given = t.ours.expect("given")
    if "addresses=10.3.0." not in given or "dns=10.3.0.53" not in given:
        raise Failure(f"not what charon has to give: {given}")
    address = given.split("addresses=")[1].split()[0]
    t.traffic(address)
    for actor in (t.ours, t.peer):
        actor.rekey_child()
        t.expect("child rekeyed")
        t.traffic(address)
    t.ours.rekey_ike()
    t.expect("ike rekeyed")
    t.traffic(address)
    t.on_wire("udp esp")


@case
def virtual_ip_resp(t):
    """We give charon an address and a name server; its selectors become that address."""
    t.needs_gateway("it is charon's own pool that is used then")
    t.role = "resp"
    t.pair()
    ours = replace(SIDE, pool=("10.3.0.1-10.3.0.9", "10.3.0.53")).with_child(remote=("10.3.0.0/24",))
    t.establish(ours, ours.mirrored(ask=True).with_child(local=("dynamic",)), extra="install_virtual_ip = yes")
    address = t.peer.expect("virtual ip").split("virtual IP ")[1].split()[0]
    if not address.startswith("10.3.0."):
        raise Failure(f"an address that is not ours to give: {address}")
    t.traffic(peer=address)
    for actor in (t.peer, t.ours):
        actor.rekey_child()
        t.expect("child rekeyed")
        t.traffic(peer=address)
    t.on_wire("udp esp")


# NAT

@case
def nat_init(t):
    """We are behind the NAT, and begin."""
    t.role = "init"
    t.nat(inside="ours")
    ours = replace(SIDE, local="10.7.0.1", remote="10.8.0.2")
    t.establish(ours, ours.mirrored(remote="any"))
    t.peer.expect("nat there")
    t.traffic()
    t.on_wire("udp esp")


@case
def nat_resp(t):
    """The peer is behind the NAT, and begins."""
    t.role = "resp"
    t.nat(inside="peer")
    ours = replace(SIDE, local="10.8.0.2", remote="any")
    t.establish(ours, ours.mirrored(local="10.7.0.1", remote="10.8.0.2"))
    t.peer.expect("nat here")
    t.traffic()
    t.on_wire("udp esp", peer="10.8.0.254")


@case
def nat_rebinding(t):
    """The NAT in front of the peer forgets it and gives it another port; we follow."""
    t.role = "resp"
    t.nat(inside="peer")
    ours = replace(SIDE, local="10.8.0.2", remote="any")
    # If charon plays our side, it looks where the peer is at IKE messages only, and not if there is MOBIKE.
    dpd, pings = ("0s", "2") if t.binary else ("1s", "6")
    ours = replace(ours, mobike=bool(t.binary))
    t.router_remembers(1)
    t.establish(ours, ours.mirrored(local="10.7.0.1", remote="10.8.0.2", dpd=dpd))
    t.traffic()
    t.router_forgets()
    finished(t.peer.node.start([*PROBE, "ping", "192.168.2.1", "192.168.1.1", pings, "0.5"]), "ping")
    t.traffic()
    before, after = (any(low <= port < low + 10000 for port in t.capture.ports("10.8.0.254")) for low in (20000, 40000))
    if not (before and after):
        raise Failure("the NAT did not change its mapping")


# Raw ESP opposite a Linux kernel

@both_roles
def raw_esp(t):
    t.kernel()
    t.establish(SIDE)
    t.traffic()
    t.on_wire("esp")


@both_roles
def raw_esp_ipv6(t):
    t.kernel()
    t.establish(replace(SIDE6, inner=INNER6, children=(CHILD6,)))
    t.traffic(OURS6, PEER6)
    t.on_wire("esp")


@case
def raw_esp_suites(t):
    """The suites of the kernel, one after the other, each under a child SA of its own."""
    suites = ("aes256gcm16", "chacha20poly1305", "aes128-sha256", "aes256-sha256")
    children = tuple(Child(name=f"lan{n}", local=(f"192.168.1.{n}/32",), remote=("192.168.2.1/32",), esp=(suite,))
                     for n, suite in enumerate(suites, 1))
    addresses = tuple(f"192.168.1.{n}/24" for n in range(1, len(suites) + 1))
    t.role = "init"
    t.kernel()
    if not t.binary:
        t.ours.node.ip(*(f"addr add {address} dev lo" for address in addresses[1:]))
    t.establish(replace(SIDE, inner=addresses, children=children))
    for n, child in enumerate(children, 1):
        if n > 1:
            t.ours.initiate(child.name)
            t.expect("child up")
        t.traffic(f"192.168.1.{n}")
    t.on_wire("esp")


@case
def raw_esp_rekey(t):
    t.role = "init"
    t.kernel()
    t.establish(SIDE)
    with t.flood():
        t.ours.rekey_child()
        t.expect("child rekeyed")
        t.peer.rekey_child()
        t.expect("child rekeyed")
        t.ours.rekey_ike()
        t.expect("ike rekeyed")
        time.sleep(0.5)
    one_tunnel(t)
    t.traffic()
    t.on_wire("esp")


@both_roles
def forced_encapsulation(t):
    """UDP encapsulation with no NAT between us and the kernel, because we ask for it."""
    t.kernel()
    t.establish(replace(SIDE, encapsulation="always"))
    t.traffic()
    t.on_wire("udp esp")


# The kernel's data path and ours, with no daemon: tables of algorithm, mode and IP versions

@alone
def kernel_esp(t):
    kernel.run(t, packets.ESP)


@alone
def kernel_ah(t):
    kernel.run(t, packets.AH)


@case
def manual_keys(t):
    """The daemon and the kernel with manual keys: what IKE cannot negotiate, and what it can, side by side."""
    t.needs_gateway("charon has no manual keys")
    t.kernel()
    lans = [("192.168.1.1", "192.168.2.1", 32), ("192.168.1.2", "192.168.2.2", 32), ("192.168.1.3", "192.168.2.3", 32),
            ("fd01::1", "fd02::1", 128), ("192.168.1.4", "192.168.2.4", 32)]
    kinds = [("esp", (GCM,), False, True), ("ah", (SHA1,), False, True), ("udp", (CBC,), True, False),
             ("esp6", (CHACHA,), False, True), ("both", (GCM, SHA256), False, False)]
    sas = [Manual(name, number, layers, "tunnel", ("10.8.0.1", f"{ours}/{bits}"), ("10.8.0.2", f"{theirs}/{bits}"), udp, esn)
           for number, ((name, layers, udp, esn), (ours, theirs, bits)) in enumerate(zip(kinds, lans))]
    hosts = [("10.8.0.11", "10.8.0.12", GCM), ("fd08::11", "fd08::12", SHA256), ("10.8.0.21", "10.8.0.22", SHA256),
             ("10.8.0.31", "10.8.0.32", CBC), ("fd08::31", "fd08::32", GCM)]
    sas += [Manual(f"host{number}", 8 + number, (algorithm,), "transport", (ours, ours), (theirs, theirs), udp=number > 2)
            for number, (ours, theirs, algorithm) in enumerate(hosts)]
    for ours, theirs, _ in hosts:
        bits, nodad = (64, "nodad") if ":" in ours else (24, "")
        t.ours.node.ip(f"addr add {ours}/{bits} dev wan {nodad}")
        t.peer.node.ip(f"addr add {theirs}/{bits} dev wan {nodad}")
        # The kernel's policy is for neighbour advertisements too.
        t.ours.node.ip(f"neigh add {theirs} lladdr {t.peer.node.mac} dev wan nud permanent")
        t.peer.node.ip(f"neigh add {ours} lladdr 02:00:00:00:00:fe dev wan nud permanent")
    t.peer.node.ip(*(f"addr add {theirs}/32 dev lo" for _, theirs, bits in lans if bits == 32 and theirs != PEER))
    t.start_manual(sas, replace(SIDE, inner=tuple(f"{ours}/{bits}" for ours, _, bits in lans)))
    for ours, theirs, _ in lans + hosts:
        t.traffic(ours, theirs)
    t.on_wire("esp", "ah", "udp esp")
    ends = [end for ours, theirs, _ in hosts for end in (ours, theirs)]
    clear = [of for of in t.capture.count() if of[0] not in ("esp", "ah", "udp esp") and of[1] in ends]
    if clear:
        raise Failure(f"packets in transport mode left in clear: {clear}")


# IKEv1

V1 = replace(SIDE, version="v1-main", ike=("aes128-sha256-modp2048",))


@both_roles
def v1_main_psk(t):
    """Main Mode, and Quick Mode without PFS."""
    t.pair()
    t.establish(V1)
    t.traffic()
    t.on_wire("udp esp")


@both_roles
def v1_aggressive_psk(t):
    t.pair()
    t.establish(replace(V1, version="v1-aggressive"))
    t.traffic()
    t.on_wire("udp esp")


@both_roles
def v1_pfs(t):
    t.pair()
    t.establish(V1.with_child(esp=("aes256-sha1-modp2048",)))
    t.traffic()


@both_roles
def v1_legacy_3des_md5(t):
    t.pair()
    t.establish(replace(V1, ike=("3des-md5-modp1024",)).with_child(esp=("3des-md5",)))
    t.traffic()


@case
def v1_nat_init(t):
    t.role = "init"
    t.nat(inside="ours")
    ours = replace(V1, local="10.7.0.1", remote="10.8.0.2")
    t.establish(ours, ours.mirrored(remote="any"))
    t.peer.expect("nat there")
    t.traffic()
    t.on_wire("udp esp")


@case
def v1_nat_resp(t):
    t.role = "resp"
    t.nat(inside="peer")
    ours = replace(V1, local="10.8.0.2", remote="any")
    t.establish(ours, ours.mirrored(local="10.7.0.1", remote="10.8.0.2"))
    t.peer.expect("nat here")
    t.traffic()
    t.on_wire("udp esp", peer="10.8.0.254")


@both_roles
def v1_parallel(t):
    """Three Quick Modes under one phase 1."""
    children = tuple(Child(name=f"lan{n}", local=(f"192.168.1.{n}/32",), remote=("192.168.2.1/32",)) for n in (1, 2, 3))
    addresses = tuple(f"192.168.1.{n}/24" for n in (1, 2, 3))
    t.pair()
    if not t.binary:
        t.ours.node.ip(*(f"addr add {address} dev lo" for address in addresses[1:]))
    t.establish(replace(V1, inner=addresses, children=children))
    for child in children[1:]:
        t.initiator().initiate(child.name)
    for _ in children[1:]:
        t.expect("child up")
    for n in (1, 2, 3):
        t.traffic(f"192.168.1.{n}")
    if len(t.peer.ike_sas()) != 1 or len(t.peer.children()) != 3:
        raise Failure("not three child SAs under one IKE SA")


ASHA = ("asha", "a secret of her own")
POOL = ("10.3.0.1-10.3.0.9", "10.3.0.53")


@case
def v1_xauth_modecfg_init(t):
    """We are a user's host: charon asks for her password, and gives us an address and a name server."""
    t.needs_gateway("kernel-libipsec has no address of its own to send from")
    t.role = "init"
    t.pair()
    ours = replace(V1, user=ASHA, ask=True, inner=()).with_child(local=("0.0.0.0/0",))
    t.establish(ours, ours.mirrored(pool=POOL).with_child(remote=("dynamic",)))
    t.peer.expect("user accepted")
    given = t.ours.expect("given")
    if "addresses=10.3.0." not in given or "dns=10.3.0.53" not in given:
        raise Failure(f"not what charon has to give: {given}")
    address = given.split("addresses=")[1].split()[0]
    t.traffic(address)
    t.ours.rekey_child()
    t.ours.expect("child rekeyed")
    t.peer.expect("v1 child rekeyed")
    t.traffic(address)
    t.on_wire("udp esp")


@case
def v1_xauth_modecfg_resp(t):
    """charon is a user's host: we ask for her password, and give it an address and a name server."""
    t.needs_gateway("it is charon's own pool that is used then")
    t.role = "resp"
    t.pair()
    ours = replace(V1, users=(ASHA,), pool=POOL).with_child(remote=("10.3.0.0/24",))
    t.establish(ours, ours.mirrored(ask=True).with_child(local=("dynamic",)), extra="install_virtual_ip = yes")
    address = t.peer.expect("virtual ip").split("virtual IP ")[1].split()[0]
    if not address.startswith("10.3.0."):
        raise Failure(f"an address that is not ours to give: {address}")
    t.traffic(peer=address)
    t.on_wire("udp esp")


@both_roles
def v1_xauth_push(t):
    """In Aggressive Mode; and who has addresses to give tells them unasked."""
    t.needs_gateway("it is charon's own pool that is used then")
    t.pair()
    v1 = replace(V1, version="v1-aggressive", push=True)
    if t.role == "init":
        ours = replace(v1, user=ASHA, ask=True, inner=()).with_child(local=("0.0.0.0/0",))
        t.establish(ours, ours.mirrored(pool=POOL).with_child(remote=("dynamic",)))
        t.traffic(t.ours.expect("given").split("addresses=")[1].split()[0])
    else:
        ours = replace(v1, users=(ASHA,), pool=POOL).with_child(remote=("10.3.0.0/24",))
        t.establish(ours, ours.mirrored(ask=True).with_child(local=("dynamic",)), extra="install_virtual_ip = yes")
        t.traffic(peer=t.peer.expect("virtual ip").split("virtual IP ")[1].split()[0])


@both_roles
def v1_split_include(t):
    """Who has addresses to give tells which networks shall go through the tunnel, as Cisco Unity has it."""
    t.needs_gateway("it is charon's own pool that is used then")
    t.pair()
    if t.role == "init":
        ours = replace(V1, user=ASHA, ask=True, inner=()).with_child(local=("0.0.0.0/0",))
        t.establish(ours, ours.mirrored(pool=POOL, networks=("192.168.2.0/24",)).with_child(remote=("dynamic",)))
        given = t.ours.expect("given")
        if "networks=192.168.2.0/24" not in given:
            raise Failure(f"not the network behind charon: {given}")
        t.traffic(given.split("addresses=")[1].split()[0])
    else:
        ours = replace(V1, users=(ASHA,), pool=POOL, networks=("192.168.1.0/24",)).with_child(
            local=("0.0.0.0/0",), remote=("10.3.0.0/24",))
        t.establish(ours, ours.mirrored(ask=True).with_child(local=("dynamic",)), extra="install_virtual_ip = yes")
        t.peer.expect("split include")
        t.traffic(peer=t.peer.expect("virtual ip").split("virtual IP ")[1].split()[0])


@both_roles
def v1_xauth_rsa(t):
    """Both sides sign, and then one of them has to be a user."""
    t.pair()
    side, _ = certified(t, "rsa")
    ours = replace(side, version=V1.version, ike=V1.ike)
    t.establish(replace(ours, user=ASHA) if t.role == "init" else replace(ours, users=(ASHA,)))
    t.traffic()


@both_roles
def v1_hybrid(t):
    """One side signs, and the other one has nothing but a user."""
    t.pair()
    side, _ = certified(t, "rsa")
    ours = replace(side, version=V1.version, ike=V1.ike)
    if t.role == "init":
        t.establish(replace(ours, auth="user", user=ASHA))
    else:
        t.establish(replace(ours, remote_auth="user", users=(ASHA,)))
    t.traffic()


@both_roles
def v1_xauth_wrong_password(t):
    t.pair()
    right, wrong = ASHA, (ASHA[0], "a guess")
    if t.role == "init":
        ours = replace(V1, user=wrong)
        theirs = ours.mirrored(users=(right,))
    else:
        ours = replace(V1, users=(right,))
        theirs = ours.mirrored(user=wrong)
    t.start(ours, theirs)
    t.initiator().initiate()
    t.ours.expect("user refused" if t.role == "init" else "user unknown")
    t.peer.expect("user refused")
    if t.peer.children():
        raise Failure("a tunnel for somebody with a wrong password")


@both_roles
def v1_delete(t):
    t.pair()
    t.establish(V1)
    t.traffic()
    t.ours.terminate()
    t.peer.expect("delete received")


@both_roles
def v1_no_pfs(t):
    """Quick Mode without a key exchange of its own, of the first child SA and of the one that replaces it."""
    t.pair()
    t.establish(V1)
    t.initiator().rekey_child()
    t.ours.expect("child rekeyed")
    child, *_ = t.peer.children()
    if "MODP" in child:
        raise Failure(f"charon agreed to PFS: {child.strip()}")
    t.traffic()


@both_roles
def v1_dpd(t):
    """One side asks whether the other lives (RFC 3706): who hears from the other does not; then charon dies with no word, and
    we notice."""
    t.pair()
    we_ask = t.initiator() is t.ours
    t.establish(replace(V1, dpd="1s" if we_ask else "4s", tries=2), V1.mirrored(dpd="60s" if we_ask else "1s"))
    for _ in range(2):
        if we_ask:
            t.peer.expect("v1 liveness request")
        else:
            t.peer.expect("v1 liveness asked")
            t.peer.expect("v1 liveness answered")
    t.ours.forbid("ike down")
    t.traffic()
    t.peer.kill()
    t.ours.expect("silent", timeout=30)


@both_roles
def v1_rekey(t):
    """New keys for the child SA from each side; then another phase 1, which takes the child SA."""
    t.pair()
    t.establish(V1)
    with t.flood():
        for actor in (t.ours, t.peer):
            actor.rekey_child()
            t.ours.expect("child rekeyed")
            t.peer.expect("v1 child rekeyed")
            time.sleep(0.3)
        t.initiator().rekey_ike()
        t.ours.expect("ike rekeyed")
        t.peer.expect("ike up")
        time.sleep(0.5)
    t.ours.forbid("child down")
    t.traffic()
    # The new phase 1 makes new keys.
    t.initiator().rekey_child()
    t.ours.expect("child rekeyed")
    t.traffic()


def v1_mismatch(parameter, suite):
    """A case in which phase 1 has one of its parameters different; our log says which, and what each side has."""
    @both_roles
    def run(t):
        t.needs_gateway("it is our own sentence")
        t.pair()
        t.start(V1, V1.mirrored(ike=(suite,)))
        t.initiator().initiate()
        t.ours.expect(f"v1 {parameter} refused" if t.role == "init" else f"v1 {parameter} differs")
        no_tunnel(t)
    del CASES["run-init"], CASES["run-resp"]
    run.__name__ = f"v1_mismatch_{parameter}"
    both_roles(run)


for parameter, suite in (("encryption", "aes256-sha256-modp2048"), ("hash", "aes128-sha1-modp2048"),
                         ("group", "aes128-sha256-modp3072")):
    v1_mismatch(parameter, suite)


@case
def v1_mismatch_authentication(t):
    """charon proves who it is by a certificate, where we have a pre-shared key."""
    t.needs_gateway("it is our own sentence")
    t.role = "resp"
    t.pair()
    side, _ = certified(t)
    t.start(V1, replace(side, version="v1-main", ike=V1.ike).mirrored())
    t.peer.initiate()
    t.ours.expect("v1 authentication differs")
    no_tunnel(t)


@both_roles
def v1_mismatch_pfs(t):
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.start(V1, V1.mirrored().with_child(esp=("aes128gcm16-modp2048",)))
    t.initiator().initiate()
    t.ours.expect("v1 child refused" if t.role == "init" else "v1 pfs differs")
    no_tunnel(t)


@both_roles
def v1_mismatch_selectors(t):
    """The identities of Quick Mode are not mirrors of each other."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.start(V1, V1.mirrored().with_child(local=("192.168.77.0/24",)))
    t.initiator().initiate()
    t.ours.expect("no child selectors")
    no_tunnel(t)


@both_roles
def v1_mismatch_psk(t):
    """With another key the fifth message is garbled."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.start(replace(V1, tries=2), V1.mirrored(psk="another secret"))
    t.initiator().initiate()
    t.ours.expect("v1 psk refused" if t.role == "init" else "authentication failed", timeout=20)
    no_tunnel(t)


@case
def v1_ike_scan(t):
    """What another program makes of our answers: to an offer that we take, to one that we refuse, and to Aggressive Mode,
    which is not named here, and so not answered."""
    t.needs_gateway("it asks us")
    need("ike-scan")
    t.pair()
    t.ours.start(V1)

    def scan(*options):
        return t.peer.node.run(["ike-scan", "--sport=0", "--retry=1", *options, "10.8.0.1"])

    for options, answer in ((("--trans=7/128,4,1,14",), "Main Mode Handshake returned"),
                            (("--trans=5,1,1,2",), "Notify message 14 (NO-PROPOSAL-CHOSEN)"),
                            (("--aggressive", "--id=delhi.example", "--dhgroup=14", "--trans=7/128,4,1,14"),
                             "0 returned handshake; 0 returned notify")):
        said = scan(*options)
        if answer not in said:
            raise Failure(f"ike-scan {' '.join(options)}: no `{answer}` in {said}")
        if "Handshake" in answer and not all(part in said for part in ("Enc=AES", "KeyLength=128", "Hash=SHA2-256", "Auth=PSK")):
            raise Failure(f"ike-scan does not see what we chose: {said}")


def v1_on_kernel(t, side, kind, shown, *ends):
    """Opposite a kernel, whose ESP and AH need no UDP; a rekey from each side."""
    t.kernel()
    t.establish(side)
    t.traffic(*ends)
    child, = t.peer.children()
    if shown not in child:
        raise Failure(f"charon agreed to something other than {shown}: {child.strip()}")
    t.on_wire(kind)


@both_roles
def v1_ah(t):
    v1_on_kernel(t, V1.with_child(ah=("sha256",)), "ah", "AH:HMAC_SHA2_256_128")


@both_roles
def v1_transport(t):
    v1_on_kernel(t, replace(V1, inner=(), children=(HOSTS,)), "esp", "TRANSPORT", "10.8.0.1", "10.8.0.2")


@case
def v1_transport_nat(t):
    """Transport mode behind a NAT (RFC 3947 section 5): the addresses that the other side sees are others inside."""
    t.needs_gateway("kernel-libipsec has no transport mode")
    t.role = "init"
    t.kernel()
    t.hide("10.7.0.1")
    ours = replace(V1, local="10.7.0.1", inner=(), children=(replace(HOSTS, local=("10.7.0.1/32",)),))
    theirs = ours.mirrored(remote="any").with_child(local=("dynamic",), remote=("dynamic",))
    t.establish(ours, theirs)
    t.peer.expect("nat there")
    t.peer.expect("nat-oa received")
    t.peer.expect("nat-oa sent")
    child, = t.peer.children()
    if "TRANSPORT" not in child:
        raise Failure(f"not transport mode: {child.strip()}")
    t.ping("10.7.0.1", "10.8.0.2")
    t.ping("10.8.0.2", "10.8.0.1", node=t.peer.node)
    t.transfer("10.7.0.1", "10.8.0.2")
    t.on_wire("udp esp", ours="10.8.0.1")


def v1_by_certificates(t, scheme, kind, links=1, version="v1-main"):
    t.pair()
    side, _ = certified(t, kind, links)
    side = replace(side, version=version, ike=V1.ike)
    t.establish(side)
    t.peer.expect(f"proven by v1 {scheme}")
    t.traffic()
    t.on_wire("udp esp")


@both_roles
def v1_main_rsa(t):
    """RSA signatures over HASH_I and HASH_R without DigestInfo (RFC 2409 section 5.1)."""
    v1_by_certificates(t, "rsa", "rsa")


@both_roles
def v1_main_ecdsa(t):
    """ECDSA on P-256 (RFC 4754), and an intermediate authority."""
    v1_by_certificates(t, "ecdsa", "ecdsa", links=2)


@both_roles
def v1_main_ecdsa_p384(t):
    """HASH_I and HASH_R are made with SHA-384, whatever was negotiated."""
    v1_by_certificates(t, "ecdsa", "ecdsa384")


@both_roles
def v1_aggressive_rsa(t):
    """Identities in the clear, but no pre-shared key to guess at."""
    v1_by_certificates(t, "rsa", "rsa", version="v1-aggressive")


@both_roles
def v1_fragmentation(t):
    """RSA-4096, over a path of 1,280 bytes that loses IP fragments: both sides announce FRAGMENTATION."""
    t.pair()
    t.short_path(1280)
    side, _ = certified(t, "rsa4096")
    side = replace(side, version="v1-main", ike=V1.ike, fragment_size=600)
    t.establish(side)
    t.peer.expect("v1 fragments sent")
    t.peer.expect("v1 fragments received")
    t.ours.node.ip("link set ipsec0 mtu 1180")
    t.traffic()
    refuse(t.capture.count(), "fragment")


@both_roles
def v1_fragmentation_force(t):
    """charon does not ask what we can, and cuts what is in the clear, too."""
    t.pair()
    side = replace(V1, ike=("aes128-sha256-modp4096",), fragment_size=400)
    t.establish(side, side.mirrored(force=True))
    t.peer.expect("v1 fragments sent")
    t.peer.expect("v1 fragments received")
    t.traffic()


@both_roles
def v1_cert_expired(t):
    """The peer's certificate has expired."""
    t.pair()
    side, _ = certified(t, peer={"until": "210101000000Z"})
    side = replace(side, version="v1-main", ike=V1.ike)
    is_refused(t, side, side.mirrored(), "expired")


# Signatures and certificates

def certified(t, kind="ecdsa", links=1, ours=None, peer=None):
    """Our side and the peer with certificates of one root, with `links` certificates below it. `ours` and `peer` change what
    is issued. Gives what our side is told, and the authority that has issued both."""
    root = issuer = Authority(t.folder)
    for link in range(1, links):
        issuer = Authority(t.folder, f"issuer-{link}", issuer=issuer)
    holders = (issuer.issue(name, **{"names": names, "kind": kind, **(changes or {})})
               for name, names, changes in [("ours", "DNS:kolkata.example", ours), ("peer", "DNS:delhi.example", peer)])
    own, other = holders
    side = replace(SIDE, auth="cert", remote_auth="cert", own=own, other=other, ca=(str(root.certificate),))
    return side, issuer


def by_certificates(t, scheme, kind, extra="", **changes):
    t.pair()
    side, _ = certified(t, kind)
    t.establish(replace(side, **changes), side.mirrored(), extra)
    t.peer.expect(f"proven by {scheme}")
    t.traffic()


@both_roles
def cert_rsa(t):
    by_certificates(t, "rsa", "rsa", signature=("rsa-sha256",))


@both_roles
def cert_rsa_pss(t):
    by_certificates(t, "pss", "rsa", "rsa_pss = yes", signature=("rsa-pss-sha256",))


@both_roles
def cert_ecdsa(t):
    by_certificates(t, "ecdsa", "ecdsa")


@both_roles
def cert_ecdsa_p384(t):
    by_certificates(t, "ecdsa", "ecdsa384")


@both_roles
def cert_ed25519(t):
    by_certificates(t, "ed25519", "ed25519")


@both_roles
def cert_older_methods(t):
    """The peer does not know RFC 7427: the methods of RFC 7296 and RFC 4754."""
    by_certificates(t, "older ecdsa", "ecdsa", "signature_authentication = no")


@both_roles
def cert_chain(t):
    """Two intermediate authorities below the root, whose certificates are sent."""
    t.pair()
    side, _ = certified(t, links=3)
    t.establish(side)
    t.traffic()


@both_roles
def fragmentation(t):
    """RSA-4096 and an intermediate authority, over a path of 1,280 bytes that loses IP fragments (RFC 7383)."""
    t.pair()
    t.short_path(1280)
    side, _ = certified(t, "rsa4096", links=2)
    t.establish(side, side.mirrored(fragment_size=600))
    fragmented(t)


@both_roles
def fragmentation_force(t):
    """charon does not ask what we can."""
    t.pair()
    side = replace(SIDE, fragment_size=256, ike=("aes128-sha256-modp2048",))
    t.establish(side, side.mirrored(fragment_size=300, force=True))
    t.initiator().rekey_ike()
    t.expect("ike rekeyed")
    fragmented(t)


@both_roles
def fragmentation_rekey(t):
    """Fragments so small that rekeying needs them, too."""
    t.pair()
    t.short_path(1280)
    side = replace(SIDE, fragment_size=256, ike=("aes128-sha256-modp2048",)).with_child(esp=("aes128gcm16-modp2048",))
    t.establish(side, side.mirrored(fragment_size=300))
    for actor in (t.ours, t.peer):
        actor.rekey_ike()
        t.expect("ike rekeyed")
        actor.rekey_child()
        t.expect("child rekeyed")
    one_tunnel(t)
    fragmented(t)


@case
def fragmentation_off(t):
    """The peer does not want fragments: no tunnel, and we say why."""
    t.needs_gateway("charon does not know why nobody answers")
    t.role = "init"
    t.pair()
    t.short_path(1280)
    side, _ = certified(t, "rsa", links=3)
    t.start(replace(side, tries=3), side.mirrored(fragment_size=0))
    t.ours.initiate()
    t.ours.expect("fragmentation needed")
    no_tunnel(t)


def fragmented(t):
    """Both sides have sent encrypted fragments, and neither an IP fragment. What is in the tunnel must be short, too."""
    t.ours.node.ip("link set ipsec0 mtu 1180")
    t.traffic()
    for address in ("10.8.0.1", "10.8.0.2"):
        if not t.capture.ike_fragments(address):
            raise Failure(f"{address} has sent no fragment")
    refuse(t.capture.count(), "fragment")


@both_roles
def cert_and_psk(t):
    """We prove ourselves by a certificate, the peer by a pre-shared key."""
    t.pair()
    side, _ = certified(t)
    t.establish(replace(side, remote_auth="psk"))
    t.traffic()


@both_roles
def psk_and_cert(t):
    """The other way round."""
    t.pair()
    side, _ = certified(t)
    t.establish(replace(side, auth="psk"))
    t.traffic()


@both_roles
def raw_keys(t):
    """Both know each other's public key."""
    t.pair()
    side, _ = certified(t)
    t.establish(replace(side, auth="rawkey", remote_auth="rawkey", ca=()))
    t.traffic()


@both_roles
def raw_keys_differ(t):
    """The peer signs with another key than the one that we know."""
    t.pair()
    side, authority = certified(t)
    side = replace(side, auth="rawkey", remote_auth="rawkey", ca=())
    is_refused(t, side, replace(side.mirrored(), own=authority.issue("another", "DNS:delhi.example")), "wrong signature")


@both_roles
def cert_revoked(t):
    """The peer's certificate is revoked."""
    t.pair()
    side, authority = certified(t)
    authority.revoke(side.other)
    is_refused(t, replace(side, crl=(authority.crl(),)), side.mirrored(), "revoked")


@both_roles
def cert_not_revoked(t):
    """Somebody else's certificate is."""
    t.pair()
    side, authority = certified(t)
    authority.revoke(authority.issue("mallory", "DNS:delhi.example"))
    t.establish(replace(side, crl=(authority.crl(),)), side.mirrored())
    t.traffic()


@both_roles
def cert_expired(t):
    """The peer's certificate has expired."""
    t.pair()
    side, _ = certified(t, peer={"until": "210101000000Z"})
    is_refused(t, side, side.mirrored(), "expired")


@both_roles
def cert_not_yet_valid(t):
    """The peer's certificate is for later, or our clock is wrong."""
    t.pair()
    side, _ = certified(t, peer={"since": "390101000000Z"})
    is_refused(t, side, side.mirrored(), "not yet valid")


@both_roles
def cert_wrong_name(t):
    """The peer's certificate is for somebody else."""
    t.pair()
    side, _ = certified(t, peer={"names": "DNS:mumbai.example"})
    is_refused(t, side, side.mirrored(), "wrong name")


@both_roles
def cert_unknown_issuer(t):
    """Somebody has issued the peer's certificate whom we do not trust."""
    t.pair()
    side, _ = certified(t)
    other = Authority(t.folder, "other").issue("stranger", "DNS:delhi.example")
    peer = replace(side.mirrored(), own=other)
    is_refused(t, side, peer, "unknown issuer")


@both_roles
def cert_wrong_method(t):
    """The peer proves itself by a pre-shared key, and we want a certificate."""
    t.pair()
    side, _ = certified(t)
    is_refused(t, side, replace(side.mirrored(), auth="psk"), "wrong method")


def is_refused(t, ours, peer, why):
    """We do not believe the peer, and know why."""
    t.start(ours, peer)
    t.initiator().initiate()
    t.ours.expect(why)
    t.ours.forbid("child up")
    t.no_traffic()


# What goes wrong

@both_roles
def wrong_psk(t):
    t.pair()
    t.start(SIDE, SIDE.mirrored(psk="another secret"))
    t.initiator().initiate()
    t.expect("authentication failed")
    no_tunnel(t)


@both_roles
def wrong_identity(t):
    """The peer proves an identity that is not the one we expect."""
    t.pair()
    t.start(replace(SIDE, remote_id="mumbai.example"), SIDE.mirrored())
    t.initiator().initiate()
    t.ours.expect("authentication failed")
    t.ours.forbid("child up")
    t.no_traffic()


@both_roles
def no_proposal(t):
    t.pair()
    t.start(SIDE, SIDE.mirrored(ike=("aes256-sha256-modp2048",)))
    t.initiator().initiate()
    t.expect("no ike proposal")
    no_tunnel(t)


@both_roles
def no_child_proposal(t):
    """The IKE SA stands, and says why its child SA does not."""
    t.pair()
    t.start(SIDE, SIDE.mirrored().with_child(esp=("aes256-sha256",)))
    t.initiator().initiate()
    t.expect("no child proposal")
    t.ours.forbid("child up")
    t.peer.forbid("child up")
    t.no_traffic()


@both_roles
def ts_mismatch(t):
    t.pair()
    t.start(SIDE, SIDE.mirrored().with_child(local=("192.168.77.0/24",)))
    t.initiator().initiate()
    t.expect("no child selectors")
    t.ours.forbid("child up")
    t.peer.forbid("child up")
    t.no_traffic()


@both_roles
def pfs_mismatch(t):
    """The first child SA comes up, and has no key exchange of its own; new keys for it are refused, and it goes on."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.establish(SIDE, SIDE.mirrored().with_child(esp=("aes128gcm16-x25519",)))
    t.initiator().rekey_child()
    t.ours.expect("pfs differs")
    t.ours.forbid("child rekeyed")
    t.traffic()


@case
def silent_peer(t):
    """Nobody is there."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.ours.start(replace(SIDE, tries=2))
    t.ours.initiate()
    t.ours.expect("no answer")


@case
def firewall_4500(t):
    """A firewall lets UDP 500 through, and drops 4500."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.drop(t.peer, "udp dport 4500")
    t.start(replace(SIDE, tries=2, encapsulation="always"))
    t.ours.initiate()
    t.ours.expect("4500 closed")


@both_roles
def one_way(t):
    """A firewall drops the peer's ESP, and lets its IKE through."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.drop(t.ours, "udp sport 4500 @th,64,32 != 0")
    t.establish(SIDE)
    t.ours.node.start([*PROBE, "ping", "192.168.1.1", "192.168.2.1", "20", "0.5"])
    t.ours.expect("one way", timeout=20)


@both_roles
def too_big(t):
    """Packets that do not fit once they are sealed: their sender is told."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.establish(replace(SIDE, mtu=1500))
    probe = t.ours.node.start([*PROBE, "big", "192.168.1.1", "192.168.2.1", "1500"])
    t.ours.expect("too big")
    if not finished(probe, "big")["told"]:
        raise Failure("the sender was not told")
    t.traffic()


@both_roles
def no_route(t):
    """What comes out of the tunnel has nowhere to go."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.establish(SIDE.with_child(local=("10.99.0.0/24",)))
    t.peer.node.start([*PROBE, "ping", "192.168.2.1", "10.99.0.1", "4", "0.2"])
    t.ours.expect("no route")


@both_roles
def lifetimes_differ(t):
    """The peer replaces keys long before we would."""
    t.needs_gateway("it is our own sentence")
    t.pair()
    t.establish(SIDE, SIDE.mirrored().with_child(lifetime="3s"))
    t.ours.expect("lifetimes differ")
    t.traffic()


def no_tunnel(t):
    for side in (t.ours, t.peer):
        side.forbid("child up")
    t.no_traffic()


# Algorithms

def suite(ike, esp, shown):
    """A case with this suite for IKE and for ESP, which swanctl shows as `shown`."""
    def run(t):
        t.pair()
        t.establish(replace(SIDE, ike=(ike,)).with_child(esp=(esp,)))
        t.traffic()
        child, = t.peer.children()
        if shown not in child:
            raise Failure(f"charon agreed to something other than {shown}: {child.strip()}")
        t.on_wire("udp esp")
    run.__name__ = f"suite_{esp}"
    both_roles(run)


suite("aes256gcm16-prfsha384-x25519", "aes256gcm16", "AES_GCM_16-256")
suite("chacha20poly1305-prfsha512-x25519", "chacha20poly1305", "CHACHA20_POLY1305")
suite("aes128-sha256-x25519", "aes128-sha256", "AES_CBC-128/HMAC_SHA2_256_128")
suite("aes256-sha256-x25519", "aes256-sha256", "AES_CBC-256/HMAC_SHA2_256_128")


def group(keyword, shown):
    """A case with this group in IKE_SA_INIT, in a rekeying of the child SA (PFS) and in one of the IKE SA."""
    def run(t):
        t.pair()
        t.establish(replace(SIDE, ike=(f"aes128gcm16-prfsha256-{keyword}",)).with_child(esp=(f"aes128gcm16-{keyword}",)))
        t.initiator().rekey_child()
        t.expect("child rekeyed")
        t.initiator().rekey_ike()
        t.expect("ike rekeyed")
        one_tunnel(t)
        t.traffic()
        if shown not in t.peer.swanctl("--list-sas"):
            raise Failure(f"charon agreed to a group other than {shown}")
        child, = t.peer.children()
        if shown not in child:
            raise Failure(f"the child SA was rekeyed without {shown}: {child.strip()}")
    run.__name__ = f"group_{keyword}"
    both_roles(run)


group("x25519", "CURVE_25519")
group("ecp256", "ECP_256")
group("modp2048", "MODP_2048")


@both_roles
def invalid_ke(t):
    """The initiator's first group is not the responder's: INVALID_KE_PAYLOAD, and another IKE_SA_INIT."""
    both = ("aes128gcm16-prfsha256-x25519-ecp256",)
    one = ("aes128gcm16-prfsha256-ecp256",)
    t.pair()
    if t.role == "init":
        t.establish(replace(SIDE, ike=both), SIDE.mirrored(ike=one))
    else:
        t.establish(replace(SIDE, ike=one), SIDE.mirrored(ike=both))
    t.peer.expect("invalid ke")
    t.traffic()


@case
def cookie_init(t):
    """charon has half-open IKE SAs enough to ask us for a cookie."""
    t.role = "init"
    t.pair()
    t.ours.node.ip("addr add 10.8.0.99/24 dev wan")
    t.start(SIDE, SIDE.mirrored(remote="any"), extra="cookie_threshold = 1")
    finished(t.ours.node.start([*PROBE, "half-open", "10.8.0.99", "10.8.0.2", "1"]), "half-open")
    t.ours.initiate()
    t.peer.expect("cookie")
    t.expect("ike up", "child up")
    t.traffic()


@case
def cookie_resp(t):
    """Under a flood of half-open IKE SAs from many addresses we ask for cookies; charon brings one and gets its tunnel."""
    t.needs_gateway("charon's own cookies are the business of cookie-init")
    t.role = "resp"
    t.pair()
    sources = [f"10.8.0.{n}" for n in range(100, 180)]
    t.peer.node.ip(*(f"addr add {source}/24 dev wan" for source in sources))
    t.start(replace(SIDE, remote="any"), SIDE.mirrored())    # who is not configured gets no half-open IKE SA at all
    cookies = 0
    for source in sources:
        cookies += finished(t.peer.node.start([*PROBE, "half-open", source, "10.8.0.1", "1"]), "half-open")["cookies"]
        if cookies:
            break
    if not cookies:
        raise Failure(f"no cookie asked of {len(sources)} addresses with a half-open IKE SA each")
    t.peer.initiate()
    t.peer.expect("cookie")
    t.expect("ike up", "child up")
    t.traffic()


# Rekeying, with traffic that loses nothing

def rekey(who, what):
    """A case in which `who` rekeys the child SA or the IKE SA, twice."""
    def run(t):
        t.role = "init"
        t.pair()
        t.establish(SIDE)
        actor = t.ours if who == "ours" else t.peer
        with t.flood():
            for _ in range(2):
                actor.rekey_child() if what == "child" else actor.rekey_ike()
                t.expect(f"{what} rekeyed")
                time.sleep(0.3)
        one_tunnel(t)
        t.traffic()
    run.__name__ = f"rekey_{what}_{who}"
    case(run)


for what in ("child", "ike"):
    for who in ("ours", "theirs"):
        rekey(who, what)


def collision(what):
    """A case in which both sides rekey at once (RFC 7296 section 2.8.1); one of the two new SAs remains."""
    def run(t):
        t.role = "init"
        t.pair()
        t.establish(SIDE)
        with t.flood():
            both = [threading.Thread(target=side.rekey_child if what == "child" else side.rekey_ike)
                    for side in (t.ours, t.peer)]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
            t.expect(f"{what} rekeyed")
            time.sleep(0.5)
        one_tunnel(t)
        t.traffic()
    run.__name__ = f"rekey_{what}_both"
    case(run)


collision("child")
collision("ike")


@case
def lifetime_child(t):
    """Our child SA reaches its lifetime, again and again."""
    t.role = "init"
    t.pair()
    t.establish(SIDE.with_child(lifetime="4s"))
    with t.flood():
        for _ in range(2):
            t.expect("child rekeyed")
    t.traffic()


@case
def lifetime_ike(t):
    t.role = "init"
    t.pair()
    t.establish(replace(SIDE, lifetime="4s"))
    with t.flood():
        for _ in range(2):
            t.expect("ike rekeyed")
    t.traffic()


@case
def lifetime_packets(t):
    """Our child SA has carried the packets it may carry."""
    t.needs_gateway("kernel-libipsec does not count packets for charon")
    t.role = "init"
    t.pair()
    t.establish(SIDE.with_child(lifetime_packets=100))
    with t.flood():
        t.expect("child rekeyed", timeout=15)
    t.traffic()


def one_tunnel(t):
    """The peer has one IKE SA and one child SA left, once what was replaced has been deleted."""
    def settled():
        return len(t.peer.children()) == 1 and len(t.peer.ike_sas()) == 1
    wait_until(settled, 8, "the peer has not come back to one IKE SA with one child SA")


# Liveness

@case
def liveness_theirs(t):
    """charon asks whether we live."""
    t.role = "init"
    t.pair()
    t.establish(SIDE, SIDE.mirrored(dpd="1s"))
    for _ in range(2):
        t.peer.expect("liveness asked")
        t.peer.expect("liveness answered")
    t.ours.forbid("ike down")
    t.traffic()


@case
def liveness_ours(t):
    """We ask whether charon lives."""
    t.role = "init"
    t.pair()
    t.establish(replace(SIDE, dpd="1s"))
    for _ in range(2):
        t.peer.expect("liveness request")
    t.ours.forbid("ike down")
    t.traffic()


@case
def peer_killed(t):
    """charon dies with no word; we notice."""
    t.role = "init"
    t.pair()
    t.establish(replace(SIDE, dpd="1s"))
    t.peer.kill()
    t.ours.expect("silent", timeout=60)


@case
def peer_restarted(t):
    """charon dies with no word, starts anew and initiates: its new IKE SA replaces the old one."""
    t.role = "resp"
    t.pair()
    t.establish(SIDE)
    t.peer.kill()
    t.peer.start(SIDE.mirrored())
    t.peer.initiate()
    t.ours.expect("ike up")
    t.ours.expect("child up")
    t.traffic()


# Deleting

@case
def terminate_ours(t):
    t.role = "init"
    t.pair()
    t.establish(SIDE)
    t.ours.terminate()
    t.expect("ike down")
    t.peer.expect("delete received")
    t.no_traffic()


@case
def terminate_theirs(t):
    t.role = "init"
    t.pair()
    t.establish(SIDE)
    t.peer.terminate()
    t.expect("ike down")
    t.no_traffic()


@both_roles
def terminate_child_theirs(t):
    """charon deletes the child SA alone; another one is then made under the same IKE SA."""
    t.pair()
    t.establish(SIDE)
    t.peer.terminate_child()
    t.ours.expect("child down")
    t.no_traffic()
    t.ours.forbid("ike down")
    t.initiator().initiate()
    t.expect("child up")
    t.traffic()


@case
def sigterm_ours(t):
    """We are told to end: SAs are deleted before we do, and the exit status is 0."""
    t.role = "init"
    t.pair()
    t.establish(SIDE)
    status = t.ours.end()
    t.peer.expect("delete received")
    if status != 0:
        raise Failure(f"our exit status was {status}")
