//! The crypto provider of [`ipsec_core`] built on the RustCrypto crates: no `std`, no heap, no `unsafe` of its own.
//!
//! A program names [`RustCrypto`] once, as a type; the algorithms are then chosen at run time by their IANA numbers.
//!
//! | | |
//! |---|---|
//! | Packets | AES-GCM and AES-CCM with ICVs of 16, 12 and 8 bytes, AES-CBC, AES-CTR and AES-GMAC, all with 128, 192 and 256-bit keys; ChaCha20-Poly1305; NULL |
//! | Integrity | HMAC-SHA1-96, HMAC-SHA2-256-128, HMAC-SHA2-384-192, HMAC-SHA2-512-256, AES-XCBC-96, AES-CMAC-96; AES-GMAC for AH |
//! | Pseudo-random functions | HMAC-SHA1, HMAC-SHA2-256, HMAC-SHA2-384, HMAC-SHA2-512, AES128-XCBC, AES128-CMAC |
//! | Key exchange | X25519, P-256, P-384, P-521, MODP-2048, -3072, -4096, -6144 and -8192 |
//! | With the feature `legacy` | Triple DES, DES, HMAC-MD5, MODP-768, -1024 and -1536 |
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
//! | A packet, any suite | 3,100 | 4,600 |
//! | A hash, an integrity check value, a pseudo-random function | 1,500 | 1,700 |
//! | X25519 | 5,400 | 5,000 |
//! | P-256 | 5,900 | 7,200 |
//! | MODP-2048 | 10,500 | 14,000 |
//!
//! Give the task that runs key exchanges room for them, or leave a group out of the policy: what no policy offers is
//! never computed.
//!
//! # Less than all
//!
//! A program that names [`RustCrypto`] links every algorithm, whatever its policy offers. Where flash or memory is short,
//! name [`Only`] with a [`selection!`] or with [`Minimal`]; [`single`] has some algorithms one by one, for a provider of
//! one's own.
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
mod ccm;
mod chacha;
mod cipher;
mod encrypt_then_mac;
mod gcm;
mod keyed_hash;
mod kx;
mod lists;
mod mac;
mod prf;
mod select;
pub mod single;

pub use cipher::Cipher;
pub use kx::{Kx, Secret};
pub use mac::Mac;
pub use prf::Prf;
pub use select::{All, Minimal, Off, On, Select, Switch};

use core::marker::PhantomData;

use ipsec_core::bytes;
use ipsec_core::crypto::{CryptoError, Group, HashId, Integ, PrfId, Provider, Suite};
use sha1::{Digest, Sha1};
use sha2::Sha256;

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

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        hash(id, parts, out)
    }
}

/// Hashes `parts`, in order, into `out`: [`Provider::hash`] for every provider made of parts of this crate.
///
/// # Errors
/// [`CryptoError::Length`] if `out` is not exactly as long as the hash.
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
