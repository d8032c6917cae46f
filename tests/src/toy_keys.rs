//! Signatures with no security at all: for tests of what the engine does with them.

use ipsec::{Authenticator, RemoteAuth, SignJob, Untrusted, VerifyJob};
use ipsec_core::crypto::{
    CryptoError, HashId, Provider, SignatureScheme, SignatureVerifier, Signer,
};
use ipsec_ike::auth::{LookUpJob, UserJob};
use rand_core::CryptoRng;
use std::vec::Vec;

use crate::toy::Toy;

/// The public key, as it is sent, of the private key of this name.
pub const fn public_key(name: u8) -> [u8; 4] {
    [0x30, 2, 0x05, name]
}

/// A private key: whoever knows its public key can sign as well.
pub struct ToyKey(
    /// Its name.
    pub u8,
);

fn tag(scheme: SignatureScheme, key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let named = scheme.algorithm_identifier().unwrap_or(b"older");
    let parts: Vec<&[u8]> = [named, key].into_iter().chain(message.iter().copied()).collect();
    let mut out = [0; 32];
    Toy::hash(HashId::Sha256, &[&parts.concat()], &mut out).unwrap_or_default();
    out
}

impl Signer for ToyKey {
    fn schemes(&self) -> &[SignatureScheme] {
        ipsec::SIGNATURE_SCHEMES
    }

    fn sign(
        &self,
        scheme: SignatureScheme,
        _: &mut dyn CryptoRng,
        message: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let signature = tag(scheme, &public_key(self.0), message);
        out.get_mut(..32).ok_or(CryptoError::Length)?.copy_from_slice(&signature);
        Ok(32)
    }
}

/// Verifies what [`ToyKey`] signs.
pub struct ToyVerifier;

impl SignatureVerifier for ToyVerifier {
    fn schemes(&self) -> &[SignatureScheme] {
        ipsec::SIGNATURE_SCHEMES
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        spki: &[u8],
        message: &[&[u8]],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let good = tag(scheme, spki, message) == signature;
        if good { Ok(()) } else { Err(CryptoError::Signature) }
    }
}

/// Signs with every [`ToyKey`] there is; believes raw public keys, and those certificates that are `public_key, identity`.
pub struct Authority;

impl Authenticator for Authority {
    fn sign(
        &self,
        job: &SignJob<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let name = u8::try_from(job.key).map_err(|_| CryptoError::Key)?;
        ToyKey(name).sign(job.scheme, rng, &job.message, out)
    }

    fn verify(&self, job: &VerifyJob<'_>) -> Result<(), Untrusted> {
        let key = match job.trust {
            RemoteAuth::RawPublicKey { spki, .. } => spki,
            _ => {
                let certificate = job.certificates().next().ok_or(Untrusted::NoCertificate)?;
                let (key, name) = certificate.split_at_checked(4).ok_or(Untrusted::Malformed)?;
                if name != job.id.data {
                    return Err(Untrusted::Name);
                }
                key
            }
        };
        job.verify_signature(&ToyVerifier, key)
    }

    /// Knows who is called `NAME.store.example`: the secret is `secret of NAME`, and the entry the first, or for `key-NAME`
    /// the second.
    fn look_up(&self, job: &LookUpJob<'_>, secret: &mut [u8]) -> Option<(u16, usize)> {
        let name = job.id.data.strip_suffix(b".store.example")?;
        let parts = b"secret of ".iter().chain(name);
        let len = secret.iter_mut().zip(parts).map(|(to, from)| *to = *from).count();
        Some((u16::from(name.starts_with(b"key-")), len))
    }

    /// Knows users whose password is `password of NAME`.
    fn check_user(&self, job: &UserJob<'_>) -> bool {
        job.password.strip_prefix(b"password of ") == Some(job.name)
    }
}
