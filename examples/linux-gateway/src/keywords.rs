//! Proposals as strongSwan writes them: `aes128-sha256-modp2048`, `aes256gcm16-prfsha384-ecp256-x25519`.
//!
//! Several algorithms of a kind in one proposal are alternatives, in order of preference.

use ipsec::ipsec_core::crypto::{Encr, Integ};
use ipsec::{ChildProposal, Group, IkeProposal, PrfId, Provider, Suite};
use ipsec_rustcrypto::RustCrypto;

/// One word of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyword {
    /// Encryption, with the bits of its key.
    Encr(Encr, u16),
    /// Integrity, and the function that goes with it where no function is named.
    Integ(Integ, PrfId),
    Prf(PrfId),
    Group(Group),
    Esn(bool),
}

/// What a proposal for IKE says.
pub(crate) fn ike(text: &str) -> Result<IkeProposal<'static>, String> {
    let parts = Parts::parse(text)?;
    if parts.esn.is_some() {
        return Err("extended sequence numbers are for child SAs, not for IKE".into());
    }
    let mut prfs = parts.prfs.clone();
    if prfs.is_empty() {
        prfs = parts.integs.iter().map(|(_, prf)| *prf).collect();
    }
    if prfs.is_empty() {
        return Err("a pseudo-random function is missing, for example prfsha256".into());
    }
    if parts.groups.is_empty() {
        return Err("a key exchange is missing, for example x25519".into());
    }
    // An AEAD with `sha256` means the function: there is no integrity algorithm beside it.
    let suites = parts.suites(true)?;
    Ok(IkeProposal { suites: suites.leak(), prfs: prfs.leak(), groups: parts.groups.leak() })
}

/// What a proposal for a child SA says. A group asks for a key exchange of its own (perfect forward secrecy).
pub(crate) fn child(text: &str) -> Result<ChildProposal<'static>, String> {
    let parts = Parts::parse(text)?;
    if !parts.prfs.is_empty() {
        return Err("a pseudo-random function is for IKE, not for child SAs".into());
    }
    let suites = parts.suites(false)?;
    let esn = parts.esn.unwrap_or(false);
    Ok(ChildProposal { suites: suites.leak(), groups: parts.groups.leak(), esn })
}

/// The words of a proposal, by kind.
#[derive(Default)]
struct Parts {
    encrs: Vec<(Encr, u16)>,
    integs: Vec<(Integ, PrfId)>,
    prfs: Vec<PrfId>,
    groups: Vec<Group>,
    esn: Option<bool>,
}

impl Parts {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Self::default();
        for word in text.split('-') {
            match Keyword::parse(word)? {
                Keyword::Encr(encr, bits) => parts.encrs.push((encr, bits)),
                Keyword::Integ(integ, prf) => parts.integs.push((integ, prf)),
                Keyword::Prf(prf) => parts.prfs.push(prf),
                Keyword::Group(group) => parts.groups.push(group),
                Keyword::Esn(esn) if parts.esn.is_none_or(|before| before == esn) => {
                    parts.esn = Some(esn);
                }
                Keyword::Esn(_) => return Err("both esn and noesn: choose one".into()),
            }
        }
        Ok(parts)
    }

    /// Every encryption algorithm, with every integrity algorithm if it needs one.
    fn suites(&self, integ_may_be_prf: bool) -> Result<Vec<Suite>, String> {
        let aeads = self.encrs.iter().filter(|(encr, _)| encr.is_aead()).count();
        if self.encrs.is_empty() {
            return Err("an encryption algorithm is missing, for example aes128gcm16".into());
        }
        if aeads != 0 && aeads != self.encrs.len() {
            return Err(
                "AEADs (gcm, chacha20poly1305) and other ciphers in one proposal: make two of it"
                    .into(),
            );
        }
        let suites: Vec<Suite> = if aeads != 0 {
            let are_prfs = integ_may_be_prf && self.prfs.is_empty();
            if !self.integs.is_empty() && !are_prfs {
                return Err(
                    "an AEAD brings its own integrity: leave out the integrity algorithm".into()
                );
            }
            self.encrs.iter().map(|(encr, bits)| Suite::aead(*encr, *bits)).collect()
        } else {
            if self.integs.is_empty() {
                return Err("an integrity algorithm is missing, for example sha256".into());
            }
            let pair = |(encr, key_bits): &(Encr, u16)| {
                let (encr, key_bits) = (*encr, *key_bits);
                self.integs.iter().map(move |(integ, _)| Suite { encr, key_bits, integ: *integ })
            };
            self.encrs.iter().flat_map(pair).collect()
        };
        match suites.iter().find(|suite| !RustCrypto::SUITES.contains(suite)) {
            Some(suite) => Err(format!("{suite} is not supported")),
            None => Ok(suites),
        }
    }
}

impl Keyword {
    fn parse(word: &str) -> Result<Self, String> {
        let found = match word {
            "aes128" | "aes" => Self::Encr(Encr::AES_CBC, 128),
            "aes192" => Self::Encr(Encr::AES_CBC, 192),
            "aes256" => Self::Encr(Encr::AES_CBC, 256),
            "aes128gcm16" | "aes128gcm128" | "aes128gcm" => Self::Encr(Encr::AES_GCM_16, 128),
            "aes192gcm16" | "aes192gcm128" | "aes192gcm" => Self::Encr(Encr::AES_GCM_16, 192),
            "aes256gcm16" | "aes256gcm128" | "aes256gcm" => Self::Encr(Encr::AES_GCM_16, 256),
            "chacha20poly1305" => Self::Encr(Encr::CHACHA20_POLY1305, 0),
            "sha1" | "sha" => Self::Integ(Integ::HMAC_SHA1_96, PrfId::HMAC_SHA1),
            "sha256" | "sha2_256" => Self::Integ(Integ::HMAC_SHA2_256_128, PrfId::HMAC_SHA2_256),
            "sha384" | "sha2_384" => Self::Integ(Integ::HMAC_SHA2_384_192, PrfId::HMAC_SHA2_384),
            "sha512" | "sha2_512" => Self::Integ(Integ::HMAC_SHA2_512_256, PrfId::HMAC_SHA2_512),
            "prfsha1" => Self::Prf(PrfId::HMAC_SHA1),
            "prfsha256" => Self::Prf(PrfId::HMAC_SHA2_256),
            "prfsha384" => Self::Prf(PrfId::HMAC_SHA2_384),
            "prfsha512" => Self::Prf(PrfId::HMAC_SHA2_512),
            "x25519" | "curve25519" => Self::Group(Group::X25519),
            "ecp256" => Self::Group(Group::P256),
            "modp2048" => Self::Group(Group::MODP_2048),
            "esn" => Self::Esn(true),
            "noesn" => Self::Esn(false),
            _ => return Err(format!("unknown algorithm `{word}`")),
        };
        let is_supported = match found {
            Self::Prf(prf) => RustCrypto::PRFS.contains(&prf),
            Self::Group(group) => RustCrypto::GROUPS.contains(&group),
            Self::Encr(..) | Self::Integ(..) | Self::Esn(_) => true, // as suites
        };
        if is_supported { Ok(found) } else { Err(format!("`{word}` is not supported")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each() {
        let proposal = ike("aes128gcm16-prfsha256-x25519").unwrap();
        assert_eq!(proposal.suites, [Suite::AES_128_GCM]);
        assert_eq!(proposal.prfs, [PrfId::HMAC_SHA2_256]);
        assert_eq!(proposal.groups, [Group::X25519]);
        let proposal = child("chacha20poly1305").unwrap();
        assert_eq!(proposal.suites, [Suite::CHACHA20_POLY1305]);
        assert!(proposal.groups.is_empty() && !proposal.esn);
    }

    #[test]
    fn several_of_each_are_alternatives_in_order() {
        let proposal = ike("aes256-aes128-sha256-sha512-modp2048-ecp256").unwrap();
        let suite = |key_bits, integ| Suite { encr: Encr::AES_CBC, key_bits, integ };
        let (sha256, sha512) = (Integ::HMAC_SHA2_256_128, Integ::HMAC_SHA2_512_256);
        let all = [suite(256, sha256), suite(256, sha512), suite(128, sha256), suite(128, sha512)];
        assert_eq!(proposal.suites, all);
        assert_eq!(proposal.prfs, [PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_512]);
        assert_eq!(proposal.groups, [Group::MODP_2048, Group::P256]);
    }

    #[test]
    fn an_integrity_algorithm_names_the_function_unless_one_is_named() {
        let proposal = ike("aes128-sha256-prfsha384-x25519").unwrap();
        assert_eq!(proposal.prfs, [PrfId::HMAC_SHA2_384]);
        let proposal = ike("aes128gcm16-sha512-x25519").unwrap();
        assert_eq!(proposal.prfs, [PrfId::HMAC_SHA2_512]);
        assert_eq!(proposal.suites, [Suite::AES_128_GCM]);
    }

    #[test]
    fn a_group_of_a_child_is_perfect_forward_secrecy() {
        let proposal = child("aes128gcm16-aes256gcm16-x25519-esn").unwrap();
        assert_eq!(proposal.suites, [Suite::AES_128_GCM, Suite::AES_256_GCM]);
        assert_eq!(proposal.groups, [Group::X25519]);
        assert!(proposal.esn);
    }

    #[test]
    fn mistakes_are_explained() {
        let said = |result: Result<(), String>, word: &str| {
            let text = result.unwrap_err();
            assert!(text.contains(word), "{text}");
        };
        let ike = |text| ike(text).map(drop);
        let child = |text| child(text).map(drop);
        said(ike("aes129-sha256-x25519"), "`aes129`");
        said(ike(""), "unknown algorithm ``");
        said(ike("aes128--x25519"), "unknown algorithm ``");
        said(ike("sha256-x25519"), "encryption");
        said(ike("aes128-x25519-prfsha256"), "integrity");
        said(ike("aes128gcm16-x25519"), "pseudo-random");
        said(ike("aes128gcm16-prfsha256"), "key exchange");
        said(ike("aes128gcm16-sha256-prfsha256-x25519"), "AEAD");
        said(ike("aes128gcm16-aes128-sha256-x25519"), "two");
        said(ike("aes128gcm16-prfsha256-x25519-esn"), "sequence");
        said(child("aes128gcm16-prfsha256"), "pseudo-random");
        said(child("aes128gcm16-sha256"), "AEAD");
        said(child("aes128"), "integrity");
        said(child("x25519"), "encryption");
        said(child("aes128gcm16-esn-noesn"), "both");
    }
}
