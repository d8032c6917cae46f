//! AES-GCM and AES-GMAC (NIST SP 800-38D), in ESP as RFC 4106, RFC 4543 and RFC 8750 say.
//!
//! Composed here of GHASH and AES, and not taken from a crate for the whole, because one code serves ICVs of all lengths,
//! and because GMAC authenticates parts that are not contiguous.

use aes::cipher::{BlockCipherEncrypt, StreamCipherCore};
use core::slice;
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use ipsec_core::bytes;
use ipsec_core::crypto::{CryptoError, Work};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::aes_key::{AesKey, Block, Forward, KeyStream, apply, key_stream};
use crate::blocks::{Pending, xor};
use crate::cipher::Packets;
use crate::select::Select;

/// Salt of 4 bytes, IV of 8 (RFC 4106 section 4).
const NONCE_LEN: usize = 12;

/// Where the IV begins in the nonce.
const SALT_LEN: usize = 4;

/// A key of AES-GCM.
pub(crate) struct Gcm<S: Select> {
    aes: AesKey<S, Forward>,
    ghash: GHash,
    icv_len: usize,
}

/// The same, for packets that are not encrypted.
pub(crate) struct Gmac<S: Select>(Gcm<S>);

type Stream<'a, S> = KeyStream<'a, AesKey<S, Forward>>;

impl<S: Select> Gcm<S> {
    pub(crate) fn new(key: &[u8], icv_len: usize) -> Result<Self, CryptoError> {
        let aes = AesKey::<S, Forward>::new(key)?;
        let mut subkey = Zeroizing::new(Block::default());
        aes.encrypt_block(&mut subkey);
        Ok(Self { ghash: GHash::new(&subkey), aes, icv_len })
    }

    /// The key stream, and its first block, which hides the hash.
    fn start(&self, nonce: &[u8]) -> Result<(Stream<'_, S>, Block), CryptoError> {
        let nonce = <&[u8; NONCE_LEN]>::try_from(nonce).map_err(|_| CryptoError::Length)?;
        let mut counter = [0; 16];
        let mut out = bytes::Writer::new(&mut counter);
        out.bytes(nonce).and_then(|()| out.u32(1)).ok_or(CryptoError::Length)?;
        let mut stream = key_stream(&self.aes, counter);
        let mut mask = Block::default();
        stream.write_keystream_block(&mut mask);
        Ok((stream, mask))
    }

    /// The whole tag of a packet; the integrity check value is its beginning.
    fn tag(&self, mask: Block, head: &[u8], text: &[u8]) -> Block {
        let mut ghash = self.ghash.clone();
        for part in [head, text] {
            let (blocks, rest) = Block::slice_as_chunks(part);
            ghash.update(blocks);
            if !rest.is_empty() {
                let mut last = Block::default();
                let _ = bytes::copy_prefix(&mut last, rest);
                ghash.update(slice::from_ref(&last));
            }
        }
        finish(ghash, mask, head.len() as u64, text.len() as u64)
    }

    /// The whole tag of parts that stay as they are: all of them are head.
    fn tag_of_parts(&self, mask: Block, parts: &[&[u8]]) -> Block {
        let mut ghash = self.ghash.clone();
        let mut pending = Pending::default();
        let mut len = 0u64;
        for part in parts {
            len = len.saturating_add(part.len() as u64);
            pending.feed(part, |blocks| ghash.update(blocks));
        }
        if let Some(last) = pending.take_padded(0) {
            ghash.update(slice::from_ref(&last));
        }
        finish(ghash, mask, len, 0)
    }

    /// The lengths of everything but the text, which has no wrong length here.
    fn check_lengths(&self, work: &Work<'_>) -> Result<(), CryptoError> {
        if work.icv.len() == self.icv_len && work.tail.is_empty() {
            Ok(())
        } else {
            Err(CryptoError::Length)
        }
    }

    /// Writes the integrity check value over parts that stay as they are.
    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        let (_, mask) = self.start(nonce)?;
        write(&self.tag_of_parts(mask, parts), icv, self.icv_len)
    }

    /// Compares it in constant time.
    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        let (_, mask) = self.start(nonce)?;
        compare(&self.tag_of_parts(mask, parts), icv, self.icv_len)
    }
}

impl<S: Select> Packets for Gcm<S> {
    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        self.check_lengths(&work)?;
        let (stream, mask) = self.start(work.nonce)?;
        apply(stream, work.text)?;
        write(&self.tag(mask, work.head, work.text), work.icv, self.icv_len)
    }

    /// It verifies before it decrypts, so a forged packet costs one pass.
    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        self.check_lengths(&work)?;
        let (stream, mask) = self.start(work.nonce)?;
        compare(&self.tag(mask, work.head, work.text), work.icv, self.icv_len)?;
        apply(stream, work.text)
    }
}

impl<S: Select> Gmac<S> {
    /// All ICVs of GMAC have 16 bytes (RFC 4543 section 3.4).
    pub(crate) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        Gcm::new(key, 16).map(Self)
    }

    pub(crate) fn sign(
        &self,
        nonce: &[u8],
        parts: &[&[u8]],
        icv: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.0.sign(nonce, parts, icv)
    }

    pub(crate) fn verify(
        &self,
        nonce: &[u8],
        parts: &[&[u8]],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        self.0.verify(nonce, parts, icv)
    }
}

// RFC 4543 section 3.3: SPI, sequence number, IV and payload are authenticated, and nothing is encrypted.
impl<S: Select> Packets for Gmac<S> {
    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        self.0.check_lengths(&work)?;
        let iv = work.nonce.get(SALT_LEN..).ok_or(CryptoError::Length)?;
        self.sign(work.nonce, &[work.head, iv, work.text], work.icv)
    }

    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        self.0.check_lengths(&work)?;
        let iv = work.nonce.get(SALT_LEN..).ok_or(CryptoError::Length)?;
        self.verify(work.nonce, &[work.head, iv, work.text], work.icv)
    }
}

/// The lengths in bits end the hash, and the mask hides it.
fn finish(mut ghash: GHash, mut mask: Block, head_len: u64, text_len: u64) -> Block {
    let bits = u128::from(head_len) << 67 | u128::from(text_len) << 3;
    ghash.update(&[Block::from(bits.to_be_bytes())]);
    xor(&mut mask, &ghash.finalize());
    mask
}

/// The beginning of a tag into `icv`, which has exactly `len` bytes.
pub(crate) fn write(tag: &[u8], icv: &mut [u8], len: usize) -> Result<(), CryptoError> {
    tag.get(..len).and_then(|tag| bytes::copy(icv, tag)).ok_or(CryptoError::Length)
}

/// The beginning of a tag against `icv`, in constant time. A shorter one is easier to guess, and is no match.
pub(crate) fn compare(tag: &[u8], icv: &[u8], len: usize) -> Result<(), CryptoError> {
    let tag = tag.get(..len).filter(|_| icv.len() == len).ok_or(CryptoError::Length)?;
    if tag.ct_eq(icv).into() { Ok(()) } else { Err(CryptoError::Integrity) }
}
