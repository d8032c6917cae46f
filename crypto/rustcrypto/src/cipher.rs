//! Packet protection: which algorithm a suite is.

use aes::cipher::BlockCipherEncrypt;
use chacha20poly1305::ChaCha20Poly1305;
use ipsec_core::bytes;
use ipsec_core::crypto::{CryptoError, Encr, PacketCipher, Shape, Suite, Work};

use crate::aes_key::{AesKey, Block, Both, prepare};
use crate::ccm::Ccm;
use crate::encrypt_then_mac::{Cbc, Ctr, Null};
use crate::gcm::{Gcm, Gmac};
use crate::lists::Lists;
use crate::mac::Auth;
use crate::select::{All, If, Select, Switch};

/// The keys of one direction of one security association, prepared for packets.
///
/// The key schedule lies inline, so a cipher is large (some hundred bytes, see the front page of the crate) and should stay
/// where it was made.
pub struct Cipher<S: Select = All>(Keys<S>);

enum Keys<S: Select> {
    Gcm(If<S::AesGcm, Gcm<S>>),
    ChaCha20Poly1305(If<S::ChaCha20Poly1305, ChaCha20Poly1305>),
    Ccm(If<S::AesCcm, Ccm<S>>),
    Cbc(If<S::AesCbc, Cbc<AesKey<S, Both>, S>>),
    Ctr(If<S::AesCtr, Ctr<S>>),
    Gmac(If<S::AesGmac, Gmac<S>>),
    Null(If<S::Null, Null<S>>),
    #[cfg(feature = "legacy")]
    TripleDes(If<S::TripleDes, Cbc<des::TdesEde3, S>>),
    #[cfg(feature = "legacy")]
    Des(If<S::Des, Cbc<des::Des, S>>),
}

/// What every family of suites does with a packet. None of it is inlined: all families in one function would take the stack of
/// all of them.
pub(crate) trait Packets {
    /// As [`PacketCipher::seal`].
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError>;

    /// As [`PacketCipher::open`], but for the wiping.
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError>;
}

/// Runs one expression for whichever family it is. A family that is not selected has no values, and so no code.
macro_rules! for_each_family {
    ($keys:expr, $key:ident => $run:expr) => {
        match $keys {
            Keys::Gcm(key) => {
                let $key = <S::AesGcm>::get::<Gcm<S>>(key);
                $run
            }
            Keys::ChaCha20Poly1305(key) => {
                let $key = <S::ChaCha20Poly1305>::get::<ChaCha20Poly1305>(key);
                $run
            }
            Keys::Ccm(key) => {
                let $key = <S::AesCcm>::get::<Ccm<S>>(key);
                $run
            }
            Keys::Cbc(key) => {
                let $key = <S::AesCbc>::get::<Cbc<AesKey<S, Both>, S>>(key);
                $run
            }
            Keys::Ctr(key) => {
                let $key = <S::AesCtr>::get::<Ctr<S>>(key);
                $run
            }
            Keys::Gmac(key) => {
                let $key = <S::AesGmac>::get::<Gmac<S>>(key);
                $run
            }
            Keys::Null(key) => {
                let $key = <S::Null>::get::<Null<S>>(key);
                $run
            }
            #[cfg(feature = "legacy")]
            Keys::TripleDes(key) => {
                let $key = <S::TripleDes>::get::<Cbc<des::TdesEde3, S>>(key);
                $run
            }
            #[cfg(feature = "legacy")]
            Keys::Des(key) => {
                let $key = <S::Des>::get::<Cbc<des::Des, S>>(key);
                $run
            }
        }
    };
}

impl<S: Select> Keys<S> {
    fn new(suite: Suite, shape: Shape, key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
        let (icv_len, auth) = (shape.icv_len, || Auth::new(suite.integ, integ_key));
        Ok(match suite.encr {
            Encr::AES_GCM_16 | Encr::AES_GCM_12 | Encr::AES_GCM_8 | Encr::AES_GCM_16_IIV => {
                Self::Gcm(<S::AesGcm>::make(|| Gcm::new(key, icv_len))?)
            }
            Encr::CHACHA20_POLY1305 | Encr::CHACHA20_POLY1305_IIV => {
                Self::ChaCha20Poly1305(<S::ChaCha20Poly1305>::make(|| prepare(key))?)
            }
            Encr::AES_CCM_16 | Encr::AES_CCM_12 | Encr::AES_CCM_8 | Encr::AES_CCM_8_IIV => {
                Self::Ccm(<S::AesCcm>::make(|| Ccm::new(key, icv_len))?)
            }
            Encr::AES_CBC => {
                Self::Cbc(<S::AesCbc>::make(|| Ok(Cbc::new(AesKey::new(key)?, auth()?)))?)
            }
            Encr::AES_CTR => Self::Ctr(<S::AesCtr>::make(|| Ctr::new(key, auth()?))?),
            Encr::NULL_AES_GMAC => Self::Gmac(<S::AesGmac>::make(|| Gmac::new(key))?),
            Encr::NULL => Self::Null(<S::Null>::make(|| Ok(Null::new(auth()?)))?),
            #[cfg(feature = "legacy")]
            Encr::DES3 => {
                Self::TripleDes(<S::TripleDes>::make(|| Ok(Cbc::new(prepare(key)?, auth()?)))?)
            }
            #[cfg(feature = "legacy")]
            Encr::DES => Self::Des(<S::Des>::make(|| Ok(Cbc::new(prepare(key)?, auth()?)))?),
            _ => return Err(CryptoError::Unsupported),
        })
    }
}

impl<S: Select> PacketCipher for Cipher<S> {
    fn new(suite: Suite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
        let Some(shape) = suite.shape().filter(|_| Lists::<S>::SUITES.contains(&suite)) else {
            return Err(CryptoError::Unsupported);
        };
        if encr_key.len() != shape.key_len || integ_key.len() != shape.integ_key_len {
            return Err(CryptoError::Length);
        }
        Keys::new(suite, shape, encr_key, integ_key).map(Self)
    }

    // RFC 3602 section 3: the IV must not be predictable. NIST SP 800-38A appendix C: encrypt a nonce with the same key.
    fn unpredictable_iv(&self, counter: u64, iv: &mut [u8]) -> Result<(), CryptoError> {
        match &self.0 {
            Keys::Cbc(key) => {
                let mut block = Block::from(u128::from(counter).to_be_bytes());
                let key = <S::AesCbc>::get::<Cbc<AesKey<S, Both>, S>>(key);
                key.cipher().encrypt_block(&mut block);
                bytes::copy(iv, &block).ok_or(CryptoError::Length)
            }
            #[cfg(feature = "legacy")]
            Keys::TripleDes(key) => {
                let mut block = counter.to_be_bytes().into();
                let key = <S::TripleDes>::get::<Cbc<des::TdesEde3, S>>(key);
                key.cipher().encrypt_block(&mut block);
                bytes::copy(iv, &block).ok_or(CryptoError::Length)
            }
            #[cfg(feature = "legacy")]
            Keys::Des(key) => {
                let mut block = counter.to_be_bytes().into();
                let key = <S::Des>::get::<Cbc<des::Des, S>>(key);
                key.cipher().encrypt_block(&mut block);
                bytes::copy(iv, &block).ok_or(CryptoError::Length)
            }
            _ => Err(CryptoError::Unsupported),
        }
    }

    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        for_each_family!(&self.0, key => key.seal(work))
    }

    fn open(&self, mut work: Work<'_>) -> Result<(), CryptoError> {
        let again = work.reborrow();
        let result = for_each_family!(&self.0, key => key.open(again));
        if result.is_err() {
            work.text.fill(0);
        }
        result
    }
}
