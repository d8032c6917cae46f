//! An image to be read rather than run: all that one selection links, and a symbol as large as each of its types. Of
//! selections for signatures it links the verifier, or the verifier and private keys, and no provider.
#![no_std]
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../selections.rs"]
mod selections;

use core::convert::Infallible;
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use ipsec_core::crypto::{
    Group, HashId, Integ, KeyExchange, Mac, PacketCipher, Prf, PrfId, Provider, SignatureScheme,
    SignatureVerifier, Signer, Suite, Work,
};
use ipsec_rustcrypto::{All, Minimal, Only, PrivateKey, Select, Verifier};
use rand_core::{TryCryptoRng, TryRng};
use selections::{Cbc, MlKem, P256, Rsa2048, Tiny};

#[cfg(feature = "all")]
type Selected = All;
#[cfg(feature = "minimal")]
type Selected = Minimal;
#[cfg(feature = "tiny")]
type Selected = Tiny;
#[cfg(feature = "cbc")]
type Selected = Cbc;
#[cfg(feature = "ml_kem")]
type Selected = MlKem;
#[cfg(any(feature = "verify_p256", feature = "sign_p256"))]
type Selected = P256;
#[cfg(feature = "verify_rsa2048")]
type Selected = Rsa2048;

const PROVIDER: bool = cfg!(any(
    feature = "all",
    feature = "minimal",
    feature = "tiny",
    feature = "cbc",
    feature = "ml_kem"
));
const VERIFIER: bool = cfg!(any(
    feature = "all",
    feature = "verify_p256",
    feature = "verify_rsa2048",
    feature = "sign_p256"
));
const SIGNER: bool = cfg!(any(feature = "all", feature = "sign_p256"));

/// Symbols whose sizes are those of the types.
#[cfg(any(
    feature = "all",
    feature = "minimal",
    feature = "tiny",
    feature = "cbc",
    feature = "ml_kem"
))]
mod sizes {
    use super::{KeyExchange, MaybeUninit, Only, PrivateKey, Provider, Selected};

    type Crypto = Only<Selected>;

    macro_rules! sizes {
        ($($name:ident: $type:ty;)*) => {
            $(
                #[used]
                #[unsafe(no_mangle)]
                static mut $name: MaybeUninit<[u8; size_of::<$type>()]> = MaybeUninit::zeroed();
            )*
        };
    }

    sizes! {
        SIZE_CIPHER: <Crypto as Provider>::Cipher;
        SIZE_MAC: <Crypto as Provider>::Mac;
        SIZE_PRF: <Crypto as Provider>::Prf;
        SIZE_KX: <Crypto as Provider>::Kx;
        SIZE_SECRET: <<Crypto as Provider>::Kx as KeyExchange>::Secret;
        SIZE_PRIVATEKEY: PrivateKey<Selected>;
    }
}

/// Numbers that the compiler cannot foresee.
struct Unknown;

impl TryRng for Unknown {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(black_box(1))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(black_box(1))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill(black_box(1));
        Ok(())
    }
}

impl TryCryptoRng for Unknown {}

/// Every function of the provider, with numbers that come from outside.
fn drive<P: Provider>() {
    let (mut text, key, mut icv) = ([0; 64], [0; 64], [0; 16]);
    let (text, key, icv) = (black_box(&mut text[..]), black_box(&key[..]), black_box(&mut icv[..]));
    let suite = black_box(P::SUITES).get(black_box(0)).copied().unwrap_or(Suite::AES_128_GCM);
    if let Ok(cipher) = P::Cipher::new(suite, key, key) {
        let mut work = Work { nonce: key, head: key, text, tail: key, icv };
        let _ = black_box(cipher.unpredictable_iv(black_box(1), work.icv));
        let _ = black_box(cipher.seal(work.reborrow()));
        let _ = black_box(cipher.open(work));
    }
    if let Ok(mac) = P::Mac::new(Integ(black_box(1)), key) {
        let _ = black_box(mac.sign(key, &[key], icv));
        let _ = black_box(mac.verify(key, &[key], icv));
    }
    if let Ok(prf) = P::Prf::new(PrfId(black_box(1)), key) {
        let _ = black_box(prf.compute(&[key], icv));
    }
    let group = Group(black_box(1));
    if let Ok((kx, _)) = P::Kx::start(group, &mut Unknown, text) {
        let _ = black_box(kx.finish(key).map(|secret| black_box(secret.as_ref().len())));
    }
    let _ = black_box(P::Kx::respond(group, &mut Unknown, key, text).map(|secret| secret.1));
    let _ = black_box(P::hash(HashId::Sha1, &[key], icv));
    let _ = black_box(P::hash(HashId::Sha256, &[key], icv));
    let _ = black_box((P::INTEGS, P::PRFS, P::GROUPS));
}

/// A scheme that the compiler cannot foresee.
fn scheme(of: &[SignatureScheme]) -> SignatureScheme {
    black_box(of).get(black_box(0)).copied().unwrap_or(SignatureScheme::Ed25519)
}

fn drive_verifier<S: Select>() {
    let (key, verifier) = ([0; 64], Verifier::<S>::new());
    let key = black_box(&key[..]);
    let _ = black_box(verifier.verify(scheme(verifier.schemes()), key, &[key], key));
}

fn drive_signer<S: Select>() {
    let mut out = [0; 64];
    let (key, out) = ([0; 64], black_box(&mut out[..]));
    let key = black_box(&key[..]);
    if let Ok(signer) = PrivateKey::<S>::from_der(key) {
        let _ = black_box(signer.fits(key));
        let _ = black_box(signer.sign(scheme(signer.schemes()), &mut Unknown, &[key], out));
    }
}

/// Everything of one selection that is asked for.
fn drive_selected<S: Select>() {
    if PROVIDER {
        drive::<Only<S>>();
    }
    if VERIFIER {
        drive_verifier::<S>();
    }
    if SIGNER {
        drive_signer::<S>();
    }
}

/// Where the linker begins: everything that is not reached from here is not linked.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    #[cfg(any(
        feature = "all",
        feature = "minimal",
        feature = "tiny",
        feature = "cbc",
        feature = "ml_kem",
        feature = "verify_p256",
        feature = "verify_rsa2048",
        feature = "sign_p256"
    ))]
    drive_selected::<Selected>();
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    panic_reached()
}

/// Linked if any panic is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn panic_reached() -> ! {
    loop {
        black_box(0x6e6f_7061u32);
    }
}
