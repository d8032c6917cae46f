//! Integrity: the MAC of a packet's ciphertext, and AH.

use ipsec_core::crypto::{self, CryptoError, Integ};

use crate::gcm::{Gmac, compare, write};
use crate::keyed_hash::KeyedHash;
use crate::select::{All, If, Select, Switch};

/// A keyed integrity function, for AH.
pub struct Mac<S: Select = All>(Keys<S>);

enum Keys<S: Select> {
    Auth(Auth<S>),
    Gmac(If<S::AesGmac, Gmac<S>>),
}

/// One that needs no nonce.
pub(crate) struct Auth<S: Select> {
    key: KeyedHash<S>,
    icv_len: usize,
}

impl<S: Select> Auth<S> {
    pub(crate) fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        let icv_len = integ.icv_len().ok_or(CryptoError::Unsupported)?;
        Ok(Self { key: KeyedHash::of_integ(integ, key)?, icv_len })
    }

    /// The integrity check value over `parts`, of the exact length of the algorithm.
    pub(crate) fn sign(&self, parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        self.check_length(icv)?;
        self.key.compute(parts, |tag| write(tag, icv, self.icv_len))
    }

    /// Verifies one, which must have the exact length of the algorithm.
    pub(crate) fn verify(&self, parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        self.check_length(icv)?;
        self.key.compute(parts, |tag| compare(tag, icv, self.icv_len))
    }

    pub(crate) const fn check_length(&self, icv: &[u8]) -> Result<(), CryptoError> {
        if icv.len() == self.icv_len { Ok(()) } else { Err(CryptoError::Length) }
    }
}

impl<S: Select> crypto::Mac for Mac<S> {
    fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(match integ {
            Integ::AES_128_GMAC | Integ::AES_192_GMAC | Integ::AES_256_GMAC => {
                Keys::Gmac(<S::AesGmac>::make(|| gmac(integ, key))?)
            }
            _ => Keys::Auth(Auth::new(integ, key)?),
        }))
    }

    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        match &self.0 {
            Keys::Auth(auth) if nonce.is_empty() => auth.sign(parts, icv),
            Keys::Auth(_) => Err(CryptoError::Length),
            Keys::Gmac(key) => <S::AesGmac>::get::<Gmac<S>>(key).sign(nonce, parts, icv),
        }
    }

    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        match &self.0 {
            Keys::Auth(auth) if nonce.is_empty() => auth.verify(parts, icv),
            Keys::Auth(_) => Err(CryptoError::Length),
            Keys::Gmac(key) => <S::AesGmac>::get::<Gmac<S>>(key).verify(nonce, parts, icv),
        }
    }
}

/// A key size that was not selected is not supported, whatever the length of the key.
fn gmac<S: Select>(integ: Integ, key: &[u8]) -> Result<Gmac<S>, CryptoError> {
    let selected = match integ {
        Integ::AES_128_GMAC => S::Aes128::ON,
        Integ::AES_192_GMAC => S::Aes192::ON,
        _ => S::Aes256::ON,
    };
    if !selected {
        return Err(CryptoError::Unsupported);
    }
    if integ.key_len() != Some(key.len()) {
        return Err(CryptoError::Length);
    }
    Gmac::new(key)
}
