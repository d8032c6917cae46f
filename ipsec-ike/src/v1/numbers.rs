//! The numbers of algorithms in IKEv1, and what they are in IKEv2 (RFC 2407 section 4.4, RFC 2409 appendix A, and the registries
//! of IANA). `None` where the other has none.

use ipsec_core::crypto::{Encr, Integ, PrfId};

use crate::wire::v1::{AhTransform, AuthAlgorithm, Cipher, EspTransform, Hash};

/// The ciphers of ESP that have a number in IKEv1.
pub(super) const ESP: [Encr; 12] = [
    Encr::DES,
    Encr::DES3,
    Encr::NULL,
    Encr::AES_CBC,
    Encr::AES_CTR,
    Encr::AES_CCM_8,
    Encr::AES_CCM_12,
    Encr::AES_CCM_16,
    Encr::AES_GCM_8,
    Encr::AES_GCM_12,
    Encr::AES_GCM_16,
    Encr::NULL_AES_GMAC,
];

pub(super) const fn esp_of(encr: Encr) -> Option<EspTransform> {
    Some(match encr {
        Encr::DES => EspTransform::DES,
        Encr::DES3 => EspTransform::DES3,
        Encr::NULL => EspTransform::NULL,
        Encr::AES_CBC => EspTransform::AES_CBC,
        Encr::AES_CTR => EspTransform::AES_CTR,
        Encr::AES_CCM_8 => EspTransform::AES_CCM_8,
        Encr::AES_CCM_12 => EspTransform::AES_CCM_12,
        Encr::AES_CCM_16 => EspTransform::AES_CCM_16,
        Encr::AES_GCM_8 => EspTransform::AES_GCM_8,
        Encr::AES_GCM_12 => EspTransform::AES_GCM_12,
        Encr::AES_GCM_16 => EspTransform::AES_GCM_16,
        Encr::NULL_AES_GMAC => EspTransform::NULL_AUTH_AES_GMAC,
        _ => return None,
    })
}

pub(super) const fn auth_of(integ: Integ) -> Option<AuthAlgorithm> {
    Some(match integ {
        Integ::HMAC_MD5_96 => AuthAlgorithm::HMAC_MD5,
        Integ::HMAC_SHA1_96 => AuthAlgorithm::HMAC_SHA,
        Integ::HMAC_SHA2_256_128 => AuthAlgorithm::HMAC_SHA2_256,
        Integ::HMAC_SHA2_384_192 => AuthAlgorithm::HMAC_SHA2_384,
        Integ::HMAC_SHA2_512_256 => AuthAlgorithm::HMAC_SHA2_512,
        Integ::AES_XCBC_96 => AuthAlgorithm::AES_XCBC_MAC,
        Integ::AES_128_GMAC => AuthAlgorithm::AES_128_GMAC,
        Integ::AES_192_GMAC => AuthAlgorithm::AES_192_GMAC,
        Integ::AES_256_GMAC => AuthAlgorithm::AES_256_GMAC,
        _ => return None,
    })
}

pub(super) const fn integ_of(auth: AuthAlgorithm) -> Option<Integ> {
    Some(match auth {
        AuthAlgorithm::HMAC_MD5 => Integ::HMAC_MD5_96,
        AuthAlgorithm::HMAC_SHA => Integ::HMAC_SHA1_96,
        AuthAlgorithm::HMAC_SHA2_256 => Integ::HMAC_SHA2_256_128,
        AuthAlgorithm::HMAC_SHA2_384 => Integ::HMAC_SHA2_384_192,
        AuthAlgorithm::HMAC_SHA2_512 => Integ::HMAC_SHA2_512_256,
        AuthAlgorithm::AES_XCBC_MAC => Integ::AES_XCBC_96,
        AuthAlgorithm::AES_128_GMAC => Integ::AES_128_GMAC,
        AuthAlgorithm::AES_192_GMAC => Integ::AES_192_GMAC,
        AuthAlgorithm::AES_256_GMAC => Integ::AES_256_GMAC,
        _ => return None,
    })
}

pub(super) const fn ah_of(auth: AuthAlgorithm) -> Option<AhTransform> {
    Some(match auth {
        AuthAlgorithm::HMAC_MD5 => AhTransform::MD5,
        AuthAlgorithm::HMAC_SHA => AhTransform::SHA,
        AuthAlgorithm::HMAC_SHA2_256 => AhTransform::SHA2_256,
        AuthAlgorithm::HMAC_SHA2_384 => AhTransform::SHA2_384,
        AuthAlgorithm::HMAC_SHA2_512 => AhTransform::SHA2_512,
        AuthAlgorithm::AES_XCBC_MAC => AhTransform::AES_XCBC_MAC,
        AuthAlgorithm::AES_128_GMAC => AhTransform::AES_128_GMAC,
        AuthAlgorithm::AES_192_GMAC => AhTransform::AES_192_GMAC,
        AuthAlgorithm::AES_256_GMAC => AhTransform::AES_256_GMAC,
        _ => return None,
    })
}

pub(super) const fn encr_of(cipher: Cipher) -> Option<Encr> {
    Some(match cipher {
        Cipher::DES_CBC => Encr::DES,
        Cipher::DES3_CBC => Encr::DES3,
        Cipher::AES_CBC => Encr::AES_CBC,
        _ => return None,
    })
}

pub(super) const fn prf_of(hash: Hash) -> Option<PrfId> {
    Some(match hash {
        Hash::MD5 => PrfId::HMAC_MD5,
        Hash::SHA => PrfId::HMAC_SHA1,
        Hash::SHA2_256 => PrfId::HMAC_SHA2_256,
        Hash::SHA2_384 => PrfId::HMAC_SHA2_384,
        Hash::SHA2_512 => PrfId::HMAC_SHA2_512,
        _ => return None,
    })
}

pub(super) const fn cipher_of(encr: Encr) -> Option<Cipher> {
    Some(match encr {
        Encr::DES => Cipher::DES_CBC,
        Encr::DES3 => Cipher::DES3_CBC,
        Encr::AES_CBC => Cipher::AES_CBC,
        _ => return None,
    })
}

pub(super) const fn hash_of(prf: PrfId) -> Option<Hash> {
    Some(match prf {
        PrfId::HMAC_MD5 => Hash::MD5,
        PrfId::HMAC_SHA1 => Hash::SHA,
        PrfId::HMAC_SHA2_256 => Hash::SHA2_256,
        PrfId::HMAC_SHA2_384 => Hash::SHA2_384,
        PrfId::HMAC_SHA2_512 => Hash::SHA2_512,
        _ => return None,
    })
}
