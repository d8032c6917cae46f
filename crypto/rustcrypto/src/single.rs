//! One algorithm each, for a device that has no room for all.
//!
//! [`RustCrypto`](crate::RustCrypto) has every algorithm of this crate, and a program that names it links every one.
//! A [`selection`](crate::selection!) leaves out what it does not name. These types are parts for a provider of one's own, which links what it names and keeps smaller keys:
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

use ipsec_core::bytes;
use ipsec_core::crypto::{CryptoError, Integ, Mac, Prf, PrfId};

use crate::gcm::{compare, write};
use crate::keyed_hash::KeyedHash;
use crate::selection;

selection! {
    /// Behind [`Aes128Gcm`].
    #[doc(hidden)]
    pub enum OnlyAes128Gcm { AesGcm, Aes128 }
}

selection! {
    /// Behind [`Aes256Gcm`].
    #[doc(hidden)]
    pub enum OnlyAes256Gcm { AesGcm, Aes256 }
}

selection! {
    /// Behind [`ChaCha20Poly1305`].
    #[doc(hidden)]
    pub enum OnlyChaCha20Poly1305 { ChaCha20Poly1305 }
}

selection! {
    /// Behind [`HmacSha256`].
    enum OnlyHmacSha256 { HmacSha256 }
}

selection! {
    /// Behind [`X25519`].
    #[doc(hidden)]
    pub enum OnlyX25519 { X25519 }
}

/// AES-GCM with a 128-bit key.
pub type Aes128Gcm = crate::Cipher<OnlyAes128Gcm>;

/// AES-GCM with a 256-bit key.
pub type Aes256Gcm = crate::Cipher<OnlyAes256Gcm>;

/// ChaCha20-Poly1305.
pub type ChaCha20Poly1305 = crate::Cipher<OnlyChaCha20Poly1305>;

/// Curve25519.
pub type X25519 = crate::Kx<OnlyX25519>;

/// HMAC-SHA2-256, as pseudo-random function and, cut to 128 bits, for integrity alone.
pub struct HmacSha256(KeyedHash<OnlyHmacSha256>);

impl Prf for HmacSha256 {
    fn new(id: PrfId, key: &[u8]) -> Result<Self, CryptoError> {
        KeyedHash::of_prf(id, key).map(Self)
    }

    fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.compute(parts, |tag| bytes::copy(out, tag)).ok_or(CryptoError::Length)
    }
}

/// Bytes of the integrity check value of HMAC-SHA2-256-128 (RFC 4868 section 2.3).
const ICV_LEN: usize = 16;

impl Mac for HmacSha256 {
    fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        KeyedHash::of_integ(integ, key).map(Self)
    }

    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        if !nonce.is_empty() {
            return Err(CryptoError::Length);
        }
        self.0.compute(parts, |tag| write(tag, icv, ICV_LEN))
    }

    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        if !nonce.is_empty() {
            return Err(CryptoError::Length);
        }
        self.0.compute(parts, |tag| compare(tag, icv, ICV_LEN))
    }
}
