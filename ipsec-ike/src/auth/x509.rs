//! Certificates (RFC 5280) as IKE uses them (RFC 4945): a path to somebody whom we trust, and the identity of the peer in
//! the certificate. The path is validated by `rustls-webpki`, without a heap.
//!
//! - The peer sends its own certificate first, and those of its issuers in any order; at most
//!   [`MAX_CERTS`] altogether. Nothing is fetched: no certificate, no revocation list, and no
//!   address in a certificate is ever looked at.
//! - The identity is in the certificate (`contains`): a domain or mail name or an address as a subjectAltName, or a
//!   distinguished name as the subject or a subjectAltName. There are no wildcards, and the common name is not looked at.
//! - A key usage, if there is one, is for digital signatures or non-repudiation (RFC 4945 section 5.1.3.2), and of issuers
//!   for signing certificates. An extended key usage, if there is one, is for IKE (RFC 4945 section 5.1.3.12), or with
//!   [`X509::tls_usage`] for TLS.
//! - A certificate that a peer has signed itself is believed if it is an anchor. But then it may issue others: to believe
//!   nothing but its key, use [`RemoteAuth::RawPublicKey`].

use core::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, ExpirationPolicy,
    ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
};

use super::der::{BIT_STRING, Der, Fields, SEQUENCE};
use super::{CertVerifier, Untrusted, VerifyJob};
use crate::config::RemoteAuth;
use crate::identity::is_same_mailbox;
use crate::wire::{IdPayload, IdType, MAX_CERTS};

/// The most revocation lists that are looked at for one chain: those of its issuers.
pub const MAX_CRLS: usize = 8;
/// Anchors that are looked at together.
const ANCHORS: usize = 8;
/// The certificates of issuers that a peer sends.
const MAX_ISSUERS: usize = MAX_CERTS - 1;

/// What the clock says, in seconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Clock {
    /// Now.
    Now(u64),
    /// There is no clock. A chain is believed if there is some moment, not before this one, at which all of it is valid:
    /// the build time of the firmware, or the last time that was heard of. So nothing ever expires.
    Unknown {
        /// The earliest moment that it can be now.
        not_before: u64,
    },
}

/// Revocation lists, as the caller has fetched them, and how much they count.
#[derive(Clone, Copy, Default)]
pub struct Crls<'a> {
    /// In DER. Each is believed if it is signed by the issuer whose certificates it is about. Of each issuer that is
    /// still to be looked at, [`MAX_CRLS`] are enough.
    pub lists: &'a [&'a [u8]],
    /// Every certificate of a chain must be covered by a list that is in date. Otherwise a certificate is refused only if
    /// a list names it.
    pub strict: bool,
}

/// A [`CertVerifier`] for X.509 certificates.
#[derive(Clone, Copy)]
pub struct X509<'a> {
    /// The signatures of certificates and lists that are believed.
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// The clock.
    pub clock: Clock,
    /// The revocation lists.
    pub crls: Crls<'a>,
    /// Believe a certificate whose extended key usage is for servers or clients of TLS, and not for IKE: what many
    /// authorities issue.
    pub tls_usage: bool,
}

impl CertVerifier for X509<'_> {
    fn verify<'s>(&self, job: &VerifyJob<'s>) -> Result<&'s [u8], Untrusted> {
        let RemoteAuth::Certificate { anchors, .. } = job.trust else {
            return Err(Untrusted::Unsupported);
        };
        let mut sent = job.certificates();
        let end_entity = sent.next().ok_or(Untrusted::NoCertificate)?;
        let mut issuers = heapless::Vec::<CertificateDer<'_>, MAX_ISSUERS>::new();
        for issuer in sent {
            issuers.push(issuer.into()).map_err(|_| Untrusted::TooManyCertificates)?;
        }
        self.verify_chain(end_entity, &issuers, anchors, &job.id)
    }
}

impl X509<'_> {
    /// Verifies that a certificate is believed, and is of `id`. Gives the public key in it: a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// Why not.
    pub fn verify_chain<'s>(
        &self,
        end_entity: &'s [u8],
        issuers: &[CertificateDer<'_>],
        anchors: &[&[u8]],
        id: &IdPayload<'_>,
    ) -> Result<&'s [u8], Untrusted> {
        let fields = Fields::of(end_entity).ok_or(Untrusted::Malformed)?;
        if !contains(&fields, id) {
            return Err(Untrusted::Name);
        }
        if !may(&fields, SIGNS_MESSAGES) {
            return Err(Untrusted::Usage);
        }
        let end_entity = CertificateDer::from(end_entity);
        let parsed = EndEntityCert::try_from(&end_entity).map_err(untrusted)?;
        let mut lists = heapless::Vec::<CertRevocationList<'_>, MAX_CRLS>::new();
        for list in self.crls.lists {
            // A list that cannot be read may be the one that counts.
            let list =
                BorrowedCertRevocationList::from_der(list).map_err(|_| Untrusted::NotInCrl)?;
            lists.push(list.into()).map_err(|_| Untrusted::NotInCrl)?;
        }
        let mut listed = heapless::Vec::<_, MAX_CRLS>::new();
        for list in &lists {
            listed.push(list).map_err(|_| Untrusted::NotInCrl)?;
        }
        let mut result = Err(Untrusted::UnknownIssuer);
        for anchors in anchors.chunks(ANCHORS) {
            result = self.verify_path(&parsed, issuers, anchors, &listed);
            if result != Err(Untrusted::UnknownIssuer) {
                break;
            }
        }
        result.map(|()| fields.public_key)
    }

    fn verify_path(
        &self,
        end_entity: &EndEntityCert<'_>,
        issuers: &[CertificateDer<'_>],
        anchors: &[&[u8]],
        lists: &[&CertRevocationList<'_>],
    ) -> Result<(), Untrusted> {
        let mut ders = heapless::Vec::<_, ANCHORS>::new();
        for der in anchors {
            ders.push(CertificateDer::from(*der)).map_err(|_| Untrusted::TooComplex)?;
        }
        let mut anchors = heapless::Vec::<_, ANCHORS>::new();
        for anchor in ders.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()) {
            anchors.push(anchor).map_err(|_| Untrusted::TooComplex)?;
        }
        let mut now = match self.clock {
            Clock::Now(now) | Clock::Unknown { not_before: now } => unix_time(now),
        };
        // Without a clock, each certificate may put the moment off once.
        for _ in 0..=MAX_CERTS {
            let verified = end_entity.verify_for_usage(
                self.algorithms,
                &anchors,
                issuers,
                now,
                self,
                self.revocation(lists),
                Some(&issuers_may_issue),
            );
            match (verified, self.clock) {
                (Ok(_), _) => return Ok(()),
                (Err(Error::CertNotValidYet { not_before, .. }), Clock::Unknown { .. })
                    if not_before > now =>
                {
                    now = not_before;
                }
                (Err(error), _) => return Err(untrusted(error)),
            }
        }
        Err(Untrusted::TooComplex)
    }

    fn revocation<'l>(
        &self,
        lists: &'l [&'l CertRevocationList<'l>],
    ) -> Option<RevocationOptions<'l>> {
        let options = RevocationOptionsBuilder::new(lists).ok()?;
        let (status, expiry) = match (self.crls.strict, self.clock) {
            (true, Clock::Now(_)) => (UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce),
            (true, Clock::Unknown { .. }) => (UnknownStatusPolicy::Deny, ExpirationPolicy::Ignore),
            (false, _) => (UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore),
        };
        Some(options.with_status_policy(status).with_expiration_policy(expiry).build())
    }
}

/// RFC 4945 section 5.1.3.12: no extended key usage, or one that includes IKE.
impl ExtendedKeyUsageValidator for X509<'_> {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let mut any = false;
        for purpose in purposes {
            let purpose = purpose?;
            let ours = IKE_PURPOSES.iter().any(|id| KeyPurposeId::new(id) == purpose);
            let tls = TLS_PURPOSES.iter().any(|id| KeyPurposeId::new(id) == purpose);
            if ours || tls && self.tls_usage {
                return Ok(());
            }
            any = true;
        }
        if any { Err(WRONG_USAGE) } else { Ok(()) }
    }
}

/// How our own checks say [`Untrusted::Usage`].
const WRONG_USAGE: Error = Error::EndEntityUsedAsCa;

/// id-kp-ipsecIKE, iKEIntermediate, anyExtendedKeyUsage.
const IKE_PURPOSES: [&[u8]; 3] = [
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x11],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x08, 0x02, 0x02],
    &[0x55, 0x1d, 0x25, 0x00],
];
/// id-kp-serverAuth, id-kp-clientAuth.
const TLS_PURPOSES: [&[u8]; 2] = [
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02],
];

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// digitalSignature or nonRepudiation, the first bits of a KeyUsage (RFC 5280 section 4.2.1.3).
const SIGNS_MESSAGES: u8 = 0x80 | 0x40;
/// keyCertSign.
const SIGNS_CERTIFICATES: u8 = 0x04;

/// Whether the key usage of a certificate is absent, or has one of these bits of its first byte.
fn may(fields: &Fields<'_>, bits: u8) -> bool {
    let Some(usage) = fields.extension(KEY_USAGE) else { return true };
    let usage = Der::new(usage).take(BIT_STRING);
    usage.and_then(|u| u.contents.get(1).copied()).is_some_and(|first| first & bits != 0)
}

/// `rustls-webpki` looks at basic constraints, and not at the key usage.
fn issuers_may_issue(path: &VerifiedPath<'_>) -> Result<(), Error> {
    for issuer in path.intermediate_certificates() {
        let der = issuer.der();
        let fields = Fields::of(&der).ok_or(Error::BadDer)?;
        if !may(&fields, SIGNS_CERTIFICATES) {
            return Err(WRONG_USAGE);
        }
    }
    Ok(())
}

/// Whether a certificate is of this identity (RFC 4945 section 3.1).
fn contains(fields: &Fields<'_>, id: &IdPayload<'_>) -> bool {
    let alternatives = fields.extension(SUBJECT_ALT_NAME);
    let alternatives = alternatives.and_then(|names| Der::new(names).take(SEQUENCE));
    let mut names = Der::new(alternatives.map_or(&[], |names| names.contents));
    let mut any = |tag: u8, is_it: &dyn Fn(&[u8]) -> bool| {
        core::iter::from_fn(|| names.any()).any(|name| name.tag == tag && is_it(name.contents))
    };
    match id.kind {
        IdType::FQDN => any(DNS_NAME, &|name| name.eq_ignore_ascii_case(id.data)),
        IdType::RFC822_ADDR => any(RFC822_NAME, &|name| is_same_mailbox(name, id.data)),
        IdType::IPV4_ADDR | IdType::IPV6_ADDR => any(IP_ADDRESS, &|address| address == id.data),
        // An empty subject is nobody's name.
        IdType::DER_ASN1_DN if id.data.len() > 2 => {
            fields.subject == id.data || any(DIRECTORY_NAME, &|name| name == id.data)
        }
        _ => false,
    }
}

// The choices of a GeneralName (RFC 5280 section 4.2.1.6).
const RFC822_NAME: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const DIRECTORY_NAME: u8 = 0xa4;
const IP_ADDRESS: u8 = 0x87;

const fn unix_time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn untrusted(error: Error) -> Untrusted {
    match error {
        Error::CertExpired { time, not_after } => {
            Untrusted::Expired { ended: not_after.as_secs(), now: time.as_secs() }
        }
        Error::CertNotValidYet { time, not_before } => {
            Untrusted::NotYetValid { begins: not_before.as_secs(), now: time.as_secs() }
        }
        Error::CrlExpired { time, next_update } => {
            Untrusted::OldCrl { ended: next_update.as_secs(), now: time.as_secs() }
        }
        Error::CertRevoked => Untrusted::Revoked,
        Error::UnknownRevocationStatus => Untrusted::NotInCrl,
        Error::UnknownIssuer | Error::CertDistrusted => Untrusted::UnknownIssuer,
        Error::InvalidSignatureForPublicKey
        | Error::InvalidCrlSignatureForPublicKey
        | Error::SignatureAlgorithmMismatch => Untrusted::IssuerSignature,
        Error::CaUsedAsEndEntity
        | Error::EndEntityUsedAsCa
        | Error::PathLenConstraintViolated
        | Error::IssuerNotCrlSigner
        | Error::EmptyEkuExtension => Untrusted::Usage,
        Error::NameConstraintViolation
        | Error::MalformedNameConstraint
        | Error::UnsupportedNameType => Untrusted::NameConstraints,
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => Untrusted::TooComplex,
        Error::UnsupportedCertVersion
        | Error::UnsupportedCriticalExtension
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Untrusted::Unsupported,
        _ => Untrusted::Malformed,
    }
}
