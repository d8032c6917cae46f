//! Certificates made by another implementation (see x509/generate), believed or not.
#![cfg(feature = "x509")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;

use ipsec_ike::auth::Untrusted;
use ipsec_ike::auth::x509::{Clock, Crls, X509};
use ipsec_ike::identity::Identity;
use ipsec_ike::wire::{IdPayload, IdType};
use ipsec_rustcrypto::RustCryptoVerifier;
use rustls_pki_types::CertificateDer;

/// In 2027.
const NOW: u64 = 1_800_000_000;
const GW: Identity<'_> = Identity::Fqdn("gw.example.org");

struct Files(HashMap<&'static str, Vec<u8>>);

impl Files {
    fn new() -> Self {
        let hex = |text: &str| {
            let digit = |d: &u8| u8::try_from(char::from(*d).to_digit(16).unwrap()).unwrap();
            text.as_bytes().chunks(2).map(|p| digit(&p[0]) << 4 | digit(&p[1])).collect()
        };
        let lines = include_str!("x509/certificates.txt").lines();
        Self(lines.map(|l| l.split_once(' ').unwrap()).map(|(n, h)| (n, hex(h))).collect())
    }

    fn get(&self, name: &str) -> &[u8] {
        &self.0[name]
    }

    /// Whether the first of `chain` is believed, with `root` as the only anchor.
    fn check(&self, x509: &X509<'_>, chain: &[&str], id: Identity<'_>) -> Result<(), Untrusted> {
        self.check_payload(x509, chain, &id.payload(&mut [0; 16]))
    }

    fn check_payload(
        &self,
        x509: &X509<'_>,
        chain: &[&str],
        id: &IdPayload<'_>,
    ) -> Result<(), Untrusted> {
        let issuers: Vec<_> =
            chain[1..].iter().map(|name| CertificateDer::from(self.get(name))).collect();
        let key = x509.verify_chain(self.get(chain[0]), &issuers, &[self.get("root")], id)?;
        assert!(self.get(chain[0]).windows(key.len()).any(|part| part == key));
        Ok(())
    }
}

const fn at(now: u64) -> X509<'static> {
    X509 {
        algorithms: RustCryptoVerifier::ALGORITHMS,
        clock: Clock::Now(now),
        crls: Crls { lists: &[], strict: false },
        tls_usage: false,
    }
}

#[test]
fn chains() {
    let files = Files::new();
    let check = |chain: &[&str]| files.check(&at(NOW), chain, GW);
    assert_eq!(check(&["good"]), Ok(()));
    // The anchor may be sent, too, and the order of issuers is free.
    assert_eq!(check(&["good", "root"]), Ok(()));
    assert_eq!(check(&["third", "issuer-2", "issuer-1"]), Ok(()));
    assert_eq!(check(&["third", "issuer-1", "issuer-2"]), Ok(()));
    assert_eq!(check(&["third", "issuer-2"]), Err(Untrusted::UnknownIssuer));
    assert_eq!(check(&["third"]), Err(Untrusted::UnknownIssuer));
    assert_eq!(check(&["self-signed"]), Err(Untrusted::UnknownIssuer));
    // An authority of the same name with another key, sent or not.
    assert_eq!(check(&["of-impostor"]), Err(Untrusted::IssuerSignature));
    assert_eq!(check(&["of-impostor", "impostor"]), Err(Untrusted::IssuerSignature));
}

#[test]
fn anchors() {
    let files = Files::new();
    let scratch = &mut [0; 16];
    let id = &GW.payload(scratch);
    let verify = |anchors: &[&[u8]]| at(NOW).verify_chain(files.get("good"), &[], anchors, id);
    let (root, others) = (files.get("root"), [files.get("issuer-1"); 20]);
    assert_eq!(verify(&[]), Err(Untrusted::UnknownIssuer));
    assert_eq!(verify(&others), Err(Untrusted::UnknownIssuer));
    // However many there are, and one that cannot be read is none.
    let many = [&others[..], &[&b"not a certificate"[..]], &[root], &others].concat();
    assert!(verify(&many).is_ok());
    // What an intermediate issued is believed by its own anchor alone.
    assert_eq!(verify(&[files.get("issuer-1")]), Err(Untrusted::UnknownIssuer));
    // A certificate that signed itself is believed as its own anchor.
    let own = files.get("self-signed");
    assert!(at(NOW).verify_chain(own, &[], &[own], id).is_ok());
    assert_eq!(at(NOW).verify_chain(own, &[], &[root], id), Err(Untrusted::UnknownIssuer));
}

#[test]
fn clocks() {
    let files = Files::new();
    let (ended, begins) = (1_420_070_400, 2_208_988_800);
    let expired = Err(Untrusted::Expired { ended, now: NOW });
    assert_eq!(files.check(&at(NOW), &["expired"], GW), expired);
    assert_eq!(files.check(&at(NOW), &["of-old-issuer", "old-issuer"], GW), expired);
    let early = Err(Untrusted::NotYetValid { begins, now: NOW });
    assert_eq!(files.check(&at(NOW), &["future"], GW), early);
    assert_eq!(files.check(&at(ended), &["expired"], GW), Ok(()));
    assert!(files.check(&at(ended + 1), &["expired"], GW).is_err());
    assert_eq!(files.check(&at(begins), &["future"], GW), Ok(()));
    assert!(files.check(&at(begins - 1), &["future"], GW).is_err());
    // Without a clock: at some moment all of it is valid, and not before the firmware was built.
    let unknown = |not_before| X509 { clock: Clock::Unknown { not_before }, ..at(0) };
    for name in ["good", "expired", "future"] {
        assert_eq!(files.check(&unknown(0), &[name], GW), Ok(()), "{name}");
    }
    assert_eq!(files.check(&unknown(0), &["third", "issuer-1", "issuer-2"], GW), Ok(()));
    let ended_before = Err(Untrusted::Expired { ended, now: NOW });
    assert_eq!(files.check(&unknown(NOW), &["expired"], GW), ended_before);
    // Never valid together.
    let never = files.check(&unknown(0), &["of-old-issuer", "old-issuer"], GW);
    assert!(matches!(never, Err(Untrusted::Expired { .. })), "{never:?}");
}

/// RFC 4945 section 5.1.3.2 and section 5.1.3.12.
#[test]
fn usages() {
    let files = Files::new();
    let tls = X509 { tls_usage: true, ..at(NOW) };
    for (name, plain, with_tls) in [
        ("no-key-usage", true, true),
        ("non-repudiation", true, true),
        ("for-encryption", false, false),
        ("eku-ike", true, true),
        ("eku-intermediate", true, true),
        ("eku-any", true, true),
        ("eku-tls", false, true),
        ("eku-code", false, false),
        ("authority-itself", false, false),
    ] {
        for (x509, good) in [(at(NOW), plain), (tls, with_tls)] {
            let expected = if good { Ok(()) } else { Err(Untrusted::Usage) };
            assert_eq!(files.check(&x509, &[name], GW), expected, "{name}");
        }
    }
    for chain in [
        &["of-no-authority", "no-authority"][..],
        &["of-may-not-issue", "may-not-issue"],
        &["of-too-deep", "too-deep", "last-issuer"],
    ] {
        assert_eq!(files.check(&at(NOW), chain, GW), Err(Untrusted::Usage), "{chain:?}");
    }
    assert_eq!(files.check(&at(NOW), &["critical"], GW), Err(Untrusted::Unsupported));
}

/// RFC 4945 section 3.1: the identity is in the certificate, and nothing that only looks like it.
#[test]
fn identities() {
    let files = Files::new();
    for (id, good) in [
        (GW, true),
        (Identity::Fqdn("GW.Example.ORG"), true),
        (Identity::Fqdn("gw.example.org."), false),
        (Identity::Fqdn("w.example.org"), false),
        (Identity::Fqdn("192.0.2.1"), false),
        (Identity::Email("Me@Example.org"), true),
        (Identity::Email("me@example.org"), false),
        (Identity::parse("192.0.2.1"), true),
        (Identity::parse("192.0.2.2"), false),
        (Identity::parse("2001:db8::1"), true),
        (Identity::parse("2001:db8::2"), false),
        (Identity::KeyId(b"gw.example.org"), false),
    ] {
        let expected = if good { Ok(()) } else { Err(Untrusted::Name) };
        assert_eq!(files.check(&at(NOW), &["good"], id), expected, "{id}");
        // An empty subject is nobody, and its alternatives are somebody.
        assert_eq!(files.check(&at(NOW), &["no-subject"], id), expected, "{id}");
    }
    for (name, id) in [("wildcard", "gw.example.org"), ("common-name", "gw.example.org")] {
        let id = Identity::Fqdn(id);
        assert_eq!(files.check(&at(NOW), &[name], id), Err(Untrusted::Name), "{name}");
    }
    // The other kinds of the same bytes are somebody else.
    for kind in (0..=255).filter(|kind| *kind != IdType::FQDN.0) {
        let id = IdPayload::new(IdType(kind), b"gw.example.org");
        let refused = files.check_payload(&at(NOW), &["good"], &id);
        assert_eq!(refused, Err(Untrusted::Name), "{kind}");
    }
}

/// CVE-2026-35331: names outside what their issuer may issue for were accepted.
#[test]
fn cve_2026_35331_name_constraints() {
    let files = Files::new();
    assert_eq!(files.check(&at(NOW), &["inside", "constrained"], GW), Ok(()));
    let outside =
        files.check(&at(NOW), &["outside", "constrained"], Identity::Fqdn("gw.example.com"));
    assert_eq!(outside, Err(Untrusted::NameConstraints));
}

/// CVE-2013-6075: distinguished names whose lengths differ were compared by the longer one.
#[test]
fn cve_2013_6075_distinguished_names() {
    let files = Files::new();
    let name = |common: &str| {
        let attribute = |oid: u8, text: &str| {
            let len = u8::try_from(text.len()).unwrap();
            let mut set = vec![0x31, len + 9, 0x30, len + 7, 6, 3, 0x55, 4, oid, 0x0c, len];
            set.extend_from_slice(text.as_bytes());
            set
        };
        let sets = [attribute(10, "Example"), attribute(3, common)].concat();
        [&[0x30, u8::try_from(sets.len()).unwrap()][..], &sets].concat()
    };
    let (subject, alternative) = (name("good"), name("another name of it"));
    let check = |dn: &[u8]| files.check(&at(NOW), &["good"], Identity::Dn(dn));
    assert_eq!((check(&subject), check(&alternative)), (Ok(()), Ok(())));
    assert_eq!(check(&name("goof")), Err(Untrusted::Name));
    for len in 0..subject.len() {
        assert_eq!(check(&subject[..len]), Err(Untrusted::Name), "{len}");
    }
    assert_eq!(check(&[&subject[..], &[0]].concat()), Err(Untrusted::Name));
    for empty in [&[][..], &[0x30], &[0x30, 0], &[0x31, 0]] {
        let refused = files.check(&at(NOW), &["no-subject"], Identity::Dn(empty));
        assert_eq!(refused, Err(Untrusted::Name));
    }
}

#[test]
fn revocation() {
    let files = Files::new();
    let check = |lists: &[&str], strict, now, chain: &[&str]| {
        let lists: Vec<&[u8]> = lists.iter().map(|name| files.get(name)).collect();
        let x509 = X509 { crls: Crls { lists: &lists, strict }, ..at(now) };
        files.check(&x509, chain, GW)
    };
    let third = &["third", "issuer-2", "issuer-1"][..];
    for strict in [false, true] {
        assert_eq!(check(&["crl-root"], strict, NOW, &["good"]), Ok(()));
        let revoked = Err(Untrusted::Revoked);
        assert_eq!(check(&["crl-root"], strict, NOW, &["revoked"]), revoked);
        // Issuers as well, and wherever they are in the chain.
        let lists = &["crl-issuer-1", "crl-root-1", "crl-issuer-2"];
        assert_eq!(check(lists, strict, NOW, third), revoked);
        assert_eq!(
            check(&["crl-issuer-1", "crl-root", "crl-issuer-2"], strict, NOW, third),
            revoked
        );
        // A list that somebody else signed says nothing.
        assert!(check(&["crl-forged"], strict, NOW, &["good"]).is_err());
    }
    assert_eq!(check(&["crl-root-1"], false, NOW, third), Err(Untrusted::Revoked));
    assert_eq!(check(&["crl-root"], false, NOW, third), Ok(()));
    assert_eq!(check(&["crl-root"], true, NOW, third), Err(Untrusted::NotInCrl));
    assert_eq!(check(&["crl-old"], false, NOW, &["good"]), Ok(()));
    assert_eq!(check(&["crl-old"], false, NOW, &["revoked"]), Err(Untrusted::Revoked));
    let old = Untrusted::OldCrl { ended: 1_767_225_600, now: NOW };
    assert_eq!(check(&["crl-old"], true, NOW, &["good"]), Err(old));
    // Not a list at all: it may have been the one that counts.
    assert_eq!(check(&["root"], false, NOW, &["good"]), Err(Untrusted::NotInCrl));
    // More than can be looked at.
    assert_eq!(check(&["crl-root"; 9], false, NOW, &["good"]), Err(Untrusted::NotInCrl));
    assert_eq!(check(&["crl-root"; 8], false, NOW, &["good"]), Ok(()));
}

/// Every cut is refused; so is every changed bit, whatever it changes: all of a certificate is signed, or is its signature.
/// CVE-2017-9023 was an element of a type that a CHOICE does not have, CVE-2021-41990 and CVE-2021-41991 numbers that
/// were too large.
#[test]
fn cve_2017_9023_cve_2021_41990_damaged_certificates() {
    let files = Files::new();
    let scratch = &mut [0; 16];
    let id = &GW.payload(scratch);
    let root = files.get("root");
    let mut der = files.get("good").to_vec();
    for len in 0..der.len() {
        assert!(at(NOW).verify_chain(&der[..len], &[], &[root], id).is_err(), "{len}");
    }
    let mut reasons = HashMap::new();
    for bit in (0..der.len() * 8).step_by(7) {
        der[bit / 8] ^= 1 << (bit % 8);
        let refused = at(NOW).verify_chain(&der, &[], &[root], id);
        *reasons.entry(format!("{:?}", refused.unwrap_err())).or_insert(0) += 1;
        der[bit / 8] ^= 1 << (bit % 8);
    }
    for reason in ["IssuerSignature", "Malformed", "Name", "UnknownIssuer"] {
        assert!(reasons.contains_key(reason), "{reasons:?}");
    }
}
