//! Proposals as strongSwan writes them: `aes128-sha256-modp2048`, `aes256gcm16-prfsha384-ecp256-x25519`.
//!
//! Several algorithms of a kind in one proposal are alternatives, in order of preference. The words are the library's.
//! Key exchanges after the first have `ke1_`, `ke2_` or `ke3_` before their word, as in `x25519-ke1_mlkem768`; `ke1_none`
//! means that there may be none. A `mlkem768` alone is a `ke1_mlkem768`.

use ipsec::ipsec_core::crypto::{Encr, Integ, Iv};
use ipsec::{ChildProposal, Group, IkeProposal, PrfId, Provider, Suite};
use ipsec_rustcrypto::RustCrypto;

/// One word of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyword {
    /// Encryption, with the bits of its key.
    Encr(Encr, u16),
    Integ(Integ),
    Prf(PrfId),
    Group(Group),
    /// After so many others.
    Additional(usize, Group),
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
        prfs = parts.integs.iter().filter_map(|integ| integ.prf()).collect();
    }
    if prfs.is_empty() {
        return Err("a pseudo-random function is missing, for example prfsha256".into());
    }
    if parts.groups.is_empty() {
        return Err("a key exchange is missing, for example x25519".into());
    }
    // An AEAD with `sha256` means the function: there is no integrity algorithm beside it.
    let suites = parts.suites(true)?;
    // RFC 8247 section 2.1, RFC 8750 section 1
    let is_fit = |suite: &Suite| {
        suite.encrypts() && suite.shape().is_some_and(|shape| shape.iv != Iv::Implicit)
    };
    if let Some(suite) = suites.iter().find(|suite| !is_fit(suite)) {
        return Err(format!("`{}` is for ESP only", suite.keyword()));
    }
    let additional = parts.additional();
    let groups = parts.groups.leak();
    Ok(IkeProposal { suites: suites.leak(), prfs: prfs.leak(), groups, additional })
}

/// What a proposal for a child SA says. A group asks for a key exchange of its own (perfect forward secrecy).
pub(crate) fn child(text: &str) -> Result<ChildProposal<'static>, String> {
    let parts = Parts::parse(text)?;
    if !parts.prfs.is_empty() {
        return Err("a pseudo-random function is for IKE, not for child SAs".into());
    }
    let suites = parts.suites(false)?;
    Ok(parts.child(suites))
}

/// What a proposal of AH for a child SA says: integrity algorithms, and the rest as for ESP.
pub(crate) fn ah(text: &str) -> Result<ChildProposal<'static>, String> {
    let mut parts = Parts::default();
    for word in text.split('-') {
        // GMAC is an integrity algorithm here.
        match Integ::from_keyword(word).filter(|integ| RustCrypto::INTEGS.contains(integ)) {
            Some(integ) => parts.integs.push(integ),
            None => parts.add(Keyword::parse(word)?)?,
        }
    }
    if !parts.encrs.is_empty() || !parts.prfs.is_empty() {
        return Err("AH takes integrity algorithms, like sha256".into());
    }
    if parts.integs.is_empty() {
        return Err("an integrity algorithm is missing, for example sha256".into());
    }
    let suites = parts.integs.iter().map(|integ| Suite::ah(*integ)).collect();
    Ok(parts.child(suites))
}

/// An algorithm of AH.
pub(crate) fn integ(word: &str) -> Result<Integ, String> {
    let integ = Integ::from_keyword(word);
    let integ = integ.filter(|integ| RustCrypto::INTEGS.contains(integ));
    integ.ok_or_else(|| format!("`{word}` is no algorithm of AH, like sha256 or aes128gmac"))
}

/// The words of a proposal, by kind.
#[derive(Default)]
struct Parts {
    encrs: Vec<(Encr, u16)>,
    integs: Vec<Integ>,
    prfs: Vec<PrfId>,
    groups: Vec<Group>,
    additional: Vec<Vec<Group>>,
    esn: Option<bool>,
}

impl Parts {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Self::default();
        for word in text.split('-') {
            parts.add(Keyword::parse(word)?)?;
        }
        Ok(parts)
    }

    fn add(&mut self, word: Keyword) -> Result<(), String> {
        match word {
            Keyword::Encr(encr, bits) => self.encrs.push((encr, bits)),
            Keyword::Integ(integ) => self.integs.push(integ),
            Keyword::Prf(prf) => self.prfs.push(prf),
            Keyword::Group(group) if !group.is_kem() => self.groups.push(group),
            Keyword::Group(group) => return self.add(Keyword::Additional(0, group)),
            Keyword::Additional(place, group) => {
                let lists = self.additional.len().max(place + 1);
                self.additional.resize(lists, Vec::new());
                self.additional[place].push(group);
            }
            Keyword::Esn(esn) if self.esn.is_none_or(|before| before == esn) => {
                self.esn = Some(esn);
            }
            Keyword::Esn(_) => return Err("both esn and noesn: choose one".into()),
        }
        Ok(())
    }

    /// The key exchanges after the first. One that is left out between others takes no place.
    fn additional(&self) -> &'static [&'static [Group]] {
        let lists = self.additional.iter().filter(|list| !list.is_empty());
        lists.map(|list| &*list.clone().leak()).collect::<Vec<_>>().leak()
    }

    fn child(self, suites: Vec<Suite>) -> ChildProposal<'static> {
        let esn = self.esn.unwrap_or(false);
        let additional = self.additional();
        ChildProposal { suites: suites.leak(), groups: self.groups.leak(), additional, esn }
    }

    /// Every encryption algorithm, with every integrity algorithm if it needs one.
    fn suites(&self, integ_may_be_prf: bool) -> Result<Vec<Suite>, String> {
        let aeads = self.encrs.iter().filter(|(encr, _)| encr.is_aead()).count();
        if self.encrs.is_empty() {
            return Err("an encryption algorithm is missing, for example aes128gcm16".into());
        }
        if aeads != 0 && aeads != self.encrs.len() {
            return Err(
                "AEADs (gcm, ccm, chacha20poly1305, gmac) and other ciphers in one proposal: make two of it"
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
                self.integs.iter().map(move |integ| Suite { encr, key_bits, integ: *integ })
            };
            self.encrs.iter().flat_map(pair).collect()
        };
        match suites.iter().find(|suite| !RustCrypto::SUITES.contains(suite)) {
            Some(suite) => Err(format!("`{}` is not supported", suite.keyword())),
            None => Ok(suites),
        }
    }
}

impl Keyword {
    fn parse(word: &str) -> Result<Self, String> {
        let found = match word {
            "esn" => Some(Self::Esn(true)),
            "noesn" => Some(Self::Esn(false)),
            _ if word.starts_with("ke") => Self::additional(word),
            _ => Encr::from_keyword(word)
                .map(|(encr, bits)| Self::Encr(encr, bits))
                .or_else(|| Integ::from_keyword(word).map(Self::Integ))
                .or_else(|| PrfId::from_keyword(word).map(Self::Prf))
                .or_else(|| Group::from_keyword(word).map(Self::Group)),
        };
        let found = found.ok_or_else(|| format!("unknown algorithm `{word}`"))?;
        let is_supported = match found {
            Self::Prf(prf) => RustCrypto::PRFS.contains(&prf),
            Self::Additional(_, Group::NONE) => true,
            Self::Group(group) | Self::Additional(_, group) => RustCrypto::GROUPS.contains(&group),
            Self::Encr(..) | Self::Integ(..) | Self::Esn(_) => true, // as suites
        };
        if is_supported { Ok(found) } else { Err(format!("`{word}` is not supported")) }
    }

    fn additional(word: &str) -> Option<Self> {
        let words = ["ke1_", "ke2_", "ke3_"].into_iter().enumerate();
        let (place, word) =
            words.filter_map(|(place, ke)| Some((place, word.strip_prefix(ke)?))).next()?;
        let group = if word == "none" { Group::NONE } else { Group::from_keyword(word)? };
        Some(Self::Additional(place, group))
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
    fn key_exchanges_after_the_first() {
        let proposal = ike("aes128gcm16-prfsha256-x25519-mlkem768").unwrap();
        assert_eq!(proposal.groups, [Group::X25519]);
        assert_eq!(proposal.additional, [&[Group::ML_KEM_768]]);
        let proposal = child("aes128gcm16-x25519-ke1_mlkem768-ke1_none-ke2_ecp256").unwrap();
        assert_eq!(proposal.groups, [Group::X25519]);
        let expected = [&[Group::ML_KEM_768, Group::NONE][..], &[Group::P256]];
        assert_eq!(proposal.additional, expected);
        for wrong in ["ke4_mlkem768", "ke1_", "ke_x25519", "ke1_aes128"] {
            assert!(ike(&format!("aes128gcm16-prfsha256-x25519-{wrong}")).is_err(), "{wrong}");
        }
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
    fn every_suite_can_be_proposed() {
        for suite in RustCrypto::SUITES {
            assert_eq!(child(&suite.keyword().to_string()).unwrap().suites, [*suite]);
        }
        let both = child("null-aes128ctr-aesxcbc-md5-esn").unwrap();
        assert_eq!((both.suites.len(), both.esn), (4, true));
    }

    #[test]
    fn ah_takes_integrity_algorithms() {
        let proposal = ah("sha256-aes128gmac-x25519-esn").unwrap();
        let suites = [Suite::ah(Integ::HMAC_SHA2_256_128), Suite::ah(Integ::AES_128_GMAC)];
        assert_eq!((proposal.suites, proposal.esn), (&suites[..], true));
        assert_eq!(proposal.groups, [Group::X25519]);
        for wrong in ["aes128gcm16", "", "esn", "sha256-prfsha256", "aes128-sha256"] {
            assert!(ah(wrong).is_err(), "{wrong}");
        }
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
        said(ike("null-sha256-x25519"), "ESP only");
        said(ike("aes128gcm16iiv-prfsha256-x25519"), "ESP only");
        said(child("aes128gcm16-prfsha256"), "pseudo-random");
        said(child("aes128gcm16-sha256"), "AEAD");
        said(child("aes128"), "integrity");
        said(child("x25519"), "encryption");
        said(child("aes128gcm16-esn-noesn"), "both");
    }
}
