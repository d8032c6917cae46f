//! The crypto provider of [`ipsec_core`] built on the RustCrypto crates: no `std`, no heap, no `unsafe` of its own.
//!
//! A program names [`RustCrypto`] once, as a type; the algorithms are then chosen at run time by their IANA numbers. Where
//! flash or memory is short, it names [`Only`] instead, with a selection of algorithms: see [below](#less-than-all).
//!
//! | | |
//! |---|---|
//! | Packets, encrypted | AES-GCM and AES-CCM with ICVs of 8, 12 and 16 bytes, ChaCha20-Poly1305, AES-CBC, AES-CTR |
//! | Packets, not encrypted | AES-GMAC, NULL |
//! | Integrity | HMAC-SHA2-256-128, HMAC-SHA2-384-192, HMAC-SHA2-512-256, HMAC-SHA1-96, AES-CMAC-96, AES-XCBC-96; for AH also AES-GMAC |
//! | Pseudo-random functions | HMAC-SHA2-256, HMAC-SHA2-384, HMAC-SHA2-512, HMAC-SHA1, AES-CMAC, AES-XCBC |
//! | Key exchange | X25519, P-256, P-384, P-521, MODP with 2048, 3072, 4096, 6144 and 8192 bits; ML-KEM-512, ML-KEM-768, ML-KEM-1024 |
//! | Signatures | RSA with 2048 to 4096 bits (PKCS #1 v1.5 and PSS), ECDSA on P-256, P-384 and P-521, each with SHA-256, SHA-384 and SHA-512; Ed25519 |
//! | With the feature `legacy` | DES, 3DES, HMAC-MD5, MODP with 768, 1024 and 1536 bits, RSA signatures with SHA-1 |
//!
//! AES has keys of 128, 192 and 256 bits throughout. AES-GCM-16, AES-CCM-8 and ChaCha20-Poly1305 are there with an implicit IV
//! too (RFC 8750). AES-CBC, AES-CTR and NULL go with each integrity algorithm but GMAC. Weak keys of DES are not refused.
//!
//! # Sealing and opening one packet
//!
//! ```
//! use ipsec_core::crypto::{CryptoError, PacketCipher, Provider, Suite, Work};
//! use ipsec_rustcrypto::RustCrypto;
//!
//! type Cipher = <RustCrypto as Provider>::Cipher;
//!
//! let key = [7; 16];
//! let cipher = Cipher::new(Suite::AES_128_GCM, &key, &[])?;
//!
//! let nonce = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1]; // salt, then the IV on the wire
//! let head = [0, 0, 1, 0, 0, 0, 0, 1]; // SPI and sequence number: authenticated, not encrypted
//! let mut text = *b"an IP packet and its ESP trailer";
//! let mut icv = [0; 16];
//! cipher.seal(Work { nonce: &nonce, head: &head, text: &mut text, tail: &[], icv: &mut icv })?;
//! assert_ne!(&text, b"an IP packet and its ESP trailer");
//!
//! // Opened with a damaged integrity check value, the text is wiped; with the true one, it is the packet again.
//! let mut damaged = (text, icv);
//! damaged.1[0] ^= 1;
//! let (bad_text, bad_icv) = (&mut damaged.0, &mut damaged.1);
//! let forged = Work { nonce: &nonce, head: &head, text: bad_text, tail: &[], icv: bad_icv };
//! assert_eq!(cipher.open(forged), Err(CryptoError::Integrity));
//! assert_eq!(damaged.0, [0; 32]);
//!
//! cipher.open(Work { nonce: &nonce, head: &head, text: &mut text, tail: &[], icv: &mut icv })?;
//! assert_eq!(&text, b"an IP packet and its ESP trailer");
//! # Ok::<(), CryptoError>(())
//! ```
//!
//! # Signatures
//!
//! They are no part of a provider: a [`Verifier`] and a [`PrivateKey`] are lent to whoever runs the jobs of IKE. With the
//! feature `x509`, `Verifier::ALGORITHMS` are the same algorithms as `rustls-webpki` takes them.
//!
//! ```
//! use ipsec_core::crypto::{CryptoError, SignatureScheme, SignatureVerifier, Signer};
//! use ipsec_rustcrypto::{RustCryptoVerifier, SoftwareKey};
//! # struct Rng;
//! # impl rand_core::TryRng for Rng {
//! #     type Error = core::convert::Infallible;
//! #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { Ok(4) }
//! #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { Ok(4) }
//! #     fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> { out.fill(4); Ok(()) }
//! # }
//! # impl rand_core::TryCryptoRng for Rng {}
//! # let mut rng = Rng;
//! # let pkcs8 = [&b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &[7; 32]].concat();
//! # let spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00\xea\x4a\x6c\x63\xe2\x9c\x52\x0a\xbe\xf5\x50\x7b\x13\x2e\xc5\xf9\x95\x47\x76\xae\xbe\xbe\x7b\x92\x42\x1e\xea\x69\x14\x46\xd2\x2c";
//!
//! let key = SoftwareKey::from_der(&pkcs8)?;
//! assert!(key.fits(spki)); // of our certificate
//! let scheme = key.schemes()[0];
//! assert_eq!(scheme, SignatureScheme::Ed25519);
//! let mut signature = [0; 512];
//! let len = key.sign(scheme, &mut rng, &[b"the octets that ", b"are signed"], &mut signature)?;
//!
//! let verifier = RustCryptoVerifier::new();
//! let message: &[&[u8]] = &[b"the octets that are signed"];
//! verifier.verify(scheme, spki, message, &signature[..len])?;
//! let forged = verifier.verify(scheme, spki, &[b"others"], &signature[..len]);
//! assert_eq!(forged, Err(CryptoError::Signature));
//! # Ok::<(), CryptoError>(())
//! ```
//!
//! # Memory
//!
//! Keys are prepared once, when a [`Cipher`], [`Mac`] or [`Prf`] is made, and lie inline in it; nothing is prepared for
//! a packet. Packets are transformed in the caller's buffer. What is dropped is wiped. Temporary values on the stack of
//! the underlying crates (round keys on their way into place, the tables of an exponentiation) are not: a device whose
//! stack may be read by others should clear it itself.
//!
//! The stack that each operation takes at most, measured on a Cortex-M4 at opt-level `s` and `3`, in bytes:
//!
//! | | `s` | `3` |
//! |---|---|---|
//! | A packet, any suite | 2,700 | 2,400 |
//! | The keys of a suite, prepared | 2,000 | 2,700 |
//! | A hash, an integrity check value, a pseudo-random function | 3,500 | 4,500 |
//! | X25519 | 4,600 | 8,000 |
//! | P-256 | 4,900 | 9,100 |
//! | P-384 | 6,000 | 10,600 |
//! | P-521 | 8,100 | 11,300 |
//! | MODP-768 | 5,300 | 9,900 |
//! | MODP-1024 | 6,300 | 12,100 |
//! | MODP-1536 | 8,200 | 15,200 |
//! | MODP-2048 | 10,100 | 18,300 |
//! | MODP-3072 | 15,100 | 24,400 |
//! | MODP-4096 | 19,300 | 30,600 |
//! | MODP-6144 | 25,500 | 40,500 |
//! | MODP-8192 | 33,100 | 52,000 |
//! | ML-KEM-512 | 26,700 | 36,400 |
//! | ML-KEM-768 | 37,200 | 46,300 |
//! | ML-KEM-1024 | 54,100 | 61,800 |
//! | ECDSA on P-256, verified | 5,800 | 7,800 |
//! | ECDSA on P-256, signed | 3,400 | 4,100 |
//! | ECDSA on P-384, verified | 8,200 | 11,600 |
//! | ECDSA on P-384, signed | 4,400 | 6,000 |
//! | ECDSA on P-521, verified | 12,400 | 17,800 |
//! | ECDSA on P-521, signed | 6,700 | 6,800 |
//! | Ed25519, verified | 7,300 | 7,400 |
//! | Ed25519, signed | 3,600 | 3,600 |
//! | RSA with 2048 bits, verified | 10,900 | 9,800 |
//! | RSA with 2048 bits, signed | 18,600 | 20,300 |
//! | RSA with 3072 bits, verified | 15,500 | 14,600 |
//! | RSA with 3072 bits, signed | 26,500 | 29,700 |
//! | RSA with 4096 bits, verified | 20,300 | 18,800 |
//! | RSA with 4096 bits, signed | 35,500 | 39,000 |
//!
//! Give the task that runs the jobs of IKE room for them, or leave a group out of the policy: what no policy offers is never
//! computed.
//!
//! # Less than all
//!
//! A program that names [`RustCrypto`] links every algorithm, whatever its policy offers. [`Only`] links those of a selection:
//! the ready-made [`Minimal`], or one of [`selection!`]. What is left out takes neither flash nor memory. For a Cortex-M4, in
//! bytes, of which the program has a [`Cipher`] for each direction of each security association:
//!
//! | | flash at `s` | `3` | [`Cipher`] | [`Mac`] | [`Prf`] | [`Kx`] | [`Secret`] |
//! |---|---|---|---|---|---|---|---|
//! | [`All`], with `legacy` | 360,800 | 855,400 | 608 | 288 | 216 | 72 | 1025 |
//! | [`All`] | 346,900 | 828,300 | 480 | 288 | 216 | 72 | 1025 |
//! | [`Minimal`] | 33,000 | 61,000 | 288 | 88 | 80 | 32 | 32 |
//! | AES-GCM (128 bits), HMAC-SHA2-256, X25519 | 31,100 | 48,800 | 224 | 88 | 80 | 32 | 32 |
//! | AES-CBC, HMAC-SHA2-256, MODP-2048 | 33,100 | 87,500 | 336 | 88 | 80 | 32 | 256 |
//! | ML-KEM-768 | 26,200 | 53,100 | | | | 64 | 32 |
//!
//! [`All`] is measured with its [`Verifier`] and its [`PrivateKey`], which has 1,804 bytes. Alone, the verifier of ECDSA on P-256 with
//! SHA-256 takes 30,800 bytes of flash at `s` and 46,900 at `3`, 39,400 and 72,400 with
//! private keys besides; that of RSA with 2048 bits takes 26,700 and 45,700. Each has SHA-256 in it.
//!
//! ```
//! ipsec_rustcrypto::selection! {
//!     /// What both ends of our tunnels have.
//!     pub enum Ours { AesGcm, Aes256, HmacSha256, P256 }
//! }
//!
//! type Crypto = ipsec_rustcrypto::Only<Ours>; // wherever a provider is asked for
//! ```
//!
//! # Speed and side channels
//!
//! No secret decides a branch or an address in this code; the crates below say the same of theirs, on processors whose
//! multiplier takes constant time (the one of a Cortex-M3 does not). On x86 and Arm with an operating system the AES,
//! carry-less multiplication and SHA instructions are found at run time; on bare metal they are used when the target
//! features are enabled at compile time.
#![no_std]
#![forbid(unsafe_code)]

mod aes_key;
mod block_mac;
mod blocks;
mod cbc_only;
mod ccm;
mod chacha;
mod cipher;
mod encrypt_then_mac;
mod gcm;
mod keyed_hash;
mod kx;
mod lists;
mod mac;
mod number;
mod prf;
mod select;
mod sign;
pub mod single;

pub use cipher::Cipher;
pub use kx::{Kx, Secret};
pub use mac::Mac;
pub use prf::Prf;
pub use select::{All, Minimal, Off, On, Select, Switch};
pub use sign::{PrivateKey, RustCryptoVerifier, SoftwareKey, Verifier};

use core::marker::PhantomData;

use ipsec_core::bytes;
use ipsec_core::crypto::{CryptoError, Encr, Group, HashId, Integ, PrfId, Provider, Suite};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};

use lists::Lists;

/// The provider with every algorithm.
pub type RustCrypto = Only<All>;

/// The provider with only the algorithms of `S`: a name, whose values mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only<S>(PhantomData<S>);

impl<S: Select> Provider for Only<S> {
    type Cipher = Cipher<S>;
    type Mac = Mac<S>;
    type Prf = Prf<S>;
    type Kx = Kx<S>;

    const SUITES: &'static [Suite] = Lists::<S>::SUITES;
    const INTEGS: &'static [Integ] = Lists::<S>::INTEGS;
    const PRFS: &'static [PrfId] = Lists::<S>::PRFS;
    const GROUPS: &'static [Group] = Lists::<S>::GROUPS;

    /// SHA-1 and SHA-256 are always there; the others are selected with the HMAC that is made of them.
    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        match id {
            HashId::Sha384 if S::HmacSha384::ON => digest::<Sha384>(parts, out),
            HashId::Sha512 if S::HmacSha512::ON => digest::<Sha512>(parts, out),
            #[cfg(feature = "legacy")]
            HashId::Md5 if S::HmacMd5::ON => digest::<md5::Md5>(parts, out),
            _ => hash(id, parts, out),
        }
    }

    fn cbc_encrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        cbc_only::encrypt::<S>(encr, key, iv, text)
    }

    fn cbc_decrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        cbc_only::decrypt::<S>(encr, key, iv, text)
    }
}

/// Hashes `parts`, in order, into `out` by SHA-1 or SHA-256: [`Provider::hash`] for every provider made of parts of this
/// crate.
///
/// # Errors
/// [`CryptoError::Unsupported`] for another hash function, [`CryptoError::Length`] if `out` is not exactly as long as the hash.
pub fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
    match id {
        HashId::Sha1 => digest::<Sha1>(parts, out),
        HashId::Sha256 => digest::<Sha256>(parts, out),
        _ => Err(CryptoError::Unsupported),
    }
}

fn digest<D: Digest>(parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
    if out.len() != <D as Digest>::output_size() {
        return Err(CryptoError::Length);
    }
    let mut hash = D::new();
    parts.iter().for_each(|part| hash.update(part));
    bytes::copy(out, &hash.finalize()).ok_or(CryptoError::Length)
}
