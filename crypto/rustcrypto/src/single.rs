//! One algorithm each, for a device that has no room for all.
//!
//! [`RustCrypto`](crate::RustCrypto) has every algorithm of this crate, and a program that names it links every one.
//! These types are parts for a provider of one's own, which links what it names and keeps smaller keys:
//!
//! ```
//! use ipsec_core::crypto::{CryptoError, Group, HashId, Integ, PrfId, Provider, Suite};
//! use ipsec_rustcrypto::single::{Aes128Gcm, HmacSha256, X25519};
//!
//! enum Small {}
//!
//! impl Provider for Small {
//!     type Cipher = Aes128Gcm;
//!     type Mac = HmacSha256;
//!     type Prf = HmacSha256;
//!     type Kx = X25519;
//!
//!     const SUITES: &'static [Suite] = &[Suite::AES_128_GCM];
//!     const INTEGS: &'static [Integ] = &[Integ::HMAC_SHA2_256_128];
//!     const PRFS: &'static [PrfId] = &[PrfId::HMAC_SHA2_256];
//!     const GROUPS: &'static [Group] = &[Group::X25519];
//!
//!     fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
//!         ipsec_rustcrypto::hash(id, parts, out)
//!     }
//! }
//! ```

use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use hmac::block_api::HmacCore;
use ipsec_core::bytes;
use ipsec_core::crypto::{
    CryptoError, Group, Integ, KeyExchange, Mac, PacketCipher, Prf, PrfId, Suite, Work,
};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cipher::{open_aead, prepare, seal_aead};
use crate::hmac_key;
use crate::kx::DiffieHellman;
use crate::kx::x25519::Private;

macro_rules! aead {
    ($(#[$doc:meta])* $name:ident($cipher:ty), $suite:expr) => {
        $(#[$doc])*
        pub struct $name($cipher);

        impl PacketCipher for $name {
            fn new(suite: Suite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
                if suite != $suite {
                    return Err(CryptoError::Unsupported);
                }
                if !integ_key.is_empty() {
                    return Err(CryptoError::Length);
                }
                prepare(encr_key).map(Self)
            }

            fn unpredictable_iv(&self, _: u64, _: &mut [u8]) -> Result<(), CryptoError> {
                Err(CryptoError::Unsupported)
            }

            fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
                seal_aead(&self.0, work)
            }

            fn open(&self, mut work: Work<'_>) -> Result<(), CryptoError> {
                let result = open_aead(&self.0, work.reborrow());
                if result.is_err() {
                    work.text.fill(0);
                }
                result
            }
        }
    };
}

aead! {
    /// AES-GCM with a 16-byte ICV and a 128-bit key.
    Aes128Gcm(AesGcm<Aes128Enc, U12>), Suite::AES_128_GCM
}

aead! {
    /// AES-GCM with a 16-byte ICV and a 256-bit key.
    Aes256Gcm(AesGcm<Aes256Enc, U12>), Suite::AES_256_GCM
}

aead! {
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305(chacha20poly1305::ChaCha20Poly1305), Suite::CHACHA20_POLY1305
}

/// HMAC-SHA2-256, as pseudo-random function and, cut to 128 bits, for integrity alone.
pub struct HmacSha256(HmacCore<Sha256>);

impl Prf for HmacSha256 {
    fn new(id: PrfId, key: &[u8]) -> Result<Self, CryptoError> {
        match id {
            PrfId::HMAC_SHA2_256 => hmac_key::prepare(key).map(Self),
            _ => Err(CryptoError::Unsupported),
        }
    }

    fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        let tag = hmac_key::run(&self.0, parts);
        bytes::copy(out, tag.as_bytes()).ok_or(CryptoError::Length)
    }
}

/// Bytes of the integrity check value of HMAC-SHA2-256-128 (RFC 4868 section 2.3).
const ICV_LEN: usize = 16;

impl Mac for HmacSha256 {
    fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        match integ {
            Integ::HMAC_SHA2_256_128 if integ.key_len() == Some(key.len()) => {
                hmac_key::prepare(key).map(Self)
            }
            Integ::HMAC_SHA2_256_128 => Err(CryptoError::Length),
            _ => Err(CryptoError::Unsupported),
        }
    }

    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        let tag = hmac_key::run(&self.0, parts);
        let cut = tag.as_bytes().first_chunk::<ICV_LEN>().filter(|_| nonce.is_empty());
        cut.and_then(|cut| bytes::copy(icv, cut)).ok_or(CryptoError::Length)
    }

    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        if !nonce.is_empty() || icv.len() != ICV_LEN {
            return Err(CryptoError::Length);
        }
        let tag = hmac_key::run(&self.0, parts);
        let cut = tag.as_bytes().first_chunk::<ICV_LEN>().ok_or(CryptoError::Length)?;
        if cut.ct_eq(icv).into() { Ok(()) } else { Err(CryptoError::Integrity) }
    }
}

/// Curve25519.
pub struct X25519(Private);

impl X25519 {
    fn generate(group: Group, rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        match group {
            Group::X25519 => Private::generate(rng).map(Self),
            _ => Err(CryptoError::Unsupported),
        }
    }
}

impl KeyExchange for X25519 {
    type Secret = Zeroizing<[u8; 32]>;

    fn start(
        group: Group,
        rng: &mut dyn CryptoRng,
        public: &mut [u8],
    ) -> Result<(Self, usize), CryptoError> {
        let private = Self::generate(group, rng)?;
        let len = private.0.public(public)?;
        Ok((private, len))
    }

    fn respond(
        group: Group,
        rng: &mut dyn CryptoRng,
        peer: &[u8],
        public: &mut [u8],
    ) -> Result<(Self::Secret, usize), CryptoError> {
        let private = Self::generate(group, rng)?;
        let secret = private.finish(peer)?;
        let len = private.0.public(public)?;
        Ok((secret, len))
    }

    fn finish(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError> {
        self.0.shared(peer)
    }
}
