//! ECDSA: FIPS 186-5 section 6, RFC 6979.

use ecdsa::elliptic_curve::ops::Invert;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::subtle::CtOption;
use ecdsa::elliptic_curve::{self, CurveArithmetic, FieldBytes, Scalar};
use ecdsa::signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner};
use ecdsa::{DigestAlgorithm, EcdsaCurve, Signature, SigningKey, VerifyingKey};
use ipsec_core::bytes::{Reader, Writer};
use ipsec_core::crypto::{CryptoError, Curve};
use rand_core::CryptoRng;

use super::der;

/// How r and s are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A SEQUENCE of two INTEGERs.
    Der,
    /// One after the other, each as long as the order (RFC 4754 section 7).
    Raw,
}

/// What is asked of a curve.
pub(super) trait Ecdsa:
    EcdsaCurve
    + DigestAlgorithm
    + elliptic_curve::Curve<FieldBytesSize: ModulusSize>
    + CurveArithmetic<
        AffinePoint: FromSec1Point<Self> + ToSec1Point<Self>,
        Scalar: Invert<Output = CtOption<Scalar<Self>>>,
    >
{
    const CURVE: Curve;
}

impl Ecdsa for p256::NistP256 {
    const CURVE: Curve = Curve::P256;
}

impl Ecdsa for p384::NistP384 {
    const CURVE: Curve = Curve::P384;
}

impl Ecdsa for p521::NistP521 {
    const CURVE: Curve = Curve::P521;
}

/// Verifies a signature over a hash by a public point.
#[inline(never)]
pub(super) fn verify<C: Ecdsa>(
    point: &[u8],
    hash: &[u8],
    form: Form,
    signature: &[u8],
) -> Result<(), CryptoError> {
    let signature = parse::<C>(form, signature).ok_or(CryptoError::Signature)?;
    // It is on the curve, and not the point at infinity.
    let key = VerifyingKey::<C>::from_sec1_bytes(point).map_err(|_| CryptoError::Key)?;
    key.verify_prehash(hash, &signature).map_err(|_| CryptoError::Signature)
}

/// A signature, if r and s are from 1 to the order, exclusive. Both s and its negative are good.
fn parse<C: Ecdsa>(form: Form, signature: &[u8]) -> Option<Signature<C>> {
    let (r, s) = match form {
        Form::Raw => signature.split_at_checked(signature.len() / 2)?,
        Form::Der => {
            let mut pair = Reader::new(der::sole(signature, der::SEQUENCE)?);
            let (r, s) = (der::unsigned(&mut pair)?, der::unsigned(&mut pair)?);
            pair.is_empty().then_some((r, s))?
        }
    };
    let mut fields = [FieldBytes::<C>::default(), FieldBytes::<C>::default()];
    for (field, number) in fields.iter_mut().zip([r, s]) {
        if form == Form::Raw && number.len() != field.len() {
            return None;
        }
        let zeros = field.len().checked_sub(number.len())?;
        field.iter_mut().skip(zeros).zip(number).for_each(|(to, from)| *to = *from);
    }
    let [r, s] = fields;
    Signature::from_scalars(r, s).ok()
}

/// Signs a hash, and writes the signature; its length is returned.
///
/// The nonce comes from the key, the hash, and random bytes besides (RFC 6979 section 3.6): neither a bad random source nor
/// a fault that is repeated tells the key.
#[inline(never)]
pub(super) fn sign<C: Ecdsa>(
    key: &SigningKey<C>,
    hash: &[u8],
    form: Form,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, CryptoError> {
    let signature: Signature<C> =
        key.sign_prehash_with_rng(rng, hash).map_err(|_| CryptoError::Failed)?;
    let (r, s) = signature.split_bytes();
    let mut w = Writer::new(out);
    match form {
        Form::Raw => w.bytes(&r).and_then(|()| w.bytes(&s)),
        Form::Der => der::write_pair(&mut w, [&r, &s]),
    }
    .ok_or(CryptoError::Length)?;
    Ok(w.len())
}

/// A private key, which has exactly the length of the order.
pub(super) fn private<C: Ecdsa>(scalar: &[u8]) -> Result<SigningKey<C>, CryptoError> {
    let scalar = <&FieldBytes<C>>::try_from(scalar).map_err(|_| CryptoError::Key)?;
    SigningKey::from_bytes(scalar).map_err(|_| CryptoError::Key)
}

/// Whether a public point belongs to the key.
pub(super) fn fits<C: Ecdsa>(key: &SigningKey<C>, point: &[u8]) -> bool {
    VerifyingKey::from_sec1_bytes(point).is_ok_and(|point| point == *key.verifying_key())
}
