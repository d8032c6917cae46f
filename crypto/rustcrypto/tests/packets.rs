//! Packet protection: the vectors of the RFCs through `Work`, and what must be refused and wiped.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation
)]

mod common;

use common::hex;
use ipsec_core::crypto::{CryptoError, Encr, Integ, Iv, PacketCipher, Provider, Suite, Work};
use ipsec_rustcrypto::RustCrypto;

type Cipher = <RustCrypto as Provider>::Cipher;

/// One packet: what goes into `Work`, and what must come out.
struct Packet<'a> {
    suite: Suite,
    key: &'a str,
    integ_key: &'a str,
    nonce: &'a str,
    head: &'a str,
    tail: &'a str,
    plain: &'a str,
    sealed: &'a str,
    icv: &'a str,
}

impl Packet<'_> {
    fn check(&self) {
        let cipher = Cipher::new(self.suite, &hex(self.key), &hex(self.integ_key)).unwrap();
        let (nonce, head, tail) = (hex(self.nonce), hex(self.head), hex(self.tail));
        let (mut text, mut icv) = (hex(self.plain), vec![0; hex(self.icv).len()]);
        let (text, icv) = (&mut text[..], &mut icv[..]);
        let mut work = Work { nonce: &nonce, head: &head, text, tail: &tail, icv };
        cipher.seal(work.reborrow()).unwrap();
        assert_eq!((&*work.text, &*work.icv), (&hex(self.sealed)[..], &hex(self.icv)[..]));
        cipher.open(work.reborrow()).unwrap();
        assert_eq!(work.text, hex(self.plain));
    }
}

// The packets of draft-mcgrew-gcm-test-01: ESP of RFC 4106 and RFC 4543, extended sequence numbers among them.
#[test]
fn aes_gcm_esp() {
    for (key, nonce, head, plain, sealed, icv) in GCM_ESP {
        let suite = Suite::aead(Encr::AES_GCM_16, key.len() as u16 * 4);
        Packet { suite, key, integ_key: "", nonce, head, tail: "", plain, sealed, icv }.check();
        // RFC 4106 section 6: a shorter integrity check value is the beginning of the longest.
        for (encr, len) in [(Encr::AES_GCM_8, 8), (Encr::AES_GCM_12, 12)] {
            let (suite, icv) = (Suite { encr, ..suite }, &icv[..2 * len]);
            Packet { suite, key, integ_key: "", nonce, head, tail: "", plain, sealed, icv }.check();
        }
    }
}

// draft-mcgrew-gcm-test-01: a packet of RFC 4543, which leaves the text as it is.
#[test]
fn aes_gmac_esp() {
    let plain = concat!(
        "45000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364",
        "65666768696a6b6c6d6e6f707172737401020201"
    );
    let packet = Packet {
        suite: Suite::aead(Encr::NULL_AES_GMAC, 128),
        key: "4c80cdefbb5d10da906ac73c3613a634",
        integ_key: "",
        nonce: "22433c640000000000000000",
        head: "0000432100000007",
        tail: "",
        plain,
        sealed: plain,
        icv: "f2a9a836e155106aa8dcd618e4099aaa",
    };
    packet.check();
}

// RFC 8750: the same algorithm, but for what is sent.
#[test]
fn implicit_ivs_seal_as_explicit_ones() {
    let pairs = [
        (Suite::aead(Encr::AES_GCM_16_IIV, 256), Suite::AES_256_GCM),
        (Suite::aead(Encr::AES_CCM_8_IIV, 128), Suite::aead(Encr::AES_CCM_8, 128)),
        (Suite::aead(Encr::CHACHA20_POLY1305_IIV, 0), Suite::CHACHA20_POLY1305),
    ];
    for (implicit, explicit) in pairs {
        let [implicit, explicit] = [implicit, explicit].map(|suite| {
            let mut packet = Owned::new(suite, 61);
            keyed(suite).seal(packet.work()).unwrap();
            (packet.nonce, packet.text, packet.icv)
        });
        assert_eq!(implicit, explicit);
    }
}

// RFC 3686 section 6, cases 1 to 9. That RFC leaves the integrity algorithm open.
#[test]
fn aes_ctr() {
    let counting: Vec<u8> = (0..36).collect();
    let texts: [&[u8]; 3] = [b"Single block msg", &counting[..32], &counting];
    for (i, (key, nonce, sealed)) in CTR.into_iter().enumerate() {
        let suite = Suite { encr: Encr::AES_CTR, ..cbc(key.len() as u16 * 4, Integ::AES_CMAC_96) };
        let cipher = Cipher::new(suite, &hex(key), &[0; 16]).unwrap();
        let (nonce, mut text, mut icv) = (hex(nonce), texts[i % 3].to_vec(), [0; 12]);
        let text = &mut text[..];
        let mut work = Work { nonce: &nonce, head: b"head", text, tail: b"", icv: &mut icv };
        cipher.seal(work.reborrow()).unwrap();
        assert_eq!(work.text, hex(sealed));
        cipher.open(work.reborrow()).unwrap();
        assert_eq!(work.text, texts[i % 3]);
    }
}

// The 96-bit cases of the GCM specification: empty, one block, and partial blocks with associated data.
#[test]
fn aes_gcm_specification() {
    for (key, nonce, head, plain, sealed, icv) in GCM_SPECIFICATION {
        let suite = Suite::aead(Encr::AES_GCM_16, key.len() as u16 * 4);
        Packet { suite, key, integ_key: "", nonce, head, tail: "", plain, sealed, icv }.check();
    }
}

// RFC 7634 appendix A (an ESP packet) and appendix B (an encrypted payload of IKEv2).
#[test]
fn chacha20_poly1305() {
    let packet = Packet {
        suite: Suite::CHACHA20_POLY1305,
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        integ_key: "",
        nonce: "a0a1a2a31011121314151617",
        head: "0102030400000005",
        tail: "",
        plain: concat!(
            "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10",
            "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
            "2425262728292a2b2c2d2e2f303132333435363701020204"
        ),
        sealed: concat!(
            "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6",
            "14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3",
            "cbec163fac469b502773f6fb94e664da9165b82829f641e0"
        ),
        icv: "76aaa8266b7fb0f7b11b369907e1ad43",
    };
    packet.check();
    Packet {
        head: "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
        plain: "0000000c000040010000000a00",
        sealed: "610394701f8d017f7c12924889",
        icv: "6b71bfe25236efd7cdc67066906315b2",
        ..packet
    }
    .check();
}

// RFC 3602 section 4, cases 1 to 8: the last four are ESP packets. That RFC leaves the integrity algorithm open.
#[test]
fn aes_cbc() {
    for (key, iv, plain, sealed) in CBC {
        let suite = cbc(128, Integ::HMAC_SHA2_256_128);
        let cipher = Cipher::new(suite, &hex(key), &[0; 32]).unwrap();
        let (iv, mut text, mut icv) = (hex(iv), hex(plain), [0; 16]);
        let text = &mut text[..];
        let mut work = Work { nonce: &iv, head: b"head", text, tail: b"", icv: &mut icv };
        cipher.seal(work.reborrow()).unwrap();
        assert_eq!(work.text, hex(sealed));
        cipher.open(work.reborrow()).unwrap();
        assert_eq!(work.text, hex(plain));
    }
}

const KEY_BYTES: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const INTEG_KEY_BYTES: &str = concat!(
    "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
    "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
);

// RFC 4303 section 2.2.1 and section 3.3.2.1: the MAC covers SPI, sequence number, IV, ciphertext, and then the high half
// of an extended sequence number. Each key size with each MAC; the numbers were computed with OpenSSL.
#[test]
fn aes_cbc_then_hmac() {
    let plain: String = (0..96).map(|i| format!("{:02x}", (7 * i + 3) % 256)).collect();
    for (key_bits, sealed, icvs) in CBC_HMAC {
        for (integ, icv) in [
            Integ::HMAC_SHA1_96,
            Integ::HMAC_SHA2_256_128,
            Integ::HMAC_SHA2_384_192,
            Integ::HMAC_SHA2_512_256,
        ]
        .into_iter()
        .zip(icvs)
        {
            let suite = cbc(key_bits, integ);
            let shape = suite.shape().unwrap();
            Packet {
                suite,
                key: &KEY_BYTES[..2 * shape.key_len],
                integ_key: &INTEG_KEY_BYTES[..2 * shape.integ_key_len],
                nonce: "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                head: "0a0b0c0d00000007",
                tail: "00000001",
                plain: &plain,
                sealed,
                icv,
            }
            .check();
        }
    }
}

fn cbc(key_bits: u16, integ: Integ) -> Suite {
    Suite { encr: Encr::AES_CBC, key_bits, integ }
}

fn keyed(suite: Suite) -> Cipher {
    let shape = suite.shape().unwrap();
    Cipher::new(suite, &vec![1; shape.key_len], &vec![2; shape.integ_key_len]).unwrap()
}

/// A packet of one suite, its parts owned, to be damaged.
#[derive(Clone)]
struct Owned {
    nonce: Vec<u8>,
    head: Vec<u8>,
    text: Vec<u8>,
    tail: Vec<u8>,
    icv: Vec<u8>,
}

impl Owned {
    fn new(suite: Suite, len: usize) -> Self {
        let shape = suite.shape().unwrap();
        Self {
            nonce: (0..shape.nonce_len() as u8).collect(),
            head: vec![0x11; 8],
            text: (0..len).map(|i| i as u8).collect(),
            tail: if shape.aead { vec![] } else { vec![0x22; 4] },
            icv: vec![0; shape.icv_len],
        }
    }

    fn work(&mut self) -> Work<'_> {
        Work {
            nonce: &self.nonce,
            head: &self.head,
            text: &mut self.text,
            tail: &self.tail,
            icv: &mut self.icv,
        }
    }
}

fn is_legacy(suite: Suite) -> bool {
    [Encr::DES, Encr::DES3].contains(&suite.encr) || suite.integ == Integ::HMAC_MD5_96
}

fn encrypts(suite: Suite) -> bool {
    ![Encr::NULL, Encr::NULL_AES_GMAC].contains(&suite.encr)
}

#[test]
fn every_suite_opens_what_it_sealed() {
    for &suite in RustCrypto::SUITES {
        assert!(RustCrypto::has_suite(suite));
        let cipher = keyed(suite);
        let block = suite.shape().unwrap().block_len;
        for len in (0..=300).chain([1420, 9000]).map(|len: usize| len.next_multiple_of(block)) {
            let plain = Owned::new(suite, len);
            let mut packet = plain.clone();
            cipher.seal(packet.work()).unwrap();
            assert_eq!(len >= 8 && packet.text == plain.text, len >= 8 && !encrypts(suite));
            assert_ne!(packet.icv, plain.icv, "{suite} {len}");
            cipher.open(packet.work()).unwrap();
            assert_eq!(packet.text, plain.text, "{suite} {len}");
        }
    }
}

/// One bit of any part turned: the integrity check fails, and no plaintext is left.
#[test]
fn a_damaged_packet_is_wiped() {
    for &suite in RustCrypto::SUITES {
        let cipher = keyed(suite);
        let mut sealed = Owned::new(suite, 48);
        cipher.seal(sealed.work()).unwrap();
        let parts: [fn(&mut Owned) -> &mut Vec<u8>; 5] =
            [|p| &mut p.nonce, |p| &mut p.head, |p| &mut p.text, |p| &mut p.tail, |p| &mut p.icv];
        let shape = suite.shape().unwrap();
        for (i, part) in parts.into_iter().enumerate() {
            // A separate MAC covers the IV on the wire, and not the salt before it.
            let first = if i == 0 && !shape.aead { shape.salt_len } else { 0 };
            for bit in first * 8..part(&mut sealed).len() * 8 {
                let mut packet = sealed.clone();
                part(&mut packet)[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(cipher.open(packet.work()), Err(CryptoError::Integrity), "{suite}");
                assert_eq!(packet.text, [0; 48], "{suite}");
            }
        }
        // Another key of the same suite.
        let other = vec![3; shape.key_len];
        let other_integ = vec![3; shape.integ_key_len];
        let other = Cipher::new(suite, &other, &other_integ).unwrap();
        assert_eq!(other.open(sealed.clone().work()), Err(CryptoError::Integrity), "{suite}");
        assert_eq!(cipher.open(sealed.work()), Ok(()));
    }
}

/// Wrong lengths of any part: nothing is sealed, nothing is opened, and what was to be opened is wiped.
#[test]
fn wrong_lengths() {
    for &suite in RustCrypto::SUITES {
        let cipher = keyed(suite);
        let shape = suite.shape().unwrap();
        let mut good = Owned::new(suite, 48);
        cipher.seal(good.work()).unwrap();
        let mut bad = vec![];
        for len in (0..40).filter(|&len| len != shape.nonce_len()) {
            bad.push(Owned { nonce: vec![0; len], ..good.clone() });
        }
        for len in (0..40).filter(|&len| len != shape.icv_len) {
            bad.push(Owned { icv: vec![0; len], ..good.clone() });
        }
        if shape.aead {
            bad.push(Owned { tail: vec![0; 4], ..good.clone() });
        }
        for len in (0..48).filter(|len| len % shape.block_len != 0) {
            bad.push(Owned { text: vec![7; len], ..good.clone() });
        }
        for packet in bad {
            let mut sealed = packet.clone();
            assert_eq!(cipher.seal(sealed.work()), Err(CryptoError::Length), "{suite}");
            assert_eq!((&sealed.text, &sealed.icv), (&packet.text, &packet.icv), "{suite}");
            let mut opened = packet.clone();
            assert_eq!(cipher.open(opened.work()), Err(CryptoError::Length), "{suite}");
            assert_eq!(opened.text, vec![0; packet.text.len()], "{suite}");
        }
    }
}

#[test]
fn wrong_keys_and_suites() {
    for &suite in RustCrypto::SUITES {
        let shape = suite.shape().unwrap();
        let (key, integ_key) = (vec![1; 80], vec![2; 80]);
        for len in (0..80).filter(|&len| len != shape.key_len) {
            let made = Cipher::new(suite, &key[..len], &integ_key[..shape.integ_key_len]);
            assert_eq!(made.err(), Some(CryptoError::Length), "{suite} {len}");
        }
        for len in (0..80).filter(|&len| len != shape.integ_key_len) {
            let made = Cipher::new(suite, &key[..shape.key_len], &integ_key[..len]);
            assert_eq!(made.err(), Some(CryptoError::Length), "{suite} {len}");
        }
    }
    // Not implemented, unknown, or, worst, without integrity (RFC 4303 section 3.2).
    for suite in [
        Suite::aead(Encr::AES_CBC, 128),
        Suite::aead(Encr::NULL, 0),
        Suite::aead(Encr::AES_GCM_16, 64),
        Suite::aead(Encr::NULL_AES_GMAC, 0),
        Suite::aead(Encr(0xfffe), 0),
        cbc(128, Integ::AES_128_GMAC),
        cbc(128, Integ::HMAC_MD5_96),
        cbc(512, Integ::HMAC_SHA2_256_128),
        Suite { encr: Encr::DES3, key_bits: 0, integ: Integ::HMAC_SHA1_96 },
        Suite { encr: Encr::DES, key_bits: 0, integ: Integ::HMAC_SHA1_96 },
        Suite { integ: Integ::HMAC_SHA1_96, ..Suite::AES_128_GCM },
    ] {
        if cfg!(feature = "legacy") && is_legacy(suite) {
            assert!(RustCrypto::has_suite(suite));
            continue;
        }
        assert!(!RustCrypto::has_suite(suite));
        for key_len in [0, 8, 16, 24, 32] {
            let made = Cipher::new(suite, &vec![1; key_len], &[2; 20]);
            assert_eq!(made.err(), Some(CryptoError::Unsupported), "{suite}");
        }
    }
}

// RFC 3602 section 3: the IV is the packet counter under the packet key. The blocks were computed with OpenSSL.
#[test]
fn cbc_ivs_are_encrypted_counters() {
    let blocks = [
        (128, "7346139595c0b41e497bbde365f42d0a", "39a7ef0a0a5852a8bfd2032344bf9412"),
        (192, "494e385a4b3fafb713eaeca808626717", "929f319fbb19f5fded5c172bb9c4bcbd"),
        (256, "f05d76ae4ab99fe5a6f69b3148c2363d", "a6fbdb5cfde07d1b58fd362177bcffdf"),
    ];
    for (key_bits, first, last) in blocks {
        let suite = cbc(key_bits, Integ::HMAC_SHA2_256_128);
        let key = &hex(KEY_BYTES)[..usize::from(key_bits) / 8];
        let cipher = Cipher::new(suite, key, &[2; 32]).unwrap();
        for (counter, want) in [(1, first), (u64::MAX, last)] {
            let mut iv = [0; 16];
            cipher.unpredictable_iv(counter, &mut iv).unwrap();
            assert_eq!(iv[..], hex(want));
        }
        assert_eq!(cipher.unpredictable_iv(1, &mut [0; 8]), Err(CryptoError::Length));
    }
}

#[test]
fn ivs_are_made_where_the_shape_asks_for_them() {
    for &suite in RustCrypto::SUITES {
        let shape = suite.shape().unwrap();
        let mut iv = vec![0; shape.iv_len];
        let made = keyed(suite).unpredictable_iv(7, &mut iv);
        match shape.iv {
            Iv::Unpredictable => assert_eq!(made, Ok(()), "{suite}"),
            _ => assert_eq!(made, Err(CryptoError::Unsupported), "{suite}"),
        }
    }
}

#[test]
fn a_batch_has_one_result_each() {
    let suites = [Suite::AES_128_GCM, Suite::CHACHA20_POLY1305, Suite::AES_128_CBC_SHA256];
    let ciphers = suites.map(keyed);
    let mut packets = suites.map(|suite| Owned::new(suite, 64));
    let mut jobs: Vec<_> =
        ciphers.iter().zip(&mut packets).map(|(c, p)| (c, p.work(), Ok(()))).collect();
    Cipher::seal_batch(&mut jobs);
    assert!(jobs.iter().all(|(_, _, result)| result.is_ok()));
    packets[1].icv[0] ^= 1;
    let mut jobs: Vec<_> =
        ciphers.iter().zip(&mut packets).map(|(c, p)| (c, p.work(), Ok(()))).collect();
    Cipher::open_batch(&mut jobs);
    let results: Vec<_> = jobs.iter().map(|(_, _, result)| *result).collect();
    assert_eq!(results, [Ok(()), Err(CryptoError::Integrity), Ok(())]);
    assert_eq!(packets[0].text, Owned::new(suites[0], 64).text);
    assert_eq!(packets[1].text, [0; 64]);
    assert_eq!(packets[2].text, Owned::new(suites[2], 64).text);
}

/// Key (its length tells the suite), nonce, head, plaintext, ciphertext, ICV.
type Gcm = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const GCM_ESP: [Gcm; 7] = [
    (
        "4c80cdefbb5d10da906ac73c3613a634",
        "2e443b684956ed7e3b244cfe",
        "000043218765432100000000",
        concat!(
            "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000",
            "00000000045f736970045f756470037369700963796265726369747902646b00",
            "0021000101020201"
        ),
        concat!(
            "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34",
            "cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce",
            "61bc17d768fd9732"
        ),
        "459018148f6cbe722fd04796562dfdb4",
    ),
    (
        "feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "0000a5f80000000a",
        concat!(
            "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100",
            "0001000000000000037369700963796265726369747902646b00000100010001"
        ),
        concat!(
            "deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c",
            "3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1"
        ),
        "83b70d3aa8bc6ee4c309e9d85a41ad4a",
    ),
    (
        "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        "112233440102030405060708",
        "4a2cbfe300000002",
        concat!(
            "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000",
            "7002400020bf0000020405b40101040201020201"
        ),
        concat!(
            "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763",
            "748a637985771d347f0545659f14e99def842d8e"
        ),
        "b335f4eecfdbf831824b4c4915956c96",
    ),
    (
        "feffe9928665731c6d6a8f9467308308feffe9928665731c",
        "cafebabefacedbaddecaf888",
        "0000a5f80000000a",
        concat!(
            "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e",
            "501016d075680001"
        ),
        concat!(
            "a5b1f8066029aea40e598b8122de02420938b3ab33f828e687b8858b5bfbdbd0",
            "315b27452144cc77"
        ),
        "95457b9652037f5318027b5b4cd7a636",
    ),
    (
        "abbccddef00112233445566778899aab",
        "decaf888cafedebaceface74",
        "000001000000000000000001",
        concat!(
            "4500004933ba00007f119106c3fb1d10c2b1d326c02831ce0035dd7b800302d5",
            "00004e20001e8c18d75b81dc91baa0476b91b924b280389d92c963bac046ec95",
            "9b6266c04722b14923010101"
        ),
        concat!(
            "18a6fd42f72cbf4ab2a2ea901f73d814e3e7f243d95412e1c349c1d2fbec168f",
            "9190feebaf2cb01984e65863965d7472b79da345e0e780191f0d2f0e0f496c22",
            "6f2127b27db35724e7845d68"
        ),
        "651f57e65f354f75ff17015769623436",
    ),
    (
        "3de09874b388e6491988d0c3607eae1f",
        "57690e434e280000a2fca1a3",
        "42f67e3f1010101010101010",
        "4500001c42a200008001441f406793b6e00000020a00f5ff01020201",
        "fba2ca845e5df9f0f22c3e6e86dd831e1fc65792cd1af9130e1379ed",
        "369f071f35e034be95f112e4e7d05d35",
    ),
    (
        "7d773d00c144c525ac619d18c84a3f47",
        "d966426743457e9182443bc6",
        "335467aeffffffff",
        "01020201",
        "437f866b",
        "cb3f699fe9b0822bac961c4504bef270",
    ),
];

const GCM_SPECIFICATION: [Gcm; 8] = [
    (
        "00000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "",
        "58e2fccefa7e3061367f1d57a4e7455a",
    ),
    (
        "00000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "00000000000000000000000000000000",
        "0388dace60b6a392f328c2b971b2fe78",
        "ab6e47d42cec13bdf53a67b21257bddf",
    ),
    (
        "feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "",
        concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
        ),
        concat!(
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e",
            "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
        ),
        "4d5c2af327cd64a62cf35abd2ba6fab4",
    ),
    (
        "feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        concat!(
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e",
            "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        ),
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
    (
        "000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "",
        "cd33b28ac773f74ba00ed1f312572435",
    ),
    (
        "feffe9928665731c6d6a8f9467308308feffe9928665731c",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        concat!(
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c",
            "7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710"
        ),
        "2519498e80f1478f37ba55bd6d27618c",
    ),
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "",
        "530f8afbc74536b9a963b4f1c4cb738b",
    ),
    (
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        concat!(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        ),
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
];

/// Key, IV, plaintext, ciphertext.
const CBC: [(&str, &str, &str, &str); 8] = [
    (
        "06a9214036b8a15b512e03d534120006",
        "3dafba429d9eb430b422da802c9fac41",
        "53696e676c6520626c6f636b206d7367",
        "e353779c1079aeb82708942dbe77181a",
    ),
    (
        "c286696d887c9aa0611bbb3e2025a45a",
        "562e17996d093d28ddb3ba695a2e6f58",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
    ),
    (
        "6c3ea0477630ce21a2ce334aa746c2cd",
        "c782dc4c098c66cbd9cd27d825682c81",
        concat!(
            "5468697320697320612034382d62797465206d65737361676520286578616374",
            "6c7920332041455320626c6f636b7329"
        ),
        concat!(
            "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5",
            "021c19216bad525c8579695d83ba2684"
        ),
    ),
    (
        "56e47a38c5598974bc46903dba290349",
        "8ce82eefbea0da3c44699ed7db51b7d9",
        concat!(
            "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf",
            "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
        ),
        concat!(
            "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e",
            "35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55"
        ),
    ),
    (
        "90d382b410eeba7ad938c46cec1a82bf",
        "e96e8c08ab465763fd098d45dd3ff893",
        concat!(
            "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617",
            "18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
            "0102030405060708090a0b0c0d0e0e01"
        ),
        concat!(
            "f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856",
            "a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a",
            "a269add047ad2d5913ac19b7cfbad4a6"
        ),
    ),
    (
        "90d382b410eeba7ad938c46cec1a82bf",
        "69d08df7d203329db093fc4924e5bd80",
        "0800b5e8a80a0500a69c083d0b660e0077777777777777777777777701020201",
        "f51995881ec4e0c4488987ce742e8109689bb379d2d750c0d915dca346a89f75",
    ),
    (
        "0123456789abcdef0123456789abcdef",
        "f4e765244f6407adf13dc1380f673f37",
        concat!(
            "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d",
            "02a2040008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
            "2425262728292a2b2c2d2e2f30313233343536370102030405060708090a0a04"
        ),
        concat!(
            "773b5241a4c449225e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8",
            "e4ecaec78ac53aad7a0f022b859243c647752e94a859352b8a4d4d2decd136e5",
            "c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d"
        ),
    ),
    (
        "0123456789abcdef0123456789abcdef",
        "85d47224b5f3dd5d2101d4ea8dffab22",
        concat!(
            "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083d",
            "a3de0300ffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "ffffffff0102030405060708090a0a04"
        ),
        concat!(
            "15b92683819596a8047232cc00f7048fe45318e11f8a0f62ede3c3fc61203bb5",
            "0f980a08c9843fd3a1b06d5c07ff9639b7eb7dfb3512e5de435e7207ed971ef3",
            "d2726d9b5ef6affc6d17a0decbb13892"
        ),
    ),
];

/// Key length, ciphertext, and the ICVs of HMAC-SHA1-96, HMAC-SHA2-256-128, HMAC-SHA2-384-192, HMAC-SHA2-512-256.
const CBC_HMAC: [(u16, &str, [&str; 4]); 3] = [
    (
        128,
        concat!(
            "29c99ea986fa95edf1f01a6a9ba4b1f9990e43bb4c151b5afb7146d2756cde07",
            "f0a1d6943fe3ae7c0c1e6b5e9aed7cd0f35a60ca8468f9f13be782a0ef79ffc9",
            "c996e468f05f9136d9e3ab805070db63d99772dab6a98b9b87cf6888a4f3fca4"
        ),
        [
            "2814a64247adaab3d143cf73",
            "0600e5523c9624e260748c78ef858efc",
            "29096ae4d94e1bc82d700c47fba533046af906389ce96dc7",
            "0952730a58baba5a1c4374eb63585ecb48d35440f94986711e5b66f3e24b229f",
        ],
    ),
    (
        192,
        concat!(
            "c1c889facace58188e8fd2a7bf2d555cb68c2fb373066f895f6f8a80dc782bcd",
            "6387a3fdd43643779eac9541b23b304307bb1c67e0adf42026bd06055f427102",
            "8f94facf2c6e594dc1187f8f17c1156b933f83abae2d5ad0b451291e93cac4f5"
        ),
        [
            "2f6193c831f4a2081a1a7736",
            "5eb7d081b7d341794e56cd4fffe4efd0",
            "58d8b09f92613fac53f93c96cb2e77feb537df118f4c6a45",
            "69e1da2692c829636928051c40b1a172864484fca9b967cf8a1a3e7e3a5951ce",
        ],
    ),
    (
        256,
        concat!(
            "9bc5af02a51b5fc458a4423e83c18f184d25a5d1ab658c4bec672003e50ddf04",
            "bc044be903c64a63693769470dd482b73736e60ae57832f9f2d38d35071585b6",
            "66cd28a8409fbe8e7acd41993e29b17a81a20fa30f765fb4c14dbfdedcd2c4bd"
        ),
        [
            "77e9bf2fb054b07528434567",
            "ec65bdd9e2a413814e39ff6cf31dd349",
            "957f1a45eac66e151fd3d5ad0838891af1c593db23ef5e6f",
            "50d75bbd701df6101327ebb039b550a5a5235e48d290ea406a7984676a0b0b0d",
        ],
    ),
];

/// Key, nonce and IV, ciphertext.
const CTR: [(&str, &str, &str); 9] = [
    (
        "ae6852f8121067cc4bf7a5765577f39e",
        "000000300000000000000000",
        "e4095d4fb7a7b3792d6175a3261311b8",
    ),
    (
        "7e24067817fae0d743d6ce1f32539163",
        "006cb6dbc0543b59da48d90b",
        "5104a106168a72d9790d41ee8edad388eb2e1efc46da57c8fce630df9141be28",
    ),
    (
        "7691be035e5020a8ac6e618529f9a0dc",
        "00e0017b27777f3f4a1786f0",
        "c1cf48a89f2ffdd9cf4652e9efdb72d74540a42bde6d7836d59a5ceaaef3105325b2072f",
    ),
    (
        "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515",
        "0000004836733c147d6d93cb",
        "4b55384fe259c9c84e7935a003cbe928",
    ),
    (
        "7c5cb2401b3dc33c19e7340819e0f69c678c3db8e6f6a91a",
        "0096b03b020c6eadc2cb500d",
        "453243fc609b23327edfaafa7131cd9f8490701c5ad4a79cfc1fe0ff42f4fb00",
    ),
    (
        "02bf391ee8ecb159b959617b0965279bf59b60a786d3e0fe",
        "0007bdfd5cbd60278dcc0912",
        "96893fc55e5c722f540b7dd1ddf7e758d288bc95c69165884536c811662f2188abee0935",
    ),
    (
        "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104",
        "00000060db5672c97aa8f0b2",
        "145ad01dbf824ec7560863dc71e3e0c0",
    ),
    (
        "f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a23884",
        "00faac24c1585ef15a43d875",
        "f05e231b3894612c49ee000b804eb2a9b8306b508f839d6a5530831d9344af1c",
    ),
    (
        "ff7a617ce69148e4f1726e2f43581de2aa62d9f805532edff1eed687fb54153d",
        "001cc5b751a51d70a1c11148",
        "eb6c52821d0bbbf7ce7594462aca4faab407df866569fd07f48cc0b583d6071f1ec0e6b8",
    ),
];
