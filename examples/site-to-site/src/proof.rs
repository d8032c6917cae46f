//! How the two gateways prove who they are: by the same secret, or each by a certificate of one authority.

use anyhow::{Context, Result};
use clap::ValueEnum;
use ipsec::ipsec_core::crypto::{CryptoError, Signer};
use ipsec::ipsec_ike::auth::x509::{Clock, Crls, X509};
use ipsec::{
    Auth, Authenticator, Credentials, LocalAuth, RemoteAuth, SIGNATURE_SCHEMES, SignJob,
    SigningKey, Untrusted, VerifyJob,
};
use ipsec_rustcrypto::{RustCryptoVerifier, SoftwareKey};
use rand_core::CryptoRng;

/// What both gateways know. Where it matters, it is drawn at random, not written into a program.
const PRE_SHARED_KEY: &[u8] = b"an example: 32 random bytes do better";

/// Seconds since 1970 for whoever looks at certificates: the simulation has no calendar.
const TODAY: u64 = 1_800_000_000;

/// How both gateways prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    Psk,
    Ecdsa,
    Rsa,
    Ed25519,
}

/// One gateway's way.
pub struct Proof {
    /// For its configuration.
    pub auth: Auth<'static>,
    key: Option<SoftwareKey>,
}

/// What `credentials/generate` has made: the authority's certificate, and each gateway's with its key.
struct Files {
    root: &'static [&'static [u8]],
    kolkata: (&'static [&'static [u8]], &'static [u8]),
    delhi: (&'static [&'static [u8]], &'static [u8]),
}

macro_rules! files {
    ($kind:literal) => {
        Files {
            root: &[include_bytes!(concat!("../credentials/", $kind, "/root.der"))],
            kolkata: (
                &[include_bytes!(concat!("../credentials/", $kind, "/kolkata.der"))],
                include_bytes!(concat!("../credentials/", $kind, "/kolkata.key")),
            ),
            delhi: (
                &[include_bytes!(concat!("../credentials/", $kind, "/delhi.der"))],
                include_bytes!(concat!("../credentials/", $kind, "/delhi.key")),
            ),
        }
    };
}

const ECDSA: Files = files!("ecdsa");
const RSA: Files = files!("rsa");
const ED25519: Files = files!("ed25519");

impl Proof {
    /// The ways of Kolkata and of Delhi.
    pub fn both(method: Method) -> Result<[Self; 2]> {
        let files = match method {
            Method::Psk => {
                let psk = || Self { auth: Auth::psk(PRE_SHARED_KEY), key: None };
                return Ok([psk(), psk()]);
            }
            Method::Ecdsa => ECDSA,
            Method::Rsa => RSA,
            Method::Ed25519 => ED25519,
        };
        let remote = RemoteAuth::Certificate { anchors: files.root, schemes: SIGNATURE_SCHEMES };
        let proof = |(chain, key): (_, &[u8])| -> Result<Self> {
            let key = SoftwareKey::from_der(key).context("the key of a gateway cannot be read")?;
            let schemes: &[_] = key.schemes().to_vec().leak();
            let local = LocalAuth::Certificate { chain, key: SigningKey { id: 0, schemes } };
            Ok(Self { auth: Auth { local, remote }, key: Some(key) })
        };
        Ok([proof(files.kolkata)?, proof(files.delhi)?])
    }
}

impl Authenticator for Proof {
    fn sign(
        &self,
        job: &SignJob<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let key = self.key.as_ref().ok_or(CryptoError::Key)?;
        key.sign(job.scheme, rng, &job.message, out)
    }

    fn verify(&self, job: &VerifyJob<'_>) -> Result<(), Untrusted> {
        let certificates = X509 {
            algorithms: RustCryptoVerifier::ALGORITHMS,
            clock: Clock::Now(TODAY),
            crls: Crls::default(),
            tls_usage: false,
        };
        let signatures = &RustCryptoVerifier::new();
        Credentials { signers: &[], signatures, certificates: Some(&certificates) }.verify(job)
    }
}
