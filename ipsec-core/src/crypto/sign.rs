//! Signatures: how they are named, made and verified. None of it is part of a [`Provider`](super::Provider).
//!
//! A [`Signer`] holds a private key, or reaches one in hardware. A [`SignatureVerifier`] holds nothing: it is given the
//! public key of each signature. Both are lent as `dyn` to whoever runs the jobs of IKE, so that a program which
//! authenticates by other means links neither.

use rand_core::CryptoRng;

use super::provider::{CryptoError, HashId};
use super::suite::SignatureHash;
use crate::bytes::Reader;

/// Room that is enough for every signature: RSA with 4096 bits makes one of 512 bytes.
pub const MAX_SIGNATURE_LEN: usize = 512;

/// How a signature is made, up to the key: what RFC 7427 writes as an AlgorithmIdentifier, and what older
/// authentication methods imply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignatureScheme {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2): RFC 7427, and authentication method 1 (RFC 7296 section 3.8).
    RsaPkcs1(HashId),
    /// RSASSA-PSS (RFC 8017 section 8.1); MGF1 has the same hash, and the salt is as long as the hash.
    RsaPss(HashId),
    /// PKCS #1 block type 1 around the message itself, neither hashed nor named: signatures of IKEv1, whose message is
    /// HASH_I or HASH_R (RFC 2409 section 5.1).
    RsaIkev1,
    /// ECDSA as a DER `SEQUENCE` of r and s, on the curve of the key: RFC 7427.
    Ecdsa(HashId),
    /// ECDSA as r and s one after the other, each as long as the order of the curve, and with the hash of the curve:
    /// authentication methods 9, 10 and 11 (RFC 4754 section 7).
    EcdsaRaw(Curve),
    /// ECDSA as [`SignatureScheme::EcdsaRaw`] writes it, whose message is the hash already: signatures of IKEv1, whose
    /// HASH_I or HASH_R is made with the hash of the curve (RFC 2409 section 5.1, RFC 4754).
    EcdsaIkev1(Curve),
    /// Ed25519 over the message itself (RFC 8420).
    Ed25519,
}

/// A curve of ECDSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Curve {
    /// P-256, with SHA-256 in RFC 4754.
    P256,
    /// P-384, with SHA-384 in RFC 4754.
    P384,
    /// P-521, with SHA-512 in RFC 4754.
    P521,
}

/// A private key, here or in hardware.
pub trait Signer {
    /// What this key can make, the preferred first.
    fn schemes(&self) -> &[SignatureScheme];

    /// Signs `message`, whose parts follow each other without gap or mark, and writes the signature to `out`; its length is
    /// returned, at most [`MAX_SIGNATURE_LEN`].
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for a scheme that is not in [`Signer::schemes`]; [`CryptoError::Length`] if `out` is too
    /// short; [`CryptoError::Failed`] if the hardware or the random source failed.
    fn sign(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
        message: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, CryptoError>;
}

/// Verifies signatures.
pub trait SignatureVerifier {
    /// What it can verify, the preferred first: from this comes the list of hash functions that is told to a peer
    /// (RFC 7427 section 4).
    fn schemes(&self) -> &[SignatureScheme];

    /// Verifies `signature` over `message`, whose parts follow each other without gap or mark. `spki` is the public key:
    /// the DER of a whole SubjectPublicKeyInfo (RFC 5280 section 4.1).
    ///
    /// # Errors
    /// [`CryptoError::Signature`] for a wrong or malformed signature; [`CryptoError::Key`] for a malformed, weak or
    /// unfitting key; [`CryptoError::Unsupported`] for a scheme or a kind of key that it cannot verify.
    fn verify(
        &self,
        scheme: SignatureScheme,
        spki: &[u8],
        message: &[&[u8]],
        signature: &[u8],
    ) -> Result<(), CryptoError>;
}

impl SignatureScheme {
    /// What a peer must have announced before it is sent such a signature (RFC 7427 section 4, RFC 8420 section 2); `None`
    /// where nothing announces it: [`SignatureScheme::EcdsaRaw`] and those of IKEv1.
    pub const fn hash(self) -> Option<SignatureHash> {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(hash) => {
                Some(hash.signature_hash())
            }
            Self::Ed25519 => Some(SignatureHash::IDENTITY),
            Self::RsaIkev1 | Self::EcdsaRaw(_) | Self::EcdsaIkev1(_) => None,
        }
    }

    /// The DER of the AlgorithmIdentifier (RFC 7427 appendix A); `None` for what has none in IKE:
    /// [`SignatureScheme::EcdsaRaw`], those of IKEv1, and RSASSA-PSS with SHA-1.
    pub const fn algorithm_identifier(self) -> Option<&'static [u8]> {
        Some(match self {
            Self::RsaPkcs1(HashId::Sha1) => &RSA_SHA1,
            Self::RsaPkcs1(HashId::Sha256) => &RSA_SHA256,
            Self::RsaPkcs1(HashId::Sha384) => &RSA_SHA384,
            Self::RsaPkcs1(HashId::Sha512) => &RSA_SHA512,
            Self::RsaPss(HashId::Sha256) => &PSS_SHA256,
            Self::RsaPss(HashId::Sha384) => &PSS_SHA384,
            Self::RsaPss(HashId::Sha512) => &PSS_SHA512,
            Self::Ecdsa(HashId::Sha1) => &ECDSA_SHA1,
            Self::Ecdsa(HashId::Sha256) => &ECDSA_SHA256,
            Self::Ecdsa(HashId::Sha384) => &ECDSA_SHA384,
            Self::Ecdsa(HashId::Sha512) => &ECDSA_SHA512,
            Self::Ed25519 => &ED25519,
            Self::RsaPkcs1(HashId::Md5)
            | Self::RsaPss(HashId::Md5 | HashId::Sha1)
            | Self::Ecdsa(HashId::Md5)
            | Self::RsaIkev1
            | Self::EcdsaRaw(_)
            | Self::EcdsaIkev1(_) => return None,
        })
    }

    /// The scheme that an AlgorithmIdentifier names; `None` if it is none of ours, is not DER, or has anything after it.
    ///
    /// Every byte is compared. Only RSASSA-PSS has more than one spelling: the parameters of its hash functions are NULL
    /// or absent (RFC 4055 section 2.1), and its trailer field is left out or, as in RFC 7427 appendix A.4.3, written although
    /// it is the default. SHA-1 is no hash of RSASSA-PSS here, so its default parameters are refused.
    pub fn from_algorithm_identifier(der: &[u8]) -> Option<Self> {
        const PLAIN: [SignatureScheme; 9] = [
            SignatureScheme::RsaPkcs1(HashId::Sha1),
            SignatureScheme::RsaPkcs1(HashId::Sha256),
            SignatureScheme::RsaPkcs1(HashId::Sha384),
            SignatureScheme::RsaPkcs1(HashId::Sha512),
            SignatureScheme::Ecdsa(HashId::Sha1),
            SignatureScheme::Ecdsa(HashId::Sha256),
            SignatureScheme::Ecdsa(HashId::Sha384),
            SignatureScheme::Ecdsa(HashId::Sha512),
            SignatureScheme::Ed25519,
        ];
        PLAIN
            .into_iter()
            .find(|scheme| scheme.algorithm_identifier() == Some(der))
            .or_else(|| pss(der).map(Self::RsaPss))
    }
}

impl Curve {
    /// Bytes of the order, so of r and of s.
    pub const fn order_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The hash that RFC 4754 goes with it.
    pub const fn hash(self) -> HashId {
        match self {
            Self::P256 => HashId::Sha256,
            Self::P384 => HashId::Sha384,
            Self::P521 => HashId::Sha512,
        }
    }
}

/// The hash function of RSASSA-PSS.
fn pss(der: &[u8]) -> Option<HashId> {
    let mut identifier = sole(der, SEQUENCE)?;
    (element(&mut identifier, OBJECT_IDENTIFIER)? == ID_PSS).then_some(())?;
    let mut parameters = Reader::new(sole(identifier.rest(), SEQUENCE)?.rest());
    let hash = hash_function(element(&mut parameters, CONTEXT_0)?)?;
    let mut mask = sole(element(&mut parameters, CONTEXT_1)?, SEQUENCE)?;
    (element(&mut mask, OBJECT_IDENTIFIER)? == ID_MGF1).then_some(())?;
    (hash_function(mask.rest())? == hash).then_some(())?;
    // RFC 7427 section 3 leaves the length of the salt open; RFC 4055 section 3.1 recommends that of the hash.
    let salt = sole(element(&mut parameters, CONTEXT_2)?, INTEGER)?;
    (salt.rest() == [u8::try_from(hash.output_len()).ok()?]).then_some(())?;
    // Trailer field 1, the default.
    matches!(parameters.rest(), [] | [CONTEXT_3, 3, INTEGER, 1, 1]).then_some(hash)
}

/// A hash function of RSASSA-PSS by its AlgorithmIdentifier.
fn hash_function(der: &[u8]) -> Option<HashId> {
    let mut identifier = sole(der, SEQUENCE)?;
    let hash = match element(&mut identifier, OBJECT_IDENTIFIER)? {
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01] => HashId::Sha256,
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02] => HashId::Sha384,
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03] => HashId::Sha512,
        _ => return None,
    };
    matches!(identifier.rest(), [] | [0x05, 0x00]).then_some(hash)
}

/// The contents of the one element of `der`.
fn sole(der: &[u8], tag: u8) -> Option<Reader<'_>> {
    let mut reader = Reader::new(der);
    let contents = element(&mut reader, tag)?;
    reader.is_empty().then_some(Reader::new(contents))
}

/// The contents of the next element, shorter than 128 bytes: nothing here is longer, and DER has no other spelling.
fn element<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    (reader.u8()? == tag).then_some(())?;
    let len = reader.u8()?;
    (len < 0x80).then_some(())?;
    reader.take(len.into())
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
const CONTEXT_2: u8 = 0xa2;
const CONTEXT_3: u8 = 0xa3;

const ID_MGF1: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
const ID_PSS: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

const RSA_SHA1: [u8; 15] = rsa(0x05);
const RSA_SHA256: [u8; 15] = rsa(0x0b);
const RSA_SHA384: [u8; 15] = rsa(0x0c);
const RSA_SHA512: [u8; 15] = rsa(0x0d);
const ECDSA_SHA1: [u8; 11] = [0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
const ECDSA_SHA256: [u8; 12] = ecdsa(2);
const ECDSA_SHA384: [u8; 12] = ecdsa(3);
const ECDSA_SHA512: [u8; 12] = ecdsa(4);
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
const PSS_SHA256: [u8; 67] = pss_of(1, 32);
const PSS_SHA384: [u8; 67] = pss_of(2, 48);
const PSS_SHA512: [u8; 67] = pss_of(3, 64);

/// The PKCS #1 arc: sha1WithRSAEncryption and its like, with NULL.
const fn rsa(last: u8) -> [u8; 15] {
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last, 0x05, 0x00]
}

/// ecdsa-with-SHA256 and its like, without parameters.
const fn ecdsa(last: u8) -> [u8; 12] {
    [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last]
}

/// id-RSASSA-PSS with the hash of that last arc for both uses, the length of the salt, and the default trailer left out.
#[rustfmt::skip]
const fn pss_of(hash: u8, salt: u8) -> [u8; 67] {
    [
        0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34,
        0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, hash, 0x05, 0x00,
        0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
        0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, hash, 0x05, 0x00,
        0xa2, 0x03, 0x02, 0x01, salt,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use SignatureScheme::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};

    const ALL: [SignatureScheme; 12] = [
        RsaPkcs1(HashId::Sha1),
        RsaPkcs1(HashId::Sha256),
        RsaPkcs1(HashId::Sha384),
        RsaPkcs1(HashId::Sha512),
        RsaPss(HashId::Sha256),
        RsaPss(HashId::Sha384),
        RsaPss(HashId::Sha512),
        Ecdsa(HashId::Sha1),
        Ecdsa(HashId::Sha256),
        Ecdsa(HashId::Sha384),
        Ecdsa(HashId::Sha512),
        Ed25519,
    ];

    // RFC 7427 appendix A.1.1, A.1.2, A.3.2 and A.4.3; RFC 8420 appendix A.
    #[test]
    fn identifiers_of_the_rfcs() {
        let identifiers: [(&[u8], _); 4] = [
            (
                b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00",
                RsaPkcs1(HashId::Sha1),
            ),
            (
                b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
                RsaPkcs1(HashId::Sha256),
            ),
            (b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", Ecdsa(HashId::Sha256)),
            (b"\x30\x05\x06\x03\x2b\x65\x70", Ed25519),
        ];
        for (der, scheme) in identifiers {
            assert_eq!(scheme.algorithm_identifier(), Some(der));
        }
        let with_trailer = b"\x30\x46\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x39\
            \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
            \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
            \x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
            \xa2\x03\x02\x01\x20\xa3\x03\x02\x01\x01";
        assert_eq!(
            SignatureScheme::from_algorithm_identifier(with_trailer),
            Some(RsaPss(HashId::Sha256))
        );
    }

    #[test]
    fn every_identifier_names_its_scheme_and_no_other_bytes_do() {
        for scheme in ALL {
            let der = scheme.algorithm_identifier().unwrap();
            assert_eq!(SignatureScheme::from_algorithm_identifier(der), Some(scheme));
            for at in 0..der.len() {
                assert_eq!(SignatureScheme::from_algorithm_identifier(&der[..at]), None);
                for bit in 0..8 {
                    let mut changed = [0; 68];
                    let changed = &mut changed[..der.len()];
                    changed.copy_from_slice(der);
                    changed[at] ^= 1 << bit;
                    if let Some(named) = SignatureScheme::from_algorithm_identifier(changed) {
                        assert_eq!(named.algorithm_identifier(), Some(&*changed), "{scheme:?}");
                    }
                }
            }
            let mut longer = [0; 68];
            longer[..der.len()].copy_from_slice(der);
            assert_eq!(SignatureScheme::from_algorithm_identifier(&longer[..der.len() + 1]), None);
        }
    }

    // RFC 4055 section 2.1: both are accepted.
    #[test]
    fn hash_functions_of_pss_may_leave_null_out() {
        let bare = b"\x30\x3d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x30\
            \xa0\x0d\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\
            \xa1\x1a\x30\x18\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
            \x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\
            \xa2\x03\x02\x01\x40";
        assert_eq!(SignatureScheme::from_algorithm_identifier(bare), Some(RsaPss(HashId::Sha512)));
        // RFC 7427 appendix A.4.1 and A.4.2: the default is SHA-1.
        let id = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x00";
        assert_eq!(SignatureScheme::from_algorithm_identifier(id), None);
        assert_eq!(SignatureScheme::from_algorithm_identifier(&[0x30, 11, 6, 9]), None);
        assert_eq!(RsaPss(HashId::Sha1).algorithm_identifier(), None);
    }

    // RFC 7427 section 4: the list of the peer decides.
    #[test]
    fn what_a_peer_must_have_announced() {
        assert_eq!(RsaPss(HashId::Sha384).hash(), Some(SignatureHash::SHA2_384));
        assert_eq!(Ed25519.hash(), Some(SignatureHash::IDENTITY));
        assert_eq!(SignatureScheme::EcdsaRaw(Curve::P521).hash(), None);
    }
}
