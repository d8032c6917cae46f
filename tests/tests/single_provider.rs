//! The algorithms of `ipsec_rustcrypto::single`: as good providers as the one that has them all, and the same bytes.

#![allow(clippy::unwrap_used)]

use ipsec_core::crypto::{
    CryptoError, Group, HashId, Integ, KeyExchange, Mac, PacketCipher, Prf, PrfId, Provider, Suite,
    Work,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_rustcrypto::single::{Aes128Gcm, Aes256Gcm, ChaCha20Poly1305, HmacSha256, X25519};
use ipsec_testkit::conformance;
use ipsec_testkit::rng::SeededRng;

macro_rules! provider {
    ($name:ident, $cipher:ty, $suite:expr) => {
        enum $name {}

        impl Provider for $name {
            type Cipher = $cipher;
            type Mac = HmacSha256;
            type Prf = HmacSha256;
            type Kx = X25519;

            const SUITES: &'static [Suite] = &[$suite];
            const INTEGS: &'static [Integ] = &[Integ::HMAC_SHA2_256_128];
            const PRFS: &'static [PrfId] = &[PrfId::HMAC_SHA2_256];
            const GROUPS: &'static [Group] = &[Group::X25519];

            fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
                ipsec_rustcrypto::hash(id, parts, out)
            }
        }
    };
}

provider!(Small, Aes128Gcm, Suite::AES_128_GCM);
provider!(Long, Aes256Gcm, Suite::AES_256_GCM);
provider!(Stream, ChaCha20Poly1305, Suite::CHACHA20_POLY1305);

#[test]
fn each_conforms() {
    conformance::all::<Small>();
    conformance::all::<Long>();
    conformance::all::<Stream>();
}

/// Seals with `P` and opens with all of RustCrypto.
fn packets_agree<P: Provider>() {
    let [suite] = P::SUITES else { panic!("one suite each") };
    let shape = suite.shape().unwrap();
    let (key, nonce) = (vec![7; shape.key_len], vec![9; shape.salt_len + shape.iv_len]);
    let (mut text, mut icv) = (*b"an inner packet", vec![0; shape.icv_len]);
    let mut work = Work { nonce: &nonce, head: b"head", text: &mut text, tail: &[], icv: &mut icv };
    let one = P::Cipher::new(*suite, &key, &[]).unwrap();
    one.seal(work.reborrow()).unwrap();
    assert_ne!(work.text, b"an inner packet");
    let other = <RustCrypto as Provider>::Cipher::new(*suite, &key, &[]).unwrap();
    other.open(work).unwrap();
    assert_eq!(&text, b"an inner packet");
}

#[test]
fn packets_are_the_same() {
    packets_agree::<Small>();
    packets_agree::<Long>();
    packets_agree::<Stream>();
}

#[test]
fn hmac_is_the_same() {
    let (parts, key): ([&[u8]; 2], _) = ([b"some", b" text"], [5; 32]);
    let mut outputs = [[0; 32]; 2];
    let [one, other] = &mut outputs;
    <HmacSha256 as Prf>::new(PrfId::HMAC_SHA2_256, &key).unwrap().compute(&parts, one).unwrap();
    let all = <RustCrypto as Provider>::Prf::new(PrfId::HMAC_SHA2_256, &key).unwrap();
    all.compute(&parts, other).unwrap();
    assert_eq!(one, other);

    let mut icvs = [[0; 16]; 2];
    let [one, other] = &mut icvs;
    let mac = <HmacSha256 as Mac>::new(Integ::HMAC_SHA2_256_128, &key).unwrap();
    mac.sign(&[], &parts, one).unwrap();
    let all = <RustCrypto as Provider>::Mac::new(Integ::HMAC_SHA2_256_128, &key).unwrap();
    all.sign(&[], &parts, other).unwrap();
    assert_eq!(one, other);
}

#[test]
fn secrets_are_the_same() {
    let mut rng = SeededRng::new(1);
    let (mut ours, mut theirs) = ([0; 32], [0; 32]);
    let (private, _) = X25519::start(Group::X25519, &mut rng, &mut ours).unwrap();
    type All = <RustCrypto as Provider>::Kx;
    let (secret, _) = All::respond(Group::X25519, &mut rng, &ours, &mut theirs).unwrap();
    assert_eq!(private.finish(&theirs).unwrap().as_ref(), secret.as_ref());
}
