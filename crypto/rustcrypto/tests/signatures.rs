//! Signatures: vectors of OpenSSL and of the RFCs, what must be refused, and keys of every form.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic
)]

mod common;

use std::collections::HashMap;

use common::hex;
use ipsec_core::crypto::{
    CryptoError, Curve, HashId, MAX_SIGNATURE_LEN, Provider, SignatureScheme, SignatureVerifier,
    Signer,
};
use ipsec_rustcrypto::{
    PrivateKey, RustCrypto, RustCryptoVerifier, Select, SoftwareKey, Verifier, selection,
};
use rand_core::{TryCryptoRng, TryRng};

const VERIFIER: RustCryptoVerifier = RustCryptoVerifier::new();

/// Random numbers that differ from each other.
struct Counting(u64);

impl TryRng for Counting {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        Ok(self.0 ^ self.0 >> 33)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for byte in out {
            *byte = self.try_next_u64()? as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

fn scheme(name: &str) -> SignatureScheme {
    let hash = |name: &str| match name {
        "sha256" => HashId::Sha256,
        "sha384" => HashId::Sha384,
        "sha512" => HashId::Sha512,
        _ => panic!("{name}"),
    };
    match name.split_once('-').unwrap_or((name, "")) {
        ("rsa", "ikev1") => SignatureScheme::RsaIkev1,
        ("rsa", name) => SignatureScheme::RsaPkcs1(hash(name)),
        ("pss", name) => SignatureScheme::RsaPss(hash(name)),
        ("ecdsa", "p256") => SignatureScheme::EcdsaRaw(Curve::P256),
        ("ecdsa", "p384") => SignatureScheme::EcdsaRaw(Curve::P384),
        ("ecdsa", "p521") => SignatureScheme::EcdsaRaw(Curve::P521),
        ("ecdsa", name) => SignatureScheme::Ecdsa(hash(name)),
        ("ed25519", "") => SignatureScheme::Ed25519,
        _ => panic!("{name}"),
    }
}

struct TestKey {
    name: &'static str,
    pkcs8: Vec<u8>,
    /// PKCS #1 or SEC 1; empty if there is none.
    old: Vec<u8>,
    spki: Vec<u8>,
}

fn keys() -> Vec<TestKey> {
    let rows = include_str!("vectors/keys.txt").lines().map(|row| {
        let fields: Vec<_> = row.split(' ').collect();
        let old = if fields[2] == "-" { vec![] } else { hex(fields[2]) };
        TestKey { name: fields[0], pkcs8: hex(fields[1]), old, spki: hex(fields[3]) }
    });
    rows.collect()
}

/// Keys that are there to be refused.
const WEAK: [&str; 3] = ["rsa1024", "rsa2040", "rsa4104"];

#[test]
fn openssl_and_we_accept_the_same() {
    let spkis: HashMap<_, _> = keys().into_iter().map(|key| (key.name, key.spki)).collect();
    let (mut good, mut bad) = (0, 0);
    for row in include_str!("vectors/signatures.txt").lines() {
        let fields: Vec<_> = row.split('|').collect();
        let [what, name, spki, message, signature, want] = fields[..] else { panic!("{row}") };
        let spki = spkis.get(spki).cloned().unwrap_or_else(|| hex(spki));
        let (message, signature) = (hex(message), hex(signature));
        let want = match want {
            "good" => Ok(()),
            "signature" => Err(CryptoError::Signature),
            "key" => Err(CryptoError::Key),
            _ => panic!("{want}"),
        };
        *if want.is_ok() { &mut good } else { &mut bad } += 1;
        let scheme = scheme(name);
        assert!(VERIFIER.schemes().contains(&scheme));
        let whole = VERIFIER.verify(scheme, &spki, &[&message], &signature);
        assert_eq!(whole, want, "{what}, {name}");
        // Cut anywhere, it is the same message.
        let (front, back) = message.split_at(message.len() / 3);
        let parts = VERIFIER.verify(scheme, &spki, &[front, &[], back], &signature);
        assert_eq!(parts, want, "{what}, {name}, in parts");
        if want.is_ok() {
            let other = [&message[..], b"."].concat();
            let result = VERIFIER.verify(scheme, &spki, &[&other], &signature);
            assert_eq!(result, Err(CryptoError::Signature), "{what}, {name}");
        }
    }
    assert!(good >= 100 && bad >= 300, "{good} good and {bad} bad");
}

/// The rows of the vectors whose names contain one of these words, which must all be refused.
fn refused(words: &[&str]) -> usize {
    let spkis: HashMap<_, _> = keys().into_iter().map(|key| (key.name, key.spki)).collect();
    let rows = include_str!("vectors/signatures.txt").lines().map(|row| row.split('|').collect());
    let rows = rows.filter(|row: &Vec<&str>| words.iter().any(|w| row[0].contains(w)));
    // What RSA of IKEv1 has no DigestInfo for.
    let rows = rows.filter(|row| row[1] != "rsa-ikev1");
    let verified = rows.map(|row| {
        let spki = spkis.get(row[2]).cloned().unwrap_or_else(|| hex(row[2]));
        let (message, signature) = (hex(row[3]), hex(row[4]));
        assert!(
            VERIFIER.verify(scheme(row[1]), &spki, &[&message], &signature).is_err(),
            "{row:?}"
        );
    });
    verified.count()
}

/// PKCS #1 v1.5 read laxly, so that with exponent 3 a signature could be forged: filling that is too short or has a hole,
/// rubbish behind it, other forms of DigestInfo.
#[test]
fn cve_2018_16151_cve_2018_16152_cve_2018_17540_lax_padding() {
    let lax = ["rubbish", "filling", "DigestInfo", "block type", "hash not named"];
    assert!(refused(&lax) >= 15, "{}", refused(&lax));
    for word in lax {
        assert!(refused(&[word]) > 0, "{word}");
    }
}

/// Signatures shorter or longer than the modulus ended the daemon.
#[test]
fn cve_2026_50721_cve_2026_50722_lengths_of_signatures() {
    let keys = keys();
    let message = &[&b"a message"[..]];
    let (mut lens, mut kinds) = (0, 0);
    for key in keys.iter() {
        for scheme in VERIFIER.schemes() {
            kinds += 1;
            for len in
                (0..=140).chain([255, 256, 257, 319, 320, 383, 384, 385, 511, 512, 513, 1024])
            {
                for byte in [0, 1, 0xff] {
                    let signature = vec![byte; len];
                    assert!(VERIFIER.verify(*scheme, &key.spki, message, &signature).is_err());
                    lens += 1;
                }
            }
        }
    }
    assert!(kinds > 50 && lens > 20_000, "{kinds} {lens}");
}

/// Keys of RSA that are none: even moduli and zero (CVE-2017-9022, CVE-2021-41991), exponents 0 and 1 (CVE-2026-14957).
#[test]
fn cve_2017_9022_cve_2021_41991_cve_2026_14957_keys_of_rsa() {
    for word in ["modulus even", "modulus zero", "exponent 0", "exponent 1", "exponent missing"] {
        assert!(refused(&[word]) > 0, "{word}");
    }
}

/// Parameters of PSS that are not there, cut, or of other kinds (CVE-2018-6459 read what was not there).
#[test]
fn cve_2018_6459_parameters_of_pss() {
    let whole = SignatureScheme::RsaPss(HashId::Sha256).algorithm_identifier().unwrap();
    assert!(SignatureScheme::from_algorithm_identifier(whole).is_some());
    for len in 0..whole.len() {
        assert_eq!(SignatureScheme::from_algorithm_identifier(&whole[..len]), None, "{len}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 5, 0x30, 0x7f, 0x80, 0x84, 0xa0, 0xff] {
            let mut changed = whole.to_vec();
            changed[at] = value;
            let read = SignatureScheme::from_algorithm_identifier(&changed);
            let same = changed == whole;
            assert_eq!(read.is_some_and(|s| matches!(s, SignatureScheme::RsaPss(_))), same, "{at}");
        }
    }
}

/// What we sign, we verify, and the verifier is shown by OpenSSL to be right.
/// The beginning of a message: longer where the message, nine bytes more, has to be as long as a hash.
fn of(scheme: SignatureScheme, text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    if let SignatureScheme::EcdsaIkev1(curve) = scheme {
        text.resize(curve.hash().output_len() - 9, b' ');
    }
    text
}

/// RFC 2409 section 5.1, RFC 4754: what IKEv1 signs is a hash already. Over the hash of a message it is the signature of
/// IKEv2, which has test vectors.
#[test]
fn ecdsa_of_ikev1_signs_the_hash() {
    for (name, curve) in [("p256", Curve::P256), ("p384", Curve::P384), ("p521", Curve::P521)] {
        let keys = keys();
        let key = keys.iter().find(|key| key.name == name).unwrap();
        let signer = SoftwareKey::from_der(&key.pkcs8).unwrap();
        let mut hash = vec![0; curve.hash().output_len()];
        RustCrypto::hash(curve.hash(), &[b"what is signed"], &mut hash).unwrap();
        let mut out = [0; MAX_SIGNATURE_LEN];
        let (given, raw) = (SignatureScheme::EcdsaIkev1(curve), SignatureScheme::EcdsaRaw(curve));
        let len = signer.sign(given, &mut Counting(3), &[&hash], &mut out).unwrap();
        let verify =
            |scheme, message: &[u8]| VERIFIER.verify(scheme, &key.spki, &[message], &out[..len]);
        assert_eq!(verify(raw, b"what is signed"), Ok(()));
        assert_eq!(verify(given, &hash), Ok(()));
        assert_eq!(verify(given, &hash[1..]), Err(CryptoError::Signature), "too short");
        assert_eq!(verify(given, &[&hash[..], &[0]].concat()), Err(CryptoError::Signature));
        let short = signer.sign(given, &mut Counting(3), &[b"x"], &mut out);
        assert_eq!(short, Err(CryptoError::Length));
    }
}

#[test]
fn every_key_signs_in_every_scheme() {
    for key in keys().iter().filter(|key| !WEAK.contains(&key.name)) {
        let signer =
            SoftwareKey::from_der(&key.pkcs8).unwrap_or_else(|e| panic!("{}: {e}", key.name));
        assert!(!signer.schemes().is_empty());
        for &scheme in signer.schemes() {
            let mut rng = Counting(7);
            let mut sign = |room: usize| {
                let mut out = vec![0x55; room];
                let parts: [&[u8]; 3] = [&of(scheme, b"what "), b"", b"is signed"];
                signer.sign(scheme, &mut rng, &parts, &mut out).map(|len| (out, len))
            };
            let (out, len) = sign(MAX_SIGNATURE_LEN + 9).unwrap();
            assert!(len <= MAX_SIGNATURE_LEN);
            assert!(out[len..].iter().all(|byte| *byte == 0x55));
            let result = VERIFIER.verify(
                scheme,
                &key.spki,
                &[&of(scheme, b"what "), b"is signed"],
                &out[..len],
            );
            assert_eq!(result, Ok(()), "{} {scheme:?}", key.name);
            let result = VERIFIER.verify(
                scheme,
                &key.spki,
                &[&of(scheme, b"what "), b"Is signed"],
                &out[..len],
            );
            assert_eq!(result, Err(CryptoError::Signature), "{} {scheme:?}", key.name);
            assert_eq!(sign(10).err(), Some(CryptoError::Length));
            if let SignatureScheme::RsaPss(_) | SignatureScheme::Ecdsa(_) = scheme {
                assert_ne!(sign(MAX_SIGNATURE_LEN).unwrap().0, out[..MAX_SIGNATURE_LEN]);
            }
        }
        let other = if key.name == "ed25519" {
            SignatureScheme::RsaIkev1
        } else {
            SignatureScheme::Ed25519
        };
        let result = signer.sign(other, &mut Counting(1), &[b"x"], &mut [0; MAX_SIGNATURE_LEN]);
        assert_eq!(result, Err(CryptoError::Unsupported));
    }
}

#[test]
fn keys_have_every_form_and_fit_their_other_half() {
    let keys = keys();
    for key in &keys {
        let forms = [&key.pkcs8, &key.old];
        for der in forms.into_iter().filter(|der| !der.is_empty()) {
            let made = SoftwareKey::from_der(der);
            if WEAK.contains(&key.name) {
                assert_eq!(made.err(), Some(CryptoError::Key), "{}", key.name);
                continue;
            }
            let made = made.unwrap_or_else(|e| panic!("{}: {e}", key.name));
            for other in &keys {
                assert_eq!(made.fits(&other.spki), other.name == key.name, "{}", other.name);
            }
            assert!(!made.fits(&[]));
        }
    }
}

/// Every byte cut off, and every byte changed: refused, or another good key; never a panic.
#[test]
fn damaged_private_keys() {
    for key in keys().iter().filter(|key| ["rsa2048", "p256", "ed25519"].contains(&key.name)) {
        for der in [&key.pkcs8, &key.old] {
            for len in 0..der.len() {
                assert!(SoftwareKey::from_der(&der[..len]).is_err(), "{} cut to {len}", key.name);
            }
            let mut longer = der.clone();
            longer.push(0);
            assert!(SoftwareKey::from_der(&longer).is_err());
            for at in 0..der.len() {
                let mut changed = der.clone();
                changed[at] ^= 0x41;
                let _ = SoftwareKey::from_der(&changed);
            }
        }
    }
    // A prime that is not one of the modulus.
    let rsa = keys().into_iter().find(|key| key.name == "rsa2048").unwrap().old;
    let half = rsa.len() * 55 / 100;
    let mut changed = rsa.clone();
    changed[half] ^= 2;
    assert_eq!(SoftwareKey::from_der(&changed).err(), Some(CryptoError::Key));
    // An exponent modulo a prime that does not belong: found when the signature is verified, before it is seen.
    let mut changed = rsa.clone();
    let at = rsa.len() * 72 / 100;
    changed[at] ^= 2;
    let key = SoftwareKey::from_der(&changed).unwrap();
    let mut out = [0x55; MAX_SIGNATURE_LEN];
    let scheme = SignatureScheme::RsaPkcs1(HashId::Sha256);
    let result = key.sign(scheme, &mut Counting(3), &[b"x"], &mut out);
    assert_eq!(result, Err(CryptoError::Failed));
    assert_eq!(out[..256], [0; 256], "nothing of it is left");
}

fn ec_spki(curve: &str, point: &str) -> Vec<u8> {
    let id = hex(curve);
    let algorithm =
        [&[0x30, id.len() as u8 + 11][..], &hex("06072a8648ce3d020106"), &[id.len() as u8], &id]
            .concat();
    let point = hex(point);
    let bits = [&[3, point.len() as u8 + 2, 0, 4][..], &point].concat();
    let len = algorithm.len() + bits.len();
    let bits = if point.len() + 2 < 0x80 {
        bits
    } else {
        [&[3, 0x81, point.len() as u8 + 2, 0, 4][..], &point].concat()
    };
    let len = len + usize::from(point.len() + 2 >= 0x80);
    let head = if len < 0x80 { vec![0x30, len as u8] } else { vec![0x30, 0x81, len as u8] };
    [head, algorithm, bits].concat()
}

// RFC 4754 section 8.1.
#[test]
fn ecdsa_of_rfc4754() {
    let spki = ec_spki(
        "2a8648ce3d030107",
        "2442A5CC0ECD015FA3CA31DC8E2BBC70BF42D60CBCA20085E0822CB04235E970\
         6FC98BD7E50211A4A27102FA3549DF79EBCB4BF246B80945CDDFE7D509BBFD7D",
    );
    let signature = hex("CB28E0999B9C7715FD0A80D8E47A77079716CBBF917DD72E97566EA1C066957C\
         86FA3BB4E26CAD5BF90B7F81899256CE7594BB1EA0C89212748BFF3B3D5B0315");
    let scheme = SignatureScheme::EcdsaRaw(Curve::P256);
    assert_eq!(VERIFIER.verify(scheme, &spki, &[b"abc"], &signature), Ok(()));
    assert_eq!(VERIFIER.verify(scheme, &spki, &[b"abd"], &signature), Err(CryptoError::Signature));
}

// RFC 6979 appendix A.2.5: SHA-256, "sample".
#[test]
fn ecdsa_of_rfc6979() {
    let spki = ec_spki(
        "2a8648ce3d030107",
        "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
         7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
    );
    let signature = hex("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
         F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8");
    let scheme = SignatureScheme::EcdsaRaw(Curve::P256);
    assert_eq!(VERIFIER.verify(scheme, &spki, &[b"sample"], &signature), Ok(()));
}

// RFC 8032 section 7.1, tests 1 and 2: the signatures are made as they stand there.
#[test]
fn ed25519_of_rfc8032() {
    let tests: [(&str, &str, &[u8], &str); 2] = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            b"",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            b"\x72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ];
    for (seed, public, message, signature) in tests {
        let pkcs8 = [hex("302e020100300506032b657004220420"), hex(seed)].concat();
        let spki = [hex("302a300506032b6570032100"), hex(public)].concat();
        let key = SoftwareKey::from_der(&pkcs8).unwrap();
        assert!(key.fits(&spki));
        let mut out = [0; 64];
        let scheme = SignatureScheme::Ed25519;
        assert_eq!(key.sign(scheme, &mut Counting(0), &[message], &mut out), Ok(64));
        assert_eq!(out[..], hex(signature));
        assert_eq!(VERIFIER.verify(scheme, &spki, &[message], &out), Ok(()));
    }
}

// RFC 8247 section 3.2: SHA-1 is for peers that have nothing else.
#[test]
fn sha1_is_legacy() {
    let scheme = SignatureScheme::RsaPkcs1(HashId::Sha1);
    let key = keys().into_iter().find(|key| key.name == "rsa2048").unwrap();
    let signer = SoftwareKey::from_der(&key.pkcs8).unwrap();
    let mut out = [0; MAX_SIGNATURE_LEN];
    let signed = signer.sign(scheme, &mut Counting(1), &[b"x"], &mut out);
    let verified = VERIFIER.verify(scheme, &key.spki, &[b"x"], &out[..256]);
    assert_eq!(VERIFIER.schemes().contains(&scheme), cfg!(feature = "legacy"));
    if cfg!(feature = "legacy") {
        assert_eq!((signed, verified), (Ok(256), Ok(())));
    } else {
        assert_eq!(signed, Err(CryptoError::Unsupported));
        assert_eq!(verified, Err(CryptoError::Unsupported));
    }
    for scheme in [SignatureScheme::RsaPss(HashId::Sha1), SignatureScheme::Ecdsa(HashId::Sha1)] {
        assert!(!VERIFIER.schemes().contains(&scheme));
    }
    let pss = SignatureScheme::RsaPss(HashId::Sha1);
    let verified = VERIFIER.verify(pss, &key.spki, &[b"x"], &out[..256]);
    assert_eq!(verified, Err(CryptoError::Unsupported));
    let key = keys().into_iter().find(|key| key.name == "p256").unwrap();
    let ecdsa = SignatureScheme::Ecdsa(HashId::Sha1);
    let verified = VERIFIER.verify(ecdsa, &key.spki, &[b"x"], &[0x30, 6, 2, 1, 1, 2, 1, 1]);
    assert_eq!(verified, Err(CryptoError::Unsupported));
}

selection! { enum OnlyP256 { EcdsaP256, HmacSha256 } }
selection! { enum Nothing {} }

fn verify_all<S: Select>() -> Vec<String> {
    let spkis: HashMap<_, _> = keys().into_iter().map(|key| (key.name, key.spki)).collect();
    let mut accepted = vec![];
    for row in include_str!("vectors/signatures.txt").lines().filter(|row| row.ends_with("|good")) {
        let fields: Vec<_> = row.split('|').collect();
        let Some(spki) = spkis.get(fields[2]) else { continue };
        let result = Verifier::<S>::new().verify(
            scheme(fields[1]),
            spki,
            &[&hex(fields[3])],
            &hex(fields[4]),
        );
        match result {
            Ok(()) => accepted.push(format!("{} {}", fields[2], fields[1])),
            Err(error) => assert_eq!(error, CryptoError::Unsupported, "{row}"),
        }
    }
    accepted.sort();
    accepted.dedup();
    accepted
}

#[test]
fn what_is_not_selected_is_not_supported() {
    assert_eq!(verify_all::<OnlyP256>(), ["p256 ecdsa-p256", "p256 ecdsa-sha256"]);
    assert_eq!(verify_all::<Nothing>(), [""; 0]);
    let schemes = [
        SignatureScheme::Ecdsa(HashId::Sha256),
        SignatureScheme::EcdsaRaw(Curve::P256),
        SignatureScheme::EcdsaIkev1(Curve::P256),
    ];
    assert_eq!(Verifier::<OnlyP256>::new().schemes(), schemes);
    assert!(Verifier::<Nothing>::new().schemes().is_empty());
    for key in keys().iter().filter(|key| !WEAK.contains(&key.name)) {
        let made = PrivateKey::<OnlyP256>::from_der(&key.pkcs8);
        let want = (key.name != "p256").then_some(CryptoError::Unsupported);
        assert_eq!(made.map(|key| assert_eq!(key.schemes(), schemes)).err(), want, "{}", key.name);
        let made = PrivateKey::<Nothing>::from_der(&key.pkcs8);
        assert_eq!(made.err(), Some(CryptoError::Unsupported));
    }
    assert_eq!(size_of::<PrivateKey<Nothing>>(), 0);
    assert!(size_of::<PrivateKey<OnlyP256>>() < 256);
}
