"""charon, strongSwan's IKE daemon: its configuration, its events, and swanctl."""
import re
import shutil
from pathlib import Path

from . import Failure
from .daemon import Daemon
from .nodes import Guest

PLUGINS = ("random nonce pem pkcs1 pkcs8 pubkey x509 revocation constraints openssl aes sha1 sha2 hmac gcm md5 des chapoly curve25519 "
           "kdf drbg ml {kernel} socket-default vici updown xauth-generic {unity}")

STRONGSWAN = """\
charon {{
  load = {plugins}
  install_virtual_ip = no
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  retransmit_tries = 3
  retransmit_timeout = 1.5
  fragment_size = {fragment_size}
  cisco_unity = {unity}
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
  load = random pem pkcs1 pkcs8 pubkey x509 openssl curve25519
  socket = unix://{vici}
}}
"""

CONNECTION = """\
connections {{
  {side.peer} {{
    version = {version}
    aggressive = {aggressive}
    local_addrs = {side.local}
    remote_addrs = {remote}
    proposals = {ike}
    rekey_time = {side.lifetime}
    over_time = 1h
    rand_time = 0
    reauth_time = {reauth}
    childless = {childless}
    dpd_delay = {side.dpd}
    encap = {encap}
    mobike = {mobike}
    fragmentation = {fragmentation}
    {addresses}
    pull = {pull}
    {ppk}
    local {{
      auth = {auth}
      id = {side.local_id}
      {own}
    }}
    remote {{
      auth = {remote_auth}
      id = {side.remote_id}
      {other}
    }}
    {xauth}
    children {{
{children}    }}
  }}
}}
pools {{
  inner {{
    addrs = {pool}
    dns = {dns}
  }}
}}
secrets {{
  ike-peer {{
    id-local = {side.local_id}
    id-remote = {side.remote_id}
    secret = "{side.psk}"
  }}
{ppk_secret}{users}}}
"""

CHILD = """\
      {child.name} {{
        local_ts = {local}
        remote_ts = {remote}
        mode = {child.mode}
        {proposals}
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
        "v1 child rekeyed": r"detected rekeying of CHILD_SA|\] CHILD_SA \S+ established with SPIs",
        "child rekeyed": r"outbound CHILD_SA \S+ established with SPIs",
        "child down": r"closing CHILD_SA",
        "delete received": r"received DELETE for IKE_SA",
        "silent": r"giving up after \d+ retransmits",
        "authentication failed": r"AUTHENTICATION_FAILED notify|N\(AUTH_FAILED\)",
        "ppk used": r"using PPK for PPK_ID 'blue'",
        "ppk not shared": r"PPK required but|AUTHENTICATION_FAILED notify|N\(AUTH_FAILED\)",
        "proven by rsa": r"with RSA_EMSA_PKCS1_SHA2_\d+ successful",
        "proven by pss": r"with RSA_EMSA_PSS\S* successful",
        "proven by ecdsa": r"with ECDSA_WITH_SHA\d+_DER successful",
        "proven by older ecdsa": r"with ECDSA-256 signature successful",
        "nat-oa received": r"parsed QUICK_MODE re\S+ \d+ \[ .*NAT-OA NAT-OA \]",
        "nat-oa sent": r"generating QUICK_MODE re\S+ \d+ \[ .*NAT-OA NAT-OA \]",
        "v1 fragments sent": r"splitting IKE message",
        "v1 fragments received": r"received fragment #\d+, reassembled fragmented IKE message",
        "proven by v1 rsa": r"with RSA_EMSA_PKCS1_NULL successful",
        "proven by v1 ecdsa": r"with ECDSA_WITH_NULL successful",
        "proven by ed25519": r"with ED25519 successful",
        "wrong method": r"constraint check failed|no shared key found|AUTH_FAILED",
        "untrusted": r"no trusted \S+ public key found|signature validation failed|AUTHENTICATION_FAILED notify|N\(AUTH_FAILED\)",
        "revoked": r"certificate was revoked",
        "expired": r"subject certificate invalid \(valid from",
        "not yet valid": r"subject certificate invalid \(valid from",
        "wrong signature": r"no trusted \S+ public key found|signature validation failed|AUTHENTICATION_FAILED notify|N\(AUTH_FAILED\)",
        "wrong name": r"no trusted \S+ public key found for",
        "unknown issuer": r"no issuer certificate found|no trusted \S+ public key found",
        "no ike proposal": r"received proposals unacceptable|NO_PROPOSAL_CHOSEN notify error",
        "no child proposal": r"no acceptable proposal found|NO_PROPOSAL_CHOSEN notify, no CHILD_SA",
        "no child selectors": r"traffic selectors \S+ === \S+ unacceptable|TS_UNACCEPTABLE notify",
        "invalid ke": r"N\(INVAL_KE\)",
        "user accepted": r"XAuth authentication of '\S+' (?:successful|\(myself\) successful)",
        "user refused": r"XAuth authentication of '\S+' (?:\(myself\) )?failed|received FAIL for XAUTH|AUTH_FAILED",
        "split include": r"narrowed CHILD_SA to UNITY_SPLIT_INCLUDE 192\.168\.1\.0/24",
        "virtual ip": r"installing new virtual IP \S+",
        "moved": r"remote endpoint changed from \S+\[4500\]|requesting address change using MOBIKE",
        "child asked for": r"(?:parsed|generating) CREATE_CHILD_SA request",
        "cookie": r"IKE_SA_INIT response 0 \[ N\(COOKIE\) \]",
        "liveness asked": r"sending DPD request",
        "liveness answered": r"parsed INFORMATIONAL response \d+ \[ \]",
        "liveness request": r"parsed INFORMATIONAL request \d+ \[ \]",
        "v1 liveness asked": r"generating INFORMATIONAL_V1 request \d+ \[ HASH N\(DPD\) \]",
        "v1 liveness request": r"parsed INFORMATIONAL_V1 request \d+ \[ HASH N\(DPD\) \]",
        "v1 liveness answered": r"parsed INFORMATIONAL_V1 request \d+ \[ HASH N\(DPD_ACK\) \]",
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
            plugins=PLUGINS.format(kernel=kernel, unity="unity" if side.networks else ""), log=self.node.path(self.LOG), vici=vici, extra=extra,
            fragment_size=side.fragment_size, unity="yes" if side.networks else "no"))
        (folder / "swanctl.conf").write_text(configuration(side))
        credentials(side, folder)
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
        CHILD.format(child=child, local=", ".join(child.local), remote=", ".join(child.remote), proposals=f"{'ah' if child.ah else 'esp'}_proposals = {', '.join(child.ah or child.esp)}",
                     start={"never": "none", "immediately": "start", "traffic": "trap"}[side.start])
        for child in side.children)
    pool, *dns = side.pool or ("10.3.0.1-10.3.0.9",)
    return CONNECTION.format(
        pool=pool, dns=", ".join(dns) or "10.3.0.53",
        side=side, remote="%any" if side.remote == "any" else side.remote, ike=", ".join(side.ike), children=children,
        auth=rounds(side)[side.auth], remote_auth=rounds(side)[side.remote_auth],
        own={"psk": "", "user": "", "cert": "certs = own-0.pem", "rawkey": pubkeys(side.own) if side.own else ""}[side.auth],
        other=pubkeys(side.other) if side.remote_auth == "rawkey" else "",
        xauth=xauth(side), users="".join(map(secret, filter(None, (*side.users, side.user)))),
        pull="no" if side.push else "yes", addresses="vips = 0.0.0.0" if side.ask else "pools = inner" if side.pool else "",
        ppk=f"ppk_id = {side.ppk_id}\n    ppk_required = {'yes' if side.ppk_required else 'no'}" if side.ppk else "",
        ppk_secret=f'  ppk-peer {{\n    id = {side.ppk_id}\n    secret = "{side.ppk}"\n  }}\n' if side.ppk else "",
        version=side.version[1], aggressive="yes" if side.version == "v1-aggressive" else "no",
        encap="yes" if side.encapsulation == "always" else "no", mobike="yes" if side.mobike else "no",
        childless="force" if side.childless else "allow", reauth=side.renew or "0s",
        fragmentation="force" if side.force else "yes" if side.fragment_size else "no")


def credentials(side, folder):
    """What is not in swanctl.conf: files, in folders that tell what they are."""
    files = [("x509ca", file) for file in side.ca] + [("x509crl", file) for file in side.crl]
    if side.auth in ("cert", "rawkey"):
        files.append(("private", side.own.key))
        files.append(("pubkey", side.own.public))
    if side.auth == "cert":
        # Its own certificate is the first of the chain; the others are found by name.
        ends = "-----END CERTIFICATE-----\n"
        first, *issuers = Path(side.own.chain).read_text().split(ends)[:-1]
        for kind, certificate in [("x509", first), *(("x509ca", issuer) for issuer in issuers)]:
            (folder / kind).mkdir(exist_ok=True)
            number = len(list((folder / kind).iterdir()))
            (folder / kind / f"own-{number}.pem").write_text(certificate + ends)
    if side.remote_auth == "rawkey":
        files.append(("pubkey", side.other.public))
    for kind, file in files:
        (folder / kind).mkdir(exist_ok=True)
        shutil.copy(file, folder / kind / f"{Path(file).parent.name}-{Path(file).name}")


def rounds(side):
    """What charon calls the ways of authentication in phase 1."""
    user = f"xauth\n      xauth_id = {side.user[0]}" if side.user else "xauth"
    return {"psk": "psk", "cert": "pubkey", "rawkey": "pubkey", "user": user}


def xauth(side):
    """The round of authentication after phase 1."""
    if "user" in (side.auth, side.remote_auth):
        return ""
    if side.user:
        return f"local-2 {{\n      auth = xauth\n      xauth_id = {side.user[0]}\n    }}"
    return "remote-2 {\n      auth = xauth\n    }" if side.users else ""


def secret(user):
    name, password = user
    return f'  xauth-{name} {{\n    id = {name}\n    secret = "{password}"\n  }}\n'


def pubkeys(holder):
    return f"pubkeys = {Path(holder.public).parent.name}-{Path(holder.public).name}"


def program(name, folder):
    """A copy of a program: Debian's AppArmor profiles, attached by path, would keep the original from our folders."""
    copy = folder.parent.parent / name
    if not copy.exists():
        shutil.copy(shutil.which(name), copy)
    return str(copy)
