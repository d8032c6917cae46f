//! All the cryptography of this firmware: an image holds what its provider names, and no more.

use ipsec::ipsec_core::crypto::{CryptoError, HashId, Integ};
use ipsec::{Group, PrfId, Provider, Suite};
use ipsec_rustcrypto::single::{Aes128Gcm, HmacSha256, X25519};

/// The algorithms that most peers prefer.
pub enum Small {}

impl Provider for Small {
    type Cipher = Aes128Gcm;
    type Mac = HmacSha256;
    type Prf = HmacSha256;
    type Kx = X25519;

    const SUITES: &'static [Suite] = &[Suite::AES_128_GCM];
    const INTEGS: &'static [Integ] = &[Integ::HMAC_SHA2_256_128];
    const PRFS: &'static [PrfId] = &[PrfId::HMAC_SHA2_256];
    const GROUPS: &'static [Group] = &[Group::X25519];

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        ipsec_rustcrypto::hash(id, parts, out)
    }
}
