"""racoon, the IKE daemon of ipsec-tools: its configuration, its events, and setkey's policies. It needs a kernel's IPsec, so it
runs on a guest, whose policies have it begin."""
import shutil
from ipaddress import ip_network

from .daemon import Daemon
from .nodes import UNPACKED

PROGRAMS = UNPACKED / "racoon/usr/sbin"
LIBRARIES = f"LD_LIBRARY_PATH={UNPACKED}/racoon/usr/lib/x86_64-linux-gnu:{UNPACKED}/racoon/usr/lib/ipsec-tools"

CONFIGURATION = """\
path pre_shared_key "{folder}/psk.txt";
path certificate "{folder}";
path pidfile "{folder}/racoon.pid";
complex_bundle on;
listen {{
  isakmp {side.local} [500];
  isakmp_natt {side.local} [4500];
  adminsock "{socket}" "root" "root" 0600;
}}
remote {side.remote} {{
  exchange_mode {mode};
  {identifiers}
  {certificates}
  lifetime time 4 hour;
  proposal_check obey;
  nat_traversal on;
  dpd_delay {dpd};
  dpd_retry 1;
  dpd_maxfail 3;
  {client}
  proposal {{
    encryption_algorithm aes 128;
    hash_algorithm sha256;
    authentication_method {method};
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

# What a user's host does once it has been given an address: racoon has no part in it.
CONNECTED = """\
#!/bin/sh -e
exec >>{log} 2>&1
export {libraries} PATH=/usr/sbin:/usr/bin:/sbin:/bin
ip addr add "$INTERNAL_ADDR4/32" dev lo
ip route replace {remote} dev wan src "$INTERNAL_ADDR4"
{setkey} -c <<END
spdadd $INTERNAL_ADDR4/32 {remote} any -P out ipsec esp/tunnel/{side.local}-{side.remote}/require;
spdadd {remote} $INTERNAL_ADDR4/32 any -P in ipsec esp/tunnel/{side.remote}-{side.local}/require;
END
echo "given address=$INTERNAL_ADDR4 dns=$INTERNAL_DNS4"
"""

# For one direction: ESP first, and AH around it if there is one.
POLICY = "spdadd {source} {target} any -P {way} ipsec esp/{mode}/{ends}/require {around};\n"
AROUND = "ah/transport/{ends}/require"


# How this side and the other one prove who they are, and whether this one then says which user it is.
METHODS = {
    ("psk", "psk", False): "pre_shared_key",
    ("psk", "psk", True): "xauth_psk_client",
    ("cert", "cert", False): "rsasig",
    ("user", "cert", True): "hybrid_rsa_client",
}


def identifiers(side):
    """Main Mode with a pre-shared key goes by the addresses, which racoon then insists on."""
    if side.version == "v1-main" and side.auth == "psk":
        return ""
    return f'my_identifier fqdn "{side.local_id}"; peers_identifier fqdn "{side.remote_id}"; verify_identifier on;'


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
        "given": r"given address=",
        "child down": r"purged IPsec-SA proto_id=ESP",
    }

    def start(self, side, extra=""):
        """With the algorithms of `CONFIGURATION`; `side` has the rest."""
        folder, node = self.node.folder, self.node
        self.side = side
        child, = side.children
        node.run(["/run/modprobe", "-a", "af_key", "ah4", "cbc", "hmac", "sha1_generic", "authenc", "echainiv"])
        secrets = [(side.remote, side.psk), (side.remote_id, side.psk), *([side.user] if side.user else [])]
        (folder / "psk.txt").write_text("".join(f"{whose} {secret}\n" for whose, secret in secrets))
        (folder / "psk.txt").chmod(0o600)
        self.write_policies(child)
        client = ""
        if side.user:
            client = f'mode_cfg on; xauth_login "{side.user[0]}"; script "{node.path("connected")}" phase1_up;'
            (folder / "connected").write_text(CONNECTED.format(
                log=node.path(self.LOG), libraries=LIBRARIES, setkey=f"{PROGRAMS}/setkey", side=side, remote=child.remote[0]))
            (folder / "connected").chmod(0o700)
        self.socket = "/run/racoon.sock"
        (folder / "racoon.conf").write_text(CONFIGURATION.format(
            side=side, folder=node.path(""), socket=self.socket, client=client,
            mode="aggressive" if side.version == "v1-aggressive" else "main", identifiers=identifiers(side), certificates=self.certificates(), dpd=side.dpd.removesuffix("s"),
            method=METHODS[side.auth, side.remote_auth, bool(side.user)],
            pfs="pfs_group modp2048;" if "modp2048" in child.esp[0] else ""))
        if child.mode == "tunnel":
            node.ip(f"route replace {child.remote[0]} dev wan")
        self.task = node.start([*self.program("racoon"), "-F", "-v", "-f", node.path("racoon.conf"), "-l", node.path(self.LOG)],
                               log="racoon.out")
        self.expect("ready")

    def certificates(self):
        """Whose certificates are believed, and our own."""
        side, folder = self.side, self.node.folder
        said = ""
        if side.ca:
            shutil.copy(side.ca[0], folder / "ca.pem")
            said += 'ca_type x509 "ca.pem"; '
        if side.auth == "cert":
            shutil.copy(side.own.chain, folder / "cert.pem")
            shutil.copy(side.own.key, folder / "key.pem")
            said += 'certificate_type x509 "cert.pem" "key.pem";'
        return said

    def program(self, name):
        return ["env", LIBRARIES, f"{PROGRAMS}/{name}"]

    def write_policies(self, child):
        """A user's host has none before it has an address."""
        lines = ["flush;\nspdflush;\n"]
        if not self.side.user:
            ends = f"{self.side.local}-{self.side.remote}", f"{self.side.remote}-{self.side.local}"
            networks = child.local[0], child.remote[0]
            for (source, target), way, end in ((networks, "out", ends[0]), (networks[::-1], "in", ends[1])):
                around = AROUND.format(ends=end) if child.around else ""
                lines.append(POLICY.format(source=source, target=target, way=way, mode=child.mode, ends=end, around=around))
        (self.node.folder / "policies").write_text("".join(lines))
        self.node.run([*self.program("setkey"), "-f", self.node.path("policies")])

    def initiate(self, child="lan"):
        """Traffic asks for it; a user's host asks for an address first."""
        of = self.side.children[0]
        if self.side.user:
            self.node.run([*self.program("racoonctl"), "-s", self.socket, "vpn-connect", self.side.remote])
            here = self.address = self.expect("given").split("address=")[1].split()[0]
        else:
            here = str(next(iter(ip_network(of.local[0]).hosts())))
        there = str(next(iter(ip_network(of.remote[0]).hosts())))
        self.node.run(["ping", "-c1", "-W1", "-I", here, there], check=False)
