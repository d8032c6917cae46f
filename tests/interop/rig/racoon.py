"""racoon, the IKE daemon of ipsec-tools, which negotiates bundles: its configuration, its events, and setkey's policies. It
needs a kernel's IPsec, so it runs on a guest, whose policies have it begin."""
from ipaddress import ip_network

from .daemon import Daemon
from .nodes import UNPACKED

PROGRAMS = UNPACKED / "racoon/usr/sbin"
LIBRARIES = [f"LD_LIBRARY_PATH={UNPACKED}/racoon/usr/lib/x86_64-linux-gnu:{UNPACKED}/racoon/usr/lib/ipsec-tools"]

CONFIGURATION = """\
path pre_shared_key "{psk}";
path pidfile "{pid}";
complex_bundle on;
listen {{
  isakmp {side.local} [500];
  adminsock disabled;
}}
remote {side.remote} {{
  exchange_mode main;
  lifetime time 4 hour;
  proposal_check obey;
  nat_traversal off;
  dpd_delay {dpd};
  dpd_retry 1;
  dpd_maxfail 3;
  proposal {{
    encryption_algorithm aes 128;
    hash_algorithm sha256;
    authentication_method pre_shared_key;
    dh_group modp2048;
  }}
}}
sainfo anonymous {{
  {pfs}
  lifetime time 1 hour;
  encryption_algorithm aes 128;
  authentication_algorithm hmac_sha1;
  compression_algorithm deflate;
}}
"""

# For one direction: ESP first, and AH around it.
POLICY = """\
spdadd {source} {target} any -P {way} ipsec
  esp/{mode}/{ends}/require
  ah/transport/{ends}/require;
"""


class Racoon(Daemon):
    NEEDS = (f"{PROGRAMS}/racoon",)
    LOG = "racoon.log"
    EVENTS = {
        "ready": r"used as isakmp port",
        "ike up": r"ISAKMP-SA established",
        "ike down": r"ISAKMP-SA deleted",
        "ah down": r"purged IPsec-SA proto_id=AH",
        "child up": r"IPsec-SA established: ESP/",
        "ah up": r"IPsec-SA established: AH/",
        "child down": r"purged IPsec-SA proto_id=ESP",
    }

    def start(self, side, extra=""):
        """With the algorithms of `CONFIGURATION`; `side` has the rest."""
        folder, node = self.node.folder, self.node
        self.side = side
        child, = side.children
        node.run(["/run/modprobe", "-a", "af_key", "ah4", "cbc", "hmac", "sha1_generic", "authenc", "echainiv"])
        (folder / "psk.txt").write_text(f"{side.remote} {side.psk}\n")
        (folder / "psk.txt").chmod(0o600)
        ends = f"{side.local}-{side.remote}", f"{side.remote}-{side.local}"
        networks = child.local[0], child.remote[0]
        (folder / "policies").write_text("flush;\nspdflush;\n" + "".join(
            POLICY.format(source=source, target=target, way=way, ends=end, mode=child.mode)
            for (source, target), way, end in ((networks, "out", ends[0]), (networks[::-1], "in", ends[1]))))
        (folder / "racoon.conf").write_text(CONFIGURATION.format(
            side=side, psk=node.path("psk.txt"), pid=node.path("racoon.pid"), dpd=side.dpd.removesuffix("s"),
            pfs="pfs_group modp2048;" if "modp2048" in child.esp[0] else ""))
        if child.mode == "tunnel":
            node.ip(f"route replace {child.remote[0]} via {side.remote}")
        node.run(["env", *LIBRARIES, f"{PROGRAMS}/setkey", "-f", node.path("policies")])
        self.task = node.start(["env", *LIBRARIES, f"{PROGRAMS}/racoon", "-F", "-v", "-f", node.path("racoon.conf"),
                                "-l", node.path(self.LOG)], log="racoon.out")
        self.expect("ready")

    def initiate(self, child="lan"):
        """Traffic asks for it."""
        of = self.side.children[0]
        here, there = (str(next(iter(ip_network(side[0]).hosts()))) for side in (of.local, of.remote))
        self.node.run(["ping", "-c1", "-W1", "-I", here, there], check=False)
