"""pluto, libreswan's IKE daemon: its configuration, its events, and whack. It needs a kernel's IPsec, so it runs on a guest."""
import re
import shutil
import subprocess
from pathlib import Path

from . import Failure
from .daemon import Daemon
from .nodes import UNPACKED

LIBEXEC = UNPACKED / "libreswan/usr/libexec"
PROGRAMS = "/usr/libexec/ipsec"    # where these programs look for each other
RUN = "/run/pluto"    # on the guest: the control socket, keys and certificates, the users' passwords

SETUP = """\
config setup
  logfile={log}
  ikev1-policy=accept
"""

CONNECTION = """
conn {child.name}
  left={side.local}
  leftid=@{side.local_id}
  leftupdown=%disabled
  right={remote}
  rightid=@{side.remote_id}
  {more}
  authby={authby}
  ikev2={ikev2}
  aggressive={aggressive}
  pfs={pfs}
  type={child.mode}
  encapsulation={encapsulation}
  ikelifetime={side.lifetime}
  salifetime={child.lifetime}
  rekeymargin=1s
  rekeyfuzz=0%
  retransmit-interval=500
  retransmit-timeout=3s
  mobike=no
  auto=add
"""

# charon's words for algorithms, where they are others.
ALGORITHMS = {"aes128gcm16": "aes_gcm128", "aes256gcm16": "aes_gcm256", "prfsha256": "sha2_256", "sha256": "sha2_256",
              "x25519": "dh31", "ecp256": "dh19"}
GROUPS = ("modp", "ecp", "x25519")


class Libreswan(Daemon):
    NEEDS = (f"{LIBEXEC}/ipsec/pluto", "certutil", "pk12util")
    LOG = "pluto.log"
    EVENTS = {
        "ready": r"loading secrets from",
        "loaded": r"added \S+ connection",
        "ike up": r"established IKE SA;|: IKE SA established",
        "ike rekeyed": r"rekeyed IKE SA",
        "virtual ip": r"Received IPv4 address: \S+",
        "ike down": r"deleting state \(STATE_(?:V2_ESTABLISHED_IKE_SA|MAIN_[IR]\d|AGGR_[IR]\d)\)",
        "child up": r"established Child SA|IPsec SA established",
        "child rekeyed": r"rekeyed Child SA",
        "delete received": r"_IKE_SA\) aged \S+ and NOT sending notification|received Delete SA payload: ",
    }

    def start(self, side, extra=""):
        """`extra`: more lines of each connection."""
        folder, node = self.node.folder, self.node
        self.side = side
        (folder / "ipsec.conf").write_text(configuration(side, node.path(self.LOG), extra))
        (folder / "ipsec.secrets").write_text("".join(secrets(side)))
        credentials(side, folder / "pluto")
        node.run(["sh", "-ec", f"[ -d {PROGRAMS} ] || mount --bind {LIBEXEC} /usr/libexec\n"
                               f"rm -rf {RUN}; cp -r {node.path('pluto')} {RUN}"])
        # libreswan's script `_updown`, which makes the routes, is not run.
        node.ip("route replace 192.168.1.0/24 dev wan", "route replace 10.3.0.0/24 dev wan")
        self.task = node.start([
            f"{PROGRAMS}/pluto", "--nofork", "--config", node.path("ipsec.conf"), "--secretsfile", node.path("ipsec.secrets"),
            "--rundir", RUN, "--nssdir", RUN, "--ipsecdir", RUN, "--logfile", node.path(self.LOG)], log="pluto.out")
        for _ in side.children:
            self.expect("loaded")
        self.expect("ready")

    def whack(self, *arguments, check=True):
        output = self.node.run([f"{PROGRAMS}/whack", "--rundir", RUN, *arguments], check=check)
        with (self.node.folder / "whack.out").open("a") as file:
            file.write(f"$ whack {' '.join(arguments)}\n{output}\n")
        return output

    def initiate(self, child="lan"):
        """Asks for the child; whether that worked is for `expect` to see."""
        self.whack("--name", child, "--initiate", "--asynchronous", check=False)

    def rekey_child(self, child="lan"):
        self.whack("--name", child, "--rekey-ipsec", "--asynchronous")

    def rekey_ike(self):
        self.whack("--name", self.side.children[0].name, "--rekey-ike", "--asynchronous")

    def terminate(self):
        self.whack("--name", self.side.children[0].name, "--terminate")

    def ike_sas(self):
        """The lines that tell of established IKE SAs."""
        return self.states("IKE SA")

    def children(self):
        """The lines that tell of established child SAs."""
        return self.states("(?:Child|IPsec) SA")

    def states(self, kind):
        return re.findall(rf"^.*\((?:established {kind}|{kind} established)\).*$", self.whack("--showstates"), re.MULTILINE)


def configuration(side, log, extra):
    v2, cert = side.version == "v2", side.auth == "cert"
    return SETUP.format(log=log) + "".join(CONNECTION.format(
        child=child, side=side, more="\n  ".join((*networks(child), *access(side), *algorithms(side.ike, child.esp),
                                                  *(("leftcert=own", "leftsendcert=always") if cert else ()))),
        remote="%any" if side.remote == "any" else side.remote,
        authby="secret" if not cert else "ecdsa" if side.own.kind.startswith("ecdsa") else "rsasig",
        ikev2="yes" if v2 else "no", aggressive="yes" if side.version == "v1-aggressive" else "no",
        pfs="yes" if any(part.startswith(GROUPS) for suite in child.esp for part in suite.split("-")) else "no",
        encapsulation="yes" if side.encapsulation == "always" else "auto") + f"{extra}\n" for child in side.children)


def networks(child):
    """A network that is `dynamic` is the address that the pool gives."""
    for end, networks in (("left", child.local), ("right", child.remote)):
        if networks != ("dynamic",):
            yield f"{end}subnet={','.join(networks)}"


def access(side):
    """Users and addresses of IKEv1. The client is the left end, or the right one."""
    client, server = ("left", "right") if side.user or side.ask else ("right", "left")
    if side.user or side.users:
        yield from (f"{client}xauthclient=yes", f"{server}xauthserver=yes", "rekey=no")
    if side.user:
        yield f"leftusername={side.user[0]}"
    if side.ask or side.pool:
        yield from (f"{client}modecfgclient=yes", f"{server}modecfgserver=yes", f"modecfgpull={'no' if side.push else 'yes'}")
    if side.pool:
        pool, *dns = side.pool
        yield from (f"rightaddresspool={pool}", f"modecfgdns={','.join(dns)}")


def algorithms(ike, esp):
    """What is named of both; what is not is libreswan's own choice."""
    for key, suites in (("ike", ike), ("phase2alg", esp)):
        if suites:
            yield f"{key}={','.join(map(words, suites))}"


def words(suite):
    """libreswan's words for a suite: a group stands behind a semicolon."""
    parts = suite.split("-")
    group = parts.pop() if parts[-1].startswith(GROUPS) else ""
    named = "-".join(ALGORITHMS.get(part, part) for part in parts)
    return f"{named};{ALGORITHMS.get(group, group)}" if group else named


def secrets(side):
    yield f'@{side.local_id} @{side.remote_id} : PSK "{side.psk}"\n'
    if side.user:
        name, password = side.user
        yield f'@{name} : XAUTH "{password}"\n'


def credentials(side, folder):
    """A data base with this side's key and certificates and with the authorities; the passwords of users."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    base = ("-d", f"sql:{folder}")
    command("certutil", "-N", *base, "--empty-password")
    for number, file in enumerate(side.ca):
        command("certutil", "-A", *base, "-n", f"authority-{number}", "-t", "CT,,", "-i", file)
    if side.auth == "cert":
        bundle = folder / "own.p12"
        command("openssl", "pkcs12", "-export", "-name", "own", "-inkey", side.own.key, "-in", side.own.chain, "-out", bundle,
                "-passout", "pass:")
        command("pk12util", "-i", bundle, *base, "-W", "", "-K", "")
    (folder / "passwd").write_text("".join(
        f"{name}:{command('openssl', 'passwd', '-6', password).strip()}\n" for name, password in side.users))


def command(*argv):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{argv[0]}: {done.stdout}{done.stderr}")
    return done.stdout
