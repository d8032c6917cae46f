//! Authentication by signatures (RFC 7296 sections 2.15 and 3.8, RFC 7427, RFC 8420).

use ipsec_core::bytes::Reader;
use ipsec_core::crypto::suite::SignatureHash;
use ipsec_core::crypto::{Curve, SignatureScheme};

use super::Untrusted;
use crate::config::RemoteAuth;
use crate::wire::{
    AuthMethod, AuthPayload, CertEncoding, CertPayload, Certs, Collected, DigitalSignature,
    MAX_CERTS, NotifyType,
};

/// A set of hash functions: what SIGNATURE_HASH_ALGORITHMS says (RFC 7427 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SignatureHashes(u8);

impl SignatureHashes {
    const ALL: [SignatureHash; 5] = [
        SignatureHash::SHA2_256,
        SignatureHash::SHA2_384,
        SignatureHash::SHA2_512,
        SignatureHash::IDENTITY,
        SignatureHash::SHA1,
    ];

    /// Whether the set has this hash.
    pub const fn contains(self, hash: SignatureHash) -> bool {
        self.0 & Self::bit(hash) != 0
    }

    /// The hashes in it.
    pub fn iter(self) -> impl Iterator<Item = SignatureHash> {
        Self::ALL.into_iter().filter(move |hash| self.contains(*hash))
    }

    const fn bit(hash: SignatureHash) -> u8 {
        match hash {
            SignatureHash::SHA1 => 1,
            SignatureHash::SHA2_256 => 2,
            SignatureHash::SHA2_384 => 4,
            SignatureHash::SHA2_512 => 8,
            SignatureHash::IDENTITY => 16,
            _ => 0,
        }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The hashes of schemes, added to those that are there.
    #[must_use]
    pub(crate) fn and(self, schemes: &[SignatureScheme]) -> Self {
        let hashes = schemes.iter().filter_map(|scheme| scheme.hash());
        Self(hashes.fold(self.0, |bits, hash| bits | Self::bit(hash)))
    }

    /// What a peer has announced. `None`: nothing, so that it knows the older methods only.
    pub(crate) fn of(message: &Collected<'_>) -> Option<Self> {
        let data = message.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS)?.data;
        let mut r = Reader::new(data);
        let mut bits = 0;
        while let Some(id) = r.u16() {
            bits |= Self::bit(SignatureHash(id));
        }
        Some(Self(bits))
    }

    /// Writes them as the notify has them. Gives the bytes written.
    pub(crate) fn write(self, buf: &mut [u8; 10]) -> &[u8] {
        let mut len = 0usize;
        let (pairs, _) = buf.as_chunks_mut::<2>();
        for (pair, hash) in pairs.iter_mut().zip(self.iter()) {
            *pair = hash.0.to_be_bytes();
            len = len.saturating_add(2);
        }
        buf.get(..len).unwrap_or_default()
    }
}

impl core::fmt::Debug for SignatureHashes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::fmt::Display for SignatureHashes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (i, hash) in self.iter().enumerate() {
            write!(f, "{}{hash}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The method of RFC 7296 that stands for a scheme.
const fn older_method(scheme: SignatureScheme) -> Option<AuthMethod> {
    match scheme {
        SignatureScheme::RsaPkcs1(_) => Some(AuthMethod::RSA_SIGNATURE),
        SignatureScheme::EcdsaRaw(Curve::P256) => Some(AuthMethod::ECDSA_P256_SHA256),
        SignatureScheme::EcdsaRaw(Curve::P384) => Some(AuthMethod::ECDSA_P384_SHA384),
        SignatureScheme::EcdsaRaw(Curve::P521) => Some(AuthMethod::ECDSA_P521_SHA512),
        _ => None,
    }
}

/// Whether a method is one of signatures.
pub(crate) const fn is_signature(method: AuthMethod) -> bool {
    matches!(
        method,
        AuthMethod::RSA_SIGNATURE
            | AuthMethod::ECDSA_P256_SHA256
            | AuthMethod::ECDSA_P384_SHA384
            | AuthMethod::ECDSA_P521_SHA512
            | AuthMethod::DIGITAL_SIGNATURE
    )
}

/// How we sign, with a key that makes `schemes`, for a peer that has announced `theirs`: RFC 7427 if the peer knows one
/// of its hashes (RFC 7427 section 4), else an older method.
pub(crate) fn choose(
    schemes: &[SignatureScheme],
    theirs: Option<SignatureHashes>,
) -> Option<(AuthMethod, SignatureScheme)> {
    let known = |scheme: &&SignatureScheme| {
        let hash = scheme.hash().filter(|_| scheme.algorithm_identifier().is_some());
        hash.is_some_and(|hash| theirs.is_some_and(|theirs| theirs.contains(hash)))
    };
    let digital = schemes.iter().find(known).map(|s| (AuthMethod::DIGITAL_SIGNATURE, *s));
    digital.or_else(|| schemes.iter().find_map(|s| older_method(*s).map(|method| (method, *s))))
}

/// What a signature says of its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Scheme(SignatureScheme),
    /// Method 1: the hash is known when the signature has been opened.
    RsaPkcs1,
}

impl Named {
    pub(crate) fn is(self, scheme: SignatureScheme) -> bool {
        match self {
            Self::Scheme(named) => named == scheme,
            Self::RsaPkcs1 => matches!(scheme, SignatureScheme::RsaPkcs1(_)),
        }
    }
}

/// Takes an AUTH payload apart.
pub(crate) fn read<'a>(auth: &AuthPayload<'a>) -> Option<(Named, &'a [u8])> {
    let named = match auth.method {
        AuthMethod::DIGITAL_SIGNATURE => {
            let DigitalSignature { algorithm, signature } = DigitalSignature::parse(auth.data)?;
            let scheme = SignatureScheme::from_algorithm_identifier(algorithm)?;
            return Some((Named::Scheme(scheme), signature));
        }
        AuthMethod::RSA_SIGNATURE => Named::RsaPkcs1,
        AuthMethod::ECDSA_P256_SHA256 => Named::Scheme(SignatureScheme::EcdsaRaw(Curve::P256)),
        AuthMethod::ECDSA_P384_SHA384 => Named::Scheme(SignatureScheme::EcdsaRaw(Curve::P384)),
        AuthMethod::ECDSA_P521_SHA512 => Named::Scheme(SignatureScheme::EcdsaRaw(Curve::P521)),
        _ => return None,
    };
    Some((named, auth.data))
}

/// The signatures that a peer may make.
pub(crate) const fn allowed<'r>(remote: &RemoteAuth<'r>) -> &'r [SignatureScheme] {
    match remote {
        RemoteAuth::Psk(_) => &[],
        #[cfg(feature = "ikev1")]
        RemoteAuth::User => &[],
        #[cfg(feature = "store")]
        RemoteAuth::Store => crate::config::SIGNATURE_SCHEMES,
        RemoteAuth::Certificate { schemes, .. } | RemoteAuth::RawPublicKey { schemes, .. } => {
            schemes
        }
    }
}

/// What can be seen without work: whether a peer's proof is of an allowed kind, and comes with what is needed.
pub(crate) fn check(
    remote: &RemoteAuth<'_>,
    named: Option<Named>,
    certs: &Certs<'_>,
) -> Result<(), Untrusted> {
    let named = named.ok_or(Untrusted::Unsupported)?;
    if !allowed(remote).iter().any(|scheme| named.is(*scheme)) {
        return Err(Untrusted::Unsupported);
    }
    if certs.clone().count() > MAX_CERTS {
        return Err(Untrusted::TooManyCertificates);
    }
    match remote {
        RemoteAuth::Certificate { .. } => {
            let first = certs.clone().next().ok_or(Untrusted::NoCertificate)?;
            let x509 = first.encoding == CertEncoding::X509_SIGNATURE;
            if x509 { Ok(()) } else { Err(Untrusted::Unsupported) }
        }
        RemoteAuth::RawPublicKey { spki, .. } => {
            // It may be left out, since it is known; what is sent must be it.
            let raw = |c: &CertPayload<'_>| c.encoding == CertEncoding::RAW_PUBLIC_KEY;
            let sent = certs.clone().find(raw);
            if sent.is_none_or(|c| c.data == *spki) { Ok(()) } else { Err(Untrusted::OtherKey) }
        }
        _ => Err(Untrusted::Unsupported),
    }
}
