"""charon, strongSwan's IKE daemon: its configuration, its events, and swanctl."""
import re
import shutil

from . import Failure
from .daemon import Daemon
from .nodes import Guest

PLUGINS = ("random nonce openssl aes sha1 sha2 hmac gcm chapoly curve25519 kdf drbg {kernel} socket-default vici updown")

STRONGSWAN = """\
charon {{
  load = {plugins}
  install_virtual_ip = no
  retransmit_tries = 3
  retransmit_timeout = 1.5
  {extra}
  filelog {{
    main {{
      path = {log}
      time_format = %H:%M:%S
      flush_line = yes
      default = 1
      ike = 2
      chd = 2
      enc = 1
      knl = 1
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{vici}
    }}
  }}
}}
charon-systemd {{
  journal {{
    default = -1
  }}
}}
swanctl {{
  load = random
  socket = unix://{vici}
}}
"""

CONNECTION = """\
connections {{
  {side.peer} {{
    version = 2
    local_addrs = {side.local}
    remote_addrs = {remote}
    proposals = {ike}
    rekey_time = {side.lifetime}
    over_time = 1h
    rand_time = 0
    dpd_delay = {side.dpd}
    encap = {encap}
    mobike = {mobike}
    local {{
      auth = psk
      id = {side.local_id}
    }}
    remote {{
      auth = psk
      id = {side.remote_id}
    }}
    children {{
{children}    }}
  }}
}}
secrets {{
  ike-peer {{
    id-local = {side.local_id}
    id-remote = {side.remote_id}
    secret = "{side.psk}"
  }}
}}
"""

CHILD = """\
      {child.name} {{
        local_ts = {local}
        remote_ts = {remote}
        esp_proposals = {esp}
        rekey_time = {child.lifetime}
        life_time = 3h
        rand_time = 0
        rekey_packets = {child.lifetime_packets}
        start_action = {start}
      }}
"""


class Charon(Daemon):
    """charon on a node: in a namespace with ESP in user space (kernel-libipsec), on a guest with the kernel's."""

    LOG = "charon.log"
    EVENTS = {
        "ike up": r"IKE_SA \S+ established between",
        "ike rekeyed": r"IKE_SA \S+ rekeyed between",
        "ike down": r"IKE_SA deleted|received DELETE for IKE_SA|deleting IKE_SA|giving up after",
        "child up": r"\] CHILD_SA \S+ established with SPIs",
        "child rekeyed": r"outbound CHILD_SA \S+ established with SPIs",
        "child down": r"closing CHILD_SA",
        "delete received": r"received DELETE for IKE_SA",
        "silent": r"giving up after \d+ retransmits",
        "authentication failed": r"AUTHENTICATION_FAILED notify|N\(AUTH_FAILED\)",
        "no ike proposal": r"received proposals unacceptable|NO_PROPOSAL_CHOSEN notify error",
        "no child proposal": r"no acceptable proposal found|NO_PROPOSAL_CHOSEN notify, no CHILD_SA",
        "no child selectors": r"traffic selectors \S+ === \S+ unacceptable|TS_UNACCEPTABLE notify",
        "invalid ke": r"N\(INVAL_KE\)",
        "cookie": r"IKE_SA_INIT response 0 \[ N\(COOKIE\) \]",
        "liveness asked": r"sending DPD request",
        "liveness answered": r"parsed INFORMATIONAL response \d+ \[ \]",
        "liveness request": r"parsed INFORMATIONAL request \d+ \[ \]",
        "nat here": r"local host is behind NAT",
        "nat there": r"remote host is behind NAT",
    }

    def start(self, side, extra=""):
        guest = isinstance(self.node, Guest)
        folder = self.node.folder
        self.side = side
        kernel = "kernel-netlink" if guest else "kernel-libipsec kernel-netlink"
        vici = "/run/charon.vici" if guest else self.node.path("charon.vici")
        (folder / "strongswan.conf").write_text(STRONGSWAN.format(
            plugins=PLUGINS.format(kernel=kernel), log=self.node.path(self.LOG), vici=vici, extra=extra))
        (folder / "swanctl.conf").write_text(configuration(side))
        self.environment = {"STRONGSWAN_CONF": self.node.path("strongswan.conf"), "SWANCTL_DIR": self.node.path("")}
        self.node.run(["rm", "-f", vici])    # left by one that was killed
        self.task = self.node.start([program("charon-systemd", folder)], log="charon.out", env=self.environment)
        listening = ["sh", "-c", f"for i in $(seq 500); do [ -S {vici} ] && exit; sleep 0.02; done; exit 1"]
        self.node.run(listening)
        answer = self.swanctl("--load-all", "--noprompt")
        if f"loaded connection '{side.peer}'" not in answer:
            raise Failure(f"{self.node.name}: charon did not load its configuration: {answer}")

    def swanctl(self, *arguments, check=True):
        output = self.node.run([program("swanctl", self.node.folder), *arguments], check=check, env=self.environment)
        with (self.node.folder / "swanctl.out").open("a") as file:
            file.write(f"$ swanctl {' '.join(arguments)}\n{output}\n")
        return output

    def initiate(self, child="lan"):
        """Asks for the child; whether that worked is for `expect` to see."""
        self.swanctl("--initiate", "--child", child, "--timeout", "1", check=False)

    def rekey_child(self, child="lan"):
        self.swanctl("--rekey", "--child", child)

    def rekey_ike(self):
        self.swanctl("--rekey", "--ike", self.side.peer)

    def terminate(self):
        self.swanctl("--terminate", "--ike", self.side.peer, "--timeout", "5")

    def terminate_child(self, child="lan"):
        self.swanctl("--terminate", "--child", child, "--timeout", "5")

    def children(self):
        """The lines that tell of installed child SAs."""
        return re.findall(r"^.*\bINSTALLED\b.*$", self.swanctl("--list-sas"), re.MULTILINE)

    def ike_sas(self):
        """The lines that tell of established IKE SAs."""
        return re.findall(r"^\S.*\bESTABLISHED\b.*$", self.swanctl("--list-sas"), re.MULTILINE)


def configuration(side):
    children = "".join(
        CHILD.format(child=child, local=", ".join(child.local), remote=", ".join(child.remote), esp=", ".join(child.esp),
                     start={"never": "none", "immediately": "start", "traffic": "trap"}[side.start])
        for child in side.children)
    return CONNECTION.format(
        side=side, remote="%any" if side.remote == "any" else side.remote, ike=", ".join(side.ike), children=children,
        encap="yes" if side.encapsulation == "always" else "no", mobike="yes" if side.mobike else "no")


def program(name, folder):
    """A copy of a program: Debian's AppArmor profiles, attached by path, would keep the original from our folders."""
    copy = folder.parent.parent / name
    if not copy.exists():
        shutil.copy(shutil.which(name), copy)
    return str(copy)
