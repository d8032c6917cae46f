//! HMAC as integrity algorithm and as pseudo-random function, and plain hashes, with the vectors of their RFCs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use common::hex;
use ipsec_core::crypto::{CryptoError, HashId, Integ, Mac, Prf, PrfId, Provider};
use ipsec_rustcrypto::RustCrypto;

type ThisMac = <RustCrypto as Provider>::Mac;
type ThisPrf = <RustCrypto as Provider>::Prf;

fn prf(id: PrfId, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; id.output_len().unwrap()];
    ThisPrf::new(id, key).unwrap().compute(parts, &mut out).unwrap();
    out
}

/// Checks a vector whole, and cut in two at every place.
fn check_prf(id: PrfId, key: &[u8], data: &[u8], want: &str) {
    for cut in 0..=data.len() {
        assert_eq!(prf(id, key, &[&data[..cut], &data[cut..]]), hex(want), "{id} cut at {cut}");
    }
}

// RFC 4231 section 4: also the PRF vectors of RFC 4868 section 2.7.1.
#[test]
fn prf_hmac_sha2() {
    let counting: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], [&str; 3]); 6] = [
        (
            &[0x0b; 20],
            b"Hi There",
            [
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ],
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            [
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ],
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            [
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
                "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
                "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
            ],
        ),
        (
            &counting,
            &[0xcd; 50],
            [
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
                "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb",
                "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
            ],
        ),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            [
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
            ],
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
            [
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
                "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e",
                "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58",
            ],
        ),
    ];
    for (key, data, [sha256, sha384, sha512]) in cases {
        check_prf(PrfId::HMAC_SHA2_256, key, data, sha256);
        check_prf(PrfId::HMAC_SHA2_384, key, data, sha384);
        check_prf(PrfId::HMAC_SHA2_512, key, data, sha512);
    }
}

// RFC 2202 section 3.
#[test]
fn prf_hmac_sha1() {
    let counting: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], &str); 7] = [
        (&[0x0b; 20], b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
        (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (&[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        (&counting, &[0xcd; 50], "4c9007f4026250c6bc8414f9bf50c86c2d7235da"),
        (&[0x0c; 20], b"Test With Truncation", "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"),
        (
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "aa4ae5e15272d00e95705637ce8a3b55ed402112",
        ),
        (
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
            "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
        ),
    ];
    for (key, data, want) in cases {
        check_prf(PrfId::HMAC_SHA1, key, data, want);
    }
}

#[test]
fn a_prf_can_be_used_again() {
    let keyed = ThisPrf::new(PrfId::HMAC_SHA2_256, b"key").unwrap();
    let (mut first, mut second) = ([0; 32], [0; 32]);
    keyed.compute(&[b"text"], &mut first).unwrap();
    keyed.compute(&[b"text"], &mut second).unwrap();
    assert_eq!(first, second);
}

#[test]
fn prf_output_has_one_length() {
    for &id in RustCrypto::PRFS {
        let keyed = ThisPrf::new(id, b"key").unwrap();
        let len = id.output_len().unwrap();
        for wrong in [0, len - 1, len + 1] {
            let mut out = vec![0; wrong];
            assert_eq!(keyed.compute(&[b"text"], &mut out), Err(CryptoError::Length), "{id}");
        }
    }
    for id in [PrfId::HMAC_MD5, PrfId(3), PrfId(0xfffe)] {
        if cfg!(feature = "legacy") && id == PrfId::HMAC_MD5 {
            assert!(RustCrypto::PRFS.contains(&id));
            continue;
        }
        assert_eq!(ThisPrf::new(id, &[0; 16]).err(), Some(CryptoError::Unsupported), "{id}");
    }
}

fn sign(integ: Integ, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut icv = vec![0; integ.icv_len().unwrap()];
    ThisMac::new(integ, key).unwrap().sign(nonce_of(integ), parts, &mut icv).unwrap();
    icv
}

/// Only the GMACs have one.
fn nonce_of(integ: Integ) -> &'static [u8] {
    match integ {
        Integ::AES_128_GMAC | Integ::AES_192_GMAC | Integ::AES_256_GMAC => b"salt8byteiv.",
        _ => &[],
    }
}

// RFC 4868 section 2.7.2.
#[test]
fn integrity_hmac_sha2() {
    let jefe = b"Jefe".repeat(16);
    let counting: Vec<u8> = (1..=64).collect();
    let key4_of_384 = [&counting[..32], &counting[9..25]].concat();
    let families = [
        (
            Integ::HMAC_SHA2_256_128,
            &counting[..32],
            [
                "198a607eb44bfbc69903a0f1cf2bbdc5",
                "167f928588c5cc2eef8e3093caa0e87c",
                "cdcb1220d1ecccea91e53aba3092f962",
                "372efcf9b40b35c2115b1346903d2ef4",
            ],
        ),
        (
            Integ::HMAC_SHA2_384_192,
            &key4_of_384,
            [
                "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
                "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d",
                "809f439be00274321d4a538652164b53554a508184a0c316",
                "5b540085c6e6358096532b2493609ed1cb298f774f87bb5c",
            ],
        ),
        (
            Integ::HMAC_SHA2_512_256,
            &counting,
            [
                "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
                "cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454",
                "2ee7acd783624ca9398710f3ee05ae41b9f9b0510c87e49e586cc9bf961733d8",
                "5e6688e5a3daec826ca32eaea224eff5e700628947470e13ad01302561bab108",
            ],
        ),
    ];
    for (integ, key4, want) in families {
        let len = integ.key_len().unwrap();
        let cases: [(&[u8], &[u8]); 4] = [
            (&[0x0b; 64][..len], b"Hi There"),
            (&jefe[..len], b"what do ya want for nothing?"),
            (&[0xaa; 64][..len], &[0xdd; 50]),
            (key4, &[0xcd; 50]),
        ];
        for ((key, data), want) in cases.into_iter().zip(want) {
            assert_eq!(sign(integ, key, &[data]), hex(want), "{integ}");
        }
    }
}

// RFC 2202 section 3, cut as RFC 2404 section 2 says.
#[test]
fn integrity_hmac_sha1() {
    let icv = sign(Integ::HMAC_SHA1_96, &[0x0c; 20], &[b"Test With", b"", b" Truncation"]);
    assert_eq!(icv, hex("4c1a03424b55e07fe7f27be1"));
}

#[test]
fn verify_takes_the_one_true_icv() {
    for &integ in RustCrypto::INTEGS {
        let key = vec![5; integ.key_len().unwrap()];
        let mac = ThisMac::new(integ, &key).unwrap();
        let parts: [&[u8]; 2] = [b"immutable", b"fields"];
        let icv = sign(integ, &key, &parts);
        assert_eq!(mac.verify(nonce_of(integ), &parts, &icv), Ok(()), "{integ}");
        for bit in 0..icv.len() * 8 {
            let mut bad = icv.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                mac.verify(nonce_of(integ), &parts, &bad),
                Err(CryptoError::Integrity),
                "{integ}"
            );
        }
        let moved: [&[u8]; 2] = [b"immutable", b"fieldS"];
        assert_eq!(
            mac.verify(nonce_of(integ), &moved, &icv),
            Err(CryptoError::Integrity),
            "{integ}"
        );
    }
}

// RFC 4868 section 2.1.1 and section 2.3: no other lengths of key or ICV.
#[test]
fn integrity_has_one_length_of_key_and_icv() {
    for &integ in RustCrypto::INTEGS {
        let len = integ.key_len().unwrap();
        for wrong in [0, len - 1, len + 1] {
            let key = vec![5; wrong];
            assert_eq!(ThisMac::new(integ, &key).err(), Some(CryptoError::Length), "{integ}");
        }
        let mac = ThisMac::new(integ, &vec![5; len]).unwrap();
        let mut full = vec![0; PrfId::HMAC_SHA2_512.output_len().unwrap()];
        full[..integ.icv_len().unwrap()].copy_from_slice(&sign(integ, &vec![5; len], &[b"x"]));
        for wrong in (0..full.len()).filter(|&n| n != integ.icv_len().unwrap()) {
            let icv = &mut full[..wrong].to_vec();
            assert_eq!(
                mac.verify(nonce_of(integ), &[b"x"], icv),
                Err(CryptoError::Length),
                "{integ}"
            );
            assert_eq!(
                mac.sign(nonce_of(integ), &[b"x"], icv),
                Err(CryptoError::Length),
                "{integ}"
            );
        }
        let mut icv = vec![0; integ.icv_len().unwrap()];
        assert_eq!(mac.sign(&[1; 13], &[b"x"], &mut icv), Err(CryptoError::Length), "{integ}");
        assert_eq!(mac.verify(&[1; 13], &[b"x"], &icv), Err(CryptoError::Length), "{integ}");
    }
    for integ in [Integ::NONE, Integ::HMAC_MD5_96, Integ(3), Integ(0xfffe)] {
        if cfg!(feature = "legacy") && integ == Integ::HMAC_MD5_96 {
            assert!(RustCrypto::INTEGS.contains(&integ));
            continue;
        }
        assert_eq!(ThisMac::new(integ, &[0; 16]).err(), Some(CryptoError::Unsupported), "{integ}");
    }
}

// FIPS 180-4 examples: "abc", and the 448-bit message.
#[test]
fn hashes() {
    let hash = |id: HashId, parts: &[&[u8]]| {
        let mut out = vec![0; id.output_len()];
        RustCrypto::hash(id, parts, &mut out).unwrap();
        out
    };
    let long: [&[u8]; 2] = [b"abcdbcdecdefdefgefghfghighijhijkijk", b"ljklmklmnlmnomnopnopq"];
    assert_eq!(hash(HashId::Sha1, &[b"a", b"bc"]), hex("a9993e364706816aba3e25717850c26c9cd0d89d"));
    assert_eq!(hash(HashId::Sha1, &long), hex("84983e441c3bd26ebaae4aa1f95129e5e54670f1"));
    assert_eq!(
        hash(HashId::Sha256, &[b"abc"]),
        hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    );
    assert_eq!(
        hash(HashId::Sha256, &long),
        hex("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    );
    assert_eq!(RustCrypto::hash(HashId::Sha1, &[], &mut [0; 32]), Err(CryptoError::Length));
}
