//! How a peer and we prove who we are: keys, certificates and revocation lists, read from PEM files when the program
//! starts.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipsec::ipsec_core::crypto::{CryptoError, Curve, HashId, SignatureScheme, Signer};
use ipsec::ipsec_ike::auth::x509::{Clock, Crls, X509};
use ipsec::ipsec_ike::auth::{public_key, subject};
use ipsec::{
    Auth, Authenticator, Identity, LocalAuth, RemoteAuth, SIGNATURE_SCHEMES, SignJob, SigningKey,
    Untrusted, VerifyJob,
};
use ipsec_rustcrypto::{RustCryptoVerifier, SoftwareKey};
use rand::rand_core::CryptoRng;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, SubjectPublicKeyInfoDer,
};
use serde::Deserialize;
use toml::Spanned;

use crate::config::Checker;

/// How a side proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    /// A pre-shared key.
    #[default]
    Psk,
    /// A certificate.
    Cert,
    /// A key that the other side knows.
    RawKey,
    /// Of IKEv1: a user alone.
    User,
}

/// What a `[[peer]]` table says about it.
pub(crate) struct Said<'t> {
    pub(crate) at: Range<usize>,
    pub(crate) auth: Method,
    pub(crate) remote_auth: Option<Method>,
    pub(crate) psk: Option<&'t Spanned<String>>,
    pub(crate) cert: Option<&'t Spanned<PathBuf>>,
    pub(crate) key: Option<&'t Spanned<PathBuf>>,
    pub(crate) ca: &'t [Spanned<PathBuf>],
    pub(crate) remote_key: Option<&'t Spanned<PathBuf>>,
    pub(crate) signature: Option<&'t Spanned<Vec<Spanned<String>>>>,
    pub(crate) remote_signature: Option<&'t Spanned<Vec<Spanned<String>>>>,
}

/// Our private keys, and what is known of revoked certificates.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: Vec<SoftwareKey>,
    crls: Vec<&'static [u8]>,
    strict: bool,
}

impl Keyring {
    /// Reads the revocation lists of the `[gateway]` table.
    pub(crate) fn read_crls(
        &mut self,
        checker: &mut Checker,
        files: &[Spanned<PathBuf>],
        strict: bool,
    ) {
        self.strict = strict;
        for file in files {
            let list = CertificateRevocationListDer::from_pem_file(file.get_ref());
            match list.map_err(|e| unreadable(file.get_ref(), &e)) {
                Ok(list) => self.crls.push(list.to_vec().leak()),
                Err(e) => checker.mistake(file.span(), &e),
            }
        }
    }

    /// What a peer's table says, checked. Also gives who we are, if it does not say so itself: the subject of our
    /// certificate.
    pub(crate) fn read(
        &mut self,
        checker: &mut Checker,
        said: &Said<'_>,
    ) -> Option<(Auth<'static>, Option<Identity<'static>>)> {
        let remote_auth = said.remote_auth.unwrap_or(said.auth);
        let mut identity = None;
        let local = match said.auth {
            Method::Psk => LocalAuth::Psk(secret(checker, said)?),
            Method::User => LocalAuth::User,
            Method::Cert => {
                let chain = chain(checker, said)?;
                let first = chain.first().copied().unwrap_or_default();
                identity = subject(first).map(Identity::Dn);
                let spki = public_key(first).unwrap_or_default();
                LocalAuth::Certificate { chain, key: self.key(checker, said, Some(spki))? }
            }
            Method::RawKey => {
                let key = self.key(checker, said, None)?;
                let Some(spki) = said.cert else {
                    checker
                        .mistake(said.at.clone(), "`cert` is needed: a file with our public key");
                    return None;
                };
                let spki = public_key_of(checker, spki)?;
                LocalAuth::RawPublicKey { spki, key }
            }
        };
        let schemes = match said.remote_signature {
            Some(list) => checker.some(list, scheme)?,
            None => SIGNATURE_SCHEMES,
        };
        let remote = match remote_auth {
            Method::Psk => RemoteAuth::Psk(secret(checker, said)?),
            Method::User => RemoteAuth::User,
            Method::Cert => {
                if said.ca.is_empty() {
                    let what = "`ca` is needed: files with the certificates of those who may issue the peer's";
                    checker.mistake(said.at.clone(), what);
                    return None;
                }
                let mut anchors = Vec::new();
                for file in said.ca {
                    anchors.extend(certificates(checker, file)?);
                }
                RemoteAuth::Certificate { anchors: anchors.leak(), schemes }
            }
            Method::RawKey => {
                let Some(file) = said.remote_key else {
                    checker
                        .mistake(said.at.clone(), "`remote_key` is needed: the peer's public key");
                    return None;
                };
                RemoteAuth::RawPublicKey { spki: public_key_of(checker, file)?, schemes }
            }
        };
        Some((Auth { local, remote }, identity))
    }

    fn key(
        &mut self,
        checker: &mut Checker,
        said: &Said<'_>,
        spki: Option<&[u8]>,
    ) -> Option<SigningKey<'static>> {
        let Some(file) = said.key else {
            checker.mistake(said.at.clone(), "`key` is needed: a file with our private key");
            return None;
        };
        let read = PrivateKeyDer::from_pem_file(file.get_ref())
            .map_err(|e| unreadable(file.get_ref(), &e))
            .and_then(|der| SoftwareKey::from_der(der.secret_der()).map_err(|e| e.to_string()));
        let key = match read {
            Ok(key) => key,
            Err(e) => {
                checker.mistake(file.span(), &e);
                return None;
            }
        };
        if spki.is_some_and(|spki| !key.fits(spki)) {
            checker.mistake(file.span(), "this is not the key of the first certificate in `cert`");
            return None;
        }
        let wanted = match said.signature {
            Some(list) => checker.some(list, scheme)?,
            None => SIGNATURE_SCHEMES,
        };
        let schemes: Vec<_> =
            key.schemes().iter().copied().filter(|made| wanted.contains(made)).collect();
        if schemes.is_empty() {
            checker.mistake(file.span(), "this key makes none of the signatures in `signature`");
            return None;
        }
        let id = u32::try_from(self.keys.len()).ok()?;
        self.keys.push(key);
        Some(SigningKey { id, schemes: schemes.leak() })
    }
}

impl Authenticator for Keyring {
    fn sign(
        &self,
        job: &SignJob<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let key = self.keys.get(job.key as usize).ok_or(CryptoError::Key)?;
        key.sign(job.scheme, rng, &job.message, out)
    }

    fn verify(&self, job: &VerifyJob<'_>) -> Result<(), Untrusted> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let x509 = X509 {
            algorithms: RustCryptoVerifier::ALGORITHMS,
            clock: Clock::Now(now.map_or(0, |now| now.as_secs())),
            crls: Crls { lists: &self.crls, strict: self.strict },
            tls_usage: true,
        };
        let credentials = ipsec::Credentials {
            signers: &[],
            signatures: &RustCryptoVerifier::new(),
            certificates: Some(&x509),
        };
        credentials.verify(job)
    }
}

fn unreadable(file: &Path, e: &dyn std::fmt::Debug) -> String {
    format!("{} cannot be read: {e:?}", file.display())
}

fn secret(checker: &mut Checker, said: &Said<'_>) -> Option<&'static [u8]> {
    match said.psk {
        Some(psk) if !psk.get_ref().is_empty() => Some(psk.get_ref().clone().into_bytes().leak()),
        psk => {
            let span = psk.map_or(said.at.clone(), Spanned::span);
            checker.mistake(span, "a pre-shared key is needed: `psk`");
            None
        }
    }
}

fn chain(checker: &mut Checker, said: &Said<'_>) -> Option<&'static [&'static [u8]]> {
    let Some(file) = said.cert else {
        let what = "`cert` is needed: a file with our certificate, then those of its issuers";
        checker.mistake(said.at.clone(), what);
        return None;
    };
    certificates(checker, file).map(|chain| &*chain.leak())
}

fn certificates(checker: &mut Checker, file: &Spanned<PathBuf>) -> Option<Vec<&'static [u8]>> {
    let all = CertificateDer::pem_file_iter(file.get_ref())
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(file.get_ref(), &e));
    let all: Vec<&[u8]> = match all {
        Ok(all) => all.into_iter().map(|der| &*der.to_vec().leak()).collect(),
        Err(e) => {
            checker.mistake(file.span(), &e);
            return None;
        }
    };
    if all.is_empty() || all.iter().any(|der| public_key(der).is_none()) {
        checker.mistake(file.span(), "no certificate, or a malformed one");
        return None;
    }
    Some(all)
}

/// The public key in a file, or that of the certificate in it.
fn public_key_of(checker: &mut Checker, file: &Spanned<PathBuf>) -> Option<&'static [u8]> {
    if let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_file(file.get_ref()) {
        return Some(spki.to_vec().leak());
    }
    certificates(checker, file)?.first().and_then(|der| public_key(der))
}

fn scheme(text: &str) -> Result<SignatureScheme, String> {
    const ALL: [(&str, SignatureScheme); 14] = [
        ("ed25519", SignatureScheme::Ed25519),
        ("ecdsa-sha256", SignatureScheme::Ecdsa(HashId::Sha256)),
        ("ecdsa-sha384", SignatureScheme::Ecdsa(HashId::Sha384)),
        ("ecdsa-sha512", SignatureScheme::Ecdsa(HashId::Sha512)),
        ("rsa-pss-sha256", SignatureScheme::RsaPss(HashId::Sha256)),
        ("rsa-pss-sha384", SignatureScheme::RsaPss(HashId::Sha384)),
        ("rsa-pss-sha512", SignatureScheme::RsaPss(HashId::Sha512)),
        ("rsa-sha256", SignatureScheme::RsaPkcs1(HashId::Sha256)),
        ("rsa-sha384", SignatureScheme::RsaPkcs1(HashId::Sha384)),
        ("rsa-sha512", SignatureScheme::RsaPkcs1(HashId::Sha512)),
        ("ikev1-rsa", SignatureScheme::RsaIkev1),
        ("ikev1-ecdsa-p256", SignatureScheme::EcdsaIkev1(Curve::P256)),
        ("ikev1-ecdsa-p384", SignatureScheme::EcdsaIkev1(Curve::P384)),
        ("ikev1-ecdsa-p521", SignatureScheme::EcdsaIkev1(Curve::P521)),
    ];
    let found = ALL.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, scheme)| scheme).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    /// Self-signed, with this key.
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIBOjCB7aADAgECAhQW+ytytfg7uW1QfJ3vODlVNu5KCTAFBgMrZXAwEjEQMA4G\nA1UEAwwHa29sa2F0YTAgFw0yNjExMjEwNTA5MDVaGA8yMTI2MTAyODA1MDkwNVow\nEjEQMA4GA1UEAwwHa29sa2F0YTAqMAUGAytlcAMhABm/RAlphM3+hUG6wWfcO5bI\nUIaqMLa2ywxcOK1wMWbho1MwUTAdBgNVHQ4EFgQUoozB+G5ZYNPgOudcliyXqNRI\nKTwwHwYDVR0jBBgwFoAUoozB+G5ZYNPgOudcliyXqNRIKTwwDwYDVR0TAQH/BAUw\nAwEB/zAFBgMrZXADQQB8ubxbJytlxVEMqXiOt76h4oTpGQ2ly2JZ8WHQ3H19wFuy\nQayq9W9TuvaPmrcCfny0XoaTipAZBiLaMO3sXnwB\n-----END CERTIFICATE-----\n";
    const CRL: &str = "-----BEGIN X509 CRL-----\nMIGHMDswBQYDK2VwMBIxEDAOBgNVBAMMB2tvbGthdGEXDTI2MTEyMTA1MDkwNVoY\nDzIxMjYxMDI4MDUwOTA1WjAFBgMrZXADQQDQnqNsD4FAaqyL824ReqW2xLhyqg8B\n7UPtMv+F9DggMLnGYDlST6FGAHNxxglk3sIFQ1jToFGaCCowHKf20dwE\n-----END X509 CRL-----\n";

    fn check(folder: &Path, lines: &str) -> Result<Settings, String> {
        let text = format!(
            "[gateway]\n[[peer]]\nname = \"delhi\"\nlocal = \"10.8.0.1\"\nremote = \"10.8.0.2\"\n{lines}"
        );
        let text = text.replace("FOLDER", &folder.display().to_string());
        let file = folder.join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        Settings::read(&file).map_err(|e| e.to_string().lines().next().unwrap_or("").to_owned())
    }

    /// RFC 8410 section 10.3 has the key.
    #[test]
    fn raw_keys_and_what_may_be_wrong_with_them() {
        let folder = std::env::temp_dir().join(format!("linux-gateway-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("our.key"), KEY).unwrap();
        std::fs::write(folder.join("our.pub"), PUBLIC).unwrap();
        let good = "auth = \"rawkey\"\nkey = \"FOLDER/our.key\"\ncert = \"FOLDER/our.pub\"\nremote_key = \"FOLDER/our.pub\"\n";
        let settings = check(&folder, good).unwrap_or_else(|e| panic!("{e}"));
        let auth = settings.gateway.ike.peers[0].auth;
        let LocalAuth::RawPublicKey { spki, key } = auth.local else { panic!() };
        assert_eq!((spki.len(), key.schemes), (44, &[SignatureScheme::Ed25519][..]));
        assert!(matches!(auth.remote, RemoteAuth::RawPublicKey { .. }));
        for (was, is, why) in [
            ("remote_key = \"FOLDER/our.pub\"\n", "", "`remote_key` is needed"),
            ("key = \"FOLDER/our.key\"\n", "", "`key` is needed"),
            ("cert = \"FOLDER/our.pub\"\n", "", "`cert` is needed"),
            ("FOLDER/our.key", "FOLDER/none", "cannot be read"),
            ("auth = \"rawkey\"", "auth = \"cert\"", "no certificate"),
            ("auth = \"rawkey\"", "auth = \"eap\"", "unknown variant"),
            ("auth = \"rawkey\"", "auth = \"psk\"", "a pre-shared key is needed"),
            (
                "auth = \"rawkey\"",
                "auth = \"rawkey\"\nsignature = [\"rsa-sha256\"]",
                "makes none of",
            ),
            ("auth = \"rawkey\"", "auth = \"rawkey\"\nsignature = [\"md5\"]", "`md5` is none of"),
            ("auth = \"rawkey\"", "auth = \"rawkey\"\nike = \"v1-main\"", "IKEv1 has no such way"),
            ("auth = \"rawkey\"", "auth = \"rawkey\"\nike = \"either\"", "IKEv1 has no such way"),
            ("auth = \"rawkey\"", "auth = \"rawkey\"\nremote_auth = \"cert\"", "`ca` is needed"),
        ] {
            let mistake = check(&folder, &good.replacen(was, is, 1)).err().unwrap_or_default();
            assert!(mistake.contains(why), "{mistake}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// The README's lines for certificates, with files that are there. Its first two blocks are checked with the file itself.
    #[test]
    fn the_certificates_of_the_readme() {
        let folder =
            std::env::temp_dir().join(format!("linux-gateway-readme-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, content) in [
            ("crl.pem", CRL),
            ("kolkata.pem", CERTIFICATE),
            ("kolkata.key", KEY),
            ("root.pem", CERTIFICATE),
            ("delhi.pub", PUBLIC),
        ] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        let readme = include_str!("../README.md");
        let block = |n| readme.split("```toml\n").nth(n).unwrap().split("```").next().unwrap();
        let (block, hybrid) = (block(3), block(4));
        let change = |text: &str, was: &str, is: &str| {
            assert_eq!(text.matches(was).count(), 1, "{was}");
            text.replace(was, is)
        };
        // It adds to the sections of the first block, and the key here is not of RSA.
        let sections = "[[peer]]\nname = \"delhi\"\nlocal = \"10.8.0.1\"\nremote = \"10.8.0.2\"\n";
        let mut text = change(block, "[[peer]]\n", sections);
        text = change(&text, "\"rsa-pss-sha256\"", "\"ed25519\"");
        for name in ["crl.pem", "kolkata.pem", "kolkata.key", "root.pem", "delhi.pub"] {
            let path = format!("\"{}\"", folder.join(name).display());
            text = change(&text, &format!("\"{name}\""), &path);
        }
        let file = folder.join("gateway.toml");
        for remote in ["cert", "rawkey"] {
            let said =
                change(&text, "remote_auth = \"cert\"", &format!("remote_auth = \"{remote}\""));
            std::fs::write(&file, said).unwrap();
            let settings = Settings::read(&file).unwrap_or_else(|e| panic!("{e}"));
            let peer = settings.gateway.ike.peers[0];
            assert!(matches!(peer.local_id, Identity::Dn(_)));
            assert!(matches!(peer.auth.local, LocalAuth::Certificate { .. }));
            assert_eq!(settings.keyring.crls.len(), 1);
            assert_eq!(
                matches!(peer.auth.remote, RemoteAuth::Certificate { .. }),
                remote == "cert"
            );
        }
        // And the user's host.
        let text = format!("[gateway]\n{}", change(hybrid, "[[peer]]", sections));
        let root = format!("\"{}\"", folder.join("root.pem").display());
        std::fs::write(&file, change(&text, "\"root.pem\"", &root)).unwrap();
        let settings = Settings::read(&file).unwrap_or_else(|e| panic!("{e}"));
        assert!(matches!(settings.gateway.ike.peers[0].auth.local, LocalAuth::User));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
