//! How the two sides prove who they are, one method a file.
//!
//! Whatever the method, the proof of a side covers its own IKE_SA_INIT message, the nonce of the other side, and its
//! identity (RFC 7296 section 2.15). A pre-shared key is used on the spot. Signatures are [jobs](crate::jobs): an
//! [`Authenticator`] does them, which a program names only if it wants signatures, as the argument of
//! [`run_jobs_with`](crate::jobs::run_jobs_with).
//!
//! | the peer proves itself by | who checks it |
//! |---|---|
//! | a pre-shared key | the engine |
//! | a raw public key | [`Credentials::signatures`] |
//! | a certificate | [`Credentials::certificates`], then [`Credentials::signatures`] |

use ipsec_core::crypto::{CryptoError, SignatureScheme, SignatureVerifier, Signer};
use rand_core::CryptoRng;

use crate::config::RemoteAuth;
use crate::wire::{CertEncoding, Certs, IdPayload, MAX_CERTS};

pub(crate) mod der;
pub(crate) mod pad;
pub(crate) mod psk;
pub(crate) mod signature;
#[cfg(feature = "x509")]
pub mod x509;

pub use signature::SignatureHashes;

/// Whether there are signatures, in this image.
pub(crate) const SIGNATURES: bool = cfg!(feature = "signatures");

/// Whoever signs for us, and verifies what peers have signed.
pub trait Authenticator {
    /// Signs, and gives the length of the signature, which is written to `out`.
    ///
    /// # Errors
    /// Those of [`Signer::sign`]; [`CryptoError::Key`] if there is no such key.
    fn sign(
        &self,
        job: &SignJob<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, CryptoError>;

    /// Verifies that the peer is the one that it says it is.
    ///
    /// # Errors
    /// Why this is not so, or not known.
    fn verify(&self, job: &VerifyJob<'_>) -> Result<(), Untrusted>;

    /// Looks an initiator up in a store: gives the number of the entry of the configuration that counts for it, and the
    /// length of its secret, which is written to `secret`. `None`: it is not known. There is no store by default.
    #[cfg(feature = "store")]
    fn look_up(&self, job: &LookUpJob<'_>, secret: &mut [u8]) -> Option<(u16, usize)> {
        let _ = (job, secret);
        None
    }

    /// Whether a user's password is right (XAUTH, of [`Xauth::Ask`](crate::config::Xauth::Ask)). Nobody is known by default.
    #[cfg(feature = "ikev1")]
    fn check_user(&self, job: &UserJob<'_>) -> bool {
        let _ = job;
        false
    }
}

/// A user who wants to come in, through a peer that has proven to know the key of phase 1.
#[cfg(feature = "ikev1")]
pub struct UserJob<'s> {
    /// The peer's number in the configuration.
    pub peer: u16,
    /// The user's name, at most 128 bytes, and not empty. What it says is the peer's: bytes of any kind.
    pub name: &'s [u8],
    /// The password. Compare it in constant time, or better its hash.
    pub password: &'s [u8],
    /// Where the peer is.
    pub path: ipsec_core::path::Path,
}

/// Who is to be looked up. Nothing is proven yet.
#[cfg(feature = "store")]
pub struct LookUpJob<'s> {
    /// The entry of the configuration that leads to the store.
    pub peer: u16,
    /// Who the initiator says it is.
    pub id: IdPayload<'s>,
    /// With whom it wants to speak.
    pub wanted: Option<IdPayload<'s>>,
    /// Where it is.
    pub path: ipsec_core::path::Path,
    /// How it proves itself.
    pub method: crate::wire::AuthMethod,
}

/// What is to be signed, by which key.
pub struct SignJob<'s> {
    /// The peer's number in the configuration.
    pub peer: u16,
    /// The key's [name](crate::config::SigningKey::id).
    pub key: u32,
    /// How.
    pub scheme: SignatureScheme,
    /// The message, whose parts follow each other without gap or mark.
    pub message: [&'s [u8]; 4],
}

/// What is to be verified.
pub struct VerifyJob<'s> {
    /// The peer's number in the configuration.
    pub peer: u16,
    /// Who the peer says it is. It is one that the configuration allows.
    pub id: IdPayload<'s>,
    /// How it has to prove that.
    pub trust: RemoteAuth<'s>,
    /// The message, whose parts follow each other without gap or mark.
    pub message: [&'s [u8]; 4],
    /// The signature over it.
    pub signature: &'s [u8],
    pub(crate) certs: Certs<'s>,
    pub(crate) named: signature::Named,
}

impl<'s> VerifyJob<'s> {
    /// The X.509 certificates that the peer sent, in DER: its own first, the others in any order; at most
    /// [`MAX_CERTS`].
    pub fn certificates(&self) -> impl Iterator<Item = &'s [u8]> {
        let x509 = self.certs.clone().filter(|c| c.encoding == CertEncoding::X509_SIGNATURE);
        x509.take(MAX_CERTS).map(|c| c.data)
    }

    /// The schemes that the signature may be of: the one that it names, or, since the oldest method does not name its
    /// hash, all of RSASSA-PKCS1-v1_5 that the peer may use.
    pub fn schemes(&self) -> impl Iterator<Item = SignatureScheme> {
        let allowed = signature::allowed(&self.trust);
        allowed.iter().copied().filter(|scheme| self.named.is(*scheme))
    }

    /// Verifies the signature with a public key: a SubjectPublicKeyInfo in DER that is known to be the peer's.
    ///
    /// # Errors
    /// [`Untrusted::Signature`] or [`Untrusted::Unsupported`].
    pub fn verify_signature(
        &self,
        verifier: &dyn SignatureVerifier,
        spki: &[u8],
    ) -> Result<(), Untrusted> {
        let mut result = Err(Untrusted::Unsupported);
        for scheme in self.schemes() {
            result =
                verifier.verify(scheme, spki, &self.message, self.signature).map_err(|e| match e {
                    CryptoError::Unsupported | CryptoError::Key => Untrusted::Unsupported,
                    _ => Untrusted::Signature,
                });
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Why a peer is not believed to be who it says it is. The peer is never told more than AUTHENTICATION_FAILED.
///
/// Times are seconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Untrusted {
    /// The signature over the handshake is wrong: it was made with another key, or somebody is in between.
    Signature,
    /// A kind of key, signature or certificate that is not supported or not allowed here, or a key that is too weak.
    Unsupported,
    /// It sent another raw public key than the one that is pinned.
    OtherKey,
    /// It sent no certificate.
    NoCertificate,
    /// It sent more certificates than [`MAX_CERTS`].
    TooManyCertificates,
    /// A certificate is malformed.
    Malformed,
    /// No trusted authority has issued its certificate, as far as the certificates show that it sent.
    UnknownIssuer,
    /// A certificate of the chain has expired.
    Expired {
        /// When.
        ended: u64,
        /// What the clock says here.
        now: u64,
    },
    /// A certificate of the chain is not valid yet. Is the clock right here?
    NotYetValid {
        /// When it will be.
        begins: u64,
        /// What the clock says here.
        now: u64,
    },
    /// A certificate of the chain is revoked.
    Revoked,
    /// No revocation list tells about a certificate of the chain, and the policy wants one.
    NotInCrl,
    /// The revocation list that tells about it is out of date.
    OldCrl {
        /// When it should have been replaced.
        ended: u64,
        /// What the clock says here.
        now: u64,
    },
    /// A certificate of the chain is not meant for this use: its key usage, extended key usage or basic constraints.
    Usage,
    /// A certificate of the chain is outside the names that its issuer may issue for.
    NameConstraints,
    /// The certificate is not for the identity that the peer claims.
    Name,
    /// The signature of an issuer on a certificate or revocation list is wrong.
    IssuerSignature,
    /// Too many ways to build a path, or too long a one.
    TooComplex,
    /// Nobody here could verify it, or did so in time.
    NotVerified,
}

impl core::fmt::Display for Untrusted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Expired { ended, now } => {
                return write!(f, "its certificate has expired: {ended}, and now it is {now}");
            }
            Self::NotYetValid { begins, now } => {
                return write!(
                    f,
                    "its certificate is not valid yet: from {begins}, and now it is {now}"
                );
            }
            Self::OldCrl { ended, now } => {
                return write!(
                    f,
                    "the revocation list is out of date: {ended}, and now it is {now}"
                );
            }
            Self::Signature => "its signature is wrong",
            Self::Unsupported => "its key or signature is of a kind that is not allowed here",
            Self::OtherKey => "its public key is not the pinned one",
            Self::NoCertificate => "it sent no certificate",
            Self::TooManyCertificates => "it sent too many certificates",
            Self::Malformed => "its certificate is malformed",
            Self::UnknownIssuer => "nobody whom we trust has issued its certificate",
            Self::Revoked => "its certificate is revoked",
            Self::NotInCrl => "no revocation list tells about its certificate",
            Self::Usage => "its certificate is not meant for this use",
            Self::NameConstraints => {
                "its certificate is outside the names that its issuer may issue for"
            }
            Self::Name => "its certificate is not for this identity",
            Self::IssuerSignature => "the signature of its issuer is wrong",
            Self::TooComplex => "the path to its issuer is too long or too complex",
            Self::NotVerified => "its signature could not be verified here",
        })
    }
}

impl core::error::Error for Untrusted {}

/// The public key of a certificate in DER: the DER of its SubjectPublicKeyInfo. Nothing is verified. `None` if it is
/// malformed.
pub fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    der::Fields::of(certificate).map(|fields| fields.public_key)
}

/// The subject of a certificate in DER, for [`Identity::Dn`](crate::identity::Identity::Dn). Nothing is verified. `None` if
/// it is malformed.
pub fn subject(certificate: &[u8]) -> Option<&[u8]> {
    der::Fields::of(certificate).map(|fields| fields.subject)
}

/// Verifies certificates, without the signature that a peer makes itself.
pub trait CertVerifier {
    /// Verifies that the peer's certificate is believed and contains its identity. Gives the public key in it: a
    /// SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// Why not.
    fn verify<'s>(&self, job: &VerifyJob<'s>) -> Result<&'s [u8], Untrusted>;
}

/// An [`Authenticator`] of keys that are here, or are reached through a [`Signer`].
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Our keys with their [names](crate::config::SigningKey::id).
    pub signers: &'a [(u32, &'a dyn Signer)],
    /// Verifies the signatures of peers.
    pub signatures: &'a dyn SignatureVerifier,
    /// Verifies their certificates. `None`: nobody with a certificate is believed.
    pub certificates: Option<&'a dyn CertVerifier>,
}

impl Authenticator for Credentials<'_> {
    fn sign(
        &self,
        job: &SignJob<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let signer = self.signers.iter().find(|(id, _)| *id == job.key);
        let (_, signer) = signer.ok_or(CryptoError::Key)?;
        signer.sign(job.scheme, rng, &job.message, out)
    }

    fn verify(&self, job: &VerifyJob<'_>) -> Result<(), Untrusted> {
        let spki = match job.trust {
            RemoteAuth::RawPublicKey { spki, .. } => spki,
            RemoteAuth::Certificate { .. } => {
                let verifier = self.certificates.ok_or(Untrusted::Unsupported)?;
                // The signature first would be work for anybody who asks; the certificate is checked against it last.
                verifier.verify(job)?
            }
            _ => return Err(Untrusted::Unsupported),
        };
        job.verify_signature(self.signatures, spki)
    }
}
