//! Integrity alone, for AH.

use ipsec_core::crypto::{self, CryptoError, Integ};

use crate::hmac_key::HmacKey;

/// The integrity algorithms of [`Mac`].
pub(crate) const INTEGS: &[Integ] = &[
    Integ::HMAC_SHA2_256_128,
    Integ::HMAC_SHA2_384_192,
    Integ::HMAC_SHA2_512_256,
    Integ::HMAC_SHA1_96,
];

/// A keyed integrity function: HMAC-SHA1-96 (RFC 2404) and the HMAC-SHA2 of RFC 4868.
pub struct Mac {
    key: HmacKey,
    icv_len: usize,
}

impl Mac {
    /// The integrity check value over `parts`, of the exact length of the algorithm.
    pub(crate) fn compute(&self, parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        if icv.len() != self.icv_len {
            return Err(CryptoError::Length);
        }
        self.key.compute(parts, icv)
    }

    /// Verifies an integrity check value, which must have the exact length of the algorithm: a shorter one is easier to
    /// guess, and is no match.
    pub(crate) fn check(&self, parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        if icv.len() != self.icv_len {
            return Err(CryptoError::Length);
        }
        self.key.verify(parts, icv)
    }

    /// The length of the integrity check value.
    pub(crate) const fn icv_len(&self) -> usize {
        self.icv_len
    }
}

impl crypto::Mac for Mac {
    fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        let prepare = match integ {
            Integ::HMAC_SHA1_96 => HmacKey::sha1,
            Integ::HMAC_SHA2_256_128 => HmacKey::sha256,
            Integ::HMAC_SHA2_384_192 => HmacKey::sha384,
            Integ::HMAC_SHA2_512_256 => HmacKey::sha512,
            _ => return Err(CryptoError::Unsupported),
        };
        // RFC 4868 section 2.1.1: keys have a fixed length, no other is supported.
        if integ.key_len() != Some(key.len()) {
            return Err(CryptoError::Length);
        }
        let icv_len = integ.icv_len().ok_or(CryptoError::Unsupported)?;
        Ok(Self { key: prepare(key)?, icv_len })
    }

    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        if !nonce.is_empty() {
            return Err(CryptoError::Length);
        }
        self.compute(parts, icv)
    }

    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        if !nonce.is_empty() {
            return Err(CryptoError::Length);
        }
        self.check(parts, icv)
    }
}
