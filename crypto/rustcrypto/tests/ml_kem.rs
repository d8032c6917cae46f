//! ML-KEM: vectors of OpenSSL, a digest over many exchanges, and what must be refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Script, hex};
use ipsec_core::crypto::{CryptoError, Group, HashId, KeyExchange, Provider};
use ipsec_rustcrypto::{Minimal, Only, RustCrypto};
use ml_kem::kem::{Kem, TryDecapsulate};
use shake::{ExtendableOutput, Shake128, Update, XofReader};

type Kx = <RustCrypto as Provider>::Kx;

const GROUPS: [Group; 3] = [Group::ML_KEM_512, Group::ML_KEM_768, Group::ML_KEM_1024];

fn start(group: Group, seed: &[u8]) -> (Kx, Vec<u8>) {
    let mut public = vec![0; group.public_len().unwrap()];
    let mut rng = Script::new(&[seed]);
    let (kx, len) = Kx::start(group, &mut rng, &mut public).unwrap();
    assert!(len == public.len() && rng.is_spent());
    (kx, public)
}

fn respond(group: Group, message: &[u8], public: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut answer = vec![0; group.answer_len().unwrap()];
    let mut rng = Script::new(&[message]);
    let (secret, len) = Kx::respond(group, &mut rng, public, &mut answer).unwrap();
    assert!(len == answer.len() && rng.is_spent());
    (secret.as_ref().to_vec(), answer)
}

// FIPS 203 sections 7.1 and 7.3, with the secret of a ciphertext that is not good.
#[test]
fn keys_and_secrets_of_openssl() {
    let mut exchanges = 0;
    for row in include_str!("vectors/ml_kem.txt").lines() {
        let fields: Vec<_> = row.split(' ').collect();
        let group = Group(fields[0].parse().unwrap());
        let (kx, public) = start(group, &hex(fields[1]));
        let mut digest = [0; 32];
        RustCrypto::hash(HashId::Sha256, &[&public], &mut digest).unwrap();
        assert_eq!(digest[..], hex(fields[2]), "{group}");
        assert_eq!(kx.finish(&hex(fields[3])).unwrap().as_ref(), hex(fields[4]), "{group}");
        exchanges += 1;
    }
    assert_eq!(exchanges, 12);
}

/// FIPS 203 sections 7.1, 7.2 and 7.3, by NIST's vectors (ACVP): `vectors/take-acvp` tells how a line is read. Their
/// decapsulation keys come without seeds, which the provider does not take: those go to the crate below it.
#[test]
fn vectors_of_nist() {
    let mut tests = Vec::new();
    let mut key = Vec::new();
    for row in include_str!("vectors/ml_kem_acvp.txt").lines() {
        let fields: Vec<_> = row.split(' ').collect();
        let (what, group) = (fields[0], Group(fields[1].parse().unwrap()));
        let value = |index: usize| hex(fields[3 + index]);
        let digest = |bytes: &[u8]| {
            let mut digest = [0; 32];
            RustCrypto::hash(HashId::Sha256, &[bytes], &mut digest).unwrap();
            digest.to_vec()
        };
        match what {
            "keygen" => {
                let (_, public) = start(group, &[value(0), value(1)].concat());
                assert_eq!(digest(&public), value(2), "{row}");
            }
            "encap" => {
                let (secret, answer) = respond(group, &value(1), &value(0));
                assert_eq!((digest(&answer), secret), (value(2), value(3)), "{row}");
            }
            "key" => key = value(0),
            "decap" => {
                let secret = match group {
                    Group::ML_KEM_512 => decapsulate::<ml_kem::MlKem512>(&key, &value(0)),
                    Group::ML_KEM_768 => decapsulate::<ml_kem::MlKem768>(&key, &value(0)),
                    _ => decapsulate::<ml_kem::MlKem1024>(&key, &value(0)),
                };
                assert_eq!(secret, value(1), "{row}");
            }
            _ => panic!("{row}"),
        }
        tests.push((what, group));
    }
    for group in GROUPS {
        let count = |what| tests.iter().filter(|test| **test == (what, group)).count();
        assert_eq!((count("keygen"), count("encap"), count("decap")), (4, 2, 2), "{group}");
    }
}

#[expect(deprecated, reason = "NIST's keys have no seeds")]
fn decapsulate<K: Kem>(key: &[u8], ciphertext: &[u8]) -> Vec<u8>
where
    K::DecapsulationKey: ml_kem::ExpandedKeyEncoding,
{
    let key = key.try_into().unwrap();
    let key = <K::DecapsulationKey as ml_kem::ExpandedKeyEncoding>::from_expanded_bytes(key);
    let secret = key.unwrap().try_decapsulate(ciphertext.try_into().unwrap());
    secret.unwrap().to_vec()
}

/// The exchange of a hundred random inputs, with a ciphertext that is no answer after each, as a digest over all that comes
/// out: the test that the Community Cryptography Test Vectors publish for ML-KEM-768 (C2SP/CCTV, "accumulated").
#[test]
fn a_hundred_exchanges() {
    let group = Group::ML_KEM_768;
    let mut inputs = Shake128::default().finalize_xof();
    let mut outputs = Shake128::default();
    let mut next = |len| {
        let mut bytes = vec![0; len];
        inputs.read(&mut bytes);
        bytes
    };
    for _ in 0..100 {
        let (kx, public) = start(group, &next(64));
        let (secret, answer) = respond(group, &next(32), &public);
        assert_eq!(kx.finish(&answer).unwrap().as_ref(), secret);
        outputs.update(&public);
        outputs.update(&answer);
        outputs.update(&secret);
        outputs.update(kx.finish(&next(answer.len())).unwrap().as_ref());
    }
    let mut digest = [0; 32];
    outputs.finalize_xof().read(&mut digest);
    assert_eq!(digest[..], hex("1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415"));
}

// FIPS 203 section 7.2: lengths, and numbers that are not below 3329.
#[test]
fn malformed_values() {
    for group in GROUPS {
        let (kx, public) = start(group, &[7; 64]);
        let (_, answer) = respond(group, &[8; 32], &public);
        assert_eq!(answer.len(), group.answer_len().unwrap());
        for wrong in [0, 1, answer.len() - 1] {
            assert_eq!(kx.finish(&answer[..wrong]).err(), Some(CryptoError::PeerValue), "{group}");
        }
        let longer = [&answer[..], &[0]].concat();
        assert_eq!(kx.finish(&longer).err(), Some(CryptoError::PeerValue), "{group}");
        if group != Group::ML_KEM_1024 {
            assert_eq!(kx.finish(&public).err(), Some(CryptoError::PeerValue), "{group}");
        }

        let refused = |public: &[u8]| {
            let mut answer = [0; 1568];
            let result = Kx::respond(group, &mut Script::new(&[&[8; 32]]), public, &mut answer);
            assert_eq!(result.err(), Some(CryptoError::PeerValue), "{group}");
            assert_eq!(answer, [0; 1568], "{group}: a refused peer gets nothing");
        };
        refused(&public[1..]);
        refused(&[&public[..], &[0]].concat());
        refused(&[]);
        // The first number and the last, 12 bits each; the 32 bytes at the end are a seed.
        let numbers = public.len() - 32;
        for at in [0, numbers - 3] {
            let mut changed = public.clone();
            (changed[at], changed[at + 1]) = (0x01, changed[at + 1] & 0xf0 | 0x0d); // 3329
            refused(&changed);
            changed[at] = 0x00; // 3328
            let mut answer = [0; 1568];
            let result = Kx::respond(group, &mut Script::new(&[&[8; 32]]), &changed, &mut answer);
            assert!(result.is_ok(), "{group}");
        }
        let mut small = vec![0; answer.len() - 1];
        let result = Kx::respond(group, &mut Script::new(&[&[8; 32]]), &public, &mut small);
        assert_eq!(result.err(), Some(CryptoError::Length), "{group}");
    }
}

#[test]
fn not_in_the_least_selection() {
    for group in GROUPS {
        assert!(RustCrypto::GROUPS.contains(&group));
        assert!(!Only::<Minimal>::GROUPS.contains(&group));
        type Least = <Only<Minimal> as Provider>::Kx;
        let mut public = [0; 1568];
        let result = Least::start(group, &mut Script::new(&[&[1; 64]]), &mut public);
        assert_eq!(result.err(), Some(CryptoError::Unsupported));
        let (_, peer) = start(group, &[1; 64]);
        let result = Least::respond(group, &mut Script::new(&[&[1; 32]]), &peer, &mut public);
        assert_eq!(result.err(), Some(CryptoError::Unsupported));
    }
}
