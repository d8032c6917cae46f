//! HMAC and the AES MACs with their key set: what ciphers with a separate MAC, integrity algorithms and pseudo-random
//! functions share.

use hmac::block_api::HmacCore;
use hmac::digest::CtOutput;
use hmac::digest::block_api::{Buffer, CoreProxy};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use ipsec_core::crypto::{CryptoError, Integ, PrfId};
#[cfg(feature = "legacy")]
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::block_mac::BlockMac;
use crate::select::{If, Select, Switch};

/// A prepared key. A computation clones the state of an HMAC after the padded key, inner and outer, so that no packet pays
/// for the key, and the key itself is not kept.
///
/// The block buffer that a running HMAC needs is not part of it, which halves its size. Dropping wipes it.
pub(crate) enum KeyedHash<S: Select> {
    Sha256(If<S::HmacSha256, HmacCore<Sha256>>),
    Sha384(If<S::HmacSha384, HmacCore<Sha384>>),
    Sha512(If<S::HmacSha512, HmacCore<Sha512>>),
    Sha1(If<S::HmacSha1, HmacCore<Sha1>>),
    #[cfg(feature = "legacy")]
    Md5(If<S::HmacMd5, HmacCore<Md5>>),
    Xcbc(If<S::AesXcbc, BlockMac>),
    Cmac(If<S::AesCmac, BlockMac>),
}

impl<S: Select> KeyedHash<S> {
    /// For an integrity algorithm, whose key has one length.
    pub(crate) fn of_integ(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        // RFC 4868 section 2.1.1: keys have a fixed length, no other is supported.
        let has_length = integ.key_len() == Some(key.len());
        let checked = || if has_length { Ok(key) } else { Err(CryptoError::Length) };
        Ok(match integ {
            Integ::HMAC_SHA2_256_128 => Self::Sha256(<S::HmacSha256>::make(|| hmac(checked()?))?),
            Integ::HMAC_SHA2_384_192 => Self::Sha384(<S::HmacSha384>::make(|| hmac(checked()?))?),
            Integ::HMAC_SHA2_512_256 => Self::Sha512(<S::HmacSha512>::make(|| hmac(checked()?))?),
            Integ::HMAC_SHA1_96 => Self::Sha1(<S::HmacSha1>::make(|| hmac(checked()?))?),
            #[cfg(feature = "legacy")]
            Integ::HMAC_MD5_96 => Self::Md5(<S::HmacMd5>::make(|| hmac(checked()?))?),
            Integ::AES_XCBC_96 => Self::Xcbc(<S::AesXcbc>::make(|| BlockMac::xcbc(checked()?))?),
            Integ::AES_CMAC_96 => Self::Cmac(<S::AesCmac>::make(|| BlockMac::cmac(checked()?))?),
            _ => return Err(CryptoError::Unsupported),
        })
    }

    /// For a pseudo-random function, whose key has any length.
    pub(crate) fn of_prf(id: PrfId, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(match id {
            PrfId::HMAC_SHA2_256 => Self::Sha256(<S::HmacSha256>::make(|| hmac(key))?),
            PrfId::HMAC_SHA2_384 => Self::Sha384(<S::HmacSha384>::make(|| hmac(key))?),
            PrfId::HMAC_SHA2_512 => Self::Sha512(<S::HmacSha512>::make(|| hmac(key))?),
            PrfId::HMAC_SHA1 => Self::Sha1(<S::HmacSha1>::make(|| hmac(key))?),
            #[cfg(feature = "legacy")]
            PrfId::HMAC_MD5 => Self::Md5(<S::HmacMd5>::make(|| hmac(key))?),
            PrfId::AES128_XCBC => Self::Xcbc(<S::AesXcbc>::make(|| BlockMac::xcbc_of_any(key))?),
            PrfId::AES128_CMAC => Self::Cmac(<S::AesCmac>::make(|| BlockMac::cmac_of_any(key))?),
            _ => return Err(CryptoError::Unsupported),
        })
    }

    /// Computes the whole output over `parts`, in order, and lends it.
    pub(crate) fn compute<R>(&self, parts: &[&[u8]], then: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Sha256(core) => {
                then(run(<S::HmacSha256>::get::<HmacCore<Sha256>>(core), parts).as_bytes())
            }
            Self::Sha384(core) => {
                then(run(<S::HmacSha384>::get::<HmacCore<Sha384>>(core), parts).as_bytes())
            }
            Self::Sha512(core) => {
                then(run(<S::HmacSha512>::get::<HmacCore<Sha512>>(core), parts).as_bytes())
            }
            Self::Sha1(core) => {
                then(run(<S::HmacSha1>::get::<HmacCore<Sha1>>(core), parts).as_bytes())
            }
            #[cfg(feature = "legacy")]
            Self::Md5(core) => {
                then(run(<S::HmacMd5>::get::<HmacCore<Md5>>(core), parts).as_bytes())
            }
            Self::Xcbc(mac) => then(&<S::AesXcbc>::get::<BlockMac>(mac).compute(parts)),
            Self::Cmac(mac) => then(&<S::AesCmac>::get::<BlockMac>(mac).compute(parts)),
        }
    }
}

fn hmac<D: EagerHash>(key: &[u8]) -> Result<HmacCore<D>, CryptoError> {
    HmacCore::new_from_slice(key).map_err(|_| CryptoError::Length)
}

fn run<D>(core: &HmacCore<D>, parts: &[&[u8]]) -> CtOutput<Hmac<D>>
where
    D: EagerHash,
    Hmac<D>: CoreProxy<Core = HmacCore<D>> + Mac,
{
    let mut hmac = Hmac::<D>::compose(core.clone(), Buffer::<HmacCore<D>>::default());
    parts.iter().for_each(|part| Mac::update(&mut hmac, part));
    hmac.finalize()
}
