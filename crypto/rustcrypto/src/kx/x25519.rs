//! Curve25519: RFC 7748, for IKEv2 RFC 8031.

use ipsec_core::bytes;
use ipsec_core::crypto::CryptoError;
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::DiffieHellman;

/// A scalar, wiped on drop.
pub(crate) struct Private(StaticSecret);

impl DiffieHellman for Private {
    type Secret = Zeroizing<[u8; 32]>;

    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        Ok(Self(StaticSecret::random_from_rng(rng)))
    }

    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        let public = PublicKey::from(&self.0);
        bytes::copy_prefix(out, public.as_bytes()).ok_or(CryptoError::Length)?;
        Ok(public.as_bytes().len())
    }

    fn agree(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError> {
        // RFC 7748 section 5: the top bit is masked and non-canonical values are accepted, so only the length can be wrong
        // before the computation.
        let peer = <[u8; 32]>::try_from(peer).map_err(|_| CryptoError::PeerValue)?;
        let shared = self.0.diffie_hellman(&PublicKey::from(peer));
        // RFC 7748 section 6.1: a point of small order gives zero, whatever our scalar is.
        if !shared.was_contributory() {
            return Err(CryptoError::PeerValue);
        }
        Ok(Zeroizing::new(shared.to_bytes()))
    }
}
