//! Pseudo-random functions, for the keys and the authentication of IKE.

use ipsec_core::bytes;
use ipsec_core::crypto::{self, CryptoError, PrfId};

use crate::keyed_hash::KeyedHash;
use crate::select::{All, Select};

/// A pseudo-random function with its key set.
pub struct Prf<S: Select = All>(KeyedHash<S>);

impl<S: Select> crypto::Prf for Prf<S> {
    fn new(id: PrfId, key: &[u8]) -> Result<Self, CryptoError> {
        KeyedHash::of_prf(id, key).map(Self)
    }

    fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        // The output of each is the whole output of its hash or block cipher.
        self.0.compute(parts, |tag| bytes::copy(out, tag)).ok_or(CryptoError::Length)
    }
}
