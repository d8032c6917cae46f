"""A certificate authority for one case, by OpenSSL's command line."""
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import Failure

CONFIGURATION = """\
[ca]
default_ca = authority
[authority]
database = {folder}/index.txt
serial = {folder}/serial
crlnumber = {folder}/crlnumber
new_certs_dir = {folder}/issued
default_md = sha256
policy = anything
unique_subject = no
default_crl_days = 30
copy_extensions = none
[anything]
organizationName = optional
commonName = supplied
[authority-certificate]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[end-entity]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
subjectAltName = {names}
"""

KEYS = {
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "rsa4096": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
    "ecdsa": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ecdsa384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "ed25519": ["-algorithm", "ED25519"],
}


@dataclass(frozen=True)
class Holder:
    """Somebody with a key: files in PEM. `chain` holds the certificate, then those of its issuers up to, without, the root."""

    key: str
    public: str
    chain: str
    kind: str


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


class Authority:
    """Issues certificates and says which are revoked."""

    def __init__(self, folder, name="root", kind="ecdsa", issuer=None):
        self.folder = Path(folder) / f"ca-{name}"
        (self.folder / "issued").mkdir(parents=True)
        (self.folder / "index.txt").write_text("")
        (self.folder / "serial").write_text("1001\n")
        (self.folder / "crlnumber").write_text("01\n")
        self.issuer = issuer
        self.key = self.folder / "key.pem"
        self.certificate = self.folder / "cert.pem"
        openssl("genpkey", *KEYS[kind], "-out", self.key)
        request = self.request(self.key, name)
        signer = issuer or self
        signer.sign(request, self.certificate, "authority-certificate", "", *(() if issuer else ("-selfsign",)))

    def request(self, key, name):
        request = self.folder / f"{name}.csr"
        openssl("req", "-new", "-key", key, "-subj", f"/O=Example/CN={name}", "-out", request)
        return request

    def configuration(self, names):
        file = self.folder / "openssl.cnf"
        file.write_text(CONFIGURATION.format(folder=self.folder, names=names or "DNS:none"))
        return file

    def sign(self, request, certificate, extensions, names, *more, since="200101000000Z", until="401231000000Z"):
        openssl("ca", "-batch", "-notext", "-config", self.configuration(names), "-keyfile", self.key,
                *(("-cert", self.certificate) if "-selfsign" not in more else ()), "-in", request, "-out", certificate,
                "-extensions", extensions, "-startdate", since, "-enddate", until, *more)

    def issue(self, name, names, kind="ecdsa", **dates):
        """A key and a certificate for subjectAltNames like "DNS:gw.example"."""
        key, public, certificate, chain = (self.folder / f"{name}{end}" for end in (".key", ".pub", ".crt", ".pem"))
        openssl("genpkey", *KEYS[kind], "-out", key)
        openssl("pkey", "-in", key, "-pubout", "-out", public)
        self.sign(self.request(key, name), certificate, "end-entity", names, **dates)
        certificates = [certificate]
        authority = self
        while authority.issuer:
            certificates.append(authority.certificate)
            authority = authority.issuer
        chain.write_text("".join(file.read_text() for file in certificates))
        return Holder(str(key), str(public), str(chain), kind)

    def revoke(self, holder):
        openssl("ca", "-config", self.configuration(""), "-keyfile", self.key, "-cert", self.certificate,
                "-revoke", holder.chain)

    def crl(self):
        """The file of a fresh revocation list."""
        file = self.folder / "crl.pem"
        openssl("ca", "-config", self.configuration(""), "-keyfile", self.key, "-cert", self.certificate, "-gencrl", "-out", file)
        return str(file)
