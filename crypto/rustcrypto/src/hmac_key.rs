//! HMAC with its key set: what ciphers with a separate MAC, integrity algorithms and pseudo-random functions share.

use hmac::block_api::HmacCore;
use hmac::digest::CtOutput;
use hmac::digest::block_api::{Buffer, CoreProxy};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use ipsec_core::bytes;
use ipsec_core::crypto::CryptoError;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// The hash state after the inner and after the outer padded key. A computation clones it, so that no packet pays for
/// the key, and the key itself is not kept.
///
/// The block buffer that a running computation needs is not part of it, which halves its size. Dropping wipes it.
pub(crate) enum HmacKey {
    Sha1(HmacCore<Sha1>),
    Sha256(HmacCore<Sha256>),
    Sha384(HmacCore<Sha384>),
    Sha512(HmacCore<Sha512>),
}

/// Runs one expression for whichever hash it is.
macro_rules! for_each_hash {
    ($key:expr, $core:ident => $run:expr) => {
        match $key {
            HmacKey::Sha1($core) => $run,
            HmacKey::Sha256($core) => $run,
            HmacKey::Sha384($core) => $run,
            HmacKey::Sha512($core) => $run,
        }
    };
}

impl HmacKey {
    pub(crate) fn sha1(key: &[u8]) -> Result<Self, CryptoError> {
        prepare(key).map(Self::Sha1)
    }

    pub(crate) fn sha256(key: &[u8]) -> Result<Self, CryptoError> {
        prepare(key).map(Self::Sha256)
    }

    pub(crate) fn sha384(key: &[u8]) -> Result<Self, CryptoError> {
        prepare(key).map(Self::Sha384)
    }

    pub(crate) fn sha512(key: &[u8]) -> Result<Self, CryptoError> {
        prepare(key).map(Self::Sha512)
    }

    /// Writes the HMAC of `parts`, in order, cut to the length of `out`.
    pub(crate) fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        for_each_hash!(self, core => {
            let tag = run(core, parts);
            let cut = tag.as_bytes().get(..out.len()).ok_or(CryptoError::Length)?;
            bytes::copy(out, cut).ok_or(CryptoError::Length)
        })
    }

    /// Compares the HMAC of `parts`, cut to the length of `icv`, in constant time. The caller checks that length.
    pub(crate) fn verify(&self, parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        for_each_hash!(self, core => {
            let tag = run(core, parts);
            let cut = tag.as_bytes().get(..icv.len()).ok_or(CryptoError::Length)?;
            if cut.ct_eq(icv).into() { Ok(()) } else { Err(CryptoError::Integrity) }
        })
    }
}

/// The state after the padded keys.
pub(crate) fn prepare<D: EagerHash>(key: &[u8]) -> Result<HmacCore<D>, CryptoError> {
    HmacCore::new_from_slice(key).map_err(|_| CryptoError::Length)
}

/// The HMAC of `parts`, in order.
pub(crate) fn run<D>(core: &HmacCore<D>, parts: &[&[u8]]) -> CtOutput<Hmac<D>>
where
    D: EagerHash,
    Hmac<D>: CoreProxy<Core = HmacCore<D>> + Mac,
{
    let mut hmac = Hmac::<D>::compose(core.clone(), Buffer::<HmacCore<D>>::default());
    parts.iter().for_each(|part| Mac::update(&mut hmac, part));
    hmac.finalize()
}
