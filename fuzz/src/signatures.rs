//! Signatures, keys, algorithm identifiers and values of ML-KEM that somebody else made.

use core::convert::Infallible;

use ipsec_core::crypto::{
    Curve, Group, HashId, KeyExchange, MAX_SIGNATURE_LEN, Provider, SignatureScheme,
    SignatureVerifier, Signer,
};
use ipsec_rustcrypto::{RustCrypto, RustCryptoVerifier, SoftwareKey};
use rand_core::{TryCryptoRng, TryRng};

use crate::input::Input;

/// The schemes, in the order of the inputs.
pub(crate) const SCHEMES: [SignatureScheme; 19] = [
    SignatureScheme::RsaPkcs1(HashId::Sha256),
    SignatureScheme::RsaPkcs1(HashId::Sha384),
    SignatureScheme::RsaPkcs1(HashId::Sha512),
    SignatureScheme::RsaPkcs1(HashId::Sha1),
    SignatureScheme::RsaPss(HashId::Sha256),
    SignatureScheme::RsaPss(HashId::Sha384),
    SignatureScheme::RsaPss(HashId::Sha512),
    SignatureScheme::RsaIkev1,
    SignatureScheme::Ecdsa(HashId::Sha256),
    SignatureScheme::Ecdsa(HashId::Sha384),
    SignatureScheme::Ecdsa(HashId::Sha512),
    SignatureScheme::EcdsaRaw(Curve::P256),
    SignatureScheme::EcdsaRaw(Curve::P384),
    SignatureScheme::EcdsaRaw(Curve::P521),
    SignatureScheme::Ed25519,
    SignatureScheme::RsaPss(HashId::Sha1),
    SignatureScheme::EcdsaIkev1(Curve::P256),
    SignatureScheme::EcdsaIkev1(Curve::P384),
    SignatureScheme::EcdsaIkev1(Curve::P521),
];

/// The kinds of inputs, by their first byte.
pub(crate) const VERIFY: u8 = 0;
pub(crate) const SIGN: u8 = 1;
pub(crate) const IDENTIFY: u8 = 2;
pub(crate) const ENCAPSULATE: u8 = 3;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 4 {
        VERIFY => verify(&mut input),
        SIGN => sign(&mut input),
        IDENTIFY => identify(&mut input),
        _ => encapsulate(&mut input),
    }
}

fn verify(input: &mut Input<'_>) {
    let verifier = RustCryptoVerifier::new();
    let scheme = input.one_of(&SCHEMES);
    let (spki_len, signature_len) = (input.u16().into(), input.u16().into());
    let (spki, signature) = (input.take(spki_len), input.take(signature_len));
    let message = input.take(usize::MAX);
    let result = verifier.verify(scheme, spki, &[message], signature);
    let (front, back) = message.split_at(message.len() / 2);
    assert_eq!(verifier.verify(scheme, spki, &[&[], front, back], signature), result);
    if result.is_ok() {
        assert!(verifier.schemes().contains(&scheme));
        let other = [message, b"."].concat();
        assert!(verifier.verify(scheme, spki, &[&other], signature).is_err());
        for other in SCHEMES.into_iter().filter(|other| *other != scheme) {
            assert!(verifier.verify(other, spki, &[message], signature).is_err(), "{other:?}");
        }
    }
}

/// A private key that is accepted signs, or finds out that it cannot.
fn sign(input: &mut Input<'_>) {
    let rng = &mut Counting(input.seed());
    let Ok(key) = SoftwareKey::from_der(input.take(usize::MAX)) else { return };
    for scheme in key.schemes() {
        let mut out = [0; MAX_SIGNATURE_LEN];
        let len = match scheme {
            SignatureScheme::EcdsaIkev1(curve) => curve.hash().output_len(),
            _ => 4,
        };
        match key.sign(*scheme, rng, &[&[b'x'; 64][..len]], &mut out) {
            Ok(len) => assert!((64..=out.len()).contains(&len)),
            Err(_) => assert_eq!(out, [0; MAX_SIGNATURE_LEN], "nothing of it is left"),
        }
    }
}

/// An identifier names a scheme, which has one identifier, or one of the few other spellings of RSASSA-PSS.
fn identify(input: &mut Input<'_>) {
    let der = input.take(usize::MAX);
    let Some(scheme) = SignatureScheme::from_algorithm_identifier(der) else { return };
    assert!(SCHEMES.contains(&scheme) || scheme == SignatureScheme::Ecdsa(HashId::Sha1));
    let own = scheme.algorithm_identifier().expect("it was read");
    assert_eq!(SignatureScheme::from_algorithm_identifier(own), Some(scheme));
    assert!(
        own == der || matches!(scheme, SignatureScheme::RsaPss(_)) && der.len() <= own.len() + 5
    );
}

fn encapsulate(input: &mut Input<'_>) {
    type Kx = <RustCrypto as Provider>::Kx;
    let rng = &mut Counting(input.seed());
    let group = input.one_of(&[Group::ML_KEM_768, Group::ML_KEM_512, Group::ML_KEM_1024]);
    let (mut public, mut answer) = ([0; 1568], [0; 1568]);
    let peer = input.take(usize::MAX);
    let (kx, len) = Kx::start(group, rng, &mut public).expect("it is there");
    assert_eq!(kx.finish(peer).is_ok(), Some(peer.len()) == group.answer_len());
    if let Ok((_, len)) = Kx::respond(group, rng, peer, &mut answer) {
        assert_eq!((Some(peer.len()), Some(len)), (group.public_len(), group.answer_len()));
    }
    // Nothing of that spoils the true exchange.
    let (secret, answered) =
        Kx::respond(group, rng, &public[..len], &mut answer).expect("it is ours");
    let finished = kx.finish(&answer[..answered]).expect("it is ours");
    assert_eq!(finished.as_ref(), secret.as_ref());
}

/// Different numbers for every input.
struct Counting(u64);

impl TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut word = [0; 4];
        self.try_fill_bytes(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut word = [0; 8];
        self.try_fill_bytes(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}
