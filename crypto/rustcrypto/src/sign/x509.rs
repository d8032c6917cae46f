//! The same algorithms as `rustls-webpki` takes them.

use core::fmt;
use core::marker::PhantomData;

use ipsec_core::crypto::{Curve, HashId, SignatureScheme};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use super::der::Kind;
use super::{PublicKey, Verifier, has_hash, verify};
use crate::lists::List;
use crate::select::{Select, Switch};

type Entry = &'static dyn SignatureVerificationAlgorithm;

impl<S: Select> Verifier<S> {
    const LIST: &'static List<Entry, 16> = &algorithms::<S>();

    /// What signatures of certificates may be: every scheme that has an AlgorithmIdentifier, but for SHA-1, with each kind of
    /// key that it goes with. For `rustls-webpki`, which takes no other keys for RSASSA-PSS than those of RSA in general.
    pub const ALGORITHMS: &'static [Entry] = Self::LIST.slice();
}

/// One signature scheme with one kind of key.
struct Algorithm<S> {
    scheme: SignatureScheme,
    kind: Kind,
    selection: PhantomData<fn() -> S>,
}

impl<S: Select> Algorithm<S> {
    const fn new(scheme: SignatureScheme, kind: Kind) -> Self {
        Self { scheme, kind, selection: PhantomData }
    }

    const ED25519: Entry = &Self::new(SignatureScheme::Ed25519, Kind::Ed25519);
    const P256_SHA256: Entry = &Self::ecdsa(HashId::Sha256, Curve::P256);
    const P256_SHA384: Entry = &Self::ecdsa(HashId::Sha384, Curve::P256);
    const P256_SHA512: Entry = &Self::ecdsa(HashId::Sha512, Curve::P256);
    const P384_SHA256: Entry = &Self::ecdsa(HashId::Sha256, Curve::P384);
    const P384_SHA384: Entry = &Self::ecdsa(HashId::Sha384, Curve::P384);
    const P384_SHA512: Entry = &Self::ecdsa(HashId::Sha512, Curve::P384);
    const P521_SHA256: Entry = &Self::ecdsa(HashId::Sha256, Curve::P521);
    const P521_SHA384: Entry = &Self::ecdsa(HashId::Sha384, Curve::P521);
    const P521_SHA512: Entry = &Self::ecdsa(HashId::Sha512, Curve::P521);
    const PSS_SHA256: Entry = &Self::new(SignatureScheme::RsaPss(HashId::Sha256), Kind::Rsa);
    const PSS_SHA384: Entry = &Self::new(SignatureScheme::RsaPss(HashId::Sha384), Kind::Rsa);
    const PSS_SHA512: Entry = &Self::new(SignatureScheme::RsaPss(HashId::Sha512), Kind::Rsa);
    const RSA_SHA256: Entry = &Self::new(SignatureScheme::RsaPkcs1(HashId::Sha256), Kind::Rsa);
    const RSA_SHA384: Entry = &Self::new(SignatureScheme::RsaPkcs1(HashId::Sha384), Kind::Rsa);
    const RSA_SHA512: Entry = &Self::new(SignatureScheme::RsaPkcs1(HashId::Sha512), Kind::Rsa);

    const fn ecdsa(hash: HashId, curve: Curve) -> Self {
        Self::new(SignatureScheme::Ecdsa(hash), Kind::Ec(curve))
    }
}

const fn algorithms<S: Select>() -> List<Entry, 16> {
    let mut list = List::new(Algorithm::<S>::ED25519);
    let sha256 = has_hash::<S>(HashId::Sha256);
    let sha384 = has_hash::<S>(HashId::Sha384);
    let sha512 = has_hash::<S>(HashId::Sha512);
    let rsa = S::Rsa2048::ON || S::Rsa3072::ON || S::Rsa4096::ON;
    list.push(S::Ed25519::ON, Algorithm::<S>::ED25519);
    list.push(S::EcdsaP256::ON && sha256, Algorithm::<S>::P256_SHA256);
    list.push(S::EcdsaP256::ON && sha384, Algorithm::<S>::P256_SHA384);
    list.push(S::EcdsaP256::ON && sha512, Algorithm::<S>::P256_SHA512);
    list.push(S::EcdsaP384::ON && sha256, Algorithm::<S>::P384_SHA256);
    list.push(S::EcdsaP384::ON && sha384, Algorithm::<S>::P384_SHA384);
    list.push(S::EcdsaP384::ON && sha512, Algorithm::<S>::P384_SHA512);
    list.push(S::EcdsaP521::ON && sha256, Algorithm::<S>::P521_SHA256);
    list.push(S::EcdsaP521::ON && sha384, Algorithm::<S>::P521_SHA384);
    list.push(S::EcdsaP521::ON && sha512, Algorithm::<S>::P521_SHA512);
    list.push(rsa && sha256, Algorithm::<S>::PSS_SHA256);
    list.push(rsa && sha384, Algorithm::<S>::PSS_SHA384);
    list.push(rsa && sha512, Algorithm::<S>::PSS_SHA512);
    list.push(rsa && sha256, Algorithm::<S>::RSA_SHA256);
    list.push(rsa && sha384, Algorithm::<S>::RSA_SHA384);
    list.push(rsa && sha512, Algorithm::<S>::RSA_SHA512);
    list
}

impl<S: Select> SignatureVerificationAlgorithm for Algorithm<S> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = PublicKey::of(self.kind, public_key).ok_or(InvalidSignature)?;
        verify::<S>(self.scheme, &key, &[message], signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.kind {
            Kind::Ec(Curve::P256) => alg_id::ECDSA_P256,
            Kind::Ec(Curve::P384) => alg_id::ECDSA_P384,
            Kind::Ec(_) => alg_id::ECDSA_P521,
            Kind::Ed25519 => alg_id::ED25519,
            Kind::Rsa | Kind::RsaPss => alg_id::RSA_ENCRYPTION,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        // Without the head of the SEQUENCE, which has a short length.
        let contents = self.scheme.algorithm_identifier().and_then(|der| der.get(2..));
        AlgorithmIdentifier::from_slice(contents.unwrap_or_default())
    }
}

impl<S> fmt::Debug for Algorithm<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?}", self.scheme, self.kind)
    }
}
