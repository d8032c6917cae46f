//! The words by which administrators name algorithms: `aes128gcm16`, `aes256-sha256`, `null-sha1`.
//!
//! They are strongSwan's where it has one. Whoever reads or writes them looks into the tables of this file.

use super::suite::{Encr, Group, Integ, PrfId, Suite};

/// Encryption, with the bits of its key. Of several words for the same, the first is the one that is written.
const ENCRYPTION: &[(&str, Encr, u16)] = &[
    ("aes128gcm16", Encr::AES_GCM_16, 128),
    ("aes192gcm16", Encr::AES_GCM_16, 192),
    ("aes256gcm16", Encr::AES_GCM_16, 256),
    ("aes128gcm12", Encr::AES_GCM_12, 128),
    ("aes192gcm12", Encr::AES_GCM_12, 192),
    ("aes256gcm12", Encr::AES_GCM_12, 256),
    ("aes128gcm8", Encr::AES_GCM_8, 128),
    ("aes192gcm8", Encr::AES_GCM_8, 192),
    ("aes256gcm8", Encr::AES_GCM_8, 256),
    ("aes128ccm16", Encr::AES_CCM_16, 128),
    ("aes192ccm16", Encr::AES_CCM_16, 192),
    ("aes256ccm16", Encr::AES_CCM_16, 256),
    ("aes128ccm12", Encr::AES_CCM_12, 128),
    ("aes192ccm12", Encr::AES_CCM_12, 192),
    ("aes256ccm12", Encr::AES_CCM_12, 256),
    ("aes128ccm8", Encr::AES_CCM_8, 128),
    ("aes192ccm8", Encr::AES_CCM_8, 192),
    ("aes256ccm8", Encr::AES_CCM_8, 256),
    ("chacha20poly1305", Encr::CHACHA20_POLY1305, 0),
    ("aes128gcm16iiv", Encr::AES_GCM_16_IIV, 128),
    ("aes192gcm16iiv", Encr::AES_GCM_16_IIV, 192),
    ("aes256gcm16iiv", Encr::AES_GCM_16_IIV, 256),
    ("aes128ccm8iiv", Encr::AES_CCM_8_IIV, 128),
    ("aes192ccm8iiv", Encr::AES_CCM_8_IIV, 192),
    ("aes256ccm8iiv", Encr::AES_CCM_8_IIV, 256),
    ("chacha20poly1305iiv", Encr::CHACHA20_POLY1305_IIV, 0),
    ("aes128", Encr::AES_CBC, 128),
    ("aes192", Encr::AES_CBC, 192),
    ("aes256", Encr::AES_CBC, 256),
    ("aes128ctr", Encr::AES_CTR, 128),
    ("aes192ctr", Encr::AES_CTR, 192),
    ("aes256ctr", Encr::AES_CTR, 256),
    ("aes128gmac", Encr::NULL_AES_GMAC, 128),
    ("aes192gmac", Encr::NULL_AES_GMAC, 192),
    ("aes256gmac", Encr::NULL_AES_GMAC, 256),
    ("null", Encr::NULL, 0),
    ("3des", Encr::DES3, 0),
    ("des", Encr::DES, 0),
    ("aes", Encr::AES_CBC, 128),
    ("aes128gcm", Encr::AES_GCM_16, 128),
    ("aes192gcm", Encr::AES_GCM_16, 192),
    ("aes256gcm", Encr::AES_GCM_16, 256),
    ("aes128gcm128", Encr::AES_GCM_16, 128),
    ("aes192gcm128", Encr::AES_GCM_16, 192),
    ("aes256gcm128", Encr::AES_GCM_16, 256),
    ("aes128ccm", Encr::AES_CCM_16, 128),
    ("aes192ccm", Encr::AES_CCM_16, 192),
    ("aes256ccm", Encr::AES_CCM_16, 256),
];

const INTEGRITY: &[(&str, Integ)] = &[
    ("sha256", Integ::HMAC_SHA2_256_128),
    ("sha384", Integ::HMAC_SHA2_384_192),
    ("sha512", Integ::HMAC_SHA2_512_256),
    ("sha1", Integ::HMAC_SHA1_96),
    ("aescmac", Integ::AES_CMAC_96),
    ("aesxcbc", Integ::AES_XCBC_96),
    ("md5", Integ::HMAC_MD5_96),
    ("aes128gmac", Integ::AES_128_GMAC),
    ("aes192gmac", Integ::AES_192_GMAC),
    ("aes256gmac", Integ::AES_256_GMAC),
    ("sha2_256", Integ::HMAC_SHA2_256_128),
    ("sha2_384", Integ::HMAC_SHA2_384_192),
    ("sha2_512", Integ::HMAC_SHA2_512_256),
    ("sha", Integ::HMAC_SHA1_96),
];

const PRFS: &[(&str, PrfId)] = &[
    ("prfsha256", PrfId::HMAC_SHA2_256),
    ("prfsha384", PrfId::HMAC_SHA2_384),
    ("prfsha512", PrfId::HMAC_SHA2_512),
    ("prfsha1", PrfId::HMAC_SHA1),
    ("prfaescmac", PrfId::AES128_CMAC),
    ("prfaesxcbc", PrfId::AES128_XCBC),
    ("prfmd5", PrfId::HMAC_MD5),
];

const GROUPS: &[(&str, Group)] = &[
    ("x25519", Group::X25519),
    ("ecp256", Group::P256),
    ("ecp384", Group::P384),
    ("ecp521", Group::P521),
    ("modp2048", Group::MODP_2048),
    ("modp3072", Group::MODP_3072),
    ("modp4096", Group::MODP_4096),
    ("modp6144", Group::MODP_6144),
    ("modp8192", Group::MODP_8192),
    ("modp1536", Group::MODP_1536),
    ("modp1024", Group::MODP_1024),
    ("modp768", Group::MODP_768),
    ("x448", Group::X448),
    ("mlkem512", Group::ML_KEM_512),
    ("mlkem768", Group::ML_KEM_768),
    ("mlkem1024", Group::ML_KEM_1024),
    ("curve25519", Group::X25519),
    ("curve448", Group::X448),
];

fn by_word<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == word).map(|(_, found)| *found)
}

fn by_number<T: PartialEq>(table: &[(&'static str, T)], number: &T) -> Option<&'static str> {
    table.iter().find(|(_, known)| known == number).map(|(word, _)| *word)
}

impl Encr {
    /// The algorithm that this word names, and the bits of its key.
    pub fn from_keyword(word: &str) -> Option<(Self, u16)> {
        let found = ENCRYPTION.iter().find(|(known, ..)| *known == word);
        found.map(|(_, encr, key_bits)| (*encr, *key_bits))
    }

    /// The word for the algorithm with a key of so many bits, 0 where there is only one size.
    pub fn keyword(self, key_bits: u16) -> Option<&'static str> {
        let found = ENCRYPTION.iter().find(|(_, encr, bits)| (*encr, *bits) == (self, key_bits));
        found.map(|(word, ..)| *word)
    }
}

impl Integ {
    /// The algorithm that this word names.
    pub fn from_keyword(word: &str) -> Option<Self> {
        by_word(INTEGRITY, word)
    }

    /// The word for the algorithm.
    pub fn keyword(self) -> Option<&'static str> {
        by_number(INTEGRITY, &self)
    }

    /// The pseudo-random function that is meant where a proposal for IKE names this algorithm and no function.
    pub const fn prf(self) -> Option<PrfId> {
        Some(match self {
            Self::HMAC_MD5_96 => PrfId::HMAC_MD5,
            Self::HMAC_SHA1_96 => PrfId::HMAC_SHA1,
            Self::AES_XCBC_96 => PrfId::AES128_XCBC,
            Self::AES_CMAC_96 => PrfId::AES128_CMAC,
            Self::HMAC_SHA2_256_128 => PrfId::HMAC_SHA2_256,
            Self::HMAC_SHA2_384_192 => PrfId::HMAC_SHA2_384,
            Self::HMAC_SHA2_512_256 => PrfId::HMAC_SHA2_512,
            _ => return None,
        })
    }
}

impl PrfId {
    /// The function that this word names.
    pub fn from_keyword(word: &str) -> Option<Self> {
        by_word(PRFS, word)
    }

    /// The word for the function.
    pub fn keyword(self) -> Option<&'static str> {
        by_number(PRFS, &self)
    }
}

impl Group {
    /// The method that this word names.
    pub fn from_keyword(word: &str) -> Option<Self> {
        by_word(GROUPS, word)
    }

    /// The word for the method.
    pub fn keyword(self) -> Option<&'static str> {
        by_number(GROUPS, &self)
    }
}

impl Suite {
    /// The words for the suite, as [`Suite`] is parsed from them: `aes128gcm16`, `aes256-sha256`. For [`Suite::ah`] it is
    /// that of the integrity algorithm.
    pub const fn keyword(&self) -> SuiteKeyword {
        SuiteKeyword(*self)
    }

    /// Whether packets are encrypted: not by AH, and not with [`Encr::NULL`] and [`Encr::NULL_AES_GMAC`], which only
    /// authenticate.
    pub const fn encrypts(&self) -> bool {
        !self.is_ah() && !matches!(self.encr, Encr::NULL | Encr::NULL_AES_GMAC)
    }
}

/// Displays the words for a suite. Algorithms without one are shown as by [`Suite`]'s own `Display`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteKeyword(Suite);

impl core::fmt::Display for SuiteKeyword {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Suite { encr, key_bits, integ } = self.0;
        match (encr.keyword(key_bits), integ.keyword()) {
            (_, Some(integ)) if self.0.is_ah() => f.write_str(integ),
            (Some(encr), None) if integ == Integ::NONE => f.write_str(encr),
            (Some(encr), Some(integ)) => {
                f.write_str(encr)?;
                f.write_str("-")?;
                f.write_str(integ)
            }
            _ => self.0.fmt(f),
        }
    }
}

/// Why words do not name a [`Suite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SuiteKeywordError {
    /// The first word is no encryption algorithm.
    Encryption,
    /// The second word is no integrity algorithm of ESP.
    Integrity,
    /// Encryption without integrity, which is refused (RFC 4303 section 3.2).
    NoIntegrity,
    /// An integrity algorithm beside an AEAD, which brings its own.
    TwoIntegrities,
}

impl core::fmt::Display for SuiteKeywordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Encryption => "no encryption algorithm, like aes128gcm16 or aes128-sha256",
            Self::Integrity => "no integrity algorithm behind the `-`, like aes128-sha256",
            Self::NoIntegrity => {
                "without integrity: behind the `-`, an algorithm is needed, for example sha256"
            }
            Self::TwoIntegrities => {
                "an AEAD brings its own integrity: leave out the integrity algorithm"
            }
        })
    }
}

impl core::error::Error for SuiteKeywordError {}

impl core::str::FromStr for Suite {
    type Err = SuiteKeywordError;

    /// Reads what [`Suite::keyword`] displays. What comes out has a [`shape`](Suite::shape).
    fn from_str(words: &str) -> Result<Self, SuiteKeywordError> {
        let at = words.bytes().position(|byte| byte == b'-').unwrap_or(words.len());
        let (first, rest) = words.split_at_checked(at).unwrap_or((words, ""));
        let (encr, key_bits) = Encr::from_keyword(first).ok_or(SuiteKeywordError::Encryption)?;
        let integ = match rest.strip_prefix('-') {
            Some(word) => Integ::from_keyword(word).ok_or(SuiteKeywordError::Integrity)?,
            None => Integ::NONE,
        };
        let suite = Self { encr, key_bits, integ };
        match (encr.is_aead(), integ) {
            _ if suite.shape().is_some() => Ok(suite),
            (true, _) => Err(SuiteKeywordError::TwoIntegrities),
            (false, Integ::NONE) => Err(SuiteKeywordError::NoIntegrity),
            (false, _) => Err(SuiteKeywordError::Integrity),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_suite_is_read_back() {
        let macs = INTEGRITY.iter().map(|(_, integ)| *integ).chain([Integ::NONE]);
        let mut suites = 0;
        for integ in macs {
            for (_, encr, key_bits) in ENCRYPTION {
                let suite = Suite { encr: *encr, key_bits: *key_bits, integ };
                if suite.shape().is_some() {
                    assert_eq!(suite.keyword().to_string().parse(), Ok(suite));
                    suites += 1;
                }
            }
        }
        assert!(suites > 100, "{suites}");
    }

    #[test]
    fn words_are_unique() {
        let mut words: Vec<&str> = ENCRYPTION.iter().map(|(word, ..)| *word).collect();
        words.extend(PRFS.iter().map(|(word, _)| *word));
        words.extend(GROUPS.iter().map(|(word, _)| *word));
        // GMAC is encryption for ESP and integrity for AH.
        words.extend(INTEGRITY.iter().map(|(word, _)| *word).filter(|w| !w.ends_with("gmac")));
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
    }

    #[test]
    fn what_is_no_suite_is_refused() {
        let error = |words: &str| words.parse::<Suite>().unwrap_err();
        assert_eq!(error(""), SuiteKeywordError::Encryption);
        assert_eq!(error("aes129"), SuiteKeywordError::Encryption);
        assert_eq!(error("aes128-"), SuiteKeywordError::Integrity);
        assert_eq!(error("aes128-sha256-x"), SuiteKeywordError::Integrity);
        // RFC 4303 section 3.2: encryption without integrity is refused.
        assert_eq!(error("aes128"), SuiteKeywordError::NoIntegrity);
        assert_eq!(error("null"), SuiteKeywordError::NoIntegrity);
        assert_eq!(error("aes128gcm16-sha256"), SuiteKeywordError::TwoIntegrities);
        // RFC 4543 section 5: GMAC stands alone.
        assert_eq!(error("aes128-aes128gmac"), SuiteKeywordError::Integrity);
    }

    #[test]
    fn what_does_not_encrypt_says_so() {
        let encrypts = |words: &str| words.parse::<Suite>().unwrap().encrypts();
        assert_eq!([encrypts("null-sha256"), encrypts("aes256gmac")], [false, false]);
        assert_eq!([encrypts("des-md5"), encrypts("aes128ctr-aesxcbc")], [true, true]);
        let ah = Suite::ah(Integ::HMAC_SHA1_96);
        assert_eq!((ah.encrypts(), ah.keyword().to_string().as_str()), (false, "sha1"));
    }
}
