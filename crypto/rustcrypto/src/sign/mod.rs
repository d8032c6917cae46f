//! Signatures: verified by [`Verifier`], made by [`PrivateKey`].
//!
//! A scheme is there if its kind of key and its hash function are selected; the hash functions are selected with the HMAC
//! that is made of them. SHA-1 besides needs the feature `legacy`. Ed25519 has SHA-512 in it.

mod der;
mod ecdsa;
mod key;
mod padding;
mod rsa;
#[cfg(feature = "x509")]
mod x509;

use core::marker::PhantomData;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::ed25519::signature::MultipartVerifier;
use ipsec_core::bytes::Writer;
use ipsec_core::crypto::{CryptoError, Curve, HashId, SignatureScheme, SignatureVerifier};

pub use key::PrivateKey;

use crate::lists::{LEGACY, List};
use crate::select::{All, Select, Switch};
use der::Kind;
use ecdsa::Form;

/// A [`SignatureVerifier`] with every algorithm.
pub type RustCryptoVerifier = Verifier<All>;

/// A private key of any kind that this crate has.
pub type SoftwareKey = PrivateKey<All>;

/// Verifies signatures with the algorithms of `S`. It holds nothing.
pub struct Verifier<S: Select = All>(PhantomData<fn() -> S>);

impl<S: Select> Verifier<S> {
    const SCHEMES: &'static List<SignatureScheme, 20> = &schemes::<S>(None);

    /// The one value.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: Select> Default for Verifier<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Select> SignatureVerifier for Verifier<S> {
    fn schemes(&self) -> &[SignatureScheme] {
        Self::SCHEMES.slice()
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        spki: &[u8],
        message: &[&[u8]],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let key = PublicKey::parse(spki, scheme).ok_or(CryptoError::Key)?;
        verify::<S>(scheme, &key, message, signature)
    }
}

/// A public key, in the bytes that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PublicKey<'a> {
    Rsa(rsa::Public<'a>),
    /// A point as in SEC 1.
    Ec(Curve, &'a [u8]),
    Ed25519(&'a [u8]),
}

impl<'a> PublicKey<'a> {
    /// Reads a SubjectPublicKeyInfo. A key that is for RSASSA-PSS alone is there only for such a scheme, and only for the one
    /// that it names, if it names one (RFC 4055 section 1.2).
    fn parse(spki: &'a [u8], scheme: SignatureScheme) -> Option<Self> {
        let mut info = ipsec_core::bytes::Reader::new(der::sole(spki, der::SEQUENCE)?);
        let whole = info.rest();
        let algorithm = der::element(&mut info, der::SEQUENCE)?;
        let whole = whole.get(..whole.len().checked_sub(info.rest().len())?)?;
        let kind = Kind::parse(algorithm)?;
        if kind == Kind::RsaPss {
            let bare = matches!(scheme, SignatureScheme::RsaPss(_)) && algorithm.len() == 11;
            (bare || SignatureScheme::from_algorithm_identifier(whole) == Some(scheme))
                .then_some(())?;
        }
        Self::of(kind, der::bit_string(info.rest())?)
    }

    /// A key of a kind that is known already.
    fn of(kind: Kind, key: &'a [u8]) -> Option<Self> {
        Some(match kind {
            Kind::Rsa | Kind::RsaPss => Self::Rsa(rsa::Public::parse(key)?),
            Kind::Ec(curve) => Self::Ec(curve, key),
            Kind::Ed25519 => Self::Ed25519(key),
        })
    }
}

/// Verifies a signature by a key.
fn verify<S: Select>(
    scheme: SignatureScheme,
    key: &PublicKey<'_>,
    message: &[&[u8]],
    signature: &[u8],
) -> Result<(), CryptoError> {
    match (scheme, key) {
        (SignatureScheme::RsaPkcs1(id), PublicKey::Rsa(key)) => {
            let digest = hash::<S>(id, message)?;
            verify_pkcs1::<S>(key, &[padding::digest_info(id), digest.as_ref()], signature)
        }
        // RFC 2409 section 5.1: no DigestInfo.
        (SignatureScheme::RsaIkev1, PublicKey::Rsa(key)) => {
            verify_pkcs1::<S>(key, message, signature)
        }
        (SignatureScheme::RsaPss(id), PublicKey::Rsa(key)) => {
            let digest = modern_hash::<S>(id, message)?;
            let mut encoded = [0; rsa::MAX_LEN];
            let encoded = encoded.get_mut(..key.len()).ok_or(CryptoError::Key)?;
            key.open::<S>(signature, encoded)?;
            padding::verify_pss::<S>(id, &digest, key.bits(), encoded)
        }
        (SignatureScheme::Ecdsa(id), PublicKey::Ec(curve, point)) => {
            verify_ecdsa::<S>(*curve, point, id, message, Form::Der, signature)
        }
        // RFC 4754 section 7.
        (SignatureScheme::EcdsaRaw(named), PublicKey::Ec(curve, point)) if named == *curve => {
            verify_ecdsa::<S>(*curve, point, named.hash(), message, Form::Raw, signature)
        }
        // RFC 2409 section 5.1: the message is the hash.
        (SignatureScheme::EcdsaIkev1(named), PublicKey::Ec(curve, point)) if named == *curve => {
            let hash = given_hash(named, message).ok_or(CryptoError::Signature)?;
            verify_ecdsa_hash::<S>(*curve, point, &hash, Form::Raw, signature)
        }
        (SignatureScheme::Ed25519, PublicKey::Ed25519(key)) if S::Ed25519::ON => {
            verify_ed25519(key, message, signature)
        }
        (SignatureScheme::Ed25519, PublicKey::Ed25519(_)) => Err(CryptoError::Unsupported),
        _ => Err(CryptoError::Key),
    }
}

#[inline(never)]
fn verify_pkcs1<S: Select>(
    key: &rsa::Public<'_>,
    parts: &[&[u8]],
    signature: &[u8],
) -> Result<(), CryptoError> {
    let mut encoded = [0; rsa::MAX_LEN];
    let encoded = encoded.get_mut(..key.len()).ok_or(CryptoError::Key)?;
    key.open::<S>(signature, encoded)?;
    padding::verify_pkcs1(encoded, parts)
}

fn verify_ecdsa<S: Select>(
    curve: Curve,
    point: &[u8],
    id: HashId,
    message: &[&[u8]],
    form: Form,
    signature: &[u8],
) -> Result<(), CryptoError> {
    verify_ecdsa_hash::<S>(curve, point, &modern_hash::<S>(id, message)?, form, signature)
}

fn verify_ecdsa_hash<S: Select>(
    curve: Curve,
    point: &[u8],
    hash: &Hash,
    form: Form,
    signature: &[u8],
) -> Result<(), CryptoError> {
    let hash = hash.as_ref();
    match curve {
        Curve::P256 if S::EcdsaP256::ON => {
            ecdsa::verify::<p256::NistP256>(point, hash, form, signature)
        }
        Curve::P384 if S::EcdsaP384::ON => {
            ecdsa::verify::<p384::NistP384>(point, hash, form, signature)
        }
        Curve::P521 if S::EcdsaP521::ON => {
            ecdsa::verify::<p521::NistP521>(point, hash, form, signature)
        }
        _ => Err(CryptoError::Unsupported),
    }
}

/// RFC 8032 section 5.1.7, without the cofactor. A key of small order is refused: everything is signed by it.
#[inline(never)]
fn verify_ed25519(key: &[u8], message: &[&[u8]], signature: &[u8]) -> Result<(), CryptoError> {
    let key = <&[u8; 32]>::try_from(key).map_err(|_| CryptoError::Key)?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| CryptoError::Key)?;
    if key.is_weak() {
        return Err(CryptoError::Key);
    }
    let signature = <&[u8; 64]>::try_from(signature).map_err(|_| CryptoError::Signature)?;
    key.multipart_verify(message, &ed25519_dalek::Signature::from_bytes(signature))
        .map_err(|_| CryptoError::Signature)
}

/// The output of a hash function.
struct Hash {
    bytes: [u8; 64],
    len: usize,
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A message that is a hash, of the function that goes with a curve.
fn given_hash(curve: Curve, message: &[&[u8]]) -> Option<Hash> {
    let mut hash = Hash { bytes: [0; 64], len: curve.hash().output_len() };
    let mut w = Writer::new(hash.bytes.get_mut(..hash.len)?);
    message.iter().try_for_each(|part| w.bytes(part))?;
    w.room().is_empty().then_some(hash)
}

/// Hashes with a function that `S` has.
#[inline(never)]
fn hash<S: Select>(id: HashId, parts: &[&[u8]]) -> Result<Hash, CryptoError> {
    if !has_hash::<S>(id) {
        return Err(CryptoError::Unsupported);
    }
    let mut hash = Hash { bytes: [0; 64], len: id.output_len() };
    let out = hash.bytes.get_mut(..hash.len).ok_or(CryptoError::Length)?;
    match id {
        HashId::Sha1 if has_hash::<S>(HashId::Sha1) => crate::digest::<sha1::Sha1>(parts, out),
        HashId::Sha256 if has_hash::<S>(HashId::Sha256) => {
            crate::digest::<sha2::Sha256>(parts, out)
        }
        HashId::Sha384 if has_hash::<S>(HashId::Sha384) => {
            crate::digest::<sha2::Sha384>(parts, out)
        }
        HashId::Sha512 if has_hash::<S>(HashId::Sha512) => {
            crate::digest::<sha2::Sha512>(parts, out)
        }
        _ => Err(CryptoError::Unsupported),
    }?;
    Ok(hash)
}

/// RSASSA-PSS and ECDSA never have SHA-1.
fn modern_hash<S: Select>(id: HashId, parts: &[&[u8]]) -> Result<Hash, CryptoError> {
    if id == HashId::Sha1 { Err(CryptoError::Unsupported) } else { hash::<S>(id, parts) }
}

const fn has_hash<S: Select>(id: HashId) -> bool {
    match id {
        HashId::Sha1 => LEGACY && S::HmacSha1::ON,
        HashId::Sha256 => S::HmacSha256::ON,
        HashId::Sha384 => S::HmacSha384::ON,
        HashId::Sha512 => S::HmacSha512::ON,
        _ => false,
    }
}

/// What `S` can do with one kind of key, or with all, in the order of preference.
const fn schemes<S: Select>(kind: Option<Kind>) -> List<SignatureScheme, 20> {
    use SignatureScheme::{Ecdsa, EcdsaIkev1, EcdsaRaw, RsaPkcs1, RsaPss};
    let mut list = List::new(SignatureScheme::Ed25519);
    let any = kind.is_none();
    let p256 = S::EcdsaP256::ON && (any || matches!(kind, Some(Kind::Ec(Curve::P256))));
    let p384 = S::EcdsaP384::ON && (any || matches!(kind, Some(Kind::Ec(Curve::P384))));
    let p521 = S::EcdsaP521::ON && (any || matches!(kind, Some(Kind::Ec(Curve::P521))));
    let rsa = (S::Rsa2048::ON || S::Rsa3072::ON || S::Rsa4096::ON)
        && (any || matches!(kind, Some(Kind::Rsa)));
    let ed25519 = S::Ed25519::ON && (any || matches!(kind, Some(Kind::Ed25519)));
    let sha1 = has_hash::<S>(HashId::Sha1);
    let sha256 = has_hash::<S>(HashId::Sha256);
    let sha384 = has_hash::<S>(HashId::Sha384);
    let sha512 = has_hash::<S>(HashId::Sha512);
    let ecdsa = p256 || p384 || p521;

    list.push(ed25519, SignatureScheme::Ed25519);
    // The hash that is as strong as the curve comes first.
    list.push(p256 && sha256, Ecdsa(HashId::Sha256));
    list.push(ecdsa && sha384, Ecdsa(HashId::Sha384));
    list.push(ecdsa && sha512, Ecdsa(HashId::Sha512));
    list.push(ecdsa && !p256 && sha256, Ecdsa(HashId::Sha256));
    list.push(p256 && sha256, EcdsaRaw(Curve::P256));
    list.push(p384 && sha384, EcdsaRaw(Curve::P384));
    list.push(p521 && sha512, EcdsaRaw(Curve::P521));
    list.push(p256 && sha256, EcdsaIkev1(Curve::P256));
    list.push(p384 && sha384, EcdsaIkev1(Curve::P384));
    list.push(p521 && sha512, EcdsaIkev1(Curve::P521));
    list.push(rsa && sha256, RsaPss(HashId::Sha256));
    list.push(rsa && sha384, RsaPss(HashId::Sha384));
    list.push(rsa && sha512, RsaPss(HashId::Sha512));
    list.push(rsa && sha256, RsaPkcs1(HashId::Sha256));
    list.push(rsa && sha384, RsaPkcs1(HashId::Sha384));
    list.push(rsa && sha512, RsaPkcs1(HashId::Sha512));
    list.push(rsa, SignatureScheme::RsaIkev1);
    list.push(rsa && sha1, RsaPkcs1(HashId::Sha1));
    list
}
