"""One run of one case: its machines, the two daemons, and what cases do with them again and again."""
import json
import re
import signal
import subprocess
import time
from contextlib import contextmanager

from . import Failure, Skip
from .capture import Capture, refuse, require
from .charon import Charon
from .gateway import Gateway
from .nodes import HERE, PYTHON, Guest, Netns, missing, wait_until
from .wire import Cable, Wire

OURS, PEER = "192.168.1.1", "192.168.2.1"
OURS6, PEER6 = "fd01::1", "fd02::1"
PROBE = [*PYTHON, str(HERE / "rig/probe.py")]
TRANSFER = 2_000_000    # octets in each direction


class Trial:
    """`role` is ours: "init", "resp", or None where the case itself says who begins. With `binary` None our side is
    played by charon too, which proves the suite and not us. `wire` is the program interop-wire."""

    def __init__(self, role, folder, work, binary, wire):
        self.role = role
        self.folder = folder
        self.work = work
        self.binary = binary
        self.wire_program = wire
        self.report = []
        self.nodes = []
        self.ours = self.peer = self.capture = None
        self.checked = False
        self.floods = 0

    # Machines

    def pair(self):
        """Two machines on one wire."""
        ours, peer = self.netns("ours"), self.netns("peer")
        self.wire(ours, peer)
        self.address(ours, "10.8.0.1/24", "fd08::1/64")
        self.address(peer, "10.8.0.2/24", "fd08::2/64")
        self.daemons(ours, peer)

    def short_path(self, mtu):
        """The wire of a pair carries packets of so many bytes, and no IP fragments."""
        need("nft")
        for node in (self.ours.node, self.peer.node):
            node.ip(f"link set wan mtu {mtu}")
            node.run(["nft", """
                table netdev path {
                  chain wan {
                    type filter hook ingress device wan priority 0; policy accept
                    ip frag-off & 0x3fff != 0 drop
                    ip6 nexthdr 44 drop
                  }
                }"""])

    def nat(self, inside, daemon=Charon):
        """A router between 10.7.0.0/24, where `inside` ("ours" or "peer") is 10.7.0.1, and 10.8.0.0/24, where the other
        one is 10.8.0.2; it hides the former behind 10.8.0.254. Where the peer's daemon needs a kernel, it has one."""
        need("nft", *(("linux.uml", "modprobe", "gcc", *daemon.NEEDS) if daemon.NEEDS else ()))
        ours, router = self.netns("ours"), self.netns("router")
        names = ("inside", "outside") if inside == "ours" else ("outside", "inside")
        self.wire(ours, router, names[0])
        if daemon is Charon:
            peer = self.netns("peer")
            self.wire(peer, router, names[1])
        else:
            router.ip(f"tuntap add dev {names[1]} mode tap", f"link set {names[1]} up")
            peer = Guest("peer", self.folder, self.work, router, names[1])
            self.nodes.append(peer)
            peer.boot()
        hidden, public = (ours, peer) if inside == "ours" else (peer, ours)
        self.address(hidden, "10.7.0.1/24")
        hidden.ip("route add default via 10.7.0.254")
        self.address(public, "10.8.0.2/24")
        router.ip("addr add 10.7.0.254/24 dev inside", "addr add 10.8.0.254/24 dev outside")
        router.set("net.ipv4.ip_forward", 1)
        self.router = router
        self.map_ports("20000-29999")
        self.daemons(ours, peer, daemon=daemon)

    def hide(self, address):
        """Our machine has this address besides, which its own NAT hides behind that of the wire."""
        need("nft")
        self.ours.node.ip(f"addr add {address}/32 dev lo")
        self.ours.node.run(["nft", f"""
            table ip nat {{
              chain postrouting {{
                type nat hook postrouting priority srcnat
                oifname wan ip saddr {address} meta l4proto udp masquerade to :20000-29999
              }}
            }}"""])

    def map_ports(self, ports):
        """The router's NAT: UDP leaves from these ports of 10.8.0.254; nothing gets in unasked."""
        self.router.run(["nft", f"""
            table ip nat
            delete table ip nat
            table ip nat {{
              chain postrouting {{
                type nat hook postrouting priority srcnat
                oifname outside meta l4proto udp masquerade to :{ports}
                oifname outside masquerade
              }}
              chain forward {{
                type filter hook forward priority filter; policy drop
                iifname inside accept
                ct state established,related accept
              }}
            }}"""])

    def drop(self, side, what):
        """A firewall before `side` drops what nftables calls `what`."""
        need("nft")
        side.node.run(["nft", f"""
            table inet firewall {{
              chain input {{
                type filter hook input priority filter
                {what} drop
              }}
            }}"""])

    def router_remembers(self, seconds):
        """How long the router keeps a mapping of UDP ports over which nothing flows."""
        for timeout in ("udp_timeout", "udp_timeout_stream"):
            self.router.set(f"net.netfilter.nf_conntrack_{timeout}", seconds)

    def router_forgets(self):
        """The router drops everything for longer than it remembers, here 1 s; then it maps other ports, for longer."""
        self.router.run(["nft", """
            table ip silence {
              chain prerouting {
                type filter hook prerouting priority raw; policy drop
              }
            }"""])
        time.sleep(2.5)
        self.map_ports("40000-49999")
        self.router_remembers(120)
        self.router.run(["nft", "delete table ip silence"])

    def kernel(self, daemon=Charon):
        """The peer is a Linux kernel of its own, so that ESP is the kernel's and there is no NAT, not even a faked one;
        `daemon` runs on it."""
        need("linux.uml", "modprobe", "gcc", *daemon.NEEDS)
        if self.binary:
            host = ours = self.netns("ours")
            ours.ip("tuntap add dev wan mode tap", "link set wan address 02:00:00:00:00:fe")
            guests = [("peer", "wan")]
        else:
            host = self.netns("wire")
            host.ip("link add wan type bridge mcast_snooping 0", "link set wan up")
            guests = [("ours", "tap1"), ("peer", "tap2")]
            for _, tap in guests:
                host.ip(f"tuntap add dev {tap} mode tap", f"link set {tap} master wan up")
        started = [Guest(name, self.folder, self.work, host, tap) for name, tap in guests]
        self.nodes += started
        for guest in started:
            guest.boot()
        *first, peer = started
        ours = first[0] if first else ours
        self.address(ours, "10.8.0.1/24", "fd08::1/64")
        self.address(peer, "10.8.0.2/24", "fd08::2/64")
        self.daemons(ours, peer, wire=host, daemon=daemon)

    def cable(self):
        """interop-wire, and a guest kernel that it talks to without a network between them."""
        need("linux.uml", "modprobe", "gcc")
        if not self.wire_program:
            raise Skip("charon cannot seal single packets")
        cable = Cable("peer", self.folder, self.work)
        self.nodes.append(cable)
        wire = Wire(self.wire_program)
        self.nodes.append(wire)
        return wire, cable

    def netns(self, name):
        node = Netns(name, self.folder)
        self.nodes.append(node)
        return node

    def wire(self, one, other, name="wan"):
        one.ip(f"link add wan type veth peer name {name} netns {other.pid}", "link set wan up")
        other.ip(f"link set {name} up")

    def address(self, node, *addresses):
        node.ip("link set wan up", *(f"addr add {address} dev wan {'nodad' if ':' in address else ''}" for address in addresses))

    def daemons(self, ours, peer, wire=None, daemon=Charon):
        peer.ip(f"addr add {PEER}/32 dev lo", f"addr add {PEER6}/128 dev lo nodad")
        self.peer = daemon(peer)
        if self.binary:
            self.ours = Gateway(ours, self.binary)
        else:
            ours.ip(f"addr add {OURS}/32 dev lo", f"addr add {OURS6}/128 dev lo nodad")
            self.ours = Charon(ours)
        self.capture = Capture(wire or ours)

    def needs_gateway(self, why):
        if not self.binary:
            raise Skip(why)

    def stop(self):
        for node in reversed(self.nodes):
            node.stop()

    # Tunnels

    def start(self, ours, peer=None, extra=""):
        """Starts both daemons, the peer with what agrees with ours unless told otherwise."""
        self.peer.start(peer or ours.mirrored(), extra)
        self.ours.start(ours)

    def start_manual(self, sas, ours):
        """Starts our daemon with these SAs, and gives them to the kernel at the other end; charon is left out."""
        peer = self.peer.node
        (peer.folder / "xfrm").write_text("".join(line + "\n" for of in sas for line in of.commands()))
        peer.ip(f"-batch {peer.path('xfrm')}", "route add 192.168.1.0/24 via 10.8.0.1", "route add fd01::/64 via fd08::1")
        speaker = f"exec {' '.join(PYTHON)} {HERE}/uml/speaker.py manual 4500 < /dev/null"    # holds the port of ESP in UDP
        peer.start(["sh", "-c", speaker], log="speaker.out")
        wait_until(lambda: "ready" in (peer.folder / "speaker.out").read_text(), 10, "the speaker did not start")
        self.peer.side = ours.mirrored()
        self.ours.start(ours, sas)

    def needs_ml_kem(self):
        asked = subprocess.run(["swanctl", "--help"], capture_output=True, text=True, check=False)
        version = re.search(r"strongSwan (\d+)\.", asked.stdout + asked.stderr)
        if version and int(version[1]) < 6:
            raise Skip("charon has ML-KEM since version 6")

    def initiator(self):
        return self.ours if self.role == "init" else self.peer

    def establish(self, ours, peer=None, extra=""):
        """Starts both daemons and has one of them set up the tunnel."""
        self.start(ours, peer, extra)
        self.initiator().initiate(ours.children[0].name)
        self.expect("ike up", "child up")

    def expect(self, *events, timeout=10):
        """Waits for each event on both sides."""
        for event in events:
            self.ours.expect(event, timeout)
            self.peer.expect(event, timeout)

    # Traffic

    def traffic(self, ours=OURS, peer=PEER):
        """Pings in both directions, then a TCP connection that carries TRANSFER octets in both directions; nothing is lost."""
        here, there = self.ours.node, self.peer.node
        pings = [here.start([*PROBE, "ping", ours, peer, "4", "0.05"]), there.start([*PROBE, "ping", peer, ours, "4", "0.05"])]
        for direction, task in zip(("ours to peer", "peer to ours"), pings):
            no_loss(direction, finished(task, "ping"))
        self.transfer(ours, peer)

    def ping(self, source, target, node=None):
        """From one side, ours unless told otherwise; nothing is lost."""
        task = (node or self.ours.node).start([*PROBE, "ping", source, target, "4", "0.05"])
        no_loss(f"{source} to {target}", finished(task, "ping"))

    def transfer(self, ours=OURS, peer=PEER):
        """A TCP connection to port 5001 of the peer, which carries TRANSFER octets in both directions."""
        here, there = self.ours.node, self.peer.node
        server = there.start([*PROBE, "serve", peer, "5001", str(TRANSFER)])
        client = here.start([*PROBE, "connect", ours, peer, "5001", str(TRANSFER)])
        sent, received = finished(client, "TCP client"), finished(server, "TCP server")
        for direction, source, target in (("ours to peer", sent, received), ("peer to ours", received, sent)):
            if source["sent"] != target["received"] or target["bytes"] != TRANSFER:
                raise Failure(f"TCP, {direction}: {target['bytes']} of {TRANSFER} octets arrived, or not those sent")

    def no_traffic(self, ours=OURS, peer=PEER):
        """A ping each way must not be answered."""
        for node, source, target in ((self.ours.node, ours, peer), (self.peer.node, peer, ours)):
            output = node.run([*PROBE, "ping", source, target, "1", "0.05"], check=False)
            if '"lost": []' in output:
                raise Failure(f"a ping from {source} to {target} was answered, with no tunnel")

    @contextmanager
    def flood(self, ours=OURS, peer=PEER):
        """While the body runs, each side pings the other twenty times a second; not one may be lost."""
        self.floods += 1
        log = f"flood-{self.floods}.out"
        pingers = []
        for direction, node, source, target in (("ours to peer", self.ours.node, ours, peer),
                                                ("peer to ours", self.peer.node, peer, ours)):
            task = node.start([*PROBE, "ping", source, target, "0", "0.05"], log=log)
            pingers.append((direction, task, node.folder / log))
        for direction, _, output in pingers:
            wait_until(lambda: "flowing" in output.read_text(), 10, f"no ping answered, {direction},")
        yield
        for _, task, _ in pingers:
            task.signal(signal.SIGINT)
        for direction, task, output in pingers:
            no_loss(direction, finished(task, "ping", output))

    # The wire

    def on_wire(self, *kinds, ours=None, peer=None):
        """Both sides sent packets of these kinds ("esp", "ah", "udp esp"), nobody of another, and nothing of ours in clear."""
        sources = [ours or self.ours.side.local, peer or self.peer.side.local]
        counts = self.capture.count()
        for kind in kinds:
            require(counts, kind, sources)
        for kind in {"esp", "ah", "udp esp", "clear"}.difference(kinds):
            refuse(counts, kind)
        self.checked = True

    def check_clear(self):
        """In every case: no inner packet crosses the wire in clear."""
        if self.capture and not self.checked:
            refuse(self.capture.count(), "clear")


def need(*programs):
    absent = missing(programs)
    if absent:
        raise Skip(f"{', '.join(absent)} not installed; tests/interop/setup installs it")


def finished(task, what, log=None):
    """What a probe printed in the end."""
    status, output = task.wait(40)
    output = log.read_text() if log else output
    if status is None:
        task.kill()
        raise Failure(f"{what} did not end within 40 s")
    try:
        return json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Failure(f"{what} failed: {output.strip()[-300:] or f'status {status}'}") from None


def no_loss(direction, pings):
    if pings["lost"] or not pings["sent"]:
        raise Failure(f"{len(pings['lost'])} of {pings['sent']} pings lost, {direction}: {pings['lost'][:20]}")
