//! Any bytes as certificates, revocation lists, and the payloads that carry them.
//!
//! Every signature of an issuer counts as good, so that changes reach what comes after it. A certificate that is believed
//! holds its key and the identity that was asked for, and is believed again.

use ipsec_core::crypto::SignatureScheme;
use ipsec_ike::auth::x509::{Clock, Crls, X509};
use ipsec_ike::auth::{public_key, subject};
use ipsec_ike::identity::Identity;
use ipsec_ike::wire::{
    AuthPayload, CertEncoding, CertReqPayload, Collected, DigitalSignature, PayloadType, Payloads,
};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

/// Certificates of another implementation.
pub(crate) const CERTIFICATES: &str = include_str!("../../ipsec-ike/tests/x509/certificates.txt");

/// One of them.
pub(crate) fn certificate(name: &str) -> Vec<u8> {
    let row = CERTIFICATES.lines().find_map(|row| row.strip_prefix(name)?.strip_prefix(' '));
    let digits = row.unwrap_or_default().as_bytes().chunks(2);
    digits.filter_map(|d| u8::from_str_radix(core::str::from_utf8(d).ok()?, 16).ok()).collect()
}

#[derive(Debug)]
struct Lenient;

impl SignatureVerificationAlgorithm for Lenient {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }

    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
        Ok(())
    }
}

/// Runs the target. The first byte chooses policy and identity; the others are payloads, of which the second byte names the
/// first. CERT payloads of type 4 are certificates, those of type 7 revocation lists.
pub fn run(data: &[u8]) {
    let [choice, first, rest @ ..] = data else { return };
    let _ = (public_key(rest), subject(rest), SignatureScheme::from_algorithm_identifier(rest));
    let Ok(all) = Collected::collect(Payloads::inner(PayloadType(*first), rest)) else { return };
    if let Some(AuthPayload { data, .. }) = all.auth
        && let Some(DigitalSignature { algorithm, signature }) = DigitalSignature::parse(data)
    {
        assert_eq!(data.len(), 1 + algorithm.len() + signature.len());
        if let Some(scheme) = SignatureScheme::from_algorithm_identifier(algorithm) {
            assert!(scheme.hash().is_some() && scheme.algorithm_identifier().is_some());
        }
    }
    for request in all.cert_reqs() {
        let CertReqPayload { authority, .. } = request;
        assert_eq!(request.hashes().count(), authority.len() / 20);
    }
    let of = |encoding| all.certs().filter(move |c| c.encoding == encoding).map(|c| c.data);
    let mut sent = of(CertEncoding::X509_SIGNATURE);
    let Some(end_entity) = sent.next() else { return };
    let issuers: Vec<_> = sent.take(3).map(CertificateDer::from).collect();
    let lists: Vec<&[u8]> = of(CertEncoding::CRL).collect();

    let root = certificate("root");
    let dn = subject(end_entity).unwrap_or_default();
    let id = match choice & 7 {
        0 => Identity::Email("Me@example.org"),
        1 => Identity::parse("192.0.2.1"),
        2 => Identity::parse("2001:db8::1"),
        3 => Identity::Dn(dn),
        _ => Identity::Fqdn("gw.example.org"),
    };
    let x509 = X509 {
        algorithms: &[&Lenient],
        clock: if choice & 8 == 0 {
            Clock::Now(1_800_000_000)
        } else {
            Clock::Unknown { not_before: 0 }
        },
        crls: Crls { lists: &lists, strict: choice & 16 != 0 },
        tls_usage: choice & 32 != 0,
    };
    let scratch = &mut [0; 16];
    let id = id.payload(scratch);
    let verify = || x509.verify_chain(end_entity, &issuers, &[&root], &id);
    let believed = verify();
    assert_eq!(believed, verify());
    match believed {
        Ok(key) => {
            assert_eq!(Some(key), public_key(end_entity));
            let has = |what: &[u8]| {
                end_entity.windows(what.len().max(1)).any(|w| w.eq_ignore_ascii_case(what))
            };
            assert!(has(key) && has(id.data), "{id:?}");
        }
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
}
