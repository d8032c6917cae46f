//! What a selection leaves out is refused, and is in no list.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Script, privates};
use ipsec_core::crypto::{
    CryptoError, Encr, Group, Integ, KeyExchange, Mac, PacketCipher, Prf, PrfId, Provider, Suite,
    Work,
};
use ipsec_rustcrypto::{All, Cipher, Minimal, Only, RustCrypto, selection};

selection! { enum Nothing {} }

selection! {
    /// Parts of everything.
    enum Some {
        AesCbc, AesGmac, ChaCha20Poly1305, Null, Aes192, HmacSha512, AesXcbc, P384, Modp4096,
    }
}

#[test]
fn lists_have_what_was_selected() {
    type Least = Only<Minimal>;
    let gcm = |encr, key_bits| Suite::aead(encr, key_bits);
    assert_eq!(
        Least::SUITES,
        [
            Suite::AES_128_GCM,
            Suite::AES_256_GCM,
            gcm(Encr::AES_GCM_12, 128),
            gcm(Encr::AES_GCM_12, 256),
            gcm(Encr::AES_GCM_8, 128),
            gcm(Encr::AES_GCM_8, 256),
            gcm(Encr::AES_GCM_16_IIV, 128),
            gcm(Encr::AES_GCM_16_IIV, 256),
        ]
    );
    assert_eq!(Least::INTEGS, [Integ::HMAC_SHA2_256_128]);
    assert_eq!(Least::PRFS, [PrfId::HMAC_SHA2_256]);
    assert_eq!(Least::GROUPS, [Group::X25519]);

    type Parts = Only<Some>;
    let with = |encr, key_bits, integ| Suite { encr, key_bits, integ };
    assert_eq!(
        Parts::SUITES,
        [
            Suite::CHACHA20_POLY1305,
            Suite::aead(Encr::CHACHA20_POLY1305_IIV, 0),
            with(Encr::AES_CBC, 192, Integ::HMAC_SHA2_512_256),
            with(Encr::AES_CBC, 192, Integ::AES_XCBC_96),
            Suite::aead(Encr::NULL_AES_GMAC, 192),
            with(Encr::NULL, 0, Integ::HMAC_SHA2_512_256),
            with(Encr::NULL, 0, Integ::AES_XCBC_96),
        ]
    );
    assert_eq!(Parts::INTEGS, [Integ::HMAC_SHA2_512_256, Integ::AES_XCBC_96, Integ::AES_192_GMAC]);
    assert_eq!(Parts::PRFS, [PrfId::HMAC_SHA2_512, PrfId::AES128_XCBC]);
    assert_eq!(Parts::GROUPS, [Group::P384, Group::MODP_4096]);

    type None = Only<Nothing>;
    assert!(None::SUITES.is_empty() && None::INTEGS.is_empty());
    assert!(None::PRFS.is_empty() && None::GROUPS.is_empty());
}

/// Both ends of the list, and the order in between.
#[test]
fn stronger_suites_are_preferred() {
    let at = |suite| RustCrypto::SUITES.iter().position(|&s| s == suite).unwrap();
    assert_eq!(at(Suite::AES_128_GCM), 0);
    assert!(at(Suite::CHACHA20_POLY1305) < at(Suite::aead(Encr::AES_GCM_8, 128)));
    assert!(at(Suite::aead(Encr::AES_CCM_8, 256)) < at(Suite::AES_128_CBC_SHA256));
    let null = Suite { encr: Encr::NULL, key_bits: 0, integ: Integ::HMAC_SHA2_256_128 };
    assert!(at(Suite { integ: Integ::AES_XCBC_96, ..Suite::AES_256_CBC_SHA256 }) < at(null));
    assert_eq!(RustCrypto::SUITES.len(), if cfg!(feature = "legacy") { 92 } else { 71 });
    for (i, suite) in RustCrypto::SUITES.iter().enumerate() {
        assert!(!RustCrypto::SUITES[..i].contains(suite), "{suite} twice");
    }
}

fn refuses_what_it_has_not<P: Provider>() {
    for &suite in RustCrypto::SUITES {
        let shape = suite.shape().unwrap();
        let made = P::Cipher::new(suite, &vec![1; shape.key_len], &vec![2; shape.integ_key_len]);
        let want = (!P::SUITES.contains(&suite)).then_some(CryptoError::Unsupported);
        assert_eq!(made.err(), want, "{suite}");
    }
    for &integ in RustCrypto::INTEGS {
        let made = P::Mac::new(integ, &vec![1; integ.key_len().unwrap()]);
        let want = (!P::INTEGS.contains(&integ)).then_some(CryptoError::Unsupported);
        assert_eq!(made.err(), want, "{integ}");
    }
    for &prf in RustCrypto::PRFS {
        let want = (!P::PRFS.contains(&prf)).then_some(CryptoError::Unsupported);
        assert_eq!(P::Prf::new(prf, b"key").err(), want, "{prf}");
    }
    for &group in RustCrypto::GROUPS {
        let mut rng = Script::new(&[&privates(group).0]);
        let made = P::Kx::start(group, &mut rng, &mut vec![0; group.public_len().unwrap()]);
        let want = (!P::GROUPS.contains(&group)).then_some(CryptoError::Unsupported);
        assert_eq!(made.err(), want, "{group}");
    }
}

#[test]
fn what_is_not_selected_is_not_supported() {
    refuses_what_it_has_not::<RustCrypto>();
    refuses_what_it_has_not::<Only<Minimal>>();
    refuses_what_it_has_not::<Only<Some>>();
    refuses_what_it_has_not::<Only<Nothing>>();
}

#[test]
fn selections_agree() {
    let ours = Cipher::<Minimal>::new(Suite::AES_256_GCM, &[5; 32], &[]).unwrap();
    let theirs = Cipher::<All>::new(Suite::AES_256_GCM, &[5; 32], &[]).unwrap();
    let (mut text, mut icv) = (*b"the same bytes", [0; 16]);
    let mut work =
        Work { nonce: &[6; 12], head: b"head", text: &mut text, tail: &[], icv: &mut icv };
    ours.seal(work.reborrow()).unwrap();
    theirs.open(work).unwrap();
    assert_eq!(&text, b"the same bytes");
}

/// A key takes the memory of the largest that was selected, and nothing takes any if nothing was.
#[test]
fn what_is_not_selected_takes_no_memory() {
    assert!(size_of::<Cipher<Minimal>>() < size_of::<Cipher>());
    assert!(
        size_of::<<Only<Minimal> as Provider>::Prf>() < size_of::<<RustCrypto as Provider>::Prf>()
    );
    type Secret<P> = <<P as Provider>::Kx as KeyExchange>::Secret;
    assert_eq!(size_of::<Secret<Only<Minimal>>>(), 32);
    assert_eq!(size_of::<Cipher<Nothing>>(), 0);
}
