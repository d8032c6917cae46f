//! Every suite and every MODP and ECP group against other implementations: the files of `vectors/`, made by the script there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use common::{Script, hex, privates};
use ipsec_core::crypto::{
    CryptoError, Encr, Group, Integ, KeyExchange, PacketCipher, Provider, Suite, Work,
};
use ipsec_rustcrypto::RustCrypto;

type Cipher = <RustCrypto as Provider>::Cipher;
type Kx = <RustCrypto as Provider>::Kx;

/// The suite, the ciphertext, the integrity check value.
fn packets() -> Vec<(Suite, Vec<u8>, Vec<u8>)> {
    include_str!("vectors/packets.txt")
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let number = |i: usize| fields[i].parse().unwrap();
            let suite =
                Suite { encr: Encr(number(0)), key_bits: number(1), integ: Integ(number(2)) };
            (suite, hex(fields[3]), hex(fields[4]))
        })
        .collect()
}

fn is_legacy(suite: Suite) -> bool {
    [Encr::DES, Encr::DES3].contains(&suite.encr) || suite.integ == Integ::HMAC_MD5_96
}

#[test]
fn every_suite_is_what_it_says() {
    let bytes: Vec<u8> = (0..=255).collect();
    let plain: Vec<u8> = (0..77u32).map(|i| (7 * i + 3) as u8).collect();
    let mut seen = vec![];
    for (suite, sealed, icv) in packets() {
        if is_legacy(suite) && !cfg!(feature = "legacy") {
            assert!(!RustCrypto::has_suite(suite), "{suite}");
            continue;
        }
        let shape = suite.shape().unwrap();
        assert_eq!(icv.len(), shape.icv_len, "{suite}");
        let integ_key = &bytes[0x40..0x40 + shape.integ_key_len];
        let cipher = Cipher::new(suite, &bytes[..shape.key_len], integ_key).unwrap();
        let mut text = plain[..sealed.len()].to_vec();
        let mut made = vec![0; shape.icv_len];
        let mut work = Work {
            nonce: &bytes[0xf0..0xf0 + shape.nonce_len()],
            head: &[0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 7],
            text: &mut text,
            tail: if shape.aead { &[] } else { &[0, 0, 0, 1] },
            icv: &mut made,
        };
        cipher.seal(work.reborrow()).unwrap();
        assert_eq!((&*work.text, &*work.icv), (&sealed[..], &icv[..]), "{suite}");
        cipher.open(work.reborrow()).unwrap();
        assert_eq!(*work.text, plain[..sealed.len()], "{suite}");
        // And what another implementation sealed is wiped if its integrity check value is wrong.
        work.text.copy_from_slice(&sealed);
        work.icv[shape.icv_len - 1] ^= 1;
        assert_eq!(cipher.open(work.reborrow()), Err(CryptoError::Integrity), "{suite}");
        assert!(work.text.iter().all(|&byte| byte == 0), "{suite}");
        seen.push(suite);
    }
    for suite in RustCrypto::SUITES {
        assert!(seen.contains(suite), "{suite} has no vector");
    }
    assert_eq!(seen.len(), RustCrypto::SUITES.len());
}

/// RFC 3610 section 2.2: how the length of the head is encoded changes at 2^16 - 2^8. The numbers were computed with OpenSSL.
#[test]
fn ccm_with_a_long_head() {
    let cipher = Cipher::new(Suite::aead(Encr::AES_CCM_16, 128), &[7; 16], &[]).unwrap();
    for (len, want) in CCM_LONG {
        let (mut text, mut icv) = (*b"text", [0; 16]);
        let head = vec![0x5a; len];
        let work = Work { nonce: &[9; 11], head: &head, text: &mut text, tail: &[], icv: &mut icv };
        cipher.seal(work).unwrap();
        assert_eq!([&text[..], &icv].concat(), hex(want), "{len}");
    }
}

const CCM_LONG: [(usize, &str); 5] = [
    (0, "0d7bf09e58106117204f01ad3d8426fab45c4551"),
    (65279, "0d7bf09e97a4edd0f26c0e637ad959dd0f896e32"),
    (65280, "0d7bf09ecf407a206d3ea548565542400191d45b"),
    (65535, "0d7bf09e2cc86d0d6a63be62b7348abdffc07a6e"),
    (65536, "0d7bf09e7288765057dd0fff5aff851fe2a684ed"),
];

#[test]
fn every_group_is_what_it_says() {
    let mut seen = vec![Group::X25519];
    for line in include_str!("vectors/groups.txt").lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let group = Group(fields[0].parse().unwrap());
        if !RustCrypto::GROUPS.contains(&group) {
            let legacy = [Group::MODP_768, Group::MODP_1024, Group::MODP_1536];
            assert!(legacy.contains(&group) && !cfg!(feature = "legacy"), "{group}");
            continue;
        }
        let (i, r) = privates(group);
        let mut public = vec![0; group.public_len().unwrap()];
        let (kx, len) = Kx::start(group, &mut Script::new(&[&i]), &mut public).unwrap();
        assert_eq!((len, &public), (public.len(), &hex(fields[1])), "{group}");
        let (secret, _) =
            Kx::respond(group, &mut Script::new(&[&r]), &hex(fields[1]), &mut public).unwrap();
        assert_eq!(public, hex(fields[2]), "{group}");
        assert_eq!(secret.as_ref(), hex(fields[3]), "{group}");
        assert_eq!(kx.finish(&public).unwrap().as_ref(), hex(fields[3]), "{group}");
        seen.push(group);
    }
    for group in RustCrypto::GROUPS.iter().filter(|group| !group.is_kem()) {
        assert!(seen.contains(group), "{group} has no vector");
    }
}
