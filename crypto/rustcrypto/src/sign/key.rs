//! Private keys in memory.

use ed25519_dalek::ed25519::signature::MultipartSigner;
use ipsec_core::bytes::{self, Reader};
use ipsec_core::crypto::{CryptoError, Curve, SignatureScheme, Signer};
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;
use rand_core::CryptoRng;

use super::ecdsa::{self, Ecdsa, Form};
use super::rsa::{self, PrivateParts, Size};
use super::{PublicKey, der, given_hash, hash, modern_hash, padding, schemes};
use crate::lists::List;
use crate::select::{All, If, Select, Switch};

/// A private key that lies inline, and is wiped on drop. [`SoftwareKey`](crate::SoftwareKey) is one of any kind.
///
/// It is made of the DER of an unencrypted PKCS #8 PrivateKeyInfo (RFC 5958), of an ECPrivateKey that names its curve
/// (RFC 5915), or of an RSAPrivateKey (RFC 8017 appendix A.1.2). RSA keys have two primes of the same length, and 2048 to 4096
/// bits.
///
/// ECDSA takes its nonces from the key, the hash, and random bytes besides (RFC 6979 section 3.6). RSA is blinded, and
/// verifies what it made.
pub struct PrivateKey<S: Select = All>(Private<S>);

enum Private<S: Select> {
    P256(If<S::EcdsaP256, ::ecdsa::SigningKey<NistP256>>),
    P384(If<S::EcdsaP384, ::ecdsa::SigningKey<NistP384>>),
    P521(If<S::EcdsaP521, ::ecdsa::SigningKey<NistP521>>),
    Ed25519(If<S::Ed25519, ed25519_dalek::SigningKey>),
    Rsa2048(If<S::Rsa2048, rsa::Private2048>),
    Rsa3072(If<S::Rsa3072, rsa::Private3072>),
    Rsa4096(If<S::Rsa4096, rsa::Private4096>),
}

impl<S: Select> PrivateKey<S> {
    /// Reads a key.
    ///
    /// # Errors
    /// [`CryptoError::Key`] if it is malformed or weak, [`CryptoError::Unsupported`] if its kind is not selected.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        match Parts::parse(der).ok_or(CryptoError::Key)? {
            Parts::Ec(Curve::P256, scalar) => {
                <S::EcdsaP256>::make(|| ecdsa::private(scalar)).map(Private::P256)
            }
            Parts::Ec(Curve::P384, scalar) => {
                <S::EcdsaP384>::make(|| ecdsa::private(scalar)).map(Private::P384)
            }
            Parts::Ec(Curve::P521, scalar) => {
                <S::EcdsaP521>::make(|| ecdsa::private(scalar)).map(Private::P521)
            }
            Parts::Ec(..) => Err(CryptoError::Unsupported),
            Parts::Ed25519(seed) => {
                <S::Ed25519>::make(|| Ok(ed25519_dalek::SigningKey::from_bytes(seed)))
                    .map(Private::Ed25519)
            }
            Parts::Rsa(parts) => match parts.size() {
                Size::Bits2048 => {
                    <S::Rsa2048>::make(|| rsa::Private::new(&parts)).map(Private::Rsa2048)
                }
                Size::Bits3072 => {
                    <S::Rsa3072>::make(|| rsa::Private::new(&parts)).map(Private::Rsa3072)
                }
                Size::Bits4096 => {
                    <S::Rsa4096>::make(|| rsa::Private::new(&parts)).map(Private::Rsa4096)
                }
            },
        }
        .map(Self)
    }

    /// Whether `spki`, the DER of a SubjectPublicKeyInfo, is the public half of this key.
    pub fn fits(&self, spki: &[u8]) -> bool {
        self.schemes().iter().any(|scheme| {
            PublicKey::parse(spki, *scheme).is_some_and(|public| self.key().fits(&public))
        })
    }

    fn key(&self) -> &dyn Key<S> {
        match &self.0 {
            Private::P256(key) => <S::EcdsaP256>::get::<::ecdsa::SigningKey<NistP256>>(key),
            Private::P384(key) => <S::EcdsaP384>::get::<::ecdsa::SigningKey<NistP384>>(key),
            Private::P521(key) => <S::EcdsaP521>::get::<::ecdsa::SigningKey<NistP521>>(key),
            Private::Ed25519(key) => <S::Ed25519>::get::<ed25519_dalek::SigningKey>(key),
            Private::Rsa2048(key) => <S::Rsa2048>::get::<rsa::Private2048>(key),
            Private::Rsa3072(key) => <S::Rsa3072>::get::<rsa::Private3072>(key),
            Private::Rsa4096(key) => <S::Rsa4096>::get::<rsa::Private4096>(key),
        }
    }
}

impl<S: Select> Signer for PrivateKey<S> {
    fn schemes(&self) -> &[SignatureScheme] {
        self.key().schemes()
    }

    fn sign(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
        message: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        if !self.schemes().contains(&scheme) {
            return Err(CryptoError::Unsupported);
        }
        self.key().sign(scheme, rng, message, out)
    }
}

/// The parts of a private key, in the bytes that they came in.
enum Parts<'a> {
    Rsa(PrivateParts<'a>),
    Ec(Curve, &'a [u8]),
    Ed25519(&'a [u8; 32]),
}

impl<'a> Parts<'a> {
    /// Reads one of the three structures: after the version they begin with an AlgorithmIdentifier, an OCTET STRING, or an
    /// INTEGER.
    fn parse(der: &'a [u8]) -> Option<Self> {
        let contents = der::sole(der, der::SEQUENCE)?;
        let mut key = Reader::new(contents);
        let version = der::element(&mut key, der::INTEGER)?;
        if let Some(algorithm) = der::element(&mut key, der::SEQUENCE) {
            // Attributes and the public key may follow; they are not used.
            matches!(version, [0 | 1]).then_some(())?;
            let inside = der::element(&mut key, der::OCTET_STRING)?;
            return match der::Kind::parse(algorithm)? {
                der::Kind::Rsa => {
                    PrivateParts::parse(der::sole(inside, der::SEQUENCE)?).map(Self::Rsa)
                }
                der::Kind::Ec(curve) => {
                    let (scalar, named) = ec_private(der::sole(inside, der::SEQUENCE)?)?;
                    named.is_none_or(|named| named == curve).then_some(Self::Ec(curve, scalar))
                }
                der::Kind::Ed25519 => {
                    der::sole(inside, der::OCTET_STRING)?.try_into().ok().map(Self::Ed25519)
                }
                der::Kind::RsaPss => None,
            };
        }
        match version {
            [0] => PrivateParts::parse(contents).map(Self::Rsa),
            [1] => ec_private(contents).and_then(|(scalar, curve)| Some(Self::Ec(curve?, scalar))),
            _ => None,
        }
    }
}

/// The contents of an ECPrivateKey: the scalar, and the curve if it is named. The public key is not used.
fn ec_private(contents: &[u8]) -> Option<(&[u8], Option<Curve>)> {
    let mut key = Reader::new(contents);
    (der::element(&mut key, der::INTEGER)? == [1]).then_some(())?;
    let scalar = der::element(&mut key, der::OCTET_STRING)?;
    let curve = match der::element(&mut key, der::CONTEXT_0) {
        Some(name) => Some(der::curve_of(der::sole(name, der::OBJECT_IDENTIFIER)?)?),
        None => None,
    };
    Some((scalar, curve))
}

/// What the kinds of keys have in common.
trait Key<S: Select> {
    fn schemes(&self) -> &'static [SignatureScheme];

    fn fits(&self, public: &PublicKey<'_>) -> bool;

    /// `scheme` is one of [`Key::schemes`].
    fn sign(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
        message: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, CryptoError>;
}

/// The schemes of each kind of key, computed by the compiler.
struct Schemes<S>(core::marker::PhantomData<S>);

impl<S: Select> Schemes<S> {
    const P256: &'static List<SignatureScheme, 20> =
        &schemes::<S>(Some(der::Kind::Ec(Curve::P256)));
    const P384: &'static List<SignatureScheme, 20> =
        &schemes::<S>(Some(der::Kind::Ec(Curve::P384)));
    const P521: &'static List<SignatureScheme, 20> =
        &schemes::<S>(Some(der::Kind::Ec(Curve::P521)));
    const ED25519: &'static List<SignatureScheme, 20> = &schemes::<S>(Some(der::Kind::Ed25519));
    const RSA: &'static List<SignatureScheme, 20> = &schemes::<S>(Some(der::Kind::Rsa));
}

impl<S: Select, C: Ecdsa> Key<S> for ::ecdsa::SigningKey<C> {
    fn schemes(&self) -> &'static [SignatureScheme] {
        match C::CURVE {
            Curve::P256 => Schemes::<S>::P256.slice(),
            Curve::P384 => Schemes::<S>::P384.slice(),
            Curve::P521 => Schemes::<S>::P521.slice(),
            _ => &[],
        }
    }

    fn fits(&self, public: &PublicKey<'_>) -> bool {
        matches!(public, PublicKey::Ec(curve, point) if *curve == C::CURVE && ecdsa::fits(self, point))
    }

    fn sign(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
        message: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let (id, form) = match scheme {
            SignatureScheme::Ecdsa(id) => (id, Form::Der),
            // RFC 4754 section 7.
            SignatureScheme::EcdsaRaw(curve) => (curve.hash(), Form::Raw),
            // RFC 2409 section 5.1: the message is the hash.
            SignatureScheme::EcdsaIkev1(curve) => {
                let hash = given_hash(curve, message).ok_or(CryptoError::Length)?;
                return ecdsa::sign(self, hash.as_ref(), Form::Raw, rng, out);
            }
            _ => return Err(CryptoError::Unsupported),
        };
        ecdsa::sign(self, hash::<S>(id, message)?.as_ref(), form, rng, out)
    }
}

impl<S: Select> Key<S> for ed25519_dalek::SigningKey {
    fn schemes(&self) -> &'static [SignatureScheme] {
        Schemes::<S>::ED25519.slice()
    }

    fn fits(&self, public: &PublicKey<'_>) -> bool {
        matches!(public, PublicKey::Ed25519(point) if *point == self.verifying_key().as_bytes())
    }

    #[inline(never)]
    fn sign(
        &self,
        _: SignatureScheme,
        _: &mut dyn CryptoRng,
        message: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let signature = self.try_multipart_sign(message).map_err(|_| CryptoError::Failed)?;
        let signature = signature.to_bytes();
        bytes::copy_prefix(out, &signature).ok_or(CryptoError::Length)?;
        Ok(signature.len())
    }
}

impl<S: Select, const N: usize, const P: usize> Key<S> for rsa::Private<N, P> {
    fn schemes(&self) -> &'static [SignatureScheme] {
        Schemes::<S>::RSA.slice()
    }

    fn fits(&self, public: &PublicKey<'_>) -> bool {
        matches!(public, PublicKey::Rsa(public) if self.fits(public))
    }

    fn sign(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
        message: &[&[u8]],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let len = self.bits().div_ceil(8);
        let out = out.get_mut(..len).ok_or(CryptoError::Length)?;
        match scheme {
            SignatureScheme::RsaPkcs1(id) => {
                let digest = hash::<S>(id, message)?;
                padding::write_pkcs1(out, &[padding::digest_info(id), digest.as_ref()])?;
            }
            // RFC 2409 section 5.1: no DigestInfo.
            SignatureScheme::RsaIkev1 => padding::write_pkcs1(out, message)?,
            SignatureScheme::RsaPss(id) => {
                let digest = modern_hash::<S>(id, message)?;
                padding::write_pss::<S>(id, &digest, self.bits(), rng, out)?;
            }
            _ => return Err(CryptoError::Unsupported),
        }
        self.seal(rng, out).inspect_err(|_| out.fill(0))?;
        Ok(len)
    }
}
