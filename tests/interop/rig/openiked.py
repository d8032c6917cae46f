"""iked, OpenBSD's IKE daemon, as OpenIKED has it for Linux: its configuration, its events, and ikectl. It needs a kernel's IPsec,
and asks it by PF_KEY, so it runs on a guest."""
import shutil

from .certificates import KEYS, openssl
from .daemon import Daemon
from .nodes import UNPACKED

PROGRAMS = UNPACKED / "openiked/usr/sbin"
USER = "_iked:x:65500:65500::/run/iked:/usr/sbin/nologin"    # becomes what iked is after its start

POLICY = """\
ikev2 "{child.name}" {mode} {child.mode} esp from {local} to {peers} \\
  local {side.local} peer {remote} \\
  ikesa {ike} \\
  childsa {esp} \\
  srcid {side.local_id} dstid {side.remote_id} \\
  ikelifetime {side.lifetime} lifetime {lifetime} \\
  {auth}
"""

# charon's words for algorithms, each as the rest of a line of iked's.
ALGORITHMS = {
    "aes128gcm16": "enc aes-128-gcm", "aes256gcm16": "enc aes-256-gcm", "aes128": "enc aes-128", "aes256": "enc aes-256",
    "prfsha256": "prf hmac-sha2-256", "sha1": "auth hmac-sha1", "sha256": "auth hmac-sha2-256", "sha512": "auth hmac-sha2-512",
    "x25519": "group curve25519", "ecp256": "group ecp256", "modp2048": "group modp2048"}


class Openiked(Daemon):
    NEEDS = (f"{PROGRAMS}/iked", f"{PROGRAMS}/ikectl", "openssl")
    LOG = "iked.log"
    EVENTS = {
        "ready": r"config_getstatic: (?:no )?stickyaddress",    # the last of its configuration
        "ike up": r"established peer",
        "ike rekeyed": r"rekeyed as new IKESA",
        "ike down": r"sa_state: ESTABLISHED -> CLOSED",
        "child up": r"sa_state: VALID -> ESTABLISHED",
        "child rekeyed": r"flow already loaded",
    }

    def start(self, side, extra=""):
        node, etc = self.node, self.node.folder / "etc"
        self.side = side
        credentials(side, etc / "iked")
        for mode in ("passive", "active"):
            file = etc / f"{mode}.conf"
            file.write_text(configuration(side, mode))
            file.chmod(0o600)
        node.run(["sh", "-ec", f"""
            if [ ! -d /run/etc ]; then
              mkdir -p /run/etc/ssl /run/iked
              cp -r /etc/passwd /etc/group /etc/ld.so.* /run/etc
              cp /etc/ssl/openssl.cnf /run/etc/ssl
              echo '{USER}' >> /run/etc/passwd
              echo '_iked:x:65500:' >> /run/etc/group
              mount --bind /run/etc /etc
              /run/modprobe af_key
            fi
            rm -rf /etc/iked
            cp -r {node.path('etc')}/* /etc
            """])
        node.ip("route replace 192.168.1.0/24 dev wan")
        self.seen["ready"] = len(self.log())    # it was ready more than once if it was told of another configuration
        self.task = node.start([f"{PROGRAMS}/iked", "-d", "-v", "-v", "-f", "/etc/passive.conf"], log=self.LOG)
        self.expect("ready")

    def ikectl(self, *arguments, check=True):
        output = self.node.run([f"{PROGRAMS}/ikectl", *arguments], check=check)
        with (self.node.folder / "ikectl.out").open("a") as file:
            file.write(f"$ ikectl {' '.join(arguments)}\n{output}\n")
        return output

    def initiate(self, child="lan"):
        """The policy becomes one that begins; whether that worked is for `expect` to see."""
        self.ikectl("load", "/etc/active.conf")

    def terminate(self):
        self.ikectl("reset", "id", f"FQDN/{self.side.remote_id}")


def configuration(side, mode):
    return "".join(POLICY.format(
        child=child, side=side, mode=mode, local=child.local[0], peers=child.remote[0],
        lifetime=child.lifetime.removesuffix("s"), remote="any" if side.remote == "any" else side.remote,
        ike=algorithms(side.ike), esp=algorithms(child.esp),
        auth=f'psk "{side.psk}"' if side.auth == "psk" else "rfc7427") for child in side.children)


def algorithms(suites):
    suite, = suites
    return " ".join(ALGORITHMS[part] for part in suite.split("-"))


def credentials(side, folder):
    """The folder /etc/iked."""
    for kind in ("ca", "certs", "crls", "private", "pubkeys"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    key = folder / "private/local.key"
    if side.own:
        shutil.copy(side.own.key, key)
        shutil.copy(side.own.public, folder / "local.pub")
        shutil.copy(side.own.chain, folder / "certs/own.crt")
    else:    # it does not start without
        openssl("genpkey", *KEYS["ecdsa"], "-out", key)
        openssl("pkey", "-in", key, "-pubout", "-out", folder / "local.pub")
    for number, file in enumerate(side.ca):
        shutil.copy(file, folder / f"ca/{number}.crt")
