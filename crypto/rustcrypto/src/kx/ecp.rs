//! Elliptic curves modulo a prime: RFC 5903.

use ipsec_core::bytes;
use ipsec_core::crypto::CryptoError;
use p256::elliptic_curve::sec1::{Coordinates, FromSec1Point, ModulusSize, Sec1Point, ToSec1Point};
use p256::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytes, FieldBytesSize, PublicKey, SecretKey,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Initiator;

/// How often a private value is drawn anew when it is no scalar of the curve. For P-256 one draw fails with a
/// probability of 2^-32, for the others with much less, so that failing means a broken random source.
const DRAWS: usize = 4;

/// A scalar from 1 to the order of the group, exclusive. Wiped on drop. `TOP` has the bits that its first byte may have.
pub(crate) struct Private<C: CurveArithmetic, const TOP: u8>(SecretKey<C>);

pub(crate) type P256 = Private<p256::NistP256, 0xff>;
pub(crate) type P384 = Private<p384::NistP384, 0xff>;
/// 521 bits are 65 bytes and one bit.
pub(crate) type P521 = Private<p521::NistP521, 0x01>;

impl<C, const TOP: u8> Initiator for Private<C, TOP>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    type Secret = Zeroizing<FieldBytes<C>>;

    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        let mut draw = Zeroizing::new(FieldBytes::<C>::default());
        for _ in 0..DRAWS {
            rng.fill_bytes(&mut draw);
            if let Some(top) = draw.first_mut() {
                *top &= TOP;
            }
            if let Ok(key) = SecretKey::from_bytes(&draw) {
                return Ok(Self(key));
            }
        }
        Err(CryptoError::Failed)
    }

    // RFC 5903 section 7: x and y, each as long as the prime.
    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        let point = self.0.public_key().to_sec1_point(false);
        let Coordinates::Uncompressed { x, y } = point.coordinates() else {
            return Err(CryptoError::Failed);
        };
        let mut out = bytes::Writer::new(out);
        out.reserve(x.len().saturating_add(y.len())).ok_or(CryptoError::Length)?;
        out.patch(0, x).ok_or(CryptoError::Length)?;
        out.patch(x.len(), y).ok_or(CryptoError::Length)?;
        Ok(out.len())
    }

    fn agree(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError> {
        let peer = parse::<C>(peer).ok_or(CryptoError::PeerValue)?;
        // RFC 5903 section 7: the secret is x alone. The order of the curve is prime, so it is not the point at infinity.
        Ok(Zeroizing::new(*self.0.diffie_hellman(&peer).raw_secret_bytes()))
    }
}

/// A point from its coordinates, if both are below the prime and it is on the curve (RFC 6989 section 2.3). The point at
/// infinity has no coordinates.
fn parse<C>(peer: &[u8]) -> Option<PublicKey<C>>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let (x, y) = peer.split_at_checked(peer.len() / 2)?;
    let x = <&FieldBytes<C>>::try_from(x).ok()?;
    let y = <&FieldBytes<C>>::try_from(y).ok()?;
    PublicKey::from_sec1_point(&Sec1Point::<C>::from_affine_coordinates(x, y, false)).into_option()
}
