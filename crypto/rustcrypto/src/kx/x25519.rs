//! Curve25519: RFC 7748, for IKEv2 RFC 8031.

use ipsec_core::bytes;
use ipsec_core::crypto::CryptoError;
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Initiator;

/// The base point (RFC 7748 section 4.1).
const BASE: [u8; 32] = {
    let mut base = [0; 32];
    base[0] = 9;
    base
};

/// A scalar, wiped on drop.
pub(crate) struct Private(StaticSecret);

impl Initiator for Private {
    type Secret = Zeroizing<[u8; 32]>;

    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        Ok(Self(StaticSecret::random_from_rng(rng)))
    }

    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        // The ladder gives the same. Small processors have it anyway, for the secret: it saves them flash and stack, and
        // costs large ones a fifth more time.
        let public = if cfg!(target_pointer_width = "32") {
            PublicKey::from(self.0.diffie_hellman(&PublicKey::from(BASE)).to_bytes())
        } else {
            PublicKey::from(&self.0)
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_a_public_value_agree() {
        for i in 0..50 {
            let private = StaticSecret::from([i; 32]);
            let ladder = private.diffie_hellman(&PublicKey::from(BASE));
            assert_eq!(ladder.as_bytes(), PublicKey::from(&private).as_bytes());
        }
    }
}
