//! Pseudo-random functions, for the keys and the authentication of IKE.

use ipsec_core::crypto::{self, CryptoError, PrfId};

use crate::hmac_key::HmacKey;

/// The pseudo-random functions of [`Prf`].
pub(crate) const PRFS: &[PrfId] =
    &[PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_384, PrfId::HMAC_SHA2_512, PrfId::HMAC_SHA1];

/// A pseudo-random function with its key set: the HMACs of RFC 2104 and RFC 4868.
pub struct Prf {
    key: HmacKey,
    output_len: usize,
}

impl crypto::Prf for Prf {
    fn new(id: PrfId, key: &[u8]) -> Result<Self, CryptoError> {
        let key = match id {
            PrfId::HMAC_SHA1 => HmacKey::sha1(key),
            PrfId::HMAC_SHA2_256 => HmacKey::sha256(key),
            PrfId::HMAC_SHA2_384 => HmacKey::sha384(key),
            PrfId::HMAC_SHA2_512 => HmacKey::sha512(key),
            _ => Err(CryptoError::Unsupported),
        }?;
        Ok(Self { key, output_len: id.output_len().ok_or(CryptoError::Unsupported)? })
    }

    fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        if out.len() != self.output_len {
            return Err(CryptoError::Length);
        }
        self.key.compute(parts, out)
    }
}
