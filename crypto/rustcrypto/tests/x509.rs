//! Chains of certificates that OpenSSL made, verified by `rustls-webpki` with these algorithms and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use core::time::Duration;

use common::hex;
use ipsec_rustcrypto::{RustCryptoVerifier, Verifier, selection};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime, alg_id};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

selection! { enum OnlyP256 { EcdsaP256, HmacSha256 } }

fn verify(
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    root: &[u8],
    leaf: &[u8],
) -> Result<(), Error> {
    let (root, leaf) = (CertificateDer::from(root), CertificateDer::from(leaf));
    let anchors = [anchor_from_trusted_cert(&root)?];
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    EndEntityCert::try_from(&leaf)?
        .verify_for_usage(algorithms, &anchors, &[], now, KeyUsage::client_auth(), None, None)
        .map(|_| ())
}

#[test]
fn chains_of_every_kind() {
    let mut chains = 0;
    for row in include_str!("vectors/certificates.txt").lines() {
        let [name, root, leaf] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let (root, mut leaf) = (hex(root), hex(leaf));
        assert_eq!(verify(RustCryptoVerifier::ALGORITHMS, &root, &leaf), Ok(()), "{name}");
        let few = verify(Verifier::<OnlyP256>::ALGORITHMS, &root, &leaf);
        assert_eq!(few.is_ok(), name == "p256 sha256", "{name}: {few:?}");
        *leaf.last_mut().unwrap() ^= 1;
        let damaged = verify(RustCryptoVerifier::ALGORITHMS, &root, &leaf);
        assert_eq!(damaged, Err(Error::InvalidSignatureForPublicKey), "{name}");
        chains += 1;
    }
    assert_eq!(chains, 8 * 6 + 3 * 3 + 1);
}

/// Our identifiers are those that others use.
#[test]
fn identifiers() {
    let ids = [
        alg_id::ED25519,
        alg_id::ECDSA_SHA256,
        alg_id::ECDSA_SHA384,
        alg_id::ECDSA_SHA512,
        alg_id::RSA_PSS_SHA256,
        alg_id::RSA_PSS_SHA384,
        alg_id::RSA_PSS_SHA512,
        alg_id::RSA_PKCS1_SHA256,
        alg_id::RSA_PKCS1_SHA384,
        alg_id::RSA_PKCS1_SHA512,
    ];
    let ours = RustCryptoVerifier::ALGORITHMS;
    assert_eq!(ours.len(), 16);
    assert!(ours.iter().all(|algorithm| ids.contains(&algorithm.signature_alg_id())));
    for id in ids {
        assert!(ours.iter().any(|algorithm| algorithm.signature_alg_id() == id), "{id:?}");
    }
}
