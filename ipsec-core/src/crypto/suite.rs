//! Algorithms by their IANA numbers, with the sizes that a packet layout needs.
//!
//! The numbers are those of the "Internet Key Exchange Version 2 (IKEv2) Parameters" registry. They are open sets: an
//! unknown number can be carried and compared, and has no [`Shape`].

macro_rules! iana {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct $name(pub u16);

        impl $name {
            $($(#[$item_doc])* pub const $item: Self = Self($value);)*

            /// The name that tools and administrators use, if the number is known.
            pub const fn name(self) -> Option<&'static str> {
                match self { $(Self::$item => Some($text),)* _ => None }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() { Some(name) => f.write_str(name), None => write!(f, "{}({})", stringify!($name), self.0) }
            }
        }
    };
}

iana! {
    /// An encryption algorithm: transform type 1.
    Encr {
        /// DES in CBC mode (RFC 2405). Legacy.
        DES = 2, "DES-CBC";
        /// Triple DES in CBC mode (RFC 2451). Legacy.
        DES3 = 3, "3DES-CBC";
        /// No encryption (RFC 2410).
        NULL = 11, "NULL";
        /// AES in CBC mode (RFC 3602).
        AES_CBC = 12, "AES-CBC";
        /// AES in counter mode (RFC 3686).
        AES_CTR = 13, "AES-CTR";
        /// AES-CCM with an 8-byte ICV (RFC 4309).
        AES_CCM_8 = 14, "AES-CCM-8";
        /// AES-CCM with a 12-byte ICV.
        AES_CCM_12 = 15, "AES-CCM-12";
        /// AES-CCM with a 16-byte ICV.
        AES_CCM_16 = 16, "AES-CCM-16";
        /// AES-GCM with an 8-byte ICV (RFC 4106).
        AES_GCM_8 = 18, "AES-GCM-8";
        /// AES-GCM with a 12-byte ICV.
        AES_GCM_12 = 19, "AES-GCM-12";
        /// AES-GCM with a 16-byte ICV.
        AES_GCM_16 = 20, "AES-GCM-16";
        /// Integrity alone by AES-GMAC (RFC 4543).
        NULL_AES_GMAC = 21, "NULL-AES-GMAC";
        /// ChaCha20-Poly1305 (RFC 7634).
        CHACHA20_POLY1305 = 28, "ChaCha20-Poly1305";
        /// AES-CCM-8 with an implicit IV (RFC 8750).
        AES_CCM_8_IIV = 29, "AES-CCM-8-IIV";
        /// AES-GCM-16 with an implicit IV (RFC 8750).
        AES_GCM_16_IIV = 30, "AES-GCM-16-IIV";
        /// ChaCha20-Poly1305 with an implicit IV (RFC 8750).
        CHACHA20_POLY1305_IIV = 31, "ChaCha20-Poly1305-IIV";
    }
}

iana! {
    /// An integrity algorithm: transform type 3.
    Integ {
        /// None: the encryption algorithm is an AEAD.
        NONE = 0, "NONE";
        /// HMAC-MD5 truncated to 96 bits (RFC 2403). Legacy.
        HMAC_MD5_96 = 1, "HMAC-MD5-96";
        /// HMAC-SHA1 truncated to 96 bits (RFC 2404).
        HMAC_SHA1_96 = 2, "HMAC-SHA1-96";
        /// AES-XCBC truncated to 96 bits (RFC 3566).
        AES_XCBC_96 = 5, "AES-XCBC-96";
        /// AES-CMAC truncated to 96 bits (RFC 4494).
        AES_CMAC_96 = 8, "AES-CMAC-96";
        /// AES-GMAC with a 128-bit key, for AH (RFC 4543).
        AES_128_GMAC = 9, "AES-128-GMAC";
        /// AES-GMAC with a 192-bit key, for AH.
        AES_192_GMAC = 10, "AES-192-GMAC";
        /// AES-GMAC with a 256-bit key, for AH.
        AES_256_GMAC = 11, "AES-256-GMAC";
        /// HMAC-SHA2-256 truncated to 128 bits (RFC 4868).
        HMAC_SHA2_256_128 = 12, "HMAC-SHA2-256-128";
        /// HMAC-SHA2-384 truncated to 192 bits (RFC 4868).
        HMAC_SHA2_384_192 = 13, "HMAC-SHA2-384-192";
        /// HMAC-SHA2-512 truncated to 256 bits (RFC 4868).
        HMAC_SHA2_512_256 = 14, "HMAC-SHA2-512-256";
    }
}

iana! {
    /// A pseudo-random function: transform type 2.
    PrfId {
        /// HMAC-MD5. Legacy.
        HMAC_MD5 = 1, "PRF-HMAC-MD5";
        /// HMAC-SHA1.
        HMAC_SHA1 = 2, "PRF-HMAC-SHA1";
        /// AES-XCBC-128 (RFC 4434).
        AES128_XCBC = 4, "PRF-AES128-XCBC";
        /// HMAC-SHA2-256 (RFC 4868).
        HMAC_SHA2_256 = 5, "PRF-HMAC-SHA2-256";
        /// HMAC-SHA2-384.
        HMAC_SHA2_384 = 6, "PRF-HMAC-SHA2-384";
        /// HMAC-SHA2-512.
        HMAC_SHA2_512 = 7, "PRF-HMAC-SHA2-512";
        /// AES-CMAC (RFC 4615).
        AES128_CMAC = 8, "PRF-AES128-CMAC";
    }
}

iana! {
    /// A hash function of the notification SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4).
    SignatureHash {
        /// SHA-1. Legacy.
        SHA1 = 1, "SHA1";
        /// SHA-256.
        SHA2_256 = 2, "SHA2-256";
        /// SHA-384.
        SHA2_384 = 3, "SHA2-384";
        /// SHA-512.
        SHA2_512 = 4, "SHA2-512";
        /// None of ours: the signature algorithm takes the message as it is (RFC 8420 section 2).
        IDENTITY = 5, "IDENTITY";
    }
}

iana! {
    /// A key-exchange method: transform type 4.
    Group {
        /// None: no key exchange in CREATE_CHILD_SA.
        NONE = 0, "NONE";
        /// 768-bit MODP (RFC 2409). Legacy.
        MODP_768 = 1, "MODP-768";
        /// 1024-bit MODP (RFC 2409). Legacy.
        MODP_1024 = 2, "MODP-1024";
        /// 1536-bit MODP (RFC 3526). Legacy.
        MODP_1536 = 5, "MODP-1536";
        /// 2048-bit MODP (RFC 3526).
        MODP_2048 = 14, "MODP-2048";
        /// 3072-bit MODP.
        MODP_3072 = 15, "MODP-3072";
        /// 4096-bit MODP.
        MODP_4096 = 16, "MODP-4096";
        /// 6144-bit MODP.
        MODP_6144 = 17, "MODP-6144";
        /// 8192-bit MODP.
        MODP_8192 = 18, "MODP-8192";
        /// 256-bit random ECP group (RFC 5903).
        P256 = 19, "P-256";
        /// 384-bit random ECP group.
        P384 = 20, "P-384";
        /// 521-bit random ECP group.
        P521 = 21, "P-521";
        /// Curve25519 (RFC 8031).
        X25519 = 31, "X25519";
        /// Curve448 (RFC 8031).
        X448 = 32, "X448";
        /// ML-KEM-512.
        ML_KEM_512 = 35, "ML-KEM-512";
        /// ML-KEM-768.
        ML_KEM_768 = 36, "ML-KEM-768";
        /// ML-KEM-1024.
        ML_KEM_1024 = 37, "ML-KEM-1024";
    }
}

/// How the IV of a packet comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Iv {
    /// There is none.
    None,
    /// A counter, sent with the packet: it must never repeat under one key (RFC 4106 section 3.1).
    Counter,
    /// The sequence number, not sent (RFC 8750).
    Implicit,
    /// A block that cannot be predicted, sent with the packet (RFC 3602 section 3).
    Unpredictable,
}

/// The sizes of a [`Suite`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Key of the cipher, without the salt.
    pub key_len: usize,
    /// Salt: taken from the keying material after the key, first part of the nonce.
    pub salt_len: usize,
    /// IV on the wire.
    pub iv_len: usize,
    /// IV within the nonce; differs from `iv_len` only for an implicit IV.
    pub nonce_iv_len: usize,
    /// The text is a multiple of this (ESP itself wants 4 besides).
    pub block_len: usize,
    /// Key of the separate integrity algorithm, 0 for an AEAD.
    pub integ_key_len: usize,
    /// Integrity check value.
    pub icv_len: usize,
    /// How IVs are made.
    pub iv: Iv,
    /// Whether encryption and integrity are one algorithm.
    pub aead: bool,
}

impl Shape {
    /// Keying material for one direction: key, salt, integrity key.
    pub const fn keymat_len(&self) -> usize {
        self.key_len + self.salt_len + self.integ_key_len
    }

    /// Salt and IV.
    pub const fn nonce_len(&self) -> usize {
        self.salt_len + self.nonce_iv_len
    }
}

/// The largest nonce of any suite: a block.
pub const MAX_NONCE: usize = 16;
/// The largest salt of any suite.
pub const MAX_SALT: usize = 4;
/// The largest keying material of one direction: AES-256-CTR and a salt with HMAC-SHA2-512.
pub const MAX_KEYMAT: usize = 32 + MAX_SALT + 64;
/// The largest output of a pseudo-random function.
pub const MAX_PRF: usize = 64;
/// The largest integrity check value.
pub const MAX_ICV: usize = 32;

/// Encryption and integrity of packets: an AEAD, or a cipher with a separate MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Suite {
    /// The encryption algorithm.
    pub encr: Encr,
    /// Bits of its key, salt excluded; 0 where the algorithm has only one size (RFC 7296 section 3.3.5).
    pub key_bits: u16,
    /// The integrity algorithm, [`Integ::NONE`] for an AEAD.
    pub integ: Integ,
}

impl Suite {
    /// AES-128-GCM with a 16-byte ICV.
    pub const AES_128_GCM: Self = Self::aead(Encr::AES_GCM_16, 128);
    /// AES-256-GCM with a 16-byte ICV.
    pub const AES_256_GCM: Self = Self::aead(Encr::AES_GCM_16, 256);
    /// ChaCha20-Poly1305.
    pub const CHACHA20_POLY1305: Self = Self::aead(Encr::CHACHA20_POLY1305, 0);
    /// AES-128-CBC with HMAC-SHA2-256-128.
    pub const AES_128_CBC_SHA256: Self =
        Self { encr: Encr::AES_CBC, key_bits: 128, integ: Integ::HMAC_SHA2_256_128 };
    /// AES-256-CBC with HMAC-SHA2-256-128.
    pub const AES_256_CBC_SHA256: Self =
        Self { encr: Encr::AES_CBC, key_bits: 256, integ: Integ::HMAC_SHA2_256_128 };

    /// Integrity without encryption, by AH in place of ESP (RFC 4302). It has no [`Suite::shape`], and never protects
    /// IKE.
    pub const fn ah(integ: Integ) -> Self {
        Self { encr: Encr(0), key_bits: 0, integ }
    }

    /// Whether this is one of [`Suite::ah`].
    pub const fn is_ah(&self) -> bool {
        self.encr.0 == 0 && self.integ.0 != Integ::NONE.0
    }

    /// A suite that needs no separate integrity algorithm.
    pub const fn aead(encr: Encr, key_bits: u16) -> Self {
        Self { encr, key_bits, integ: Integ::NONE }
    }

    /// The sizes of this suite; `None` if an algorithm or key size is unknown, if encryption would go without
    /// integrity (RFC 4303 section 3.2: such a combination is refused here), if an AEAD is given a MAC besides, or if the
    /// MAC is a GMAC, which needs a nonce of its own: it is for AH, and ESP has [`Encr::NULL_AES_GMAC`] (RFC 4543).
    pub const fn shape(&self) -> Option<Shape> {
        let Some(cipher) = self.encr.cipher_shape(self.key_bits) else { return None };
        if cipher.aead {
            return if self.integ.0 == Integ::NONE.0 { Some(cipher) } else { None };
        }
        match (self.integ.icv_len(), self.integ.key_len()) {
            (Some(icv_len), Some(integ_key_len)) if !self.integ.is_gmac() => {
                Some(Shape { integ_key_len, icv_len, ..cipher })
            }
            _ => None,
        }
    }
}

impl core::fmt::Display for Suite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.is_ah() {
            f.write_str("AH")?;
        } else {
            write!(f, "{}", self.encr)?;
        }
        if self.key_bits != 0 {
            write!(f, "-{}", self.key_bits)?;
        }
        if self.integ != Integ::NONE {
            write!(f, "/{}", self.integ)?;
        }
        Ok(())
    }
}

impl Encr {
    /// Whether the algorithm brings its own integrity, so that it is offered without an integrity transform.
    pub const fn is_aead(self) -> bool {
        matches!(self.0, 14..=16 | 18..=21 | 28..=31)
    }

    /// Whether a Key Length attribute belongs to this algorithm (RFC 7296 section 3.3.5).
    pub const fn has_key_length(self) -> bool {
        matches!(self.0, 12..=16 | 18..=21 | 29..=30)
    }

    const fn cipher_shape(self, key_bits: u16) -> Option<Shape> {
        let (key_len, salt_len, iv_len, nonce_iv_len, block_len, icv_len, iv) = match self {
            Self::DES => (8, 0, 8, 8, 8, 0, Iv::Unpredictable),
            Self::DES3 => (24, 0, 8, 8, 8, 0, Iv::Unpredictable),
            Self::NULL => (0, 0, 0, 0, 1, 0, Iv::None),
            Self::AES_CBC => (key_bits / 8, 0, 16, 16, 16, 0, Iv::Unpredictable),
            Self::AES_CTR => (key_bits / 8, 4, 8, 8, 1, 0, Iv::Counter),
            Self::AES_CCM_8 => (key_bits / 8, 3, 8, 8, 1, 8, Iv::Counter),
            Self::AES_CCM_12 => (key_bits / 8, 3, 8, 8, 1, 12, Iv::Counter),
            Self::AES_CCM_16 => (key_bits / 8, 3, 8, 8, 1, 16, Iv::Counter),
            Self::AES_GCM_8 => (key_bits / 8, 4, 8, 8, 1, 8, Iv::Counter),
            Self::AES_GCM_12 => (key_bits / 8, 4, 8, 8, 1, 12, Iv::Counter),
            Self::AES_GCM_16 | Self::NULL_AES_GMAC => (key_bits / 8, 4, 8, 8, 1, 16, Iv::Counter),
            Self::CHACHA20_POLY1305 => (32, 4, 8, 8, 1, 16, Iv::Counter),
            Self::AES_CCM_8_IIV => (key_bits / 8, 3, 0, 8, 1, 8, Iv::Implicit),
            Self::AES_GCM_16_IIV => (key_bits / 8, 4, 0, 8, 1, 16, Iv::Implicit),
            Self::CHACHA20_POLY1305_IIV => (32, 4, 0, 8, 1, 16, Iv::Implicit),
            _ => return None,
        };
        let key_bits_fit =
            if self.has_key_length() { matches!(key_bits, 128 | 192 | 256) } else { key_bits == 0 };
        if !key_bits_fit {
            return None;
        }
        let aead = self.is_aead();
        Some(Shape {
            key_len: key_len as usize,
            salt_len,
            iv_len,
            nonce_iv_len,
            block_len,
            integ_key_len: 0,
            icv_len,
            iv,
            aead,
        })
    }
}

impl Integ {
    /// Bytes of the key; `None` for [`Integ::NONE`] and unknown algorithms.
    pub const fn key_len(self) -> Option<usize> {
        Some(match self {
            Self::HMAC_MD5_96 | Self::AES_XCBC_96 | Self::AES_CMAC_96 | Self::AES_128_GMAC => 16,
            Self::HMAC_SHA1_96 => 20,
            Self::AES_192_GMAC => 24,
            Self::HMAC_SHA2_256_128 | Self::AES_256_GMAC => 32,
            Self::HMAC_SHA2_384_192 => 48,
            Self::HMAC_SHA2_512_256 => 64,
            _ => return None,
        })
    }

    /// Bytes of the salt that follows the key in the keying material: GMAC has one (RFC 4543 section 5.1).
    pub const fn salt_len(self) -> usize {
        if self.is_gmac() { 4 } else { 0 }
    }

    /// Bytes of the IV that AH sends before the integrity check value: GMAC has one (RFC 4543 section 4).
    pub const fn iv_len(self) -> usize {
        if self.is_gmac() { 8 } else { 0 }
    }

    /// Whether the algorithm needs a nonce, so that only AH can use it: AES-GMAC.
    pub const fn is_gmac(self) -> bool {
        matches!(self, Self::AES_128_GMAC | Self::AES_192_GMAC | Self::AES_256_GMAC)
    }

    /// Bytes of the integrity check value; `None` for [`Integ::NONE`] and unknown algorithms.
    pub const fn icv_len(self) -> Option<usize> {
        Some(match self {
            Self::HMAC_MD5_96 | Self::HMAC_SHA1_96 | Self::AES_XCBC_96 | Self::AES_CMAC_96 => 12,
            Self::AES_128_GMAC | Self::AES_192_GMAC | Self::AES_256_GMAC => 16,
            Self::HMAC_SHA2_256_128 => 16,
            Self::HMAC_SHA2_384_192 => 24,
            Self::HMAC_SHA2_512_256 => 32,
            _ => return None,
        })
    }
}

impl PrfId {
    /// Bytes of output, which is also the preferred key length (RFC 7296 section 2.13); `None` if unknown.
    pub const fn output_len(self) -> Option<usize> {
        Some(match self {
            Self::HMAC_MD5 | Self::AES128_XCBC | Self::AES128_CMAC => 16,
            Self::HMAC_SHA1 => 20,
            Self::HMAC_SHA2_256 => 32,
            Self::HMAC_SHA2_384 => 48,
            Self::HMAC_SHA2_512 => 64,
            _ => return None,
        })
    }
}

impl Group {
    /// Bytes of the initiator's public value; `None` if unknown.
    pub const fn public_len(self) -> Option<usize> {
        Some(match self {
            Self::MODP_768 => 96,
            Self::MODP_1024 => 128,
            Self::MODP_1536 => 192,
            Self::MODP_2048 => 256,
            Self::MODP_3072 => 384,
            Self::MODP_4096 => 512,
            Self::MODP_6144 => 768,
            Self::MODP_8192 => 1024,
            Self::P256 => 64,
            Self::P384 => 96,
            Self::P521 => 132,
            Self::X25519 => 32,
            Self::X448 => 56,
            Self::ML_KEM_512 => 800,
            Self::ML_KEM_768 => 1184,
            Self::ML_KEM_1024 => 1568,
            _ => return None,
        })
    }

    /// Bytes of the responder's public value, which for a KEM is the ciphertext (FIPS 203 section 8); `None` if
    /// unknown.
    pub const fn answer_len(self) -> Option<usize> {
        Some(match self {
            Self::ML_KEM_512 => 768,
            Self::ML_KEM_768 => 1088,
            Self::ML_KEM_1024 => 1568,
            _ => return self.public_len(),
        })
    }

    /// Whether it is a key encapsulation mechanism, whose two public values are of different kinds.
    pub const fn is_kem(self) -> bool {
        matches!(self, Self::ML_KEM_512 | Self::ML_KEM_768 | Self::ML_KEM_1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_the_suites_in_daily_use() {
        let gcm = Suite::AES_128_GCM.shape().unwrap();
        assert_eq!((gcm.key_len, gcm.salt_len, gcm.iv_len, gcm.icv_len), (16, 4, 8, 16));
        assert_eq!(gcm.keymat_len(), 20);
        let cbc = Suite::AES_256_CBC_SHA256.shape().unwrap();
        assert_eq!((cbc.key_len, cbc.integ_key_len, cbc.block_len, cbc.icv_len), (32, 32, 16, 16));
        assert_eq!(Suite::CHACHA20_POLY1305.shape().unwrap().keymat_len(), 36);
    }

    #[test]
    fn encryption_without_integrity_has_no_shape() {
        for encr in [Encr::AES_CBC, Encr::AES_CTR] {
            assert_eq!(Suite::aead(encr, 128).shape(), None);
        }
        assert_eq!(Suite::aead(Encr::NULL, 0).shape(), None);
        let both = Suite { integ: Integ::HMAC_SHA1_96, ..Suite::AES_128_GCM };
        assert_eq!(both.shape(), None);
    }

    // RFC 4543 section 5: AES-GMAC stands alone in ESP, and as an integrity algorithm in AH.
    #[test]
    fn no_cipher_has_a_gmac_beside_it() {
        for encr in [Encr::AES_CBC, Encr::AES_CTR, Encr::NULL, Encr::DES3] {
            let key_bits = if encr.has_key_length() { 128 } else { 0 };
            for integ in [Integ::AES_128_GMAC, Integ::AES_192_GMAC, Integ::AES_256_GMAC] {
                assert_eq!(Suite { encr, key_bits, integ }.shape(), None);
            }
            assert!(Suite { encr, key_bits, integ: Integ::AES_CMAC_96 }.shape().is_some());
        }
        assert!(Suite::aead(Encr::NULL_AES_GMAC, 128).shape().is_some());
    }

    #[test]
    fn gmac_is_no_mac_of_esp() {
        // RFC 4543 section 3
        let gmac = Suite { integ: Integ::AES_128_GMAC, ..Suite::aead(Encr::NULL, 0) };
        assert_eq!(gmac.shape(), None);
        assert!(Suite::aead(Encr::NULL_AES_GMAC, 128).shape().is_some_and(|s| s.aead));
        assert_eq!((Integ::AES_128_GMAC.salt_len(), Integ::AES_128_GMAC.iv_len()), (4, 8));
        assert_eq!((Integ::HMAC_SHA1_96.salt_len(), Integ::HMAC_SHA1_96.iv_len()), (0, 0));
    }

    #[test]
    fn key_sizes_are_checked() {
        assert_eq!(Suite::aead(Encr::AES_GCM_16, 0).shape(), None);
        assert_eq!(Suite::aead(Encr::AES_GCM_16, 512).shape(), None);
        assert_eq!(Suite::aead(Encr::CHACHA20_POLY1305, 256).shape(), None);
    }
}
